"""How often one may fail before one has to wait."""

import threading
from collections import OrderedDict, deque

from dbcalm.domain.ports import Clock
from dbcalm.errors import Throttled

_WINDOW = 60.0
_KEPT = 10_000


class Throttle:
    """Counts failures by key for the last minute; who has used up what a key may fail waits until one is forgotten.

    Only failures count, so nobody who gives the right secret is ever slowed down, and attempts that are turned away do
    not prolong the wait.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, limits: dict[str, int]) -> None:
        """Raise Throttled if one of these keys has failed as often as it may."""
        now = self._clock.monotonic()
        with self._lock:
            wait = max((self._wait(key, limit, now) for key, limit in limits.items()), default=0.0)
        if wait > 0:
            seconds = int(wait) + 1
            raise Throttled(f"too many failed attempts; try again in {seconds} seconds", seconds)

    def _wait(self, key: str, limit: int, now: float) -> float:
        times = self._failures.get(key)
        return 0.0 if times is None or len(times) < limit else times[-limit] + _WINDOW - now

    def failed(self, limits: dict[str, int]) -> None:
        """Count a failure for each of these keys."""
        now = self._clock.monotonic()
        with self._lock:
            for key, limit in limits.items():
                times = self._failures.setdefault(key, deque(maxlen=limit))
                times.append(now)
                self._failures.move_to_end(key)
            while len(self._failures) > _KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, limits: dict[str, int]) -> None:
        """Forget the failures of these keys."""
        with self._lock:
            for key in limits:
                self._failures.pop(key, None)
