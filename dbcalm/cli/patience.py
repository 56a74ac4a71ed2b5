"""Starting what nobody waits for at a terminal: a job that is in the way is waited for, within reason.

A daily full and an hourly incremental are due in the same minute once a day. Were the later one refused, it could be
the full one, every day, and no new chain would ever begin.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from dbcalm.domain.entities import RUNNING
from dbcalm.domain.jobs import Started
from dbcalm.domain.services import Services
from dbcalm.errors import Busy, DBCalmError
from dbcalm.logger import waiting_for_others

_PAUSE_SECONDS = 1.0


def patiently(services: Services, patience: timedelta, start: Callable[[], Started]) -> Started:
    """Return the job once it could be started; raise what ``start`` raises, a conflict with a running job only after so
    long a wait."""
    give_up = time.monotonic() + patience.total_seconds()
    while True:
        try:
            with waiting_for_others():
                return start()
        except Busy as error:
            if time.monotonic() >= give_up:
                raise
            running = error.job_id
        if running is None:  # A deletion, or the last moments of a job: nobody tells when that is over.
            time.sleep(_PAUSE_SECONDS)
        else:
            _await_end(services, running, give_up)


def _await_end(services: Services, job_id: str, give_up: float) -> None:
    while time.monotonic() < give_up:
        with contextlib.suppress(DBCalmError):  # The service may be restarting.
            if services.processes.status(job_id)[0].status != RUNNING:
                return
        time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def only_one(folder: Path, name: str) -> Iterator[None]:
    """Hold the name for the block; raise Busy if another process holds it, so that runs of a schedule that is due every
    minute do not pile up while they wait."""
    descriptor = os.open(
        folder / f"{name.replace(' ', '-')}.lock",
        os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
        0o600,
    )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"{name} waits for another job already") from error
        yield
    finally:
        os.close(descriptor)
