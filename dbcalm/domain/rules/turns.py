"""Intervals that cron cannot keep by itself: time is cut into turns of that length, and each has one run.

Turns are counted from 1970 in UTC, so that neither daylight saving nor a restart moves them. Cron fires at a finer even
step; what fires first in a turn is its run, and all others are none.
"""

import math


def turn_of(seconds: float, every: int) -> int:
    """Return the number of the turn of so many minutes in which a moment lies."""
    return int(seconds // 60) // every


def start_of(turn: int, every: int) -> int:
    """Return the second since 1970 at which a turn begins."""
    return turn * every * 60


def is_due(last: int | None, seconds: float, every: int) -> bool:
    """Tell whether a schedule runs at this moment, if ``last`` is the turn of its last run.

    A turn that was slept through is made up for once. One of which nothing is known runs only where it begins, as a new
    schedule waits for its first turn. Where the clock was set back a little, the turn comes again and has run already;
    where it was far ahead once, that run says nothing.
    """
    turn = turn_of(seconds, every)
    if last is None or turn < last - 1:
        return seconds - start_of(turn, every) < 60 * math.gcd(every, 60)
    return turn > last
