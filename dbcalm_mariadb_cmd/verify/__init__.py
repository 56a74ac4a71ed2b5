"""Proving that a backup restores."""
