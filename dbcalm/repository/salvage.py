"""What can still be read of a damaged catalogue and stands nowhere else: users, clients and schedules.

The rows are copied in the order in which they lie, as far as SQLite can read them; each goes in as it was or not at
all. Backups and jobs are not taken from there: the mysql service knows them better.
"""
# ruff: noqa: S608  # the names in the SQL are those of our own tables

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dbcalm.logger import log

_TABLES = ("users", "clients", "schedules")
_SUFFIXES = ("", "-wal")


def salvage(damaged: Path, into: sqlite3.Connection) -> Mapping[str, int]:
    """Copy what can be read of these tables into a new catalogue, where it has nothing of them yet; return how many
    rows of each that were. The damaged file is not touched."""
    with tempfile.TemporaryDirectory(dir=damaged.parent) as folder:
        copy = Path(folder, "copy")
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(damaged.with_name(damaged.name + suffix), f"{copy}{suffix}")
        found = {}
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as old:
            old.row_factory = sqlite3.Row
            for table in _TABLES:
                found[table] = _copy(table, old, into)
    return found


def _copy(table: str, old: sqlite3.Connection, into: sqlite3.Connection) -> int:
    if into.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
        return 0
    known = {column[1] for column in into.execute(f"PRAGMA table_info({table})")}
    count = 0
    for row in _readable(table, old):
        values = {name: row[name] for name in row.keys() if name in known}  # noqa: SIM118  # a Row is no dict
        marks = ", ".join(f":{name}" for name in values)
        try:
            into.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", values)
        except sqlite3.IntegrityError as error:
            log.warning("a row of %s in the damaged catalogue is left out: %s", table, error)
        else:
            count += 1
    return count


def _readable(table: str, old: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    try:
        yield from old.execute(f"SELECT * FROM {table}")
    except sqlite3.DatabaseError as error:
        log.warning("not all of %s can be read in the damaged catalogue: %s", table, error)
