"""The process that does one job, started by the mysql service in a session of its own, as ``mysql``.

It outlives the service. It reads its order from the job's folder, inherits the lock, and writes what became of the job
into the journal before anyone else can know it. It takes no input, opens no socket and loads only the standard library.
"""

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from dbcalm_cmd.process import log
from dbcalm_mariadb_cmd.adapter.linux import set_io_class
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.backup import adopt, synthesize
from dbcalm_mariadb_cmd.backup import take as backup
from dbcalm_mariadb_cmd.builder.argv import Effort
from dbcalm_mariadb_cmd.command.shapes import Unfit
from dbcalm_mariadb_cmd.errors import BackupFault, JobFailed, describe
from dbcalm_mariadb_cmd.jobs.cancel import CANCELLED, SENTENCE, Cancelled, was_asked
from dbcalm_mariadb_cmd.jobs.order import (
    AdoptJob,
    BackupJob,
    BringBackJob,
    CleanupJob,
    Job,
    RestoreJob,
    SyntheticJob,
    VerifyJob,
    forget_old_logs,
    read_order,
)
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.restore import swap_job
from dbcalm_mariadb_cmd.retention import expire
from dbcalm_mariadb_cmd.store import mark
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest
from dbcalm_mariadb_cmd.store.proof import SUSPECT
from dbcalm_mariadb_cmd.supervisor import cancel
from dbcalm_mariadb_cmd.supervisor.host_log import described, tell_end, tell_remark
from dbcalm_mariadb_cmd.verify import run as verify

_NEARLY_FULL = 4 << 20


@dataclass(frozen=True)
class End:
    """How a job ended: ``error`` is None for success, ``backup`` the facts of a backup that was made, and ``note`` what
    else there is to say."""

    error: str | None = None
    reason: str | None = None
    return_code: int | None = 0
    backup: Manifest | None = None
    note: str | None = None


def settle(job: Job) -> End:
    """Return the end of a job that was interrupted before it could write one, after cleaning up what it left."""
    if unseen := _unseen(job):
        return End(
            f"the job was interrupted, and what it has done cannot be seen: {unseen}", "interrupted", None
        )
    cancelled = was_asked(job) and cancel.is_possible(job)
    try:
        if isinstance(job, BackupJob):
            made = backup.undo(job)
            done = made is not None
        elif isinstance(job, SyntheticJob):
            made = synthesize.undo(job)
            done = made is not None
        elif isinstance(job, AdoptJob):
            made = adopt.undo(job)
            done = made is not None
        elif isinstance(job, CleanupJob):
            made, done = None, not expire.left(job)
        elif isinstance(job, VerifyJob):
            proof = verify.undo(job)
            if proof is not None and proof.fault:
                return End(proof.fault, SUSPECT, None)
            made, done = None, proof is not None
        elif isinstance(job, BringBackJob) or job.replaces:
            made, done = None, swap_job.undo(job)
        else:
            made, done = None, restore.undo(job)
    except OSError as error:
        return End(f"the job was interrupted, and cannot be cleaned up after: {error}", "interrupted", None)
    if done:
        return End(backup=made)
    if cancelled:
        return End(SENTENCE, CANCELLED, None)
    return End("the job was interrupted: its process ended before its work was done", "interrupted", None)


def _unseen(job: Job) -> str | None:
    """Return why nobody can see what a job has made or deleted among the backups, or None."""
    if isinstance(job, BringBackJob) or (isinstance(job, RestoreJob) and not isinstance(job, VerifyJob)):
        return None
    return mark.absence(Path(job.places.backup_dir), Path(job.places.job_dir))


def journal_end(journal: Journal, job_id: str, end: End, output: str | None, what: str) -> None:
    """Write the end of a job into the journal, and tell it to the log, ``what`` in words for people."""
    journal.append(
        "ended",
        job_id=job_id,
        status="success" if end.error is None else "failed",
        reason=end.reason,
        return_code=end.return_code,
        error=end.error,
        output=output,
        **({"backup": end.backup.facts()} if end.backup else {}),
        **({"note": end.note} if end.note else {}),
    )
    tell_end(job_id, what, end.error, end.reason)
    if end.note:
        tell_remark(job_id, what, end.note)


