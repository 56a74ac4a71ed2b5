"""The configuration of the mysql service."""
