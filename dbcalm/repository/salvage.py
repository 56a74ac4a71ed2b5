"""Users, clients and schedules, brought back into a catalogue that has lost them or is older than its sealed copy.

The newest sealed copy is the truth, and nothing is added to it. Where that is gone too, the best of the older copies is
taken, without whom somebody has removed since, and then what can still be read in the damaged catalogue itself. Its
pages are only read by way of its tables: what lies about in the file beside them may have been deleted.

Backups and jobs are not taken from there: the mysql service knows them better.
"""
# ruff: noqa: S608  # the names in the SQL are those of our own tables

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dbcalm.logger import log
from dbcalm.repository.copies import Copies
from dbcalm.repository.sealed import TABLES, Copy, Identity, Row, Vault, identities, told

_SUFFIXES = ("", "-wal")
_BEYOND = 1000
"""How far numbers go on beyond those of an older copy: what was given out since is given to nobody else."""

_MOST_PROBED = 100_000


@dataclass(frozen=True)
class Salvaged:
    """How many rows of each table were brought back, from where, and whether that is all there were."""

    counts: Mapping[str, int]
    source: str
    is_all: bool

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {table}" for table, count in self.counts.items())
        if self.is_all:
            return f"{counts} were brought back from {self.source}, made at the last change of them: none is missing"
        return (
            f"{counts} were brought back from {self.source}, and what was changed since is lost: see that none is "
            "missing or there again, with: dbcalm users list, dbcalm clients list, dbcalm schedules list"
        )


def salvage(path: Path, into: sqlite3.Connection, damaged: Path | None = None) -> Salvaged | None:
    """Bring these tables back into the catalogue at this path, which is new; return what came of it, None if there is
    nothing to bring back. The damaged file that was there before is not touched."""
    vault = Vault(path)
    copy = next(iter(vault.copies()), None) or next(Copies(path).copies(), None)
    brought = None if copy is None else put_back(vault, copy, into)
    if damaged is None or (copy is not None and copy.is_newest):
        return brought
    counts = dict.fromkeys(TABLES, 0) if brought is None else dict(brought.counts)
    removals = vault.removals(0 if copy is None else copy.number)
    with _copied(damaged) as old:
        for table in TABLES:
            counts[table] += _add(table, _unless(removals, table, _readable(table, old)), into)
    read = "what can be read of the damaged one"
    return Salvaged(counts, f"{brought.source} and {read}" if brought else read, is_all=False)


def put_back(vault: Vault, copy: Copy, into: sqlite3.Connection) -> Salvaged:
    """Make these tables of a catalogue what a copy says; one that is not the newest without what was removed since."""
    removals: frozenset[Identity] = frozenset() if copy.is_newest else vault.removals(copy.number)
    for table in TABLES:
        into.execute(f"DELETE FROM {table}")
    counts = {table: _add(table, _unless(removals, table, copy.rows[table]), into) for table in TABLES}
    beyond = 0 if copy.is_newest else _BEYOND
    _go_on_after(into, {table: number + beyond for table, number in copy.highest.items()})
    into.execute("UPDATE changes SET number = max(number, ?) + 1", (copy.number + beyond,))
    return Salvaged(counts, told(copy), is_all=copy.is_newest)


def _unless(removals: frozenset[Identity], table: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows that nobody has removed since."""
    for row in rows:
        if removals.isdisjoint(identities(table, [row])):
            yield row
        else:
            who = row.get("username") or row.get("label") or row.get("id")
            log.warning("of %s, %r stays away: it was removed, or has another password since", table, who)


def _add(table: str, rows: Iterable[Row], into: sqlite3.Connection) -> int:
    """Add the rows that are not there yet, each as it was or not at all; return how many those are."""
    known = {column[1] for column in into.execute(f"PRAGMA table_info({table})")}
    count = 0
    for row in rows:
        values = {name: value for name, value in row.items() if name in known}
        marks = ", ".join(f":{name}" for name in values)
        names = ", ".join(values)
        try:
            added = into.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", values
            )
        except (sqlite3.Error, OverflowError) as error:
            log.warning("a row of %s is left out: %s", table, error)
        else:
            count += added.rowcount
    return count


def _go_on_after(into: sqlite3.Connection, highest: Mapping[str, int]) -> None:
    """Give out no number again that was given out before."""
    for table, number in highest.items():
        if into.execute("SELECT 1 FROM sqlite_sequence WHERE name = ?", (table,)).fetchone() is None:
            into.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 0)", (table,))
        into.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table))


@contextlib.contextmanager
def _copied(damaged: Path) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(dir=damaged.parent) as folder:
        copy = Path(folder, "copy")
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(damaged.with_name(damaged.name + suffix), f"{copy}{suffix}")
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as old:
            old.row_factory = sqlite3.Row
            yield old


def _readable(table: str, old: sqlite3.Connection) -> Iterator[Row]:
    """Yield the rows of a damaged table that can be read: from both its ends, and one by one between them."""
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT rowid AS its_rowid, * FROM {table} ORDER BY rowid {order}"):
                if row["its_rowid"] not in seen:
                    seen.add(row["its_rowid"])
                    yield dict(row)
            return
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            log.warning("not all of %s can be read in the damaged catalogue: %s", table, error)
    for number in range(min(seen, default=0), min(max(seen, default=0), _MOST_PROBED)):
        if number not in seen:
            with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
                found = old.execute(f"SELECT rowid AS its_rowid, * FROM {table} WHERE rowid = ?", (number,))
                yield from map(dict, found)
