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
from typing import Annotated

import typer

from dbcalm.cli.common.output import say
from dbcalm.domain.model.entities import RUNNING
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm.errors import Busy, DBCalmError
from dbcalm.logger import waiting_for_others
from dbcalm.repository.turns import Turns

IfDue = Annotated[
    int | None,
    typer.Option(
        "--if-due",
        min=1,
        max=23 * 60,
        metavar="MINUTES",
        help="As cron's lines have it: only where the schedule has not run yet in its turn of so many minutes.",
    ),
]

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


def is_turn(folder: Path, schedule_id: int, every: int | None) -> bool:
    """Tell whether a schedule is due of which cron only knows a finer step, so that it runs every so many minutes; say
    so if it is not. One that cron keeps by itself is due when it is started."""
    if every is None or Turns(folder).take(schedule_id, every, time.time()):
        return True
    say(f"schedule {schedule_id} is not due: it runs every {every} minutes")
    return False


def require_schedule(schedule_id: int | None, every: int | None) -> None:
    """Raise BadParameter for an interval of no schedule."""
    if every is not None and schedule_id is None:
        raise typer.BadParameter("needs --schedule-id", param_hint="--if-due")


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
