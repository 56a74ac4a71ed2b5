"""Accepting jobs: one at a time, under the lock, in the journal before anybody is told, and done by a runner."""

import fcntl
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dbcalm_cmd.process import Answer, log, utc_now
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT
from dbcalm_mariadb_cmd.command.shapes import Unfit
from dbcalm_mariadb_cmd.errors import Refused, describe
from dbcalm_mariadb_cmd.jobs.order import (
    AdoptJob,
    BackupJob,
    Job,
    SyntheticJob,
    exclusive,
    open_lock,
    read_order,
    write_order,
)
from dbcalm_mariadb_cmd.restore import swap_job
from dbcalm_mariadb_cmd.retention.trash import Trash
from dbcalm_mariadb_cmd.storage.age_identity import in_memory
from dbcalm_mariadb_cmd.store import journal_shortening
from dbcalm_mariadb_cmd.store.history import History
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import Damaged, read_manifest
from dbcalm_mariadb_cmd.supervisor import cancel as cancelling
from dbcalm_mariadb_cmd.supervisor import runner
from dbcalm_mariadb_cmd.supervisor.host_log import described

SHORTEN_AT = 16 << 20
"""Bytes of the journal from which on it is shortened."""

_TOLD = 5
_LONGEST_COMMAND = 16_000
_RETRY_SECONDS = 10.0
_GRACE_SECONDS = 3.0
"""How long a caller waits for a lock that no open job holds: a runner that is just leaving, or a deletion."""


@dataclass(frozen=True)
class Plan:
    """A job that may start, the command lines that it will run (or what it does, where it runs none), what the journal
    shall say of it beside that, and what the caller is answered. ``identity`` is a secret that only the runner
    is given."""

    job: Job
    argvs: list[list[str]]
    event: dict[str, object]
    answer: Answer
    words: str = ""
    identity: str | None = field(default=None, repr=False)

    @property
    def command(self) -> str:
        """What is done, for people."""
        return (self.words or " && ".join(map(shlex.join, self.argvs)))[:_LONGEST_COMMAND]


