"""What all resources share: get one, list many, delete one."""

import operator
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Select, UnaryExpression, bindparam, delete, func, select
from sqlalchemy.sql.operators import custom_op
from sqlmodel import SQLModel

from dbcalm.domain.model.listing import Order, Page, Query, Value
from dbcalm.repository.engine import Database
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.tables import CountRow, columns_of, table_of

T = TypeVar("T")

_SHAPES_KEPT = 256
_COUNTS_KEPT = 256
_FEW = 2000
"""Up to so many matching rows are sorted; more are met soon enough on the way along the order's own index."""

_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
Shape = tuple[tuple[str, str, int], ...]
"""A query's conditions without their values: field, operator, and how many values there are."""


@dataclass(frozen=True)
class _Count:
    version: int
    rows: int


class Repository(Generic[T]):
    """The rows of one table, as entities whose fields bear the names of its columns.

    ``key`` is the column by which one row is asked for. ``sequence`` are the columns that grow from row to row, the
    last of them the row's number: they give the order "newest first", and decide between rows that are else equal.
    ``derived`` has the fields that are no columns but looked up, for the rows of a page only.
    """

    def __init__(
        self,
        database: Database,
        entity: type[T],
        row: type[SQLModel],
        *,
        key: str,
        sequence: Sequence[str],
        derived: Mapping[str, ColumnElement[Any]] | None = None,
    ) -> None:
        self.database = database
        self._entity = entity
        self._table = table_of(row)
        self._columns = self._table.columns
        self._sequence = sequence
        self._number = self._columns[sequence[-1]]
        found = {**self._columns, **(derived or {})}
        self.names = [field.name for field in fields(entity) if field.name in found]  # type: ignore[arg-type]  # an entity
        self.selected = select(*(found[name].label(name) for name in self.names))
        self._of_key = self._columns[key] == bindparam("key")
        self._get = Prepared(self.selected.where(self._of_key))
        self._delete = delete(self._table).where(self._of_key)
        counts = columns_of(CountRow)
        self._state = Prepared(select(counts.rows, counts.version).where(counts.name == self._table.name))
        self._counts: dict[tuple[Shape, tuple[Value, ...]], _Count] = {}
        self._counting = lru_cache(_SHAPES_KEPT)(self._count_statement)
        self._page = lru_cache(_SHAPES_KEPT)(self._page_statement)

    def made(self, row: Sequence[Any]) -> T:
        """Return the entity of a row of ``selected``, whose columns stand as the entity's fields do: by their names it
        would take as long as SQLite does for the whole page."""
        return self._entity(*row)

    def get(self, key: Value) -> T | None:
        """Return the row with this key."""
        return self.one(self._get, key=key)

    def one(self, statement: Prepared, **values: Value) -> T | None:
        """Return the first row that a statement over ``selected`` gives."""
        row = self.database.first(statement, **values)
        return None if row is None else self.made(row)

    def delete(self, key: Value) -> bool:
        """Delete the row with this key; False if there is none."""
        with self.database.write() as connection:
            return connection.execute(self._delete, {"key": key}).rowcount > 0

    def list(self, query: Query) -> Page[T]:
        """Return one page of what matches, all from the same state of the catalogue."""
        shape = tuple((one.field, one.op, len(one.values)) for one in query.conditions)
        values = tuple(value for one in query.conditions for value in one.values)
        with self.database.snapshot() as connection:
            total, matching = self._totals(connection, shape, values)
            offset = (query.page - 1) * query.per_page
            rows: Sequence[Any] = ()
            if offset < matching:
                statement = self._page(shape, query.order, sort=bool(shape) and matching <= _FEW < total)
                rows = statement.all(connection, **_named(values), most=query.per_page, offset=offset)
        return Page([self.made(row) for row in rows], matching, query.page, query.per_page)

    def _totals(
        self, connection: sqlite3.Connection, shape: Shape, values: tuple[Value, ...]
    ) -> tuple[int, int]:
        """Return how many rows there are, and how many match. What was counted once is true until the table changes."""
        [(total, version)] = self._state.all(connection)
        if not shape:
            return total, total
        known = self._counts.pop((shape, values), None)
        if known is None or known.version != version:
            [(counted,)] = self._counting(shape).all(connection, **_named(values))
            known = _Count(version, counted)
        self._counts[shape, values] = known
        while len(self._counts) > _COUNTS_KEPT:
            self._counts.pop(next(iter(self._counts)), None)
        return total, known.rows

    def _count_statement(self, shape: Shape) -> Prepared:
        return Prepared(select(func.count()).select_from(self._table).where(*self._criteria(shape)))

    def _page_statement(self, shape: Shape, order: Sequence[Order], *, sort: bool) -> Prepared:
        """Return the statement of a page: the rows before it are skipped on an index, and only its own are fetched.

        With ``sort`` the matching rows are found by the condition's index and sorted, instead of being met on a walk
        along the order's index: the unary + keeps SQLite off that one. The outer join, in which each row finds its
        own, keeps it from turning the two around.
        """
        terms = [(one.field, one.descending) for one in order]
        last = terms[-1][1] if terms else True
        terms += [(name, last) for name in self._sequence if name not in dict(terms)]

        def ordered(sign: Callable[[Any], Any]) -> Sequence[ColumnElement[Any]]:
            signed = [(sign(self._columns[name]), down) for name, down in terms]
            return [term.desc() if down else term.asc() for term, down in signed]

        page = (
            select(self._number.label("chosen"))
            .where(*self._criteria(shape))
            .order_by(*ordered(_off_its_index if sort else _as_it_is))
            .limit(bindparam("most"))
            .offset(bindparam("offset"))
            .subquery("page")
        )
        rows: Select[Any] = self.selected.select_from(
            page.outerjoin(self._table, self._number == page.c.chosen)
        )
        return Prepared(rows.order_by(*ordered(_as_it_is)))

    def _criteria(self, shape: Shape) -> Sequence[ColumnElement[bool]]:
        """Return the conditions of a shape, its values by number. As in SQL, ``ne`` and ``nin`` do not match a field
        that is empty."""
        found: list[ColumnElement[bool]] = []
        at = 0
        for name, op, count in shape:
            column = self._columns[name]
            values: list[BindParameter[Any]] = [
                bindparam(f"value_{number}") for number in range(at, at + count)
            ]
            at += count
            match op:
                case "isnull":
                    found.append(column.is_(None))
                case "isnotnull":
                    found.append(column.is_not(None))
                case "in":
                    found.append(column.in_(values))
                case "nin":
                    found.append(column.not_in(values))
                case _:
                    found.append(_COMPARISONS[op](column, values[0]))
        return found


def _named(values: Sequence[Value]) -> dict[str, Any]:
    return {f"value_{number}": value for number, value in enumerate(values)}


def _off_its_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return UnaryExpression(column, operator=custom_op("+"))


def _as_it_is(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column
