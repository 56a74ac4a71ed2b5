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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dbcalm.domain import times
from dbcalm.errors import CatalogueDamaged, CatalogueError, NoSpace, Unavailable
from dbcalm.logger import log
from dbcalm.repository.copies import Copies, require_whole
from dbcalm.repository.migrations import make, migrate, version_of
from dbcalm.repository.salvage import Salvaged, put_back, salvage
from dbcalm.repository.sealed import Vault, change_number, copy_of

_BUSY_SECONDS = 5.0
_REBUILD = "make it anew with: dbcalm catalogue rebuild"
_ASIDE = ".damaged-"
_SUFFIXES = ("", "-wal", "-shm")
_NOTE = ".txt"
_LONGEST_WITHOUT_COPY = timedelta(hours=50)
_NO_TEXT = "a text in it is none"
_SHAPE = "SELECT name, sql FROM sqlite_schema"
_COUNTS_CHANGES = 6
"""The version from which on a catalogue counts changes."""

_ONE_ROW = ("cursor", "changes")
_TABLES = (
    *_ONE_ROW,
    "users",
    "clients",
    "schedules",
    "codes",
    "backups",
    "restores",
    "processes",
    "table_state",
)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Database:
    """An open catalogue. ``read`` and ``write`` give a connection inside a transaction of this thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._vault = Vault(path)
        self._local = threading.local()

    @property
    def folder(self) -> Path:
        """The folder of the catalogue, which is private to its user."""
        return self._path.parent

    def set_aside(self) -> list[str]:
        """Return the paths of damaged catalogues in whose place a new one was begun, as long as they are there."""
        return [str(path) for path in self._aside() if path.suffix != _NOTE]

    def problems(self) -> list[str]:
        """Return a sentence for each time that users, clients and schedules had to be brought back, until somebody
        removes what was kept of it, and one for each copy that is missing or old."""
        aside = self._aside()
        noted = [path for path in aside if path.suffix == _NOTE]
        told = [path.read_text(encoding="utf-8") for path in noted]
        old = [
            path for path in aside if path.suffix != _NOTE and path.with_name(path.name + _NOTE) not in noted
        ]
        told += [
            _sentence("the catalogue was damaged and begun anew: see that nothing is missing", path)
            for path in old
        ]
        copied = Copies(self._path).made_last()
        if copied is not None and datetime.now(UTC) - copied > _LONGEST_WITHOUT_COPY:
            told.append(
                f"the catalogue was not copied since {times.short(times.written(copied))}, as it is each day while it "
                "is whole: see the log of dbcalm-api"
            )
        if not self._is_sealed():
            told.append(
                "the copy from which a damaged catalogue gets its users, clients and schedules back is missing or out "
                "of date: restart dbcalm-api, and see its log"
            )
        return told

    def _aside(self) -> list[Path]:
        found = self._path.parent.glob(f"{self._path.name}{_ASIDE}*")
        return sorted(path for path in found if not path.name.endswith(("-wal", "-shm")))

    def _is_sealed(self) -> bool:
        """Tell whether the sealed copy is whole and that of the last change."""
        with self.read() as connection:
            if self._vault.is_up_to(change_number(connection)):
                return True
        with self.write() as connection:  # Somebody may have changed it between the two looks.
            return self._vault.is_up_to(change_number(connection))

    def row(self, statement: str, *values: str | int) -> tuple[Any, ...] | None:
        """Return the first row of one SELECT, which needs no transaction around it."""
        with _explained():
            found: tuple[Any, ...] | None = self._connection().execute(statement, values).fetchone()
        return found

    def keep_copied(self, stop: threading.Event) -> None:
        """Make a copy of the whole file each day, until told to stop."""
        Copies(self._path).keep(stop)

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the catalogue throughout; raise Unavailable if it is locked."""
        with _explained(), self._transaction("BEGIN") as connection:
            yield connection
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose writes are kept together when the block ends well, and not at all otherwise; raise
        Unavailable if somebody else writes for seconds, and NoSpace. What changes users, clients or schedules is sealed
        first."""
        with _explained(), self._transaction("BEGIN IMMEDIATE") as connection:
            before = change_number(connection)
            yield connection
            unchanged = change_number(connection) == before
            with contextlib.nullcontext() if unchanged else self._vault.sealing(connection):
                connection.execute("COMMIT")

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a transaction that the block commits, or that is undone."""
        connection = self._connection()
        connection.execute(begin)
        try:
            yield connection
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
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            raise Unavailable("the catalogue is busy; try again in a few seconds") from error
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace("the disk that holds the catalogue is full") from error
        if _is_damage(error):
            raise CatalogueDamaged(f"the catalogue is damaged: {error}; restart dbcalm-api") from error
        raise
    except UnicodeDecodeError as error:
        raise CatalogueDamaged(f"the catalogue is damaged: {_NO_TEXT}; restart dbcalm-api") from error


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection with the settings that all of them have."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def open_database(path: Path, *, check: bool = False) -> Database:
    """Open the catalogue, make it if there is none, and bring it to this program's version. One that has lost users,
    clients or schedules, or is older than its sealed copy, gets them back.

    With ``check`` the whole file is read through. Raise CatalogueDamaged if it is no database or fails the check, and
    CatalogueError if it belongs to somebody else, can be read by others or was made by a newer DBCalm.
    """
    database, is_new = _opened(path, check=check)
    with _judged(path):
        _bring_up(database, path, is_new=is_new, check=check)
    return database


