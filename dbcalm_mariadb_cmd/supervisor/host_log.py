"""What the host's log is told of jobs: a line for each that ended and for each that was refused.

Whoever writes the end of a job tells it, be it the job's own process or the service that settles what was interrupted,
so that no end needs the API, or a service that runs, to be told. The log never keeps a job from ending.
"""

import contextlib

from dbcalm_cmd.process import log
from dbcalm_cmd.wire import Command
from dbcalm_mariadb_cmd.jobs.cancel import CANCELLED
from dbcalm_mariadb_cmd.jobs.order import (
    AdoptJob,
    BackupJob,
    BringBackJob,
    CleanupJob,
    Job,
    RestoreJob,
    SyntheticJob,
    VerifyJob,
)

_LONGEST = 2000


def described(job: Job) -> str:
    """Return what a job does, in a few words: its kind, what it works on, and its schedule."""
    schedule = getattr(job, "schedule_id", None)
    return _kind(job) + (f", schedule {schedule}" if schedule is not None else "")


def _kind(job: Job) -> str:
    match job:
        case BackupJob():
            return f"{'full' if job.base is None else 'incremental'} backup {job.id}"
        case SyntheticJob():
            return f"synthetic full backup {job.id}"
        case AdoptJob():
            return f"adoption of {job.id}"
        case CleanupJob():
            return "clean-up"
        case BringBackJob():
            return f"bringing back {job.brings_back}"
        case VerifyJob():
            return f"verification of {_last(job)}, level {job.level}"
        case RestoreJob():
            return f"restore of {_last(job)} to {'the database' if job.target == 'database' else job.target_path}"


def _last(job: RestoreJob) -> str:
    return job.chain[-1] if job.chain else job.restore_id


def tell_end(job_id: str, what: str, error: str | None, reason: str | None) -> None:
    """Log how a job ended: a failure is an error, unless somebody asked for it."""
    level, result = "info", "success"
    if error is not None:
        level = "warning" if reason == CANCELLED else "error"
        result = f"failed ({reason}): {error}" if reason else f"failed: {error}"
    _tell(level, f"job {job_id}: {what}: {result}")


def tell_remark(job_id: str, what: str, note: str) -> None:
    """Log what is to be done yet after a job that went well."""
    _tell("warning", f"job {job_id}: {what}: {note}")


def tell_refusal(command: Command, why: str, *, passes: bool) -> None:
    """Log that a job was not begun. What another job is in the way of may only have to wait: that is for the caller to
    judge, who tells it as well, and no warning yet."""
    wanted = getattr(command, "id", None)
    schedule = getattr(command, "schedule_id", None)
    what = command.wire_name.replace("_", " ")
    what += f" {wanted}" if wanted else ""
    what += f", schedule {schedule}" if schedule is not None else ""
    _tell("info" if passes else "warning", f"{what}: refused: {why}")


def _tell(level: str, line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # Nobody may read it any more.
        log(level, line[:_LONGEST])
