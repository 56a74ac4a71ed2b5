"""Whole backups."""

from sqlalchemy import bindparam, exists, func, select

from dbcalm.domain.model import times
from dbcalm.domain.model.entities import Backup
from dbcalm.domain.rules.protection import Point
from dbcalm.repository.base import Repository
from dbcalm.repository.engine import Database
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.tables import BackupRow, ScheduleRow, columns_of, table_of

_BACKUPS, _SCHEDULES = columns_of(BackupRow), columns_of(ScheduleRow)
_ABOVE = table_of(BackupRow).alias("above")
_NEWEST_FIRST = (_BACKUPS.seq.desc(), _BACKUPS.number.desc())

_POINTS = Prepared(
    select(
        _BACKUPS.id,
        _BACKUPS.from_backup_id,
        _BACKUPS.seq,
        func.coalesce(_BACKUPS.end_time, _BACKUPS.start_time),
        _BACKUPS.data_size,
        _BACKUPS.proof_level,
        _BACKUPS.restore_seconds,
        _BACKUPS.suspect.is_not(None),
    )
)


def _dependents() -> Prepared:
    """Return the statement of all that builds on a backup, and on what builds on it."""
    on_it = select(_BACKUPS.id, _BACKUPS.seq).where(_BACKUPS.from_backup_id == bindparam("id"))
    above = on_it.cte("above", recursive=True)
    above = above.union(
        select(_BACKUPS.id, _BACKUPS.seq).join_from(
            table_of(BackupRow), above, _BACKUPS.from_backup_id == above.c.id
        )
    )
    return Prepared(select(above.c.id).order_by(above.c.seq))


_DEPENDENTS = _dependents()


class BackupRepository(Repository[Backup]):
    """Whole backups. How each is found on disk is looked at, not remembered."""

    def __init__(self, database: Database) -> None:
        of_schedule = {
            name: select(_SCHEDULES[name]).where(_SCHEDULES.id == _BACKUPS.schedule_id).scalar_subquery()
            for name in ("retention_value", "retention_unit")
        }
        super().__init__(
            database, Backup, BackupRow, key="id", sequence=("seq", "number"), derived=of_schedule
        )
        newest_first = self.selected.order_by(*_NEWEST_FIRST).limit(1)
        self._newest = Prepared(newest_first)
        self._unproven = Prepared(
            newest_first.where(
                _BACKUPS.proof_level < bindparam("level"),
                _BACKUPS.suspect.is_(None),
                ~exists().where(_ABOVE.c.from_backup_id == _BACKUPS.id),
            )
        )

    def newest(self) -> Backup | None:
        """Return the backup that was made last."""
        return self.one(self._newest)

    def points(self) -> list[Point]:
        """Return all backups, as protection sees them."""
        return [
            Point(id, base, seq, times.seconds(at), size, level, took, bool(suspect))
            for id, base, seq, at, size, level, took, suspect in self.database.all(_POINTS)
        ]

    def unproven(self, level: int) -> Backup | None:
        """Return the newest backup on which no other builds, and which is neither proven to this level nor suspect."""
        return self.one(self._unproven, level=level)

    def dependents(self, id: str) -> list[str]:
        """Return the ids of all backups that build on this one, nearest first."""
        return [row[0] for row in self.database.all(_DEPENDENTS, id=id)]
