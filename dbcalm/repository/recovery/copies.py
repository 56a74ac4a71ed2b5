"""A copy of the whole catalogue once a day, beside it, and only while it is whole."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from dbcalm.domain.model import times
from dbcalm.logger import log
from dbcalm.repository.engine import opened
from dbcalm.repository.recovery.sealed import TABLES, Copy, copy_of, homes, sync
from dbcalm.repository.tables import SCHEMA

KEPT = 3
LOOK_SECONDS = 900.0
"""How often a running API looks whether today's copy is there."""

_INFIX = ".daily-"
_ASIDE = "new"


class Copies:
    """The daily copies of one catalogue."""

    def __init__(self, catalogue: Path) -> None:
        self._catalogue = catalogue

    def paths(self) -> list[Path]:
        """Return the copies that there are, the newest first."""
        name = f"{self._catalogue.name}{_INFIX}????????"
        found = [path for folder in homes(self._catalogue) for path in folder.glob(name)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def made_last(self) -> datetime | None:
        """Return when the newest copy was made; None if there is none."""
        return max(map(_made, self.paths()), default=None)

    def keep(self, stop: threading.Event) -> None:
        """Make each day's copy until told to stop, whatever happens meanwhile."""
        told = ""
        while not stop.is_set():
            try:
                self.make()
                told = ""
            except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
                if told != str(error):
                    log.error("the catalogue cannot be copied: %s", error)
                told = str(error)
            stop.wait(LOOK_SECONDS)

    def make(self) -> None:
        """Make today's copy, unless it is there, and delete those that are too many. Raise sqlite3.Error if the
        catalogue is damaged, and then no older one is deleted, or OSError."""
        today = f"{datetime.now(UTC):%Y%m%d}"
        path = homes(self._catalogue)[-1] / f"{self._catalogue.name}{_INFIX}{today}"
        if path.exists():
            return
        aside = path.with_name(f"{self._catalogue.name}{_INFIX}{_ASIDE}")
        aside.unlink(missing_ok=True)
        aside.touch(0o600)
        try:
            _copy(self._catalogue, aside)
            sync(aside)
            aside.replace(path)
            sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)
        for old in self.paths()[KEPT:]:
            old.unlink(missing_ok=True)

    def copies(self) -> Iterator[Copy]:
        """Yield what the copies have that are whole, the newest first."""
        for path in self.paths():
            try:
                with opened(partial(_file, path)) as connection:
                    require_whole(connection)
                    copy = copy_of(connection, name="daily copy", at=times.written(_made(path)))
            except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
                log.warning("the daily copy %s cannot be used: %s", path, error)
            else:
                yield copy


def _made(path: Path) -> datetime:
    return times.at(path.stat().st_mtime)


def _file(path: Path, mode: str = "ro") -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True)


def _copy(source: Path, target: Path) -> None:
    with contextlib.closing(_file(source, "rw")) as old, contextlib.closing(_file(target, "rw")) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")  # One file is all of it.
    with opened(partial(_file, target)) as connection:
        require_whole(connection)


def require_whole(connection: Connection) -> None:
    """Read a whole catalogue through; raise sqlite3.DatabaseError that says what is wrong."""
    there = set(connection.scalars(select(SCHEMA.c.name)))
    for check in ("quick_check(1)", *(f"integrity_check({table})" for table in TABLES if table in there)):
        found = str(connection.exec_driver_sql(f"PRAGMA {check}").scalar())
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(found.split()))
