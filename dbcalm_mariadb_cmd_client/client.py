"""The mysql service's commands, one method each."""

from pathlib import Path

from dbcalm_cmd.wire import Command
from dbcalm_cmd_client import Answer, call
from dbcalm_mariadb_cmd.command import (
    Check,
    DeleteBackup,
    FullBackup,
    IncrementalBackup,
    JobProgress,
    ListBackups,
    ReadEvents,
    RestoreBackup,
)


class MariadbCmdClient:
    """Calls the service at this socket. Methods raise ServiceUnreachable, and InvalidCommand before anything is sent.

    ``job_id`` is minted by the caller, 32 hexadecimal digits: a command that is repeated with the same one is done
    once and answered alike, so a lost reply can be asked for again.
    """

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def full_backup(self, job_id: str, id: str | None, schedule_id: int | None) -> Answer:
        """Start a full backup. 202 with ``id, type, from_backup_id, note``; 409, 503, 507."""
        return self._call(FullBackup(job_id, id, schedule_id))

    def incremental_backup(
        self, job_id: str, id: str | None, from_backup_id: str, or_full: bool, schedule_id: int | None
    ) -> Answer:
        """Start an incremental backup, or the full one that has to stand in for it. As ``full_backup``, and 404."""
        return self._call(IncrementalBackup(job_id, id, from_backup_id, or_full, schedule_id))

    def restore_backup(self, job_id: str, id: str, target: str) -> Answer:
        """Start a restore. 202 with ``id, target, target_path, chain, restore_id``; 404, 409, 503, 507."""
        return self._call(RestoreBackup(job_id, id, target))

    def delete_backup(self, id: str) -> Answer:
        """Delete a backup. 200; 404; 409 with ``dependents``."""
        return self._call(DeleteBackup(id))

    def read_events(self, journal: str, offset: int, wait: float) -> Answer:
        """Read the journal. 200 with ``journal, offset, events, more``."""
        return self._call(ReadEvents(journal, offset, wait))

    def list_backups(self, after: str) -> Answer:
        """List whole backups on disk. 200 with ``backups, more``."""
        return self._call(ListBackups(after))

    def job_progress(self, job_id: str) -> Answer:
        """Tell how far a job is. 200 with ``phase, bytes_done, bytes_total``; 404."""
        return self._call(JobProgress(job_id))

    def check(self) -> Answer:
        """Check all that a backup needs. 200 with ``checks``."""
        return self._call(Check())

    def _call(self, command: Command) -> Answer:
        return call(self._path, command, self._timeout)
