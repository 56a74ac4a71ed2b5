"""The first ids that begin as somebody has typed. The catalogue is only read, as it stands."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, select

from dbcalm.repository.engine import opened
from dbcalm.repository.tables import BackupRow, ProcessRow, ScheduleRow, columns_of

_BACKUPS, _PROCESSES, _SCHEDULES = columns_of(BackupRow), columns_of(ProcessRow), columns_of(ScheduleRow)
_SECONDS = 0.2
_MOST = 50
_AFTER_ALL = "\x7f"


def backups(catalogue: Path, start: str) -> Sequence[str]:
    """Return the ids of backups that begin so, the newest first; raise sqlite3.Error."""
    return _ids(catalogue, start, _BACKUPS.id, _BACKUPS.seq.desc())


def jobs(catalogue: Path, start: str) -> Sequence[str]:
    """Return the ids of jobs that begin so, those that run first, then the newest; raise sqlite3.Error."""
    return _ids(catalogue, start, _PROCESSES.command_id, _PROCESSES.status != "running", _PROCESSES.id.desc())


def schedules(catalogue: Path, start: str) -> Sequence[str]:
    """Return the ids of schedules that begin so; raise sqlite3.Error."""
    return _ids(catalogue, start, cast(_SCHEDULES.id, Text), _SCHEDULES.id)


def _ids(catalogue: Path, start: str, id: ColumnElement[str], *order: ColumnElement[Any]) -> Sequence[str]:
    found: Select[str] = select(id).where(id >= start, id < start + _AFTER_ALL).order_by(*order).limit(_MOST)
    address = f"{catalogue.as_uri()}?mode=ro"
    with opened(lambda: sqlite3.connect(address, uri=True, timeout=_SECONDS)) as connection:
        return connection.scalars(found).all()
