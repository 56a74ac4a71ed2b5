"""Ending a job before its work is done.

The service asks for it by a file in the job's folder, and the job's own process carries it out: SIGINT to all that it
has started (the backup tool blocks SIGTERM) and to itself, and after a grace time SIGKILL. Whoever then gives the job
its end cleans up after it, as after any job that broke off. A job that has begun to put its data in place can only be
finished: half of it would be worse than either.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import write_synced
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.cancel import SENTENCE, Cancelled, request, was_asked
from dbcalm_mariadb_cmd.jobs.order import Job, RestoreJob, read_order
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.restore import swap_job

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 2.0


def ask(folder: Path) -> None:
    """Ask for the end of the job of this folder; raise Refused 409 if it can only be finished, or OSError."""
    job = read_order(folder)
    if not is_possible(job):
        raise Refused(409, f"job {job.job_id} has begun to put its data in place, and can only be finished")
    write_synced(request(job), "")


def is_possible(job: Job) -> bool:
    """Tell whether the job has not begun with what can only be finished."""
    if swap_job.replaces(job):
        return swap_job.stage_of(job) is None
    return not (isinstance(job, RestoreJob) and restore.is_moving(job))


@contextmanager
def cancellable(job: Job) -> Iterator[None]:
    """Let a block, in the main thread of a process that leads its group, be ended by ``ask``: by Cancelled, or where
    that does not get through in time, together with the whole group."""
    over = threading.Event()

    def interrupt(*_: object) -> None:
        if not over.is_set():
            raise Cancelled(SENTENCE)

    def watch() -> None:
        while not was_asked(job):
            if over.wait(_LOOK_SECONDS):
                return
        if _signal(job, signal.SIGINT) and not over.wait(_GRACE_SECONDS):
            _signal(job, signal.SIGKILL)

    # A handler is not inherited by what we start, unlike a signal that is ignored.
    before = signal.signal(signal.SIGINT, interrupt)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGINT, before)


def _signal(job: Job, number: int) -> bool:
    """Send a signal to this process and all that it has started; False if it is too late for that."""
    if not is_possible(job):
        return False
    os.killpg(os.getpid(), number)
    return True
