"""Statements that are built once from the tables' columns, compiled once, and run on SQLite's own connection.

SQLAlchemy's way through each call takes more time than SQLite does for all rows of a page, and every request asks at
least two of these.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.sqlite import dialect

_DIALECT = dialect(paramstyle="named")


class Prepared:
    """A statement that is compiled at its first use; its values are given by name, each as the column keeps it."""

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement

    @cached_property
    def _compiled(self) -> tuple[str, Mapping[str, Any]]:
        compiled = self._statement.compile(dialect=_DIALECT)
        return compiled.string, compiled.params

    @cached_property
    def _makers(self) -> Sequence[tuple[int, Callable[[Any], Any]]]:
        """Which columns have a type of ours, and what makes its values."""
        types = (column.type for column in self._statement.selected_columns)
        makers = (type.result_processor(_DIALECT, None) for type in types)
        return [(at, make) for at, make in enumerate(makers) if make is not None]

    def all(self, connection: sqlite3.Connection, **values: Any) -> Sequence[Sequence[Any]]:
        """Return all rows."""
        return [self._made(row) for row in self._run(connection, values)]

    def first(self, connection: sqlite3.Connection, **values: Any) -> Sequence[Any] | None:
        """Return the first row."""
        row = self._run(connection, values).fetchone()
        return None if row is None else self._made(row)

    def _run(self, connection: sqlite3.Connection, values: dict[str, Any]) -> sqlite3.Cursor:
        text, known = self._compiled
        return connection.execute(text, {**known, **values})

    def _made(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row with what its columns' types make of what is kept."""
        if not self._makers:
            return row
        values = list(row)
        for at, make in self._makers:
            values[at] = make(values[at])
        return values
