"""Schedules: a list as any other, but changed inside a transaction that stays open until somebody else agrees."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, literal, true
from sqlalchemy import select as rows_of
from sqlmodel import Session, col, select

from dbcalm.domain.model.entities import RUNNING, SUCCESS, Run, Schedule
from dbcalm.repository.base import Repository
from dbcalm.repository.engine import Database
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.tables import SEQUENCE, BackupRow, ProcessRow, ScheduleRow, columns_of
from dbcalm.repository.turns import Turns

_HIGHEST_REMEMBERED = 10**9
"""A backup can be made for any number; one as high as this was somebody's mistake, and no schedule's."""

_BACKUPS, _PROCESSES, _SCHEDULES = columns_of(BackupRow), columns_of(ProcessRow), columns_of(ScheduleRow)
_GIVEN_OUT = rows_of(SEQUENCE.c.seq).where(SEQUENCE.c.name == "schedules")
_RUNNING = Prepared(rows_of(_PROCESSES.id).where(_PROCESSES.status == RUNNING).limit(1))
_EVER_HAD_ANY = Prepared(_GIVEN_OUT)


def _highest_known(column: ColumnElement[Any]) -> Any:
    """Return the statement of the highest id of a schedule that a backup or a job remembers."""
    return rows_of(func.max(column)).where(column <= _HIGHEST_REMEMBERED)


def _runs() -> Prepared:
    """Return the statement of the newest run of each status of each schedule, each found by an index."""
    asked = func.json_each(bindparam("ids")).table_valued("value", name="asked")
    possible = func.json_each(bindparam("statuses")).table_valued("value", name="possible")
    verifies = rows_of(literal("verify")).where(
        _SCHEDULES.id == asked.c.value, _SCHEDULES.backup_type == "verify"
    )
    newest = rows_of(func.max(_PROCESSES.id)).where(
        _PROCESSES.schedule_id == asked.c.value,
        _PROCESSES.type == func.coalesce(verifies.correlate(asked).scalar_subquery(), "backup"),
        _PROCESSES.status == possible.c.value,
    )
    chosen = rows_of(newest.correlate(asked, possible).scalar_subquery()).select_from(
        asked.join(possible, true())
    )
    columns = (_PROCESSES.schedule_id, _PROCESSES.status, _PROCESSES.start_time, _PROCESSES.error)
    return Prepared(rows_of(*columns).where(_PROCESSES.id.in_(chosen)).order_by(_PROCESSES.id.desc()))


_RUNS = _runs()


class Draft:
    """The schedules inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.changed: set[int] = set()

    def get(self, key: int) -> Schedule | None:
        """Return the schedule of this id."""
        row = self._session.get(ScheduleRow, key)
        return None if row is None else _schedule(row)

    def all(self) -> Sequence[Schedule]:
        """Return all schedules in order of id."""
        return [
            _schedule(row) for row in self._session.exec(select(ScheduleRow).order_by(col(ScheduleRow.id)))
        ]

    def add(self, schedule: Schedule, above: int = 0) -> Schedule:
        """Add a schedule, and return it with the id that it got: one above this, and none that a backup or a job has,
        so that what an earlier schedule made is never taken for what this one made, and deleted by its retention."""
        known = above if above <= _HIGHEST_REMEMBERED else 0
        added = replace(schedule, id=max(self._highest_id(), known) + 1)
        self._session.add(ScheduleRow(**vars(added)))
        self._session.flush()
        return added

    def _highest_id(self) -> int:
        """Return the highest id that was given out. Backups and jobs remember it when the catalogue was lost."""
        found = (_GIVEN_OUT, _highest_known(_BACKUPS.schedule_id), _highest_known(_PROCESSES.schedule_id))
        return max(self._session.scalar(statement) or 0 for statement in found)

    def replace(self, schedule: Schedule) -> None:
        """Give the schedule of this id these values."""
        self.changed.add(schedule.id)
        if (row := self._session.get(ScheduleRow, schedule.id)) is not None:
            row.sqlmodel_update(vars(schedule))

    def delete(self, key: int) -> None:
        """Delete the schedule of this id."""
        self.changed.add(key)
        if (row := self._session.get(ScheduleRow, key)) is not None:
            self._session.delete(row)


def _schedule(row: ScheduleRow) -> Schedule:
    return Schedule(**row.model_dump())


class ScheduleRepository(Repository[Schedule]):
    """What cron shall make when."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Schedule, ScheduleRow, key="id", sequence=("id",))
        self._turns = Turns(database.path.parent)
        self._all = Prepared(self.selected.order_by(_SCHEDULES.id))

    def made(self, row: Sequence[Any]) -> Schedule:
        """Return the schedule of a row: its fields are given by name only."""
        return Schedule(**dict(zip(self.names, row, strict=True)))

    def all(self) -> Sequence[Schedule]:
        """Return all schedules in order of id."""
        return [self.made(row) for row in self.database.all(self._all)]

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """Give a draft for a block: kept if the block ends well, and as if it had never been otherwise."""
        with self.database.session() as session:
            draft = Draft(session)
            yield draft
        for id in draft.changed:
            self._turns.forget(id)

    def note_refusal(self, key: int, at: str, sentence: str) -> None:
        """Remember that a backup of this schedule was refused."""
        with self.database.session() as session:
            if (row := session.get(ScheduleRow, key)) is not None:
                row.last_refused_at, row.last_refusal = at, sentence

    def job_runs(self) -> bool:
        """Tell whether any job is running."""
        return self.database.first(_RUNNING) is not None

    def never_had_any(self) -> bool:
        """Tell whether no schedule was ever kept here."""
        return self.database.first(_EVER_HAD_ANY) is None

    def runs(self, ids: Iterable[int]) -> Sequence[Run]:
        """Return of each of these schedules the newest of its jobs of each status, the newest of all first: backups,
        and not their verifications, unless it makes none."""
        statuses = json.dumps([RUNNING, SUCCESS, "failed"])
        found = self.database.all(_RUNS, ids=json.dumps([*ids]), statuses=statuses)
        return [Run(*row) for row in found]
