"""What all resources share: get one, list many, delete one.

The SQL is put together from the names of tables and columns that stand in this program; values are always bound.
"""
# ruff: noqa: S608  # see above

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from dbcalm.domain.listing import Condition, Page, Query, Value
from dbcalm.repository.database import Database

T = TypeVar("T")

_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_COUNTS_KEPT = 256
_FEW = 2000
"""Up to so many matching rows are sorted; more are met soon enough on the way along the order's own index."""


@dataclass(frozen=True)
class _Count:
    version: int
    rows: int


class Table(Generic[T]):
    """One table, whose columns bear the names of the entity's fields.

    ``key`` is the column by which one row is asked for. ``sequence`` are the columns that grow from row to row, the
    last of them the row's number: they give the order "newest first", and decide between rows that are else equal.
    ``derived`` has the SQL of fields that are no columns; it is worked out for the rows of a page only.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        entity: type[T],
        *,
        key: str,
        sequence: Sequence[str],
        make: Callable[..., T] | None = None,
        derived: Mapping[str, str] | None = None,
    ) -> None:
        self.database = database
        self.name = name
        self._key = key
        self._sequence = sequence
        self._number = sequence[-1]
        self._make = make or entity
        given = derived or {}
        self.columns = ", ".join(
            given.get(field.name, f"{name}.{field.name}")
            for field in fields(entity)  # type: ignore[arg-type]  # an entity
        )
        self._counts: dict[tuple[str, tuple[Value, ...]], _Count] = {}

    def get(self, key: Value) -> T | None:
        """Return the row with this key."""
        return self.first(f"WHERE {self._key} = ?", key)

    def first(self, clause: str, *values: Value) -> T | None:
        """Return the first row that this SQL clause gives."""
        row = self.database.row(f"SELECT {self.columns} FROM {self.name} {clause} LIMIT 1", *values)
        return None if row is None else self._make(*row)

    def delete(self, key: Value) -> bool:
        """Delete the row with this key; False if there is none."""
        with self.database.write() as connection:
            return connection.execute(f"DELETE FROM {self.name} WHERE {self._key} = ?", (key,)).rowcount > 0

    def list(self, query: Query) -> Page[T]:
        """Return one page of what matches, all from the same state of the catalogue."""
        where, values = _where(query.conditions)
        with self.database.read() as connection:
            total, matching = self._totals(connection, where, values)
            offset = (query.page - 1) * query.per_page
            rows: list[Any] = []
            if offset < matching:
                statement = self._page_statement(query, where, sort=where != "" and matching <= _FEW < total)
                rows = connection.execute(statement, (*values, query.per_page, offset)).fetchall()
        return Page([self._make(*row) for row in rows], matching, query.page, query.per_page)

    def _totals(
        self, connection: sqlite3.Connection, where: str, values: tuple[Value, ...]
    ) -> tuple[int, int]:
        """Return how many rows there are, and how many match. What was counted once is true until the table changes."""
        total, version = connection.execute(
            "SELECT rows, version FROM table_state WHERE name = ?", (self.name,)
        ).fetchone()
        if not where:
            return total, total
        known = self._counts.pop((where, values), None)
        if known is None or known.version != version:
            counted = connection.execute(f"SELECT count(*) FROM {self.name} {where}", values).fetchone()[0]
            known = _Count(version, counted)
        self._counts[where, values] = known
        while len(self._counts) > _COUNTS_KEPT:
            self._counts.pop(next(iter(self._counts)), None)
        return total, known.rows

    def _page_statement(self, query: Query, where: str, *, sort: bool) -> str:
        """Return the SQL of a page: the rows before it are skipped on an index, and only its own are fetched.

        With ``sort`` the matching rows are found by the condition's index and sorted, instead of being met on a walk
        along the order's index: the unary + keeps SQLite off that one.
        """
        terms = [(order.field, order.descending) for order in query.order]
        last = terms[-1][1] if terms else True
        terms += [(column, last) for column in self._sequence if column not in dict(terms)]
        order = ", ".join(f"{self.name}.{column} {'DESC' if down else 'ASC'}" for column, down in terms)
        inner = order.replace(f"{self.name}.", f"+{self.name}.") if sort else order
        return (
            f"SELECT {self.columns} FROM (SELECT {self._number} AS chosen FROM {self.name} {where} ORDER BY {inner} "
            f"LIMIT ? OFFSET ?) CROSS JOIN {self.name} ON {self.name}.{self._number} = chosen ORDER BY {order}"
        )


def _where(conditions: Sequence[Condition]) -> tuple[str, tuple[Value, ...]]:
    """Return a WHERE clause and its values. Field names come from a resource's own table of fields, never from the
    caller. As in SQL, ``ne`` and ``nin`` do not match a field that is empty."""
    parts: list[str] = []
    values: list[Value] = []
    for condition in conditions:
        match condition.op:
            case "isnull":
                parts.append(f"{condition.field} IS NULL")
            case "isnotnull":
                parts.append(f"{condition.field} IS NOT NULL")
            case "in" | "nin":
                marks = ", ".join("?" * len(condition.values))
                parts.append(f"{condition.field} {'NOT ' if condition.op == 'nin' else ''}IN ({marks})")
            case op:
                parts.append(f"{condition.field} {_OPERATORS[op]} ?")
        values.extend(condition.values)
    return ("WHERE " + " AND ".join(parts) if parts else ""), tuple(values)
