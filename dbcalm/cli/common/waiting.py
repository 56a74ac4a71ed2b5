"""Waiting for a job's end: how far it is, and how it ended."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from dbcalm.cli.common.output import printable, say
from dbcalm.domain.model.entities import RUNNING, Process
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm.errors import Unavailable
from dbcalm_mariadb_cmd.command.amounts import size

PATIENCE_SECONDS = 60.0
"""So long the service may be silent, since a job outlives its restart."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_PLAIN_SECONDS = 3.0
_INTERRUPTED = 130
_CLEAR = "\r\x1b[K"

Progress = Mapping[str, Any]


@contextmanager
def detachable(job_id: str) -> Iterator[None]:
    """Where the block is interrupted by Ctrl-C, say that the job goes on, and end with 130."""
    try:
        yield
    except KeyboardInterrupt:
        say(
            f"dbcalm: job {job_id} goes on; follow it with: dbcalm processes show {job_id}; "
            f"end it with: dbcalm processes cancel {job_id}"
        )
        raise typer.Exit(_INTERRUPTED) from None


def wait(services: Services, job_id: str, what: str) -> Process:
    """Return the process of a job once it has succeeded, showing how far it is meanwhile.

    Where it failed, say ``what`` did and why, in one line, and end with 1; raise Unavailable if nobody can tell.
    """
    process = watch(services, job_id)
    if process.status != "success":
        why = process.error or process.reason or f"it ended with {process.return_code}"
        say(f"dbcalm: {what} failed: {printable(why)}")
        raise typer.Exit(1)
    return process


def remark(process: Process, job: Started) -> str:
    """Return what its end added to a job's note, "" for nothing."""
    return (process.note or "").removeprefix(job.facts.get("note") or "").removeprefix("; ")


def watch(services: Services, job_id: str) -> Process:
    """Return the process of a job once it has ended, however that was, showing how far it is meanwhile; raise
    Unavailable if nobody can tell."""
    display = _live if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else _plain
    with display() as tell:
        return _ended(services, job_id, tell)


def _ended(services: Services, job_id: str, tell: Callable[[Progress], None]) -> Process:
    """Return a job's process once it has ended; raise Unavailable if the service stays silent for too long."""
    pause, heard = _FIRST_PAUSE, time.monotonic()
    while True:
        try:
            services.jobs.catch_up()
            services.database.serve()  # The API does that too, where it runs.
            process, progress = services.processes.status(job_id)
        except Unavailable as error:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise Unavailable(
                    f"{error}; job {job_id} may go on, see: dbcalm processes show {job_id}"
                ) from error
        else:
            heard = time.monotonic()
            if process.status != RUNNING:
                return process
            if progress is not None:
                tell(progress)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, 2 * pause)


def sentence(progress: Progress) -> str:
    """Return how far a job is, such as ``copying 42% 1.2 GB of 2.9 GB, 340.0 MB/s, 5 s left``.

    Beside bytes stands their percentage; that of the whole job, which counts its start and its end too, where there are
    none.
    """
    done, total = progress["bytes_done"], progress["bytes_total"]
    words = [printable(str(progress["phase"])) or "starting"]
    percent = 100 * done // total if done and total else progress["percent"]
    if percent is not None and percent < 100:
        words.append(f"{percent}%")
    if done:
        words.append(size(done))
        if total:
            words.append(f"of {size(total)}")
    told = [" ".join(words)]
    if progress["bytes_per_second"]:
        told.append(f"{size(progress['bytes_per_second'])}/s")
    if progress["seconds_left"] is not None:
        told.append(f"{duration(progress['seconds_left'])} left")
    return ", ".join(told)


def duration(seconds: int) -> str:
    """Return a time that something takes as people say it: 42 s, 3 min, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _live() -> Iterator[Callable[[Progress], None]]:
    """Show progress in one line of the terminal, and wipe that at the end."""

    def tell(progress: Progress) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(_CLEAR + sentence(progress)[:width], end="", flush=True)

    try:
        yield tell
    finally:
        print(_CLEAR, end="", flush=True)


@contextmanager
def _plain() -> Iterator[Callable[[Progress], None]]:
    """Print a line when a phase begins, one in a few seconds at most."""
    phase, printed = None, float("-inf")

    def tell(progress: Progress) -> None:
        nonlocal phase, printed
        now = time.monotonic()
        if progress["phase"] != phase and now - printed >= _PLAIN_SECONDS:
            phase, printed = progress["phase"], now
            print(sentence(progress), flush=True)

    yield tell