def main(folder: Path, lock: int, identity: int | None = None) -> int:
    """Do the job of this folder; return 0 if its end, good or bad, is in the journal. The descriptors are the lock and,
    where a restore came with one, what opens its backups."""
    set_limits()
    try:
        job = read_order(folder)
    except (OSError, Unfit) as error:  # The service gives the job its end.
        log("error", f"the order of job {folder.name} cannot be read: {error}")
        return 1
    journal = Journal(Path(job.places.job_dir, "journal"))
    output = Output(folder / "output.log")
    end = _attempt(job, output, lock, journal, identity)
    output.finish()
    try:
        journal_end(journal, job.job_id, end, output.tail(), described(job))
    except OSError:  # There may be room for how it ended where there is none for all that was said.
        journal_end(journal, job.job_id, end, None, described(job))
    forget_old_logs(Path(job.places.job_dir))
    return 0


def set_limits() -> None:
    """Let nobody else read what this process writes, and the tool open every table."""
    os.umask(0o027)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))


def _attempt(job: Job, output: Output, lock: int, journal: Journal, identity: int | None = None) -> End:
    try:
        if isinstance(job, CleanupJob):  # It looks for itself whether it is cancelled, between two deletions.
            expire.delete(job, journal, lambda line: output.add(f"{line}\n".encode()))
            return End()
        with cancel.cancellable(job):
            return _work(job, output, lock, journal, identity)
    except Cancelled as cancelled:
        failed = End(str(cancelled), CANCELLED, None)
    except BackupFault as fault:
        failed = End(str(fault), SUSPECT if isinstance(job, VerifyJob) else "error", fault.return_code)
    except JobFailed as failure:
        failed = End(f"{_full_disk(job)}{failure}", "error", failure.return_code)
    except Damaged as damage:
        failed = End(str(damage), "error", None)
    except OSError as error:
        failed = End(f"cannot go on: {describe(error)}", "error", None)
    if isinstance(job, CleanupJob):
        return failed
    settled = settle(job)
    return settled if settled.error is None or settled.reason == CANCELLED else failed


def _work(
    job: BackupJob | SyntheticJob | AdoptJob | RestoreJob | BringBackJob,
    output: Output,
    lock: int,
    journal: Journal,
    identity: int | None,
) -> End:
    if isinstance(job, BackupJob):
        yield_to_others(job.effort, output)
        return End(backup=_back_up(job, output, lock))
    if isinstance(job, SyntheticJob):
        yield_to_others(job.effort, output)
        return End(backup=synthesize.make(job, output, lock))
    if isinstance(job, AdoptJob):
        return End(backup=adopt.make(job))
    if isinstance(job, VerifyJob):
        yield_to_others(job.effort, output)
        return End(note=verify.verify(job, output, lock, journal, identity))
    if isinstance(job, BringBackJob) or job.replaces:
        return End(note=swap_job.carry_out(job, output, lock, journal, identity))
    restore.bring_back(job, output, lock, identity)
    return End()


def _back_up(job: BackupJob, output: Output, lock: int) -> Manifest:
    """Make the backup; once more where it failed by something that passes by itself."""
    try:
        return backup.make(job, output, lock)
    except JobFailed as failed:
        if failed.failure is None or not failed.failure.passes:
            raise
        output.add(f"dbcalm: {failed.failure.happened}; it is tried once more\n".encode())
    backup.undo(job)
    return backup.make(job, output, lock)


def yield_to_others(effort: Effort, output: Output) -> None:
    """Let this process and all that it starts stand back, as configured. Where that cannot be, the backup is made
    all the same, and its log says so."""
    try:
        os.nice(effort.niceness)
        if effort.io_class:
            set_io_class(effort.io_class)
    except OSError as error:
        output.add(f"dbcalm: cpu_niceness or io_priority could not be set: {describe(error)}\n".encode())


def _full_disk(job: Job) -> str:
    """Return words for a disk that a job has filled, which the tool does not always name; else nothing."""
    if isinstance(job, RestoreJob):
        folder = job.working.parent
    else:
        folder = Path(job.places.data_dir if isinstance(job, BringBackJob) else job.places.backup_dir)
    status = os.statvfs(folder)
    return (
        ""
        if status.f_bavail * status.f_frsize >= _NEARLY_FULL
        else f"disk full: nothing is left for {folder}; "
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
