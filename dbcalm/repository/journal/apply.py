"""The one way by which jobs and backups get into the catalogue: the events of the journal, applied."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as insert_or
from sqlmodel import SQLModel

from dbcalm.domain.model.entities import RUNNING
from dbcalm.domain.ports import Cursor, Event
from dbcalm.logger import log
from dbcalm.repository.engine import Database
from dbcalm.repository.journal import events as shapes
from dbcalm.repository.tables import (
    CURSOR,
    BackupRow,
    ProcessRow,
    RestoreRow,
    SetAsideRow,
    columns_of,
    table_of,
)
from dbcalm_mariadb_cmd.command.shapes import Unfit, fitted, legible

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


_BACKUPS, _PROCESSES, _ASIDE = columns_of(BackupRow), columns_of(ProcessRow), columns_of(SetAsideRow)
_OF_JOB = update(table_of(ProcessRow)).where(_PROCESSES.command_id == bindparam("job_id"))
_OF_BACKUP = update(table_of(BackupRow)).where(_BACKUPS.id == bindparam("backup_id"))
_WITHOUT_BACKUP = delete(table_of(BackupRow)).where(_BACKUPS.id == bindparam("backup_id"))
_NEW_JOB = insert_or(table_of(ProcessRow)).on_conflict_do_nothing().returning(_PROCESSES.id)
_NUMBER_OF_JOB = select(_PROCESSES.id).where(_PROCESSES.command_id == bindparam("job_id"))
_NEW_RESTORE = insert(table_of(RestoreRow))
_KEPT_ASIDE_FROM = select(func.max(_ASIDE.number) - _KEPT_ASIDE).scalar_subquery()

_SAID: BindParameter[str] = bindparam("said", type_=Text)
_OF_JOB_WITH_NOTE = _OF_JOB.values(
    note=case(
        (or_(_SAID.is_(None), func.instr(_PROCESSES.note, _SAID) > 0), _PROCESSES.note),
        else_=func.coalesce(_PROCESSES.note + "; ", "") + _SAID,
    )
)


def _backup_statement() -> Insert:
    """Return the statement that adds a backup, or puts a newer one in the place of one of its name."""
    new = insert_or(table_of(BackupRow)).execution_options(preserve_rowcount=True)
    values = {
        column.name: new.excluded[column.name] for column in _BACKUPS if column.name not in ("number", "id")
    }
    return new.on_conflict_do_update(
        index_elements=[_BACKUPS.id], set_=values, where=new.excluded.seq > _BACKUPS.seq
    )


_NEW_BACKUP = _backup_statement()


class JournalRepository:
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
            # Nearly always all of them are as they should be, and a savepoint for each is what takes the time.
            if _attempted(connection, lambda: _apply(connection, events)):
                for event in events:
                    _apply_or_keep_aside(connection, after.journal, event)
            connection.execute(update(CURSOR), vars(after))
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
            connection.execute(delete(table_of(BackupRow)))
            # What these would have said of backups is known from the disk.
            connection.execute(delete(table_of(SetAsideRow)))
            for facts in sorted(backups, key=_seq):
                _added(connection, facts)
            return True

    def set_aside(self) -> Sequence[str]:
        """Return why events were passed over, the last first: each is kept as it was in the table of this name."""
        with self._database.read() as connection:
            return connection.scalars(select(_ASIDE.reason).order_by(_ASIDE.number.desc())).all()


def _cursor(connection: Connection) -> Cursor:
    return Cursor(*connection.execute(select(CURSOR.c.journal, CURSOR.c.offset)).one())


def _close_orphans(connection: Connection) -> None:
    """End what the lost journal left running: no event will ever do it."""
    ended = func.coalesce(_PROCESSES.end_time, _PROCESSES.start_time)
    connection.execute(
        update(table_of(ProcessRow)).where(_PROCESSES.status == RUNNING).values(end_time=ended),
        {
            "status": "failed",
            "reason": "interrupted",
            "error": "the journal of jobs was lost while this one ran",
        },
    )


def _apply(connection: Connection, events: Iterable[Mapping[str, Any]]) -> None:
    """Apply events; one of a kind that is not known says nothing to this program."""
    for event in events:
        if (apply := _KINDS.get(str(event.get("event")))) is not None:
            apply(connection, event)


def _apply_or_keep_aside(connection: Connection, journal: str, event: Mapping[str, Any]) -> None:
    """Apply one event, whole or not at all. One that is not as it should be is kept aside: it must not keep all later
    ones out for ever."""
    if problem := _attempted(connection, lambda: _apply(connection, [event])):
        reason = f"{event.get('event')} at {legible(str(event.get('at')))[:40]}: {problem}"
        log.error("an event of the journal cannot be applied and is kept aside: %s", reason)
        _keep_aside(connection, journal, reason, event)


def _attempted(connection: Connection, work: Callable[[], object]) -> str | None:
    """Do the work, and undo it if it cannot be done because of what it is done with; return why."""
    savepoint = connection.begin_nested()
    try:
        work()
    except _UNFIT as error:
        savepoint.rollback()
        return legible(str(error)) or type(error).__name__
    savepoint.commit()
    return None


def _keep_aside(connection: Connection, journal: str, reason: str, event: Mapping[str, Any]) -> None:
    kept = json.dumps(legible(dict(event)))[:_LONGEST_ASIDE]
    row = {"journal": legible(journal), "reason": reason, "event": kept}
    connection.execute(insert(table_of(SetAsideRow)), row)
    connection.execute(delete(table_of(SetAsideRow)).where(_ASIDE.number <= _KEPT_ASIDE_FROM))


def _seq(facts: Mapping[str, Any]) -> int:
    seq = facts.get("seq")
    return seq if type(seq) is int else 0


def _accepted(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Accepted, {**event, "restore": event.get("restore") or None}, others=True)
    job = vars(told) | {
        "command_id": told.job_id,
        "schedule_id": fitted(shapes.Arguments, told.args, others=True, of="args.").schedule_id,
        "status": RUNNING,
        "start_time": told.at,
    }
    number = connection.scalar(_NEW_JOB, _of_row(ProcessRow, job))
    if number is not None and told.restore:
        connection.execute(
            _NEW_RESTORE,
            {**vars(told.restore), "process_id": number, "start_time": told.at, "status": RUNNING},
        )


def _of_row(row: type[SQLModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return of some values those for which a table has a column."""
    return {name: value for name, value in values.items() if name in columns_of(row)}


