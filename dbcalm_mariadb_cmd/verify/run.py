"""Proving that a backup comes back: read, brought back, looked through and started, as far as was asked for.

What is found is written beside the backups, at once: a fault that a job finds is not forgotten with the job. A failure
of the host is none of the backup. Nothing but the proofs is changed, and what was brought back is removed.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EIO
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import read_tree, remove_tree, walk
from dbcalm_mariadb_cmd.adapter.innochecksum import BadPage, check_pages
from dbcalm_mariadb_cmd.adapter.server import scratch
from dbcalm_mariadb_cmd.adapter.server.running import Running
from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.builder.tool_errors import is_of_host
from dbcalm_mariadb_cmd.clock import moment
from dbcalm_mariadb_cmd.config.assertions import problem
from dbcalm_mariadb_cmd.errors import BackupFault, JobFailed, describe
from dbcalm_mariadb_cmd.jobs.order import VerifyJob
from dbcalm_mariadb_cmd.jobs.progress import Progress
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.store.history import manifests
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import (
    INSTRUCTIONS,
    Damaged,
    Manifest,
    read_files,
    read_manifest,
    require_names_and_sizes,
)
from dbcalm_mariadb_cmd.store.proof import (
    APPLIES,
    INTACT,
    MOST_FAULTS,
    RUNS,
    WHOLE,
    Proof,
    faulted,
    proof_of,
    raised,
    store_proof,
    stored_by,
)
from dbcalm_mariadb_cmd.verify.server_faults import Blame, Copy, blame, heads
from dbcalm_mariadb_cmd.verify.table_checks import Checked, look

_PAGES_TAKE, _RUNNING_TAKES = 0.4, 1.0
"""What these take, as a share of the copying, about."""

_TOLD_TABLES = 3


@dataclass(frozen=True)
class _Witness:
    """Who writes down what was found, and tells of it."""

    job: VerifyJob
    journal: Journal

    def reached(
        self,
        links: tuple[str, ...],
        level: int,
        restore_seconds: float | None = None,
        clears: int | None = None,
        server_faults: tuple[str, ...] | None = None,
    ) -> None:
        """Note that these backups have reached a level, which clears faults up to it or up to another level."""
        now = self.journal.now()
        for id in links:
            before = self._before(id)
            if before is not None:
                cleared = level if clears is None else clears
                proof = raised(before, level, now, self.job.job_id, restore_seconds, cleared, server_faults)
                self._store(id, proof)

    def fault(self, found: BackupFault) -> None:
        """Note that a backup is not what it should be, and so none of those that build on it."""
        now, chain = self.journal.now(), self.job.chain
        ids = chain[chain.index(found.backup_id) :]
        for id in (*ids, *_above(self.job, set(ids))):
            before = self._before(id)
            if before is None:  # Its manifest cannot be read: there is nothing that a proof could be about.
                self._tell(id, Proof(WHOLE, now, None, "", self.job.job_id, str(found), INTACT, now))
            else:
                self._store(id, faulted(before, found.level, now, self.job.job_id, str(found)))

    def _before(self, id: str) -> Proof | None:
        folder = self.job.places.backup(id)
        try:
            return proof_of(folder, read_manifest(folder))
        except Damaged:
            return None

    def _store(self, id: str, proof: Proof) -> None:
        store_proof(self.job.places.backup(id), proof)
        self._tell(id, proof)

    def _tell(self, id: str, proof: Proof) -> None:
        self.journal.append("proved", backup_id=id, proof=proof.told())


def verify(
    job: VerifyJob, output: Output, lock: int, journal: Journal, identity: int | None = None
) -> str | None:
    """Prove the chain to the level of this job and note what was found; return what else there is to say, if anything.
    Raise BackupFault if it cannot be proven, or JobFailed or OSError if that could not be found out, and then leave
    clean-up to ``undo``."""
    witness = _Witness(job, journal)
    whole: list[str] = []
    note: str | None = None
    try:
        _look(job)
        if job.level == INTACT:
            _read(job, whole.append)
            witness.reached(job.chain, INTACT)
        else:
            try:
                note = _bring_back(job, output, lock, witness, identity)
            except OSError as error:
                if error.errno == EIO:  # Of which disk? If it is the backups', reading alone tells.
                    _read(job, whole.append)
                raise
    except BackupFault as found:
        witness.reached(tuple(whole), INTACT)
        witness.fault(found)
        raise
    finally:
        remove_scratch(job)
    return note


def undo(job: VerifyJob) -> Proof | None:
    """Clean up after a job that did not report its end, and tell once more what it had found; return what that was of
    its backup, None if it had not come so far. Raise OSError."""
    remove_scratch(job)
    journal = Journal(Path(job.places.job_dir, "journal"))
    found = None
    for id in (*_above(job, set(job.chain)), *job.chain):
        found = stored_by(job.places.backup(id), job.job_id)
        if found is not None:
            journal.append("proved", backup_id=id, proof=found.told())
    return found if found is not None and (found.fault or found.level >= job.level) else None


def remove_scratch(job: VerifyJob) -> None:
    """Remove what was brought back; raise OSError."""
    if job.working.exists():
        remove_tree(job.working)


def _above(job: VerifyJob, below: set[str]) -> list[str]:
    """Return the other backups that build on these, or on those that do, nearest first."""
    found: list[str] = []
    for made in sorted(manifests(Path(job.places.backup_dir)), key=lambda made: made.seq):
        if made.id not in below and made.from_backup_id in {*below, *found}:
            found.append(made.id)
    return found


def _look(job: VerifyJob) -> None:
    """Look at the manifests, and at the names and sizes of all files, of the whole chain."""
    below: Manifest | None = None
    for id in job.chain:
        folder = job.places.backup(id)
        try:
            link = read_manifest(folder)
            require_names_and_sizes(folder, read_files(folder, link))
            _require_instructions(folder, link)
        except Damaged as damage:
            raise BackupFault(id, INTACT, str(damage)) from damage
        if below is None and link.from_backup_id is not None:
            missing = link.from_backup_id
            raise BackupFault(id, INTACT, f"backup {missing} is gone, on which {id} was made")
        if below is not None and (below.seq >= link.seq or below.to_lsn != link.from_lsn):
            raise BackupFault(id, INTACT, f"backup {id} was not made on this {below.id}")
        below = link


def _require_instructions(folder: Path, link: Manifest) -> None:
    if link.instructions_sha256 is None:
        return
    path = folder / INSTRUCTIONS
    try:
        found = hashlib.sha256(read_small(path)).hexdigest()
    except OSError:
        found = ""
    if found != link.instructions_sha256:
        raise Damaged(f"backup {link.id} is damaged: {INSTRUCTIONS} is missing or was changed")


def _read(job: VerifyJob, on_whole: Callable[[str], None]) -> None:
    """Read every stored byte."""
    links = [read_manifest(job.places.backup(id)) for id in job.chain]
    size = sum(link.size for link in links)
    progress = Progress(job.places.job(job.job_id), size, float(size))
    for link in links:
        progress.phase(f"reading {link.id}", link.size, link.size)
        folder = job.places.backup(link.id)
        sums = {name: state.sha256 for name, state in read_files(folder, link).items()}
        try:
            read_tree(folder, sums, progress.add, from_disk=True)
        except ValueError as error:
            raise BackupFault(link.id, INTACT, f"backup {link.id} is damaged: {error}") from error
        except OSError as error:
            if error.errno != EIO:
                raise
            raise BackupFault(
                link.id, INTACT, f"backup {link.id} cannot be read from the disk: {describe(error)}"
            ) from error
        on_whole(link.id)


def _bring_back(
    job: VerifyJob, output: Output, lock: int, witness: _Witness, identity: int | None
) -> str | None:
    """Make the chain whole aside, and look through what that gives; return what else there is to say."""
    then = _PAGES_TAKE + (_RUNNING_TAKES if job.level == RUNS else 0.0)
    began = time.monotonic()
    with _keys_doubted(job):
        progress = restore.make_whole(job, output, lock, identity, then=then)
    took = round(time.monotonic() - began, 3)
    size = sum(state.st_size for _, state in walk(job.data))
    progress.phase("checking pages", _PAGES_TAKE * size, size)
    try:
        check_pages(job.innochecksum, job.data, progress.add)
    except BadPage as found:
        id = job.chain[-1]
        raise BackupFault(id, APPLIES, f"backup {id} has a damaged page in {found}") from found
    ran: _Ran | None = None
    if job.level == RUNS:
        progress.phase("starting a server", _RUNNING_TAKES * size)
        with progress.looking():
            ran = _run(job, output, lock)
    witness.reached(job.chain[:-1], INTACT, clears=APPLIES)  # The prepare went through all of them.
    if ran is None:
        witness.reached(job.chain[-1:], job.level, took)
        return None
    seconds = round(took + ran.seconds, 3)
    witness.reached(job.chain[-1:], job.level, seconds, server_faults=ran.server_faults)
    return ran.note


@contextmanager
def _keys_doubted(job: VerifyJob) -> Iterator[None]:
    """Make of a fault no fault of the backup where the server's keys may be at fault: with others than those of its
    time, what is encrypted looks like damage. That its bytes are those that were stored has been seen then."""
    try:
        yield
    except BackupFault as fault:
        if fault.level == INTACT or not read_manifest(job.places.backup(job.chain[-1])).server.encrypts:
            raise
        raise JobFailed(
            f"{fault}; or the keys of the server are others than when it was made", fault.return_code
        ) from fault


@dataclass(frozen=True)
class _Ran:
    """What a server of our own has shown: the seconds until it answered, tables that are bad since before the backup,
    and what else there is to say."""

    seconds: float
    server_faults: tuple[str, ...]
    note: str | None


def _run(job: VerifyJob, output: Output, lock: int) -> _Ran:
    """Start a server on the data, have it check its tables, and ask what the administrator wants to know."""
    newest = read_manifest(job.places.backup(job.chain[-1]))
    home = job.working / "server"
    home.mkdir(0o700)
    programs = scratch.Programs(job.server, job.places.client)
    before = heads(job.data)
    began = time.monotonic()
    memory = job.effort.prepare_memory
    try:
        with scratch.started(programs, job.data, home, memory, job.likeness, output, lock) as server:
            took = time.monotonic() - began
            checked = look(server.rows, job.data)
            faults = _blamed(job, checked, Copy(job.data, server.rows, before))
            wrong = _asserted(job, server, newest)
    except scratch.ServerEnded as failure:
        if is_of_host(failure.return_code, failure.failure):
            raise
        with _keys_doubted(job):
            raise BackupFault(
                newest.id, RUNS, f"backup {newest.id}: {failure}", failure.return_code
            ) from failure
    except ValueError as error:
        raise JobFailed(f"the server of our own does not tell of its tables: {error}") from error
    unseen = [f"{table}: {why}" for table, why in sorted(checked.unseen.items())] + faults.unseen
    _log(output, "not looked at", unseen)
    _log(output, "of an engine that has no check", [str(table) for table in sorted(checked.without)])
    _log(output, "bad in the server too", faults.server)
    _log(output, "damaged", faults.backup)
    if faults.backup:
        untold = f"; {faults.untold}" if faults.untold else ""
        raise BackupFault(
            newest.id, RUNS, f"backup {newest.id} has damaged tables: {_some(faults.backup)}{untold}"
        )
    if wrong:
        raise BackupFault(newest.id, RUNS, f"backup {newest.id} is not as expected: {'; '.join(wrong)}")
    notes = [f"not looked at: {_some(unseen)}"] if unseen else []
    if faults.server:
        notes.append(f"bad in the server too, which is no fault of the backup: {_some(faults.server)}")
    return _Ran(took, tuple(faults.server[:MOST_FAULTS]), "; ".join(notes) or None)


def _blamed(job: VerifyJob, checked: Checked, copy: Copy) -> Blame:
    """Tell whose fault the bad tables are."""
    if not checked.bad:
        return Blame()
    running = Running(job.places.client, job.places.credentials)
    told = (fault for made in manifests(Path(job.places.backup_dir)) for fault in _told(job, made))
    return blame(checked, copy, running, Path(job.places.data_dir), told)


def _told(job: VerifyJob, made: Manifest) -> tuple[str, ...]:
    return proof_of(job.places.backup(made.id), made).server_faults


def _some(sentences: list[str]) -> str:
    more = f" and {len(sentences) - _TOLD_TABLES} more" if len(sentences) > _TOLD_TABLES else ""
    return f"{'; '.join(sentences[:_TOLD_TABLES])}{more}"


def _log(output: Output, what: str, sentences: list[str]) -> None:
    for sentence in sentences:
        output.add(f"dbcalm: {what}: {sentence}\n".encode())


def _asserted(job: VerifyJob, server: scratch.Session, newest: Manifest) -> list[str]:
    wrong = []
    for assertion in job.assertions:
        try:
            answer = server.answer(assertion.sql)
        except ValueError as error:
            wrong.append(f"{assertion.sql}: {error}")
        else:
            found = problem(assertion, answer, moment(newest.end_time))
            wrong += [found] if found else []
    return wrong
