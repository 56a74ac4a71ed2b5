"""Schedules: a list as any other, but changed inside a transaction that stays open until somebody else agrees.

The SQL is put together from the names of columns that stand in this program; values are always bound.
"""
# ruff: noqa: S608  # see above

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from dbcalm.domain.entities import Run, Schedule
from dbcalm.repository.database import Database
from dbcalm.repository.table import Table
from dbcalm.repository.turns import Turns

_FIELDS = [field.name for field in fields(Schedule)]
_NAMES = ", ".join(_FIELDS)

_HIGHEST_REMEMBERED = 10**9
"""A backup can be made for any number; one as high as this was somebody's mistake, and no schedule's."""


class Draft:
    """The schedules inside one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.changed: set[int] = set()

    def get(self, key: int) -> Schedule | None:
        """Return the schedule of this id."""
        row = self._connection.execute(f"SELECT {_NAMES} FROM schedules WHERE id = ?", (key,)).fetchone()
        return None if row is None else _schedule(*row)

    def all(self) -> Sequence[Schedule]:
        """Return all schedules in order of id."""
        rows = self._connection.execute(f"SELECT {_NAMES} FROM schedules ORDER BY id").fetchall()
        return [_schedule(*row) for row in rows]

    def add(self, schedule: Schedule, above: int = 0) -> Schedule:
        """Add a schedule, and return it with the id that it got: one above this, and none that a backup or a job has,
        so that what an earlier schedule made is never taken for what this one made, and deleted by its retention."""
        known = above if above <= _HIGHEST_REMEMBERED else 0
        added = replace(schedule, id=max(self._highest_id(), known) + 1)
        marks = ", ".join(f":{name}" for name in _FIELDS)
        self._connection.execute(f"INSERT INTO schedules ({_NAMES}) VALUES ({marks})", vars(added))
        return added

    def _highest_id(self) -> int:
        """Return the highest id that was given out. Backups and jobs remember it when the catalogue was lost."""
        highest = 0
        for found in (
            "SELECT seq FROM sqlite_sequence WHERE name = 'schedules'",
            "SELECT max(schedule_id) FROM backups WHERE schedule_id <= :most",
            "SELECT max(schedule_id) FROM processes WHERE schedule_id <= :most",
        ):
            row = self._connection.execute(found, {"most": _HIGHEST_REMEMBERED}).fetchone()
            highest = max(highest, (row and row[0]) or 0)
        return int(highest)

    def replace(self, schedule: Schedule) -> None:
        """Give the schedule of this id these values."""
        self.changed.add(schedule.id)
        values = ", ".join(f"{name} = :{name}" for name in _FIELDS)
        self._connection.execute(f"UPDATE schedules SET {values} WHERE id = :id", vars(schedule))

    def delete(self, key: int) -> None:
        """Delete the schedule of this id."""
        self.changed.add(key)
        self._connection.execute("DELETE FROM schedules WHERE id = ?", (key,))


class Schedules(Table[Schedule]):
    """What cron shall make when."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "schedules", Schedule, key="id", sequence=("id",), make=_schedule)
        self._turns = Turns(database.folder)

    def all(self) -> Sequence[Schedule]:
        """Return all schedules in order of id."""
        with self.database.read() as connection:
            return Draft(connection).all()

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """Give a draft for a block: kept if the block ends well, and as if it had never been otherwise."""
        with self.database.write() as connection:
            draft = Draft(connection)
            yield draft
        for id in draft.changed:
            self._turns.forget(id)

    def note_refusal(self, key: int, at: str, sentence: str) -> None:
        """Remember that a backup of this schedule was refused."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE schedules SET last_refused_at = ?, last_refusal = ? WHERE id = ?", (at, sentence, key)
            )

    def job_runs(self) -> bool:
        """Tell whether any job is running."""
        return self.database.row("SELECT 1 FROM processes WHERE status = 'running' LIMIT 1") is not None

    def never_had_any(self) -> bool:
        """Tell whether no schedule was ever kept here."""
        return self.database.row("SELECT 1 FROM sqlite_sequence WHERE name = 'schedules'") is None

    def runs(self, ids: Iterable[int]) -> Sequence[Run]:
        """Return of each of these schedules the newest of its jobs of each status, the newest of all first: backups,
        and not their verifications, unless it makes none."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT schedule_id, status, start_time, error FROM processes WHERE id IN ("
                "SELECT (SELECT max(id) FROM processes "
                "WHERE schedule_id = asked.value AND type = coalesce((SELECT 'verify' FROM schedules "
                "WHERE id = asked.value AND backup_type = 'verify'), 'backup') AND status = possible.value) "
                "FROM json_each(?) AS asked CROSS JOIN json_each(?) AS possible) ORDER BY id DESC",
                (json.dumps([*ids]), json.dumps(["running", "success", "failed"])),
            ).fetchall()
        return [Run(*row) for row in rows]


def _schedule(*row: object) -> Schedule:
    values: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    return Schedule(**{**values, "enabled": bool(values["enabled"])})
