"""How much of what blocks is worked on at once, so that the event loop and the threads stay free."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from anyio import Semaphore, to_thread

from dbcalm.errors import Unavailable

T = TypeVar("T")


class Pool:
    """So many at once have their turn; a few more may wait, the rest are turned away.

    The threads themselves are the framework's. It has more of them than all pools have turns together, and who has a
    turn takes one at a time, so that no turn waits for a thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads = threads
        self._waiting = waiting
        self._free: Semaphore | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and have it; raise Unavailable if too much waits already."""
        if self._free is None:  # It belongs to the event loop, which does not exist before.
            self._free = Semaphore(self._threads, fast_acquire=True)
        if not self._free.value and self._free.statistics().tasks_waiting >= self._waiting:
            raise Unavailable("too many requests at once; try again in a few seconds")
        async with self._free:
            yield

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work in a thread, in its turn."""
        async with self.turn():
            return await to_thread.run_sync(work)
