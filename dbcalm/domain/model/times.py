"""Moments as DBCalm writes them everywhere: text in UTC of fixed width, so that the order of text is that of time."""

import re
from datetime import UTC, datetime

from dbcalm.errors import InvalidField
from dbcalm_mariadb_cmd.command.amounts import minute


def written(moment: datetime) -> str:
    """Return a moment as it is written: ``2026-01-31T03:00:00.000000Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def short(text: str) -> str:
    """Return a written moment as people read it: ``2026-01-31 03:00 UTC``."""
    return minute(text)


def at(seconds: float) -> datetime:
    """Return the moment of so many seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds(text: str) -> float:
    """Return the seconds since 1970 of a written moment."""
    return datetime.fromisoformat(text).timestamp()


def read(text: str) -> str:
    """Return a moment that somebody gave, as it is written; raise ValueError if it is none.

    One without an offset is UTC; a ``+`` that a query string turned into a blank is one again.
    """
    whole = re.sub(r"^(\d{4}-\d\d-\d\d[T ]\d.*) (\d\d:?\d\d)$", r"\1+\2", text)
    try:
        moment = datetime.fromisoformat(whole)
        return written(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except OverflowError as error:
        raise ValueError from error


def given(field: str, text: str) -> str:
    """Return a moment of a request's field, as it is written; raise InvalidField if it is none."""
    try:
        return read(text)
    except ValueError as error:
        raise InvalidField(
            field, "must be a time such as 2026-01-31T10:00 (UTC) or 2026-01-31T10:00:00+02:00"
        ) from error
