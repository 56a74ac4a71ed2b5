"""Backups: making, listing and deleting them."""

import contextlib

from dbcalm.domain import names
from dbcalm.domain.entities import Backup, Caller
from dbcalm.domain.jobs import Jobs, Started, asked, granted
from dbcalm.domain.listing import INTEGER, TEXT, TIME, Listing, Page, Query
from dbcalm.domain.ports import BackupStore, MysqlService
from dbcalm.errors import Conflict, InvalidField, NotFound, Unavailable
from dbcalm.logger import audited
from dbcalm_cmd_client import Answer

_NOT_FOUND = 404

LISTING = Listing(
    query={
        "id": TEXT,
        "from_backup_id": TEXT,
        "schedule_id": INTEGER,
        "start_time": TIME,
        "end_time": TIME,
        "process_id": INTEGER,
    },
    order=("id", "start_time", "end_time"),
)


class Backups:
    """The mysql service makes and deletes backups and is asked what is true; the catalogue answers what there is."""

    def __init__(self, store: BackupStore, service: MysqlService, jobs: Jobs) -> None:
        self._store = store
        self._service = service
        self._jobs = jobs

    def list(self, query: Query) -> Page[Backup]:
        """Return one page of backups."""
        return self._store.list(query)

    def require(self, id: str) -> Backup:
        """Return a backup; raise NotFound."""
        backup = self._store.get(id)
        if backup is None:
            raise NotFound(f"there is no backup {names.shown(id)}")
        return backup

    def create(
        self,
        caller: Caller,
        type: str,
        id: str | None = None,
        from_backup_id: str | None = None,
        schedule_id: int | None = None,
    ) -> Started:
        """Start a backup of type ``full`` or ``incremental``; one without a base builds on the newest.

        Raise InvalidField; NotFound if there is no base, or not this one; Conflict if the id is taken or a job that
        excludes this one is running; Unavailable if the service or the database server is not ready; NoSpace.
        """
        with audited(caller.name, f"make {type} backup" + (f" {names.shown(id)}" if id else "")):
            name = None if id is None else names.backup_id(id)
            if type == "full":
                if from_backup_id is not None:
                    raise InvalidField("from_backup_id", "is only for an incremental backup")
                return self._jobs.start(lambda job_id: self._service.full_backup(job_id, name, schedule_id))
            base = self._base() if from_backup_id is None else names.known_backup_id(from_backup_id)

            def incremental(job_id: str) -> Answer:
                return self._service.incremental_backup(
                    job_id, name, base, from_backup_id is None, schedule_id
                )

            return self._jobs.start(incremental)

    def _base(self) -> str:
        newest = self._store.newest()
        if newest is None:
            raise NotFound("there is no backup to build on: make a full backup first")
        return newest.id

    def delete(self, caller: Caller, id: str) -> None:
        """Delete a backup; raise NotFound, or Conflict if others depend on it or a job that excludes this runs.

        A backup whose folder is gone already is only taken off the list.
        """
        with audited(caller.name, f"delete backup {names.shown(id)}"):
            known = names.known_backup_id(id)
            if self._store.get(known) is None:
                self._jobs.catch_up()
                self.require(known)
            if dependents := self._store.dependents(known):
                # The service would say so too, but only of what is on disk at this moment.
                raise Conflict(f"backups depend on {known}: {', '.join(dependents)}")
            answer = asked(lambda: self._service.delete_backup(known))
            with contextlib.suppress(Unavailable):  # What was deleted stays so; the list follows later.
                self._jobs.catch_up()
            if answer.code != _NOT_FOUND or not self._store.delete(id):
                granted(answer)
