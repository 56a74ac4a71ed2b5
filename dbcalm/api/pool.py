"""Threads for what blocks, so that the event loop does not."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from dbcalm.errors import Unavailable

T = TypeVar("T")


class Pool:
    """Threads that handlers run in, so many at once; a few more may wait, the rest are turned away."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads = threads
        self._waiting = waiting
        self._limiter: CapacityLimiter | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work in a thread; raise Unavailable if too much of it waits already."""
        if self._limiter is None:  # It belongs to the event loop, which does not exist before.
            self._limiter = CapacityLimiter(self._threads)
        if self._limiter.available_tokens <= 0 and self._limiter.statistics().tasks_waiting >= self._waiting:
            raise Unavailable("too many requests at once; try again in a few seconds")
        return await to_thread.run_sync(work, limiter=self._limiter)
