"""Which of many somebody means who has typed ``latest``, or the beginning of an id."""

from collections.abc import Callable, Sequence

from dbcalm.domain.model.listing import Condition, Query
from dbcalm.domain.model.names import LATEST, shown
from dbcalm.errors import Conflict

_TOLD = 5


def beginning(field: str, start: str) -> Query:
    """Return the query for ids that begin so, as many as are told and one more."""
    return Query(
        (Condition(field, "gte", (start,)), Condition(field, "lt", (start + "\x7f",))), per_page=_TOLD + 1
    )


def chosen(
    given: str,
    what: str,
    exists: Callable[[str], bool],
    begin: Callable[[str], Sequence[str]],
    newest: Callable[[], str | None],
) -> str:
    """Return the id that is meant: the given one where it ``exists``, the newest for ``latest``, or the only one that
    begins so. What fits none is returned as it is: whoever looks for it says so. Raise Conflict if several begin so."""
    if exists(given):
        return given
    if given == LATEST:
        return newest() or given
    found = begin(given.lower()) if given.isascii() and given.isprintable() and given else []
    if len(found) > 1:
        named = ", ".join(found[:_TOLD]) + (", ..." if len(found) > _TOLD else "")
        raise Conflict(f"the ids of several {what} begin with {shown(given)}: {named}; type more of it")
    return found[0] if found else given
