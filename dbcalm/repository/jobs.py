"""The one way by which jobs and backups get into the catalogue: the events of the journal, applied."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from dbcalm.domain.ports import Cursor, Event
from dbcalm.logger import log
from dbcalm.repository.database import Database


class Jobs:
    """Applies events together with the cursor that says how far they go, so that replaying them is harmless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cursor(self) -> Cursor:
        """Return how far the journal has been applied."""
        with self._database.read() as connection:
            return _cursor(connection)

    def apply(self, before: Cursor, after: Cursor, events: Sequence[Event]) -> bool:
        """Apply the events and move the cursor; False, and nothing is done, if somebody else has moved it."""
        with self._database.write() as connection:
            if _cursor(connection) != before:
                return False
            if before.journal not in ("", after.journal):
                _close_orphans(connection)
            for event in events:
                _apply(connection, event)
            connection.execute("UPDATE cursor SET journal = ?, offset = ?", (after.journal, after.offset))
        return True

    def add_found(self, cursor: Cursor, backups: Sequence[Mapping[str, object]]) -> int | None:
        """Add backups that the catalogue lacks, from their manifests; None, and nothing is done, if it moved."""
        with self._database.write() as connection:
            if _cursor(connection) != cursor:
                return None
            return sum(_add_backup(connection, facts) for facts in backups)

    def replace_backups(self, cursor: Cursor, backups: Sequence[Mapping[str, Any]]) -> bool:
        """Know the backups of these manifests and no others; False, and nothing is done, if the cursor moved."""
        with self._database.write() as connection:
            if _cursor(connection) != cursor:
                return False
            connection.execute("DELETE FROM backups")
            for facts in sorted(backups, key=lambda facts: int(facts["seq"])):
                _add_backup(connection, facts)
            return True


def _cursor(connection: sqlite3.Connection) -> Cursor:
    return Cursor(*connection.execute("SELECT journal, offset FROM cursor").fetchone())


def _close_orphans(connection: sqlite3.Connection) -> None:
    """End what the lost journal left running: no event will ever do it."""
    connection.execute(
        "UPDATE processes SET status = 'failed', reason = 'interrupted', end_time = coalesce(end_time, start_time), "
        "error = 'the journal of jobs was lost while this one ran' WHERE status = 'running'"
    )


def _apply(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    """Apply one event; one of a kind that is not known says nothing to this program."""
    apply = _KINDS.get(str(event.get("event")))
    if apply is None:
        return
    try:
        apply(connection, event)
    except (AttributeError, KeyError, TypeError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
        # One event that is not as it should be must not keep all later ones out for ever.
        log.exception("an event of the journal cannot be applied and is skipped: %r", event)


def _accepted(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    args = event.get("args", {})
    added = connection.execute(
        "INSERT INTO processes "
        "(command_id, type, command, args, resource_id, note, schedule_id, status, start_time) "
        "VALUES (:job_id, :type, :command, :args, :resource_id, :note, :schedule_id, 'running', :at) "
        "ON CONFLICT (command_id) DO NOTHING",
        {
            "note": None,
            "resource_id": None,
            **event,
            "args": json.dumps(args),
            "schedule_id": args.get("schedule_id"),
        },
    )
    if added.rowcount and (restore := event.get("restore")):
        connection.execute(
            "INSERT INTO restores (process_id, target, target_path, backup_id, backup_timestamp, start_time) "
            "VALUES (:process_id, :target, :target_path, :backup_id, :backup_timestamp, :at)",
            {**restore, "process_id": added.lastrowid, "at": event["at"]},
        )


def _started(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute("UPDATE processes SET pid = :pid WHERE command_id = :job_id", event)


def _ended(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute(
        "UPDATE processes SET status = :status, reason = :reason, return_code = :return_code, error = :error, "
        "output = :output, end_time = :at WHERE command_id = :job_id",
        {"reason": None, "return_code": None, "error": None, "output": None, **event},
    )
    if event["status"] == "success" and (facts := event.get("backup")):
        _add_backup(connection, facts)


def _deleted(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute("DELETE FROM backups WHERE id = :backup_id", event)


def _held(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute(
        "UPDATE backups SET hold_reason = :reason, hold_until = :until WHERE id = :backup_id",
        {**event["hold"], "backup_id": event["backup_id"]},
    )


def _released(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute(
        "UPDATE backups SET hold_reason = NULL, hold_until = NULL WHERE id = :backup_id", event
    )


def _proved(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute(
        "UPDATE backups SET proof_level = :level, proof_at = :at, restore_seconds = :restore_seconds, suspect = :fault "
        "WHERE id = :backup_id",
        {**event["proof"], "backup_id": event["backup_id"]},
    )


def _undeleted(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    _add_backup(connection, event["backup"])


def _add_backup(connection: sqlite3.Connection, facts: Mapping[str, Any]) -> int:
    """Add the backup of a manifest unless it is known; return how many rows that made. A newer one of the same name
    takes the place of one whose folder was taken away by hand. The manifest itself says nothing of a hold or a proof.
    """
    hold = facts.get("hold") or {"reason": None, "until": None}
    unproven = {"level": 0, "at": facts["end_time"], "restore_seconds": None, "fault": None}
    proof = facts.get("proof") or unproven
    return connection.execute(
        "INSERT INTO backups "
        "(id, seq, type, from_backup_id, schedule_id, process_id, start_time, end_time, size, note, timeline, "
        "hold_reason, hold_until, data_size, form, recipients, proof_level, proof_at, restore_seconds, suspect) "
        "VALUES (:id, :seq, :type, :from_backup_id, :schedule_id, "
        "(SELECT id FROM processes WHERE command_id = :job_id), :start_time, :end_time, :size, :note, :timeline, "
        ":hold_reason, :hold_until, :data_size, :form, :recipients, "
        ":proof_level, :proof_at, :restore_seconds, :suspect) "
        "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, type = excluded.type, "
        "from_backup_id = excluded.from_backup_id, schedule_id = excluded.schedule_id, "
        "process_id = excluded.process_id, start_time = excluded.start_time, end_time = excluded.end_time, "
        "size = excluded.size, note = excluded.note, timeline = excluded.timeline, "
        "hold_reason = excluded.hold_reason, hold_until = excluded.hold_until, data_size = excluded.data_size, "
        "form = excluded.form, recipients = excluded.recipients, proof_level = excluded.proof_level, "
        "proof_at = excluded.proof_at, restore_seconds = excluded.restore_seconds, suspect = excluded.suspect "
        "WHERE excluded.seq > backups.seq",
        {
            "schedule_id": None,
            "note": None,
            "job_id": None,
            "form": "folder",
            **facts,
            "data_size": facts["size"] if facts.get("data_size") is None else facts["data_size"],
            "recipients": " ".join(facts.get("recipients", ())),
            "hold_reason": hold["reason"],
            "hold_until": hold["until"],
            "proof_level": proof["level"],
            "proof_at": proof["at"],
            "restore_seconds": proof["restore_seconds"],
            "suspect": proof["fault"],
        },
    ).rowcount


_KINDS = {
    "accepted": _accepted,
    "started": _started,
    "ended": _ended,
    "deleted": _deleted,
    "undeleted": _undeleted,
    "held": _held,
    "released": _released,
    "proved": _proved,
}
