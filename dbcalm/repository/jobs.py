"""The one way by which jobs and backups get into the catalogue: the events of the journal, applied."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dbcalm.domain.ports import Cursor, Event
from dbcalm.logger import log
from dbcalm.repository import events as shapes
from dbcalm.repository.database import Database
from dbcalm_mariadb_cmd.shapes import Unfit, fitted, legible

_KEPT_ASIDE = 100
_LONGEST_ASIDE = 4000
_UNFIT = (
    Unfit,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What one event or one backup may be at fault for. What else SQLite raises is the host's, and concerns all of them."""


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
                _apply(connection, after.journal, event)
            connection.execute("UPDATE cursor SET journal = ?, offset = ?", (after.journal, after.offset))
        return True

    def add_found(self, cursor: Cursor, backups: Sequence[Mapping[str, object]]) -> int | None:
        """Add backups that the catalogue lacks, from their manifests; None, and nothing is done, if it moved."""
        with self._database.write() as connection:
            if _cursor(connection) != cursor:
                return None
            return sum(_added(connection, facts) for facts in backups)

    def replace_backups(self, cursor: Cursor, backups: Sequence[Mapping[str, Any]]) -> bool:
        """Know the backups of these manifests and no others; False, and nothing is done, if the cursor moved."""
        with self._database.write() as connection:
            if _cursor(connection) != cursor:
                return False
            connection.execute("DELETE FROM backups")
            connection.execute(
                "DELETE FROM set_aside"
            )  # What they would have said of backups is known from the disk.
            for facts in sorted(backups, key=_seq):
                _added(connection, facts)
            return True

    def set_aside(self) -> Sequence[str]:
        """Return why events were passed over, the last first: each is kept as it was in the table of this name."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT reason FROM set_aside ORDER BY number DESC").fetchall()
        return [str(reason) for (reason,) in rows]


def _cursor(connection: sqlite3.Connection) -> Cursor:
    return Cursor(*connection.execute("SELECT journal, offset FROM cursor").fetchone())


def _close_orphans(connection: sqlite3.Connection) -> None:
    """End what the lost journal left running: no event will ever do it."""
    connection.execute(
        "UPDATE processes SET status = 'failed', reason = 'interrupted', end_time = coalesce(end_time, start_time), "
        "error = 'the journal of jobs was lost while this one ran' WHERE status = 'running'"
    )


def _apply(connection: sqlite3.Connection, journal: str, event: Mapping[str, Any]) -> None:
    """Apply one event, whole or not at all; one of a kind that is not known says nothing to this program. One that is
    not as it should be is kept aside: it must not keep all later ones out for ever."""
    apply = _KINDS.get(str(event.get("event")))
    if apply is None:
        return
    if problem := _attempted(connection, lambda: apply(connection, event)):
        reason = f"{event.get('event')} at {legible(str(event.get('at')))[:40]}: {problem}"
        log.error("an event of the journal cannot be applied and is kept aside: %s", reason)
        _keep_aside(connection, journal, reason, event)


def _attempted(connection: sqlite3.Connection, work: Callable[[], object]) -> str | None:
    """Do the work, and undo it if it cannot be done because of what it is done with; return why."""
    connection.execute("SAVEPOINT one")
    try:
        work()
    except _UNFIT as error:
        connection.execute("ROLLBACK TO one")
        return legible(str(error)) or type(error).__name__
    finally:
        if connection.in_transaction:  # SQLite ends it by itself where a disk is full.
            connection.execute("RELEASE one")
    return None


def _keep_aside(connection: sqlite3.Connection, journal: str, reason: str, event: Mapping[str, Any]) -> None:
    kept = json.dumps(legible(dict(event)))[:_LONGEST_ASIDE]
    connection.execute(
        "INSERT INTO set_aside (journal, reason, event) VALUES (?, ?, ?)", (legible(journal), reason, kept)
    )
    connection.execute(
        "DELETE FROM set_aside WHERE number <= (SELECT max(number) FROM set_aside) - ?", (_KEPT_ASIDE,)
    )


def _seq(facts: Mapping[str, Any]) -> int:
    seq = facts.get("seq")
    return seq if type(seq) is int else 0


def _accepted(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Accepted, {**event, "restore": event.get("restore") or None}, others=True)
    added = connection.execute(
        "INSERT INTO processes "
        "(command_id, type, command, args, resource_id, note, schedule_id, status, start_time) "
        "VALUES (:job_id, :type, :command, :args, :resource_id, :note, :schedule_id, 'running', :at) "
        "ON CONFLICT (command_id) DO NOTHING",
        {
            **vars(told),
            "args": json.dumps(told.args),
            "schedule_id": fitted(shapes.Arguments, told.args, others=True, of="args.").schedule_id,
        },
    )
    if added.rowcount and told.restore:
        connection.execute(
            "INSERT INTO restores (process_id, target, target_path, backup_id, backup_timestamp, start_time) "
            "VALUES (:process_id, :target, :target_path, :backup_id, :backup_timestamp, :at)",
            {**vars(told.restore), "process_id": added.lastrowid, "at": told.at},
        )


def _started(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Started, event, others=True)
    connection.execute("UPDATE processes SET pid = :pid WHERE command_id = :job_id", vars(told))


def _ended(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Ended, event, others=True)
    connection.execute(
        "UPDATE processes SET status = :status, reason = :reason, return_code = :return_code, error = :error, "
        "output = :output, end_time = :at, "
        "note = CASE WHEN :note IS NULL OR instr(note, :note) THEN note ELSE coalesce(note || '; ', '') || :note END "
        "WHERE command_id = :job_id",
        vars(told),
    )
    if told.status == "success" and told.backup:
        _add_backup(connection, told.backup)


def _acknowledged(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Acknowledged, event, others=True)
    connection.execute("UPDATE processes SET known_at = :at WHERE command_id = :job_id", vars(told))


def _deleted(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute(
        "DELETE FROM backups WHERE id = :backup_id", vars(fitted(shapes.OfBackup, event, others=True))
    )


def _held(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Held, event, others=True)
    connection.execute(
        "UPDATE backups SET hold_reason = :reason, hold_until = :until WHERE id = :backup_id",
        {**vars(told.hold), "backup_id": told.backup_id},
    )


def _released(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    connection.execute(
        "UPDATE backups SET hold_reason = NULL, hold_until = NULL WHERE id = :backup_id",
        vars(fitted(shapes.OfBackup, event, others=True)),
    )


def _proved(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Proved, event, others=True)
    connection.execute(
        "UPDATE backups SET proof_level = :level, proof_at = :at, restore_seconds = :restore_seconds, suspect = :fault "
        "WHERE id = :backup_id",
        {**vars(told.proof), "backup_id": told.backup_id},
    )


def _undeleted(connection: sqlite3.Connection, event: Mapping[str, Any]) -> None:
    _add_backup(connection, fitted(shapes.Undeleted, event, others=True).backup)


def _added(connection: sqlite3.Connection, facts: Mapping[str, Any]) -> int:
    """Add the backup of a manifest as ``_add_backup`` does; one that does not fit hides no other."""
    before = connection.total_changes
    if problem := _attempted(connection, lambda: _add_backup(connection, facts)):
        log.error("backup %s cannot be listed: %s", legible(str(facts.get("id"))[:100]), problem)
        return 0
    return connection.total_changes > before


def _add_backup(connection: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """Add the backup of a manifest unless it is known; return how many rows that made. A newer one of the same name
    takes the place of one whose folder was taken away by hand. The manifest itself says nothing of a hold or a proof.
    """
    facts = shapes.facts(values)
    hold, proof = facts.hold, facts.proof or shapes.Proof(0, facts.end_time)
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
            **vars(facts),
            "data_size": facts.size if facts.data_size is None else facts.data_size,
            "recipients": " ".join(facts.recipients),
            "hold_reason": hold.reason if hold else None,
            "hold_until": hold.until if hold else None,
            "proof_level": proof.level,
            "proof_at": proof.at,
            "restore_seconds": proof.restore_seconds,
            "suspect": proof.fault,
        },
    ).rowcount


_KINDS = {
    "accepted": _accepted,
    "started": _started,
    "ended": _ended,
    "acknowledged": _acknowledged,
    "deleted": _deleted,
    "undeleted": _undeleted,
    "held": _held,
    "released": _released,
    "proved": _proved,
}
