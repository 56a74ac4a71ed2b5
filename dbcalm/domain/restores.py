"""Restores: bringing a backup and the chain below it back."""

from dbcalm.domain import names
from dbcalm.domain.entities import Caller, Restore
from dbcalm.domain.jobs import Jobs, Started
from dbcalm.domain.listing import INTEGER, TEXT, TIME, Listing, Page, Query
from dbcalm.domain.ports import MysqlService, RestoreStore
from dbcalm.logger import audited

LISTING = Listing(
    query={
        "id": INTEGER,
        "start_time": TIME,
        "end_time": TIME,
        "target": TEXT,
        "target_path": TEXT,
        "backup_id": TEXT,
        "backup_timestamp": TIME,
        "process_id": INTEGER,
    },
    order=("id", "start_time", "end_time", "backup_id"),
)


class Restores:
    """Starts and lists restores."""

    def __init__(self, store: RestoreStore, service: MysqlService, jobs: Jobs) -> None:
        self._store = store
        self._service = service
        self._jobs = jobs

    def list(self, query: Query) -> Page[Restore]:
        """Return one page of restores."""
        return self._store.list(query)

    def create(self, caller: Caller, id: str, target: str) -> Started:
        """Start a restore to ``database`` or ``folder``; raise NotFound if the backup or a link of its chain is
        missing, Conflict if a job that excludes this one is running, Unavailable if the server is not stopped, its
        folder is not empty or the service does not answer, and NoSpace."""
        with audited(caller.name, f"restore backup {names.shown(id)} to the {target}"):
            known = names.known_backup_id(id)
            return self._jobs.start(lambda job_id: self._service.restore_backup(job_id, known, target))