def _started(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Started, event, others=True)
    connection.execute(_OF_JOB, {"job_id": told.job_id, "pid": told.pid})


def _ended(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Ended, event, others=True)
    job = vars(told) | {"end_time": told.at}
    del job["note"]
    connection.execute(
        _OF_JOB_WITH_NOTE, {"job_id": told.job_id, "said": told.note, **_of_row(ProcessRow, job)}
    )
    if told.status == "success" and told.backup:
        _add_backup(connection, told.backup)


def _acknowledged(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Acknowledged, event, others=True)
    connection.execute(_OF_JOB, {"job_id": told.job_id, "known_at": told.at})


def _deleted(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.execute(_WITHOUT_BACKUP, vars(fitted(shapes.OfBackup, event, others=True)))


def _held(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Held, event, others=True)
    connection.execute(_OF_BACKUP, {"backup_id": told.backup_id, **_of_hold(told.hold)})


def _released(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.OfBackup, event, others=True)
    connection.execute(_OF_BACKUP, {"backup_id": told.backup_id, **_of_hold(None)})


def _proved(connection: Connection, event: Mapping[str, Any]) -> None:
    told = fitted(shapes.Proved, event, others=True)
    connection.execute(_OF_BACKUP, {"backup_id": told.backup_id, **_of_proof(told.proof)})


def _undeleted(connection: Connection, event: Mapping[str, Any]) -> None:
    _add_backup(connection, fitted(shapes.Undeleted, event, others=True).backup)


def _of_hold(hold: shapes.Hold | None) -> dict[str, Any]:
    """Return the columns of a hold, or of none."""
    return {"hold_reason": hold.reason if hold else None, "hold_until": hold.until if hold else None}


def _of_proof(proof: shapes.Proof) -> dict[str, Any]:
    return {
        "proof_level": proof.level,
        "proof_at": proof.at,
        "restore_seconds": proof.restore_seconds,
        "suspect": proof.fault,
    }


def _added(connection: Connection, facts: Mapping[str, Any]) -> int:
    """Add the backup of a manifest as ``_add_backup`` does; one that does not fit hides no other."""
    rows: list[int] = []
    if problem := _attempted(connection, lambda: rows.append(_add_backup(connection, facts))):
        log.error("backup %s cannot be listed: %s", legible(str(facts.get("id"))[:100]), problem)
    return sum(rows)


def _add_backup(connection: Connection, values: Mapping[str, Any]) -> int:
    """Add the backup of a manifest unless it is known; return how many rows that made. A newer one of the same name
    takes the place of one whose folder was taken away by hand. The manifest itself says nothing of a hold or a proof.
    """
    facts = shapes.facts(values)
    row = {
        **vars(facts),
        "process_id": connection.scalar(_NUMBER_OF_JOB, {"job_id": facts.job_id}),
        "data_size": facts.size if facts.data_size is None else facts.data_size,
        **_of_hold(facts.hold),
        **_of_proof(facts.proof or shapes.Proof(0, facts.end_time)),
    }
    return connection.execute(_NEW_BACKUP, _of_row(BackupRow, row)).rowcount


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
