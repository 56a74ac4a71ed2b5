"""What can be asked of a list: the grammar of ``query`` and ``order``, and a page of what was found.

``query`` is conditions joined by commas: ``field|value``, ``field|isnull``, ``field|isnotnull`` or ``field|op|value``.
A piece without ``|`` after an ``in`` or ``nin`` belongs to its list. ``order`` is ``field|asc`` or ``field|desc``,
joined by commas.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dbcalm.domain.model import times
from dbcalm.domain.model.names import shown
from dbcalm.errors import InvalidQuery

T = TypeVar("T")

Value = str | int
COMPARISONS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
NULL_TESTS = ("isnull", "isnotnull")
_FORMS = "field|value, field|op|value, field|isnull or field|isnotnull"
_SPANS = ("gt", "gte", "lt", "lte")
_MOST_PIECES = 500


@dataclass(frozen=True)
class Kind:
    """A kind of value: ``read`` turns text into it or raises ValueError; ``example`` shows its form."""

    example: str
    read: Callable[[str], Value]


@dataclass(frozen=True)
class Listing:
    """What a resource's list can be asked for: the fields of ``query`` with their kinds, and those of ``order``."""

    query: Mapping[str, Kind]
    order: tuple[str, ...]


@dataclass(frozen=True)
class Condition:
    """One condition; ``values`` has one value, several for ``in`` and ``nin``, none for a null test."""

    field: str
    op: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Order:
    """One field to sort by."""

    field: str
    descending: bool


@dataclass(frozen=True)
class Query:
    """A list's request, understood. Pages count from 1. Without an order the last to be added come first."""

    conditions: tuple[Condition, ...] = ()
    order: tuple[Order, ...] = ()
    page: int = 1
    per_page: int = 25


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of what was found, and how much there is in all."""

    items: Sequence[T]
    total: int
    page: int
    per_page: int

    @property
    def total_pages(self) -> int:
        return -(-self.total // self.per_page)


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError
    return int(text)


def _boolean(text: str) -> int:
    if text not in ("true", "1", "false", "0"):
        raise ValueError
    return int(text in ("true", "1"))


TEXT = Kind("text", str)
INTEGER = Kind("an integer", _integer)
BOOLEAN = Kind("true or false", _boolean)
TIME = Kind("a time such as 2026-01-31T10:00 (UTC) or 2026-01-31T10:00:00Z", times.read)


def parse(listing: Listing, query: str | None, order: str | None, page: int, per_page: int) -> Query:
    """Return what is asked of a list; raise InvalidQuery, naming what is valid, where query or order cannot be read."""
    conditions = _conditions(listing, query) if query else ()
    orders = (
        tuple(_order(listing, piece) for piece in order.split(",")) if order else _newest(listing, conditions)
    )
    return Query(conditions, orders, page, per_page)


def _newest(listing: Listing, conditions: Sequence[Condition]) -> tuple[Order, ...]:
    """Return the order in which the newest come first. Where a span of time is asked for, it is by that time: its index
    then gives the page, however much lies on either side of the span."""
    spans = (one.field for one in conditions if listing.query[one.field] is TIME and one.op in _SPANS)
    field = next(spans, None)
    return () if field is None else (Order(field, descending=True),)


def _conditions(listing: Listing, query: str) -> tuple[Condition, ...]:
    pieces = query.split(",")
    if len(pieces) > _MOST_PIECES:
        raise InvalidQuery(f"the query has {len(pieces)} pieces, and {_MOST_PIECES} are the most")
    groups: list[list[str]] = []
    for piece in pieces:
        if "|" in piece:
            groups.append([piece])
        elif groups and _takes_a_list(groups[-1][0]):
            groups[-1].append(piece)
        else:
            raise InvalidQuery(f"cannot read {shown(piece)} in the query: a condition is {_FORMS}")
    return tuple(_condition(listing, group[0], group[1:]) for group in groups)


def _takes_a_list(piece: str) -> bool:
    parts = piece.split("|")
    return len(parts) == 3 and parts[1] in ("in", "nin")


def _condition(listing: Listing, piece: str, more: Sequence[str]) -> Condition:
    match piece.split("|"):
        case [field, op] if op in NULL_TESTS:
            _kind(listing, field)
            return Condition(field, op, ())
        case [field, value]:
            op = "eq"
        case [field, op, value]:
            if op not in COMPARISONS:
                raise InvalidQuery(
                    f"unknown operator {shown(op)} in the query; valid are {', '.join((*COMPARISONS, *NULL_TESTS))}"
                )
        case _:
            raise InvalidQuery(f"cannot read {shown(piece)} in the query: a condition is {_FORMS}")
    kind = _kind(listing, field)
    try:
        return Condition(field, op, tuple(kind.read(text) for text in (value, *more)))
    except ValueError as error:
        raise InvalidQuery(f"{field} in the query must be {kind.example}") from error


def _kind(listing: Listing, field: str) -> Kind:
    if field not in listing.query:
        raise InvalidQuery(f"unknown field {shown(field)} in the query; valid are {', '.join(listing.query)}")
    return listing.query[field]


def _order(listing: Listing, piece: str) -> Order:
    field, _, direction = piece.partition("|")
    if field not in listing.order:
        raise InvalidQuery(f"unknown field {shown(field)} in the order; valid are {', '.join(listing.order)}")
    if direction not in ("asc", "desc"):
        raise InvalidQuery(f"cannot read {shown(piece)} in the order: it is {field}|asc or {field}|desc")
    return Order(field, direction == "desc")