def open_or_replace(path: Path) -> Database:
    """Open and check the catalogue as ``open_database`` does, but put a damaged one aside and begin a new one, with the
    users, clients and schedules of the best copy; the journal and the backups on disk will fill it again."""
    try:
        return open_database(path, check=True)
    except CatalogueDamaged as error:
        aside = _free_name(path)
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside.name + suffix))
        database, _is_new = _opened(path)
        with database.write() as connection:
            saved = salvage(path, connection, aside)
        log.critical(
            "%s; it is kept as %s. A new one is filled from the journal and the backups on disk",
            error,
            aside.name,
        )
        _note(aside, f"the catalogue was damaged and begun anew: {saved}")
        return database


def _opened(path: Path, *, check: bool = False) -> tuple[Database, bool]:
    """Return the catalogue and whether it is a new one, without a look at its copies. Raise as ``open_database``."""
    with _judged(path):
        _secure(path)
        with contextlib.closing(connect(path)) as connection:
            if check:
                require_whole(connection)
            tables = {
                row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            }
            version = version_of(connection)
            if tables and (version == 0 or ("changes" in tables and version < _COUNTS_CHANGES)):
                raise CatalogueDamaged(f"the catalogue {path} is damaged: its version is lost; {_REBUILD}")
            migrate(connection, path)
            if check:
                _require_shape(connection, path)
            _require_tables(connection, path)
    return Database(path), not tables


@contextlib.contextmanager
def _judged(path: Path) -> Iterator[None]:
    """Turn what a catalogue that cannot be opened raises into a sentence of ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if _is_damage(error):
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {error}; {_REBUILD}") from error
        raise CatalogueError(f"cannot open the catalogue {path}: {error}") from error
    except UnicodeDecodeError as error:  # SQLite's own sentence quotes what it found.
        raise CatalogueDamaged(f"the catalogue {path} is damaged: {_NO_TEXT}; {_REBUILD}") from error
    except OSError as error:
        raise CatalogueError(f"cannot open the catalogue {path}: {error.strerror}") from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell whether the file is at fault. A check of ours, and a text that is none, have no code of SQLite's."""
    if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
        return False
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE


def _require_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Raise CatalogueDamaged if a table is not there, or one that always has a row has none."""
    for table in _TABLES:
        try:
            found = connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608  # our words
        except sqlite3.OperationalError as error:
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {error}; {_REBUILD}") from error
        if found is None and table in _ONE_ROW:
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {table} is empty; {_REBUILD}")


def _require_shape(connection: sqlite3.Connection, path: Path) -> None:
    """Raise CatalogueDamaged if the schema is not the one that the migrations make."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
        make(other)
        found, wanted = dict(connection.execute(_SHAPE)), dict(other.execute(_SHAPE))
    if wrong := [name for name in wanted if found.get(name) != wanted[name]]:
        raise CatalogueDamaged(
            f"the catalogue {path} is damaged: {wrong[0]} is not as it was made; {_REBUILD}"
        )


def _bring_up(database: Database, path: Path, *, is_new: bool, check: bool) -> None:
    """Give a catalogue back what its copies know better. Without ``check`` a look at two numbers decides."""
    vault = Vault(path)
    if not is_new and not check:
        with database.read() as connection:
            if vault.number() <= change_number(connection):
                return
    with database.write() as connection:
        if is_new:  # Unless another program was faster.
            saved = salvage(path, connection) if change_number(connection) == 0 else None
            why = "was not there and was begun anew"
        else:
            saved = _compared(vault, connection)
            why = "had lost changes"
    if saved is not None:
        _note(_free_name(path), f"the catalogue {why}: {saved}")


def _compared(vault: Vault, connection: sqlite3.Connection) -> Salvaged | None:
    """Put back what a sealed copy knows better than a catalogue that is whole, or have it sealed anew."""
    copy = next(iter(vault.copies()), None)
    try:
        ours = copy_of(connection)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        if copy is None or not copy.is_newest:
            raise
        return put_back(vault, copy, connection)
    if copy is not None and (
        copy.number > ours.number
        or (copy.number == ours.number and copy.is_newest and not copy.says_the_same(ours))
    ):
        return put_back(vault, copy, connection)
    if not vault.is_up_to(ours.number):
        connection.execute("UPDATE changes SET number = number + 1")
    return None


def _free_name(path: Path) -> Path:
    """Return a name beside the catalogue for one that was damaged just now."""
    moment = datetime.now(UTC)
    while True:
        aside = path.with_name(f"{path.name}{_ASIDE}{moment:%Y%m%d-%H%M%S}")
        if not aside.exists() and not aside.with_name(aside.name + _NOTE).exists():
            return aside
        moment += timedelta(seconds=1)


def _note(aside: Path, what: str) -> None:
    """Keep for the status what was brought back; say it in the log as well."""
    sentence = _sentence(what, aside)
    log.critical("%s", sentence)
    note = aside.with_name(aside.name + _NOTE)
    try:
        note.touch(0o600)
        note.write_text(sentence, encoding="utf-8")
    except OSError as error:
        log.error("cannot write %s%s: %s", aside, _NOTE, error.strerror)


def _sentence(what: str, aside: Path) -> str:
    return f"{what}; then remove what is kept of it with: rm {aside}*"


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
