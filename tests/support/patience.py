"""How tests wait: for what is to happen, never for a time. A busy machine takes twenty times as long as a quiet one."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0
"""Seconds after which a test gives up, on whatever it is. Only a safety net: no result may hang on it."""

FOR_EVER = 10 * PATIENCE
"""For what must be ended before it ends by itself: a program that sleeps, a deadline that is not to come."""

_PAUSE = 0.02
Found = TypeVar("Found")


def eventually(look: Callable[[], Found], what: str = "it") -> Found:
    """Return the first true value of ``look``; fail if it has none in all that time, and say that ``what`` did not
    happen."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:.0f} s"
        time.sleep(_PAUSE)
    return found
