"""Statements that are built once from the tables' columns, compiled once, and run on SQLite's own connection.

SQLAlchemy's way through each call takes more time than SQLite does for all rows of a page, and every request asks at
least two of these.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.sqlite import dialect

_DIALECT = dialect(paramstyle="named")


class Prepared:
    """A statement that is compiled once; its values are given by name, each as the column keeps it."""

    def __init__(self, statement: Select[Any]) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._text = compiled.string
        self._values = compiled.params
        makers = (column.type.result_processor(_DIALECT, None) for column in statement.selected_columns)
        self._makers = [(at, make) for at, make in enumerate(makers) if make is not None]

    def all(self, connection: sqlite3.Connection, **values: Any) -> Sequence[Sequence[Any]]:
        """Return all rows."""
        rows = connection.execute(self._text, self._values | values).fetchall()
        return [self._made(row) for row in rows] if self._makers else rows

    def first(self, connection: sqlite3.Connection, **values: Any) -> Sequence[Any] | None:
        """Return the first row."""
        row = connection.execute(self._text, self._values | values).fetchone()
        return None if row is None else self._made(row)

    def _made(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row with what its columns' types make of what is kept."""
        values = list(row)
        for at, make in self._makers:
            values[at] = make(values[at])
        return values
