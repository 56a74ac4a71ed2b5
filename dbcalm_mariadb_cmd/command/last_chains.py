"""Which chains stay whatever happens: one rule for all that plans a deletion, does one, or empties the trash."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def last_chains(newest_first: Iterable[T], is_whole: Callable[[T], bool], least: int) -> list[T]:
    """Return the so many chains that must stay: the newest whole ones, and where these are fewer, the newest others
    too. A fault that was found may be the server's or the verification's own, and what it was found in may be all that
    there is. ``is_whole`` is asked no oftener than needed, as it may have to look at the disk."""
    whole: list[T] = []
    others: list[T] = []
    for one in newest_first:
        (whole if is_whole(one) else others).append(one)
        if len(whole) == least:
            return whole
    return whole + others[: least - len(whole)]
