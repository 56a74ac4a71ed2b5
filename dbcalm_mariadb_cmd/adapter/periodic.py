"""What is done again and again beside something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(work: Callable[[], None], pause: Callable[[], float]) -> Iterator[None]:
    """Do ``work``, which raises nothing, throughout a block, with so many seconds before each time."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(pause()):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
