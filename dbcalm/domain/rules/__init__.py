"""Decisions without any input or output: facts in, verdicts out."""
