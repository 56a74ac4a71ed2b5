"""Backups: making, listing and deleting them."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dbcalm.domain.model import names, times
from dbcalm.domain.model.chosen import beginning, chosen
from dbcalm.domain.model.entities import Backup, Caller
from dbcalm.domain.model.listing import INTEGER, TEXT, TIME, Listing, Page, Query
from dbcalm.domain.ports import BackupStore, Clock, MysqlService
from dbcalm.domain.services.jobs.jobs import Jobs, Started, asked, granted
from dbcalm.domain.services.presence import Presence
from dbcalm.domain.services.schedules import Schedules
from dbcalm.errors import Conflict, InvalidField, NotFound, Unavailable
from dbcalm.logger import audited
from dbcalm_cmd_client import Answer
from dbcalm_mariadb_cmd.command.age_keys import IDENTITY_FORM, is_identity
from dbcalm_mariadb_cmd.command.requests import LEVELS

_NOT_FOUND = 404

HIGHEST_LEVEL = max(LEVELS)
"""The level to which a backup is proven where none is asked for."""

LISTING = Listing(
    query={
        "id": TEXT,
        "from_backup_id": TEXT,
        "schedule_id": INTEGER,
        "start_time": TIME,
        "end_time": TIME,
        "process_id": INTEGER,
        "proof_level": INTEGER,
        "proof_at": TIME,
        "suspect": TEXT,
    },
    order=("id", "start_time", "end_time"),
)


def at_present(backup: Backup, clock: Clock) -> Backup:
    """Return a backup without a hold that is over: nobody tells the catalogue when one ends by itself."""
    if backup.hold_until is None or backup.hold_until > times.written(times.at(clock.now())):
        return backup
    return replace(backup, hold_reason=None, hold_until=None)


class Backups:
    """The mysql service makes and deletes backups and is asked what is true; the catalogue answers what there is."""

    def __init__(
        self,
        store: BackupStore,
        service: MysqlService,
        jobs: Jobs,
        schedules: Schedules,
        clock: Clock,
        presence: Presence,
    ) -> None:
        self._presence = presence
        self._store = store
        self._service = service
        self._jobs = jobs
        self._schedules = schedules
        self._clock = clock

    def list(self, query: Query) -> Page[Backup]:
        """Return one page of backups."""
        page = self._store.list(query)
        items = self._presence.told(page.items)
        return replace(page, items=[at_present(one, self._clock) for one in items])

    def require(self, id: str) -> Backup:
        """Return a backup; raise NotFound."""
        backup = self._store.get(id)
        if backup is None:
            raise NotFound(f"there is no backup {names.shown(id)}")
        [found] = self._presence.told([backup])
        return at_present(found, self._clock)

    def chosen(self, given: str) -> str:
        """Return the id of the backup that is meant by an id, by the beginning of one, or by ``latest``; raise Conflict
        if several begin so. The catalogue is brought up to the journal first, if that can be."""
        with contextlib.suppress(Unavailable):
            self._jobs.catch_up()

        def begin(start: str) -> Sequence[str]:
            return [one.id for one in self._store.list(beginning("id", start)).items]

        def newest() -> str | None:
            found = self._store.newest()
            return None if found is None else found.id

        return chosen(given, "backups", lambda id: self._store.get(id) is not None, begin, newest)

    def create(
        self,
        caller: Caller,
        type: str,
        id: str | None = None,
        from_backup_id: str | None = None,
        schedule_id: int | None = None,
        form: str | None = None,
        synthetic: bool = False,
    ) -> Started:
        """Start a backup of type ``full`` or ``incremental``; one without a base builds on the newest, one without a
        form is stored as configured. A full one is ``synthetic`` if the newest chain is rolled up into it.

        Raise InvalidField; NotFound if there is no base, or not this one; Conflict if the id is taken or a job that
        excludes this one is running; Unavailable if the service or the database server is not ready; NoSpace.
        A schedule remembers why its backup was refused; one that was deleted may still ask, once.
        """
        what = f"make {type} backup" + (f" {names.shown(id)}" if id else "") + _of_schedule(schedule_id)
        with audited(caller.name, what) as outcome, self._schedules.noting(schedule_id):
            name = None if id is None else names.backup_id(id)
            if type == "full":
                if from_backup_id is not None:
                    raise InvalidField("from_backup_id", "is only for an incremental backup")
                return self._jobs.start(
                    lambda job_id: self._service.full_backup(job_id, name, schedule_id, form, synthetic),
                    outcome,
                )
            if synthetic:
                raise InvalidField("synthetic", "is only for a full backup")
            base = self._base() if from_backup_id is None else names.known_backup_id(from_backup_id)

            def incremental(job_id: str) -> Answer:
                return self._service.incremental_backup(
                    job_id, name, base, from_backup_id is None, schedule_id, form
                )

            return self._jobs.start(incremental, outcome)

    def verify(
        self,
        caller: Caller,
        id: str,
        level: int,
        schedule_id: int | None = None,
        identity: str | None = None,
    ) -> Started:
        """Start to prove that a backup comes back: 1 that every stored byte is as it was, 2 also that it can be
        prepared, 3 also that a server runs on it. ``identity`` is as for a restore.

        Raise InvalidField; NotFound if there is no such backup; Conflict if a job that excludes this one is running or
        it is not opened; Unavailable if a program is missing or the service does not answer; NoSpace."""
        what = f"verify backup {names.shown(id)}{_of_schedule(schedule_id)}"
        with audited(caller.name, what) as outcome, self._schedules.noting(schedule_id):
            known = names.known_backup_id(id)
            if level not in LEVELS:
                raise InvalidField("level", f"must be one of {', '.join(map(str, LEVELS))}")
            if identity is not None and not is_identity(identity):
                raise InvalidField("identity", f"must be {IDENTITY_FORM}")
            return self._jobs.start(
                lambda job_id: self._service.verify_backup(job_id, known, level, schedule_id, identity),
                outcome,
            )

    def adoptable(self) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Return the folder of backups, and what in it is not ours, the oldest first: ``name, type, start_time`` and
        the ``problem`` of one that cannot be taken over. Raise Unavailable."""
        data = granted(asked(self._service.list_adoptable))
        return str(data["backup_dir"]), data["folders"]

    def adopt(self, caller: Caller, id: str) -> Started:
        """Start to take over a backup that somebody else has made; raise NotFound if there is no such folder, Conflict
        if it is no backup, or nobody can tell what it builds on, or a job runs; or Unavailable."""
        with audited(caller.name, f"adopt backup {names.shown(id)}") as outcome:
            known = names.known_backup_id(id)
            return self._jobs.start(lambda job_id: self._service.adopt_backup(job_id, known), outcome)

    def unproven(self, level: int) -> Backup | None:
        """Return the newest backup at the end of a chain that is not proven to this level, nor suspect; None if there
        is none. Raise Unavailable."""
        self._jobs.catch_up()
        return self._store.unproven(level)

    def to_verify(self, level: int) -> Backup:
        """Return what a schedule verifies: the same or, where all are proven, the newest once more, as a disk may have
        lost it since. Raise NotFound if there is no backup, or Unavailable."""
        found = self.unproven(level) or self._store.newest()
        if found is None:
            raise NotFound("there is no backup to verify")
        return found

    def _base(self) -> str:
        self._jobs.catch_up()  # While the API is down, the journal alone may know which backup is the newest.
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
            answer = self._changed(lambda: self._service.delete_backup(known))
            if answer.code != _NOT_FOUND or not self._store.delete(id):
                granted(answer)

    def deleted(self) -> tuple[Sequence[Mapping[str, Any]], bool]:
        """Return the facts of what was deleted and can still be brought back, with ``deleted_at`` and ``purge_at``, the
        last deleted first, and whether there are more than could be told; raise Unavailable."""
        data = granted(asked(self._service.list_trash))
        return data["backups"], bool(data["more"])

    def undelete(self, caller: Caller, id: str, deleted_at: str | None = None) -> Backup:
        """Bring a deleted backup back, the last one of this id or the one that was deleted at this time; raise NotFound
        if it is not to be had any more, Conflict if its id is taken or what it builds on is deleted, InvalidField."""
        with audited(caller.name, f"undelete backup {names.shown(id)}"):
            known = names.known_backup_id(id)
            when = None if deleted_at is None else times.given("deleted_at", deleted_at)
            granted(self._changed(lambda: self._service.undelete_backup(known, when)))
        return self._on_disk(known)

    def hold(self, caller: Caller, id: str, reason: str, until: str | None) -> Backup:
        """Keep a backup and its chain from being deleted, until a time or for good; raise NotFound, InvalidField if
        the time is none or has passed, or Unavailable."""
        with audited(caller.name, f"hold backup {names.shown(id)}"):
            known, why = names.known_backup_id(id), names.text("reason", reason)
            end = None if until is None else self._end(until)
            granted(self._changed(lambda: self._service.hold_backup(known, why, end)))
        return self._on_disk(known)

    def _end(self, until: str) -> str:
        end = times.given("until", until)
        if end <= times.written(times.at(self._clock.now())):
            raise InvalidField("until", "must be in the future")
        return end

    def release(self, caller: Caller, id: str) -> Backup:
        """End the hold of a backup, if there is one; raise NotFound or Unavailable."""
        with audited(caller.name, f"release backup {names.shown(id)}"):
            known = names.known_backup_id(id)
            granted(self._changed(lambda: self._service.release_backup(known)))
        return self._on_disk(known)

    def _on_disk(self, id: str) -> Backup:
        """Return a backup that is on disk, also one that the journal has never told of."""
        if self._store.get(id) is None:
            self._jobs.add_found()
        return self.require(id)

    def _changed(self, call: Callable[[], Answer]) -> Answer:
        """Return what the service answered to a change, with the catalogue brought up to it where that can be: what was
        changed stays so, and the list follows later."""
        answer = asked(call)
        with contextlib.suppress(Unavailable):
            self._jobs.catch_up()
        return answer


def _of_schedule(id: int | None) -> str:
    return "" if id is None else f" for schedule {id}"
