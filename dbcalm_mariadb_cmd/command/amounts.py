"""Bytes, lengths of time and moments as people read them, in one form wherever DBCalm speaks to them."""

from datetime import timedelta

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """Return a number of bytes, such as 1.2 GB."""
    if count < 1000:
        return f"{count} B"
    amount, unit = count / 1000, 0
    while amount >= 999.95 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}"


def span(time: timedelta) -> str:
    """Return a length of time in words, such as "6 days"; rounded down, the way that ages are told."""
    for unit, words in (
        (timedelta(days=2), "days"),
        (timedelta(hours=2), "hours"),
        (timedelta(minutes=2), "minutes"),
    ):
        if time >= unit:
            return f"{time // (unit / 2)} {words}"
    return f"{max(0, int(time.total_seconds()))} seconds"


def minute(text: str) -> str:
    """Return a moment as DBCalm writes it, ``2026-01-31T03:00:00.000000Z``, as people read it:
    ``2026-01-31 03:00 UTC``."""
    return f"{text[:10]} {text[11:16]} UTC"
