"""Proving that a backup comes back: read, brought back, looked through and started, as far as was asked for.

What is found is written beside the backups, at once: a fault that a job finds is not forgotten with the job. A failure
of the host is none of the backup. Nothing but the proofs is changed, and what was brought back is removed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from errno import EIO
from pathlib import Path

from dbcalm_mariadb_cmd import restore
from dbcalm_mariadb_cmd.adapter import private
from dbcalm_mariadb_cmd.adapter.journal import Journal
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.adapter.tree import file_state, read_tree, remove_tree, walk
from dbcalm_mariadb_cmd.assertions import problem
from dbcalm_mariadb_cmd.clock import moment
from dbcalm_mariadb_cmd.errors import BackupFault, describe
from dbcalm_mariadb_cmd.failures import is_of_host
from dbcalm_mariadb_cmd.jobs import VerifyJob
from dbcalm_mariadb_cmd.manifest import (
    INSTRUCTIONS,
    Damaged,
    Manifest,
    read_files,
    read_manifest,
    require_names_and_sizes,
)
from dbcalm_mariadb_cmd.pages import BadPage, check_pages
from dbcalm_mariadb_cmd.progress import Progress
from dbcalm_mariadb_cmd.proof import (
    APPLIES,
    INTACT,
    RUNS,
    WHOLE,
    Proof,
    faulted,
    proof_of,
    raised,
    store_proof,
    stored_by,
)

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
    ) -> None:
        """Note that these backups have reached a level, which clears faults up to it or up to another level."""
        now = self.journal.now()
        for id in links:
            before = self._before(id)
            if before is not None:
                cleared = level if clears is None else clears
                self._store(id, raised(before, level, now, self.job.job_id, restore_seconds, cleared))

    def fault(self, found: BackupFault) -> None:
        """Note that a backup is not what it should be, and so none of the chain that builds on it."""
        now, chain = self.journal.now(), self.job.chain
        for id in chain[chain.index(found.backup_id) :]:
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


def verify(job: VerifyJob, output: Output, lock: int, journal: Journal, identity: int | None = None) -> None:
    """Prove the chain to the level of this job and note what was found; raise BackupFault if it cannot be proven, or
    JobFailed or OSError if that could not be found out, and then leave clean-up to ``undo``."""
    witness = _Witness(job, journal)
    whole: list[str] = []
    try:
        _look(job)
        if job.level == INTACT:
            _read(job, whole.append)
            witness.reached(job.chain, INTACT)
        else:
            try:
                _bring_back(job, output, lock, witness, identity)
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


def undo(job: VerifyJob) -> Proof | None:
    """Clean up after a job that did not report its end, and tell once more what it had found; return what that was of
    its backup, None if it had not come so far. Raise OSError."""
    remove_scratch(job)
    journal = Journal(Path(job.places.job_dir, "journal"))
    found = None
    for id in job.chain:
        found = stored_by(job.places.backup(id), job.job_id)
        if found is not None:
            journal.append("proved", backup_id=id, proof=found.told())
    return found if found is not None and (found.fault or found.level >= job.level) else None


def remove_scratch(job: VerifyJob) -> None:
    """Remove what was brought back; raise OSError."""
    if job.working.exists():
        remove_tree(job.working)


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
    if not path.is_file() or file_state(path).sha256 != link.instructions_sha256:
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


def _bring_back(job: VerifyJob, output: Output, lock: int, witness: _Witness, identity: int | None) -> None:
    """Make the chain whole aside, and look through what that gives."""
    then = _PAGES_TAKE + (_RUNNING_TAKES if job.level == RUNS else 0.0)
    began = time.monotonic()
    progress = restore.make_whole(job, output, lock, identity, then=then)
    took = round(time.monotonic() - began, 3)
    size = sum(state.st_size for _, state in walk(job.data))
    progress.phase("checking pages", _PAGES_TAKE * size, size)
    try:
        check_pages(job.innochecksum, job.data, progress.add)
    except BadPage as found:
        id = job.chain[-1]
        raise BackupFault(id, APPLIES, f"backup {id} has a damaged page in {found}") from found
    seconds = took
    if job.level == RUNS:
        progress.phase("starting a server", _RUNNING_TAKES * size)
        with progress.looking():
            seconds = round(took + _run(job, output, lock), 3)
    witness.reached(job.chain[:-1], INTACT, clears=APPLIES)  # The prepare went through all of them.
    witness.reached(job.chain[-1:], job.level, seconds)


def _run(job: VerifyJob, output: Output, lock: int) -> float:
    """Start a server on the data, have it check its tables, and ask what the administrator wants to know; return the
    seconds until it answered."""
    newest = read_manifest(job.places.backup(job.chain[-1]))
    home = job.working / "server"
    home.mkdir(0o700)
    programs = private.Programs(job.server, job.places.client, job.checker)
    began = time.monotonic()
    try:
        with private.started(programs, job.data, home, job.effort.prepare_memory, output, lock) as server:
            took = time.monotonic() - began
            bad, unseen = server.check()
            wrong = _asserted(job, server, newest)
    except private.ServerEnded as failure:
        if is_of_host(failure.return_code, failure.failure):
            raise
        raise BackupFault(newest.id, RUNS, f"backup {newest.id}: {failure}", failure.return_code) from failure
    for sentence in unseen:
        output.add(f"dbcalm: not checked: {sentence}, which the server of our own has not\n".encode())
    if bad:
        more = f" and {len(bad) - _TOLD_TABLES} more" if len(bad) > _TOLD_TABLES else ""
        raise BackupFault(
            newest.id, RUNS, f"backup {newest.id} has damaged tables: {'; '.join(bad[:_TOLD_TABLES])}{more}"
        )
    if wrong:
        raise BackupFault(newest.id, RUNS, f"backup {newest.id} is not as expected: {'; '.join(wrong)}")
    return took


def _asserted(job: VerifyJob, server: private.Session, newest: Manifest) -> list[str]:
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
