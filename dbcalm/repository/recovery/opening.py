"""Opening the catalogue: made where there is none, brought to this program's version, checked, and put aside where it
is damaged."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, literal, select, update

from dbcalm.errors import CatalogueDamaged, CatalogueError
from dbcalm.logger import log
from dbcalm.repository.engine import NO_TEXT, Database, connect, driver_of, is_damage, opened
from dbcalm.repository.migrations.runner import make, migrate, version_of
from dbcalm.repository.recovery.copies import require_whole
from dbcalm.repository.recovery.remains import free_name, note
from dbcalm.repository.recovery.salvage import Salvaged, put_back, salvage
from dbcalm.repository.recovery.sealed import Vault, change_number, copy_of
from dbcalm.repository.tables import CHANGES, CURSOR, METADATA, SCHEMA

_REBUILD = "make it anew with: dbcalm catalogue rebuild"
_SUFFIXES = ("", "-wal", "-shm")
_COUNTS_CHANGES = 6
"""The version from which on a catalogue counts changes."""


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
        aside = free_name(path)
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
        note(aside, f"the catalogue was damaged and begun anew: {saved}")
        return database


def _opened(path: Path, *, check: bool = False) -> tuple[Database, bool]:
    """Return the catalogue and whether it is a new one, without a look at its copies. Raise as ``open_database``."""
    with _judged(path):
        _secure(path)
        with opened(lambda: connect(path)) as connection:
            if check:
                require_whole(connection)
            tables = set(connection.scalars(select(SCHEMA.c.name).where(SCHEMA.c.type == "table")))
            version = version_of(driver_of(connection))
            if tables and (version == 0 or (CHANGES.name in tables and version < _COUNTS_CHANGES)):
                raise CatalogueDamaged(f"the catalogue {path} is damaged: its version is lost; {_REBUILD}")
            migrate(driver_of(connection), path)
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
        if is_damage(error):
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {error}; {_REBUILD}") from error
        raise CatalogueError(f"cannot open the catalogue {path}: {error}") from error
    except UnicodeDecodeError as error:  # SQLite's own sentence quotes what it found.
        raise CatalogueDamaged(f"the catalogue {path} is damaged: {NO_TEXT}; {_REBUILD}") from error
    except OSError as error:
        raise CatalogueError(f"cannot open the catalogue {path}: {error.strerror}") from error


def _require_tables(connection: Connection, path: Path) -> None:
    """Raise CatalogueDamaged if a table is not there, or one that always has a row has none."""
    for table in METADATA.tables.values():
        try:
            found = connection.scalar(select(literal(1)).select_from(table).limit(1))
        except sqlite3.OperationalError as error:
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {error}; {_REBUILD}") from error
        if found is None and table in (CURSOR, CHANGES):
            raise CatalogueDamaged(f"the catalogue {path} is damaged: {table} is empty; {_REBUILD}")


def _require_shape(connection: Connection, path: Path) -> None:
    """Raise CatalogueDamaged if the schema is not the one that the migrations make."""
    shape = select(SCHEMA.c.name, SCHEMA.c.sql)
    with opened(lambda: sqlite3.connect(":memory:", isolation_level=None)) as other:
        make(driver_of(other))
        found, wanted = (dict(each.execute(shape).all()) for each in (connection, other))
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
        note(free_name(path), f"the catalogue {why}: {saved}")


def _compared(vault: Vault, connection: Connection) -> Salvaged | None:
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
        connection.execute(update(CHANGES).values(number=CHANGES.c.number + 1))
    return None


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
