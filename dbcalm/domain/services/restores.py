"""Restores: bringing a backup and the chain below it back."""

from collections.abc import Mapping, Sequence
from typing import Any

from dbcalm.domain.model import names
from dbcalm.domain.model.entities import Caller, Restore
from dbcalm.domain.model.listing import INTEGER, TEXT, TIME, Condition, Listing, Page, Query
from dbcalm.domain.model.scopes import REPLACE, allows
from dbcalm.domain.ports import MysqlService, RestoreStore
from dbcalm.domain.services.jobs.database_unit import Database
from dbcalm.domain.services.jobs.jobs import Jobs, Started, asked, granted
from dbcalm.errors import InvalidField, NotAllowed, NotFound
from dbcalm.logger import audited
from dbcalm_mariadb_cmd.command.age_keys import IDENTITY_FORM, is_identity
from dbcalm_mariadb_cmd.command.requests import valid_replaced_id

_LONGEST_NUMBER = 18
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

    def __init__(self, store: RestoreStore, service: MysqlService, jobs: Jobs, database: Database) -> None:
        self._store = store
        self._service = service
        self._jobs = jobs
        self._database = database

    def list(self, query: Query) -> Page[Restore]:
        """Return one page of restores."""
        return self._store.list(query)

    def require(self, key: str) -> Restore:
        """Return a restore by its number; raise NotFound."""
        if key.isascii() and key.isdigit() and len(key) <= _LONGEST_NUMBER:
            wanted = Query((Condition("id", "eq", (int(key),)),), per_page=1)
            for found in self._store.list(wanted).items:
                return found
        raise NotFound(f"there is no restore {names.shown(key)}")

    def create(
        self, caller: Caller, id: str, target: str, *, replace: bool = False, identity: str | None = None
    ) -> Started:
        """Start a restore to ``database`` or ``folder``; with ``replace`` over the data of a database that may run.
        ``identity``, a private key of age, opens what is encrypted; only the service is told of it.

        Raise NotAllowed if the caller may not do that, InvalidField for an identity that is none; raise NotFound if the
        backup or a link of its chain is missing, Conflict if a job that excludes this one is running or the chain is
        not opened, Unavailable if the server is not stopped, its folder is not empty or the service does not answer,
        and NoSpace."""
        how = "replacing the data of" if replace else "to"
        with audited(caller.name, f"restore backup {names.shown(id)} {how} the {target}") as outcome:
            known = names.known_backup_id(id)
            if identity is not None and not is_identity(identity):
                raise InvalidField("identity", f"must be {IDENTITY_FORM}")
            if replace:
                self._require_replacing(caller, target)
            return self._jobs.start(
                lambda job_id: self._service.restore_backup(job_id, known, target, replace, identity),
                outcome,
            )

    def replaced(self) -> Sequence[Mapping[str, Any]]:
        """Return what restores have replaced and what is still kept, the newest first: ``id``, ``backup_id`` of what
        took its place (None where it was no backup), ``replaced_at``, ``keep_until``, ``size``. Raise Unavailable."""
        found: Sequence[Mapping[str, Any]] = granted(asked(self._service.list_replaced))["replaced"]
        return found

    def folders(self) -> Sequence[Mapping[str, Any]]:
        """Return the folders that restores have made and that are still there, the newest first: ``id``, ``path``,
        ``backup_id`` and ``made_at`` (None where the journal does not know it), ``size``. Raise Unavailable."""
        found: Sequence[Mapping[str, Any]] = granted(asked(self._service.list_restored))["restored"]
        return found

    def remove_folder(self, caller: Caller, id: str) -> None:
        """Remove a folder that a restore has made, for good; raise NotFound, Conflict if it is not known to be one, in
        use or a job runs, or Unavailable."""
        with audited(caller.name, f"remove the restored folder {names.shown(id)}"):
            if not valid_replaced_id(id):
                raise NotFound(f"there is no restored folder {names.shown(id)}")
            granted(asked(lambda: self._service.remove_restored(id)))

    def bring_back(self, caller: Caller, id: str) -> Started:
        """Start to bring back what a restore replaced; raise NotFound, Conflict or Unavailable."""
        with audited(caller.name, f"bring back what restore {names.shown(id)} replaced") as outcome:
            known = names.known_replaced_id(id)
            self._database.require_unit()
            return self._jobs.start(lambda job_id: self._service.bring_back(job_id, known), outcome)

    def _require_replacing(self, caller: Caller, target: str) -> None:
        if target != "database":
            raise InvalidField("replace", "is for target database only: a folder is always a new one")
        if not allows(caller.scopes, REPLACE):
            raise NotAllowed(f"this needs a token with the scope {REPLACE}")
        self._database.require_unit()
