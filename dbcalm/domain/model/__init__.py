"""What DBCalm speaks of: entities, lists of them, and the forms of names and times."""