class JobControl:
    """Starts runners and notices their ends, also of those that an earlier life of the service started."""

    def __init__(self, job_dir: Path, backup_dir: Path, now: Callable[[], str] = utc_now) -> None:
        (job_dir / "jobs").mkdir(mode=0o700, exist_ok=True)
        self.journal = Journal(job_dir / "journal", now)
        self.followed = ""
        self._shorten_at = SHORTEN_AT
        self._mend(job_dir)
        self.history = History(self.journal, backup_dir)
        self.trash = Trash(backup_dir, job_dir, self.journal)
        self.changed = threading.Condition()
        self._job_dir = job_dir
        self._accepting = threading.Lock()

    def _mend(self, job_dir: Path) -> None:
        """Begin a damaged journal anew, unless a job runs: then at a later start."""
        with exclusive(job_dir) as lock:
            try:
                faults = self.journal.mend() if lock is not None else self.journal.faults()
            except OSError as error:
                log("error", f"the journal of jobs cannot be mended: {describe(error)}")
                return
        for fault in faults[:_TOLD]:
            log("error", f"the journal of jobs: line {fault.line} {fault.what}")

    def shorten(self) -> None:
        """Shorten the journal if it has grown large, no job runs, and its reader has come to it; what it was is kept as
        ``journal.1``."""
        try:
            if self.journal.size() < self._shorten_at or self.followed != self.journal.id:
                return
            with self.locked():
                if not self.journal.faults():
                    self.journal.shorten(journal_shortening.kept)
                self._shorten_at = max(SHORTEN_AT, 2 * self.journal.size())
        except Refused:
            return  # A job runs: the next look comes soon.
        except OSError as error:
            log("error", f"the journal of jobs cannot be shortened: {describe(error)}")
        self.tell_change()

    def accept(self, job_id: str, plan: Callable[[], Plan]) -> Answer:
        """Start the planned job and return its answer, or the earlier one if this job's id is known. Raise Refused 409
        if a job runs, or whatever the plan raises."""
        with self._accepting:
            self.history.catch_up()
            if known := self.history.answer(job_id):
                return known
            with self.locked() as lock:
                planned = plan()
                self._start(planned, lock)
                return planned.answer

    def cancel(self, job_id: str) -> None:
        """Have the running job end before its work is done, which takes seconds; nothing happens if that was asked for
        before. Raise Refused: 404 if it is not known, 409 if it has ended or can only be finished; or OSError."""
        self.history.catch_up()
        running = self.history.open
        if running is None or running["job_id"] != job_id:
            if self.history.answer(job_id):
                raise Refused(409, f"job {job_id} has ended")
            raise Refused(404, f"there is no job {job_id}")
        cancelling.ask(self._job_dir / "jobs" / job_id)

    def acknowledge(self, job_id: str) -> None:
        """Tell the journal that somebody knows how a job ended; raise Refused 409 if it has not, or OSError."""
        self.history.catch_up()
        running = self.history.open
        if running is not None and running["job_id"] == job_id:
            raise Refused(409, f"job {job_id} has not ended")
        self.journal.append("acknowledged", job_id=job_id)
        self.tell_change()

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the lock, with whatever its last holder left open settled; raise Refused 409 naming the running job."""
        give_up = time.monotonic() + _GRACE_SECONDS
        while True:
            with exclusive(self._job_dir) as lock:
                if lock is not None and self._settle(lock):
                    yield lock
                    return
            self.history.catch_up()
            if (running := self.history.open) is not None:
                job_id = str(running["job_id"])
                raise Refused(
                    409, f"job {job_id} is running ({running['type']}); wait for its end", job_id=job_id
                )
            if time.monotonic() > give_up:
                raise Refused(409, "another request is being worked on; try again in a moment", job_id=None)
            time.sleep(0.005)

    def recover(self, tidy: Callable[[], object]) -> None:
        """Settle what an earlier life left: at once if its runner is gone, and then tidy up; else as soon as it is."""
        try:
            with self.locked():
                tidy()
        except Refused:
            threading.Thread(target=self._watch, daemon=True).start()

    def wait_for_change(self, seconds: float) -> None:
        """Return when the journal may have grown, or after this time, whichever is first."""
        with self.changed:
            self.changed.wait(seconds)

    def tell_change(self) -> None:
        """Wake whoever waits for the journal to grow."""
        with self.changed:
            self.changed.notify_all()

    def _start(self, planned: Plan, lock: int) -> None:
        job = planned.job
        try:
            write_order(job)
        except FileExistsError as error:
            raise Refused(409, f"job {job.job_id} was done before") from error
        fields = {"command": planned.command, "answer": planned.answer, **planned.event}
        self.journal.append("accepted", job_id=job.job_id, **fields)
        self.history.catch_up()
        try:
            self._run(job, lock, planned.identity)
        except OSError:
            self._settle(lock)  # The job is in the journal, and must not stay open there.
            raise

    def _run(self, job: Job, lock: int, identity: str | None = None) -> None:
        """Start the process that does a job, or goes on with it; it holds the lock from then on. One that goes on needs
        no identity: what that opens was made whole before."""
        with in_memory(identity) as descriptor:
            inherited = (lock,) if descriptor is None else (lock, descriptor)
            process = start_own("run", "supervisor.runner", job.places.job(job.job_id), inherited)
        threading.Thread(target=self._attend, args=(process, job.job_id), daemon=True).start()

    def _attend(self, process: subprocess.Popen[bytes], job_id: str) -> None:
        """Tell of a runner's start and of its end."""
        try:
            self.journal.append("started", job_id=job_id, pid=process.pid)
        except OSError as error:
            log("error", f"cannot write into the journal that job {job_id} has started: {error}")
        self.tell_change()
        process.wait()
        self.tell_change()
        self._watch()

    def _watch(self) -> None:
        """Wait until nobody holds the lock (a killed runner's tool may outlive it by a moment), then settle; try again
        while that cannot be done, as on a full disk."""
        while not self._settled():
            time.sleep(_RETRY_SECONDS)
        self.tell_change()

    def _settled(self) -> bool:
        try:
            lock = open_lock(self._job_dir)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._settle(lock)
            finally:
                os.close(lock)
        except OSError as error:
            log("error", f"cannot settle the last job: {error}")
            return False
        return True

    def _settle(self, lock: int) -> bool:
        """Give a job that has no end, and whose lock we hold, its end, and return True; or let another process go on
        with it, and return False."""
        self.history.catch_up()
        for lost, begun in list(self.history.unended.items()):
            self._end_lost(lost, str(begun.get("type")))
        if self.history.open is None:
            return True
        job_id, what = str(self.history.open["job_id"]), str(self.history.open.get("type"))
        self.trash.recover(self.history)
        try:
            job = read_order(self._job_dir / "jobs" / job_id)
            goes_on = swap_job.goes_on(job)
        except (OSError, ValueError, KeyError, TypeError) as error:
            end = runner.End(
                f"the job was interrupted, and its order cannot be read: {error}", "interrupted", None
            )
        else:
            if goes_on:
                log("warning", f"job {job_id} was left in the middle; another process goes on with it")
                self._run(job, lock)
                return False
            end, what = runner.settle(job), described(job)
        runner.journal_end(self.journal, job_id, end, None, what)
        self.history.catch_up()
        return True

    def _end_lost(self, job_id: str, what: str) -> None:
        """Give a job its end whose end in the journal is lost: others came after it, so its work is over. Whether it
        has made its backup shows on disk."""
        end = runner.End(
            "how this job ended is lost: that line of the journal was damaged", "interrupted", None
        )
        with suppress(OSError, Unfit, Damaged):
            job = read_order(self._job_dir / "jobs" / job_id)
            what = described(job)
            if isinstance(job, BackupJob | SyntheticJob | AdoptJob):
                made = read_manifest(job.places.backup(job.id))
                end = runner.End(backup=made) if made.job_id == job_id else end
        runner.journal_end(self.journal, job_id, end, None, what)
        self.history.catch_up()


def _log_form() -> dict[str, str]:
    """Return what tells a process that journald reads its standard error, which it inherits, where that is so."""
    return {name: value for name, value in os.environ.items() if name == "JOURNAL_STREAM"}


def start_own(
    word: str, module: str, folder: Path, inherited: tuple[int, ...], stderr: int | None = None
) -> subprocess.Popen[bytes]:
    """Start another process of this service, in a session of its own, for the order in a folder: the frozen program
    takes a word for it, which is else a module. It inherits these descriptors, which are its further arguments."""
    if getattr(sys, "frozen", False):
        command = [sys.executable, word]
    else:  # -S: it needs no installed package.
        command = [sys.executable, "-S", "-m", f"dbcalm_mariadb_cmd.{module}"]
    return subprocess.Popen(
        [*command, str(folder), *map(str, inherited)],
        env={**ENVIRONMENT, **_log_form(), "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=inherited,
        start_new_session=True,
    )
