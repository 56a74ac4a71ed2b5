"""``dbcalm setup``: from an installed package to a first backup, in one command that can be repeated."""
