"""What developers use: the sandbox, the demo, a host installation that runs from a checkout. Never shipped."""
