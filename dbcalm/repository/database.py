"""The catalogue's file: how it is opened, checked and shared between threads and programs.

One connection a thread, kept open. WAL, so that readers never wait for a writer; ``synchronous=FULL``, so that what was
committed survives a power cut; every write begins as one, so that two writers queue instead of failing half-way.
"""

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbcalm.errors import CatalogueDamaged, CatalogueError, NoSpace, Unavailable
from dbcalm.logger import log
from dbcalm.repository.migrations import migrate
from dbcalm.repository.salvage import salvage

_BUSY_SECONDS = 5.0
_REBUILD = "make it anew with: dbcalm catalogue rebuild"
_ASIDE = ".damaged-"
_SUFFIXES = ("", "-wal", "-shm")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Database:
    """An open catalogue. ``read`` and ``write`` give a connection inside a transaction of this thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def set_aside(self) -> list[str]:
        """Return the paths of damaged catalogues in whose place a new one was begun, as long as they are there."""
        found = self._path.parent.glob(f"{self._path.name}{_ASIDE}*")
        return sorted(str(path) for path in found if not path.name.endswith(("-wal", "-shm")))

    def row(self, statement: str, *values: str | int) -> tuple[Any, ...] | None:
        """Return the first row of one SELECT, which needs no transaction around it."""
        with _explained():
            found: tuple[Any, ...] | None = self._connection().execute(statement, values).fetchone()
        return found

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the catalogue throughout; raise Unavailable if it is locked."""
        with _explained(), self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose writes are kept together when the block ends well, and not at all otherwise; raise
        Unavailable if somebody else writes for seconds, and NoSpace."""
        with _explained(), self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute(begin)
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # Even a COMMIT that fails leaves it open, and everybody else locked out.
            if connection.in_transaction:
                connection.rollback()
            raise

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path)
        return connection

    def close(self) -> None:
        """Close this thread's connection; those of other threads close with their threads."""
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            del self._local.connection


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what SQLite raises when the host is at fault into a sentence of ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _BUSY:
            raise Unavailable("the catalogue is busy; try again in a few seconds") from error
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise NoSpace("the disk that holds the catalogue is full") from error
        raise


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection with the settings that all of them have."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def open_database(path: Path, *, check: bool = False) -> Database:
    """Open the catalogue, make it if there is none, and bring it to this program's version.

    With ``check`` the whole file is read through. Raise CatalogueDamaged if it is no database or fails the check, and
    CatalogueError if it belongs to somebody else, can be read by others or was made by a newer DBCalm.
    """
    try:
        _secure(path)
        with contextlib.closing(connect(path)) as connection:
            if check and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise CatalogueDamaged(
                    f"the catalogue {path} is damaged: {' '.join(found.split())}; {_REBUILD}"
                )
            migrate(connection, path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {error}; {_REBUILD}") from error
        raise CatalogueError(f"cannot open the catalogue {path}: {error}") from error
    except OSError as error:
        raise CatalogueError(f"cannot open the catalogue {path}: {error.strerror}") from error
    return Database(path)


def open_or_replace(path: Path) -> Database:
    """Open and check the catalogue as ``open_database`` does, but put a damaged one aside and begin a new one, with the
    users, clients and schedules that can still be read; the journal and the backups on disk will fill it again."""
    try:
        return open_database(path, check=True)
    except CatalogueDamaged as error:
        aside = f"{path.name}{_ASIDE}{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside + suffix))
        database = open_database(path)
        with database.write() as connection:
            saved = salvage(path.with_name(aside), connection)
        log.critical(
            "%s; it is kept as %s. A new one is filled from the journal and the backups on disk; of the old one %s "
            "could be read: see that none is missing, with: dbcalm users list, dbcalm clients list, "
            "dbcalm schedules list",
            error,
            aside,
            ", ".join(f"{count} {table}" for table, count in saved.items()),
        )
        return database


def _secure(path: Path) -> None:
    """Make the file if it is missing, readable by nobody else; raise CatalogueError if others could get at it."""
    folder = path.parent.stat()
    if stat.S_IMODE(folder.st_mode) & 0o077:
        raise CatalogueError(f"others can enter {path.parent}; change that with: chmod 700 {path.parent}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
