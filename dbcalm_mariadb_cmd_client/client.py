"""The mysql service's commands, one method each."""

from dataclasses import replace
from pathlib import Path

from dbcalm_cmd.wire import Command
from dbcalm_cmd_client import Answer, call
from dbcalm_mariadb_cmd.command.requests import (
    AcknowledgeJob,
    AdoptBackup,
    BringBack,
    CancelJob,
    Check,
    CleanupBackups,
    DatabaseWanted,
    DeleteBackup,
    FullBackup,
    HoldBackup,
    IncrementalBackup,
    JobLog,
    JobProgress,
    ListAdoptable,
    ListBackups,
    ListReplaced,
    ListRestored,
    ListTrash,
    LookAtBackups,
    ReadEvents,
    ReleaseBackup,
    RemoveReplaced,
    RemoveRestored,
    ReportDatabase,
    RestoreBackup,
    UndeleteBackup,
    VerifyBackup,
)
from dbcalm_mariadb_cmd.command.shapes import legible

_LOOKING_SECONDS = 10.0
"""How long a look at the disk may take: lists wait for it."""


class MariadbCmdClient:
    """Calls the service at this socket. Methods raise ServiceUnreachable, and InvalidCommand before anything is sent.

    ``job_id`` is minted by the caller, 32 hexadecimal digits: a command that is repeated with the same one is done
    once and answered alike, so a lost reply can be asked for again.
    """

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def full_backup(
        self,
        job_id: str,
        id: str | None,
        schedule_id: int | None,
        form: str | None = None,
        synthetic: bool = False,
    ) -> Answer:
        """Start a full backup, of the server or, if ``synthetic``, of the newest chain, stored in this form or else as
        configured. 202 with ``id, type, from_backup_id, form, note``; 409, 503, 507, and 404 if there is no chain."""
        return self._call(FullBackup(job_id, id, schedule_id, form, synthetic))

    def incremental_backup(
        self,
        job_id: str,
        id: str | None,
        from_backup_id: str,
        or_full: bool,
        schedule_id: int | None,
        form: str | None = None,
    ) -> Answer:
        """Start an incremental backup, or the full one that has to stand in for it. As ``full_backup``, and 404."""
        return self._call(IncrementalBackup(job_id, id, from_backup_id, or_full, schedule_id, form))

    def restore_backup(
        self, job_id: str, id: str, target: str, replace: bool = False, identity: str | None = None
    ) -> Answer:
        """Start a restore; ``identity`` opens what is encrypted. 202 with ``id, target, target_path, chain,
        restore_id``; 404, 409, 503, 507."""
        return self._call(RestoreBackup(job_id, id, target, replace, identity))

    def adopt_backup(self, job_id: str, id: str) -> Answer:
        """Start to take over a backup that somebody else has made. 202 with ``id, type, from_backup_id, note``; 404,
        409 with why it is left alone."""
        return self._call(AdoptBackup(job_id, id))

    def list_adoptable(self) -> Answer:
        """List folders among the backups that are not ours. 200 with ``backup_dir``, and ``folders``: ``name, type,
        start_time`` and the ``problem`` of one that cannot be taken over."""
        return self._call(ListAdoptable())

    def verify_backup(
        self, job_id: str, id: str, level: int, schedule_id: int | None = None, identity: str | None = None
    ) -> Answer:
        """Start to prove that a backup comes back, up to a level from 1 to 3. 202 with ``id, chain, level, note``: the
        level is lower than asked for where ``note`` says why; 404, 409, 503, 507."""
        return self._call(VerifyBackup(job_id, id, level, schedule_id, identity))

    def bring_back(self, job_id: str, id: str) -> Answer:
        """Start to bring back what a restore replaced. 202 with ``id``; 404, 409, 503."""
        return self._call(BringBack(job_id, id))

    def list_restored(self) -> Answer:
        """List the folders that restores have made. 200 with ``restored``: ``id, path, backup_id, made_at, size`` of
        each."""
        return self._call(ListRestored())

    def remove_restored(self, id: str) -> Answer:
        """Remove such a folder. 200; 404; 409 if the journal does not know it, it is in use or a job runs."""
        return self._call(RemoveRestored(id))

    def remove_replaced(self, id: str) -> Answer:
        """Remove what a restore replaced. 200; 404; 409 if it could not be put back, is in use or a job runs."""
        return self._call(RemoveReplaced(id))

    def list_replaced(self) -> Answer:
        """List what restores have replaced. 200 with ``replaced``: ``id, backup_id, replaced_at, keep_until, size``."""
        return self._call(ListReplaced())

    def database_wanted(self) -> Answer:
        """Ask what the running job wants of the database. 200 with ``job_id``, ``database`` ("stopped" or "running")
        and ``want``, which a report names; all None where nothing is wanted."""
        return self._call(DatabaseWanted())

    def report_database(self, job_id: str, want: str, state: str, problem: str = "") -> Answer:
        """Tell the running job how the database is. 200, also if that job has ended or wants something else now."""
        return self._call(ReportDatabase(job_id, want, state, problem))

    def delete_backup(self, id: str) -> Answer:
        """Put a backup into the trash. 200; 404; 409 with ``dependents``, or held, too young, or of the last chains."""
        return self._call(DeleteBackup(id))

    def undelete_backup(self, id: str, deleted_at: str | None = None) -> Answer:
        """Bring a backup back from the trash. 200; 404; 409 if its base is gone or its id taken."""
        return self._call(UndeleteBackup(id, deleted_at))

    def hold_backup(self, id: str, reason: str, until: str | None) -> Answer:
        """Keep a backup and its chain from being deleted. 200; 404; 409 if it is damaged."""
        return self._call(HoldBackup(id, reason, until))

    def release_backup(self, id: str) -> Answer:
        """End a hold. 200, also if there is none; 404."""
        return self._call(ReleaseBackup(id))

    def cleanup_backups(self, job_id: str, ids: tuple[str, ...], schedule_id: int | None) -> Answer:
        """Start to delete expired backups. 202 with ``deleting``, a list of ids, and ``note``, which says why others
        are not deleted; 409."""
        return self._call(CleanupBackups(job_id, ids, schedule_id))

    def read_events(self, journal: str, offset: int, wait: float) -> Answer:
        """Read the journal. 200 with ``journal, offset, events, more``."""
        return self._call(ReadEvents(journal, offset, wait))

    def list_backups(self, after: str, examine: bool = False) -> Answer:
        """List whole backups on disk. 200 with ``backups, more``; each backup is the facts of its manifest with
        ``hold`` (``reason``, ``until``; or None) and ``intact`` (None unless examined)."""
        return self._call(ListBackups(after, examine))

    def look_at_backups(self, after: str, within: float) -> Answer:
        """Tell which backups are on disk, as it was at most so many seconds ago. 200 with ``backups``, a list of id and
        what is wrong with its files or None, ``more``, ``backup_dir`` and the ``problem`` of that folder, or None."""
        return call(self._path, LookAtBackups(after, within), min(self._timeout, _LOOKING_SECONDS))

    def list_trash(self) -> Answer:
        """List deleted backups. 200 with ``backups``: the facts of each with ``deleted_at`` and ``purge_at``."""
        return self._call(ListTrash())

    def cancel_job(self, job_id: str) -> Answer:
        """Have a running job end soon, its work not done. 202, also if that was asked for before; 404; 409 if it has
        ended or can only be finished."""
        return self._call(CancelJob(job_id))

    def acknowledge_job(self, job_id: str) -> Answer:
        """Have it kept that somebody knows how a job ended. 200; 409 if it has not ended."""
        return self._call(AcknowledgeJob(job_id))

    def job_progress(self, job_id: str) -> Answer:
        """Tell how far a job is. 200 with ``phase, bytes_done, bytes_total``; 404."""
        return self._call(JobProgress(job_id))

    def job_log(self, job_id: str, offset: int) -> Answer:
        """Read a job's log. 200 with ``text``, ``offset`` to go on from, and ``more``; 404 if it is not kept."""
        return self._call(JobLog(job_id, offset))

    def check(self) -> Answer:
        """Check all that a backup and a restore need. 200 with ``database`` (``ok``, ``message``), ``cause`` (where the
        account of the backup tool is what is wrong: credentials, login or grants; else None), ``folders`` (a sentence
        for each that is not as it must be), ``space`` (``free_bytes``, ``needed_bytes``; the latter None where it
        cannot be told), ``chain`` (``ids`` of what a restore of the newest backup would use, the full one first, and
        ``problem``, None if it is intact), ``trash`` (``count``, ``bytes``) and ``clock``, which says why nothing is
        cleaned up, or is None."""
        return self._call(Check())

    def _call(self, command: Command) -> Answer:
        answer = call(self._path, command, self._timeout)
        # Whatever is answered can be shown and stored, also by a service that is older.
        return replace(answer, status=legible(answer.status), data=legible(answer.data))
