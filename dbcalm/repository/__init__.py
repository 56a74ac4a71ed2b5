"""The catalogue in SQLite: the only code of DBCalm that has a database session."""
