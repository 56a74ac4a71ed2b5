"""Restores, to a folder and in place."""
