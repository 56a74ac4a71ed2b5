"""The events of the mysql service's journal, applied to the catalogue."""
