"""Users, clients and schedules, brought back into a catalogue that has lost them or is older than its sealed copy.

The newest sealed copy is the truth, and nothing is added to it. Where that is gone too, the best of the older copies is
taken, without whom somebody has removed since, and then what can still be read in the damaged catalogue itself. Its
pages are only read by way of its tables: what lies about in the file beside them may have been deleted.

Backups and jobs are not taken from there: the mysql service knows them better.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from dbcalm.logger import log
from dbcalm.repository.engine import opened
from dbcalm.repository.recovery.copies import Copies
from dbcalm.repository.recovery.sealed import TABLES, Copy, Identity, Row, Vault, identities, told
from dbcalm.repository.tables import CHANGES, EVERYTHING, METADATA, ROWID, SEQUENCE, raw

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


def salvage(path: Path, into: Connection, damaged: Path | None = None) -> Salvaged | None:
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


def put_back(vault: Vault, copy: Copy, into: Connection) -> Salvaged:
    """Make these tables of a catalogue what a copy says; one that is not the newest without what was removed since."""
    removals: frozenset[Identity] = frozenset() if copy.is_newest else vault.removals(copy.number)
    for table in TABLES:
        into.execute(delete(METADATA.tables[table]))
    counts = {table: _add(table, _unless(removals, table, copy.rows[table]), into) for table in TABLES}
    beyond = 0 if copy.is_newest else _BEYOND
    _go_on_after(into, {table: number + beyond for table, number in copy.highest.items()})
    into.execute(update(CHANGES).values(number=func.max(CHANGES.c.number, copy.number + beyond) + 1))
    return Salvaged(counts, told(copy), is_all=copy.is_newest)


def _unless(removals: frozenset[Identity], table: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows that nobody has removed since."""
    for row in rows:
        if removals.isdisjoint(identities(table, [row])):
            yield row
        else:
            who = row.get("username") or row.get("label") or row.get("id")
            log.warning("of %s, %r stays away: it was removed, or has another password since", table, who)


def _add(table: str, rows: Iterable[Row], into: Connection) -> int:
    """Add the rows that are not there yet, each as it was or not at all; return how many those are."""
    known = METADATA.tables[table].columns
    count = 0
    for row in rows:
        values = {name: value for name, value in row.items() if name in known}
        try:
            added = into.execute(insert(raw(table, *values)).values(values).on_conflict_do_nothing())
        except (sqlite3.Error, OverflowError) as error:
            log.warning("a row of %s is left out: %s", table, error)
        else:
            count += added.rowcount
    return count


def _go_on_after(into: Connection, highest: Mapping[str, int]) -> None:
    """Give out no number again that was given out before."""
    for table, number in highest.items():
        its = SEQUENCE.c.name == table
        known = into.scalar(select(SEQUENCE.c.seq).where(its))
        if known is None:
            into.execute(insert(SEQUENCE).values(name=table, seq=number))
        else:
            into.execute(update(SEQUENCE).where(its).values(seq=max(known, number)))


@contextlib.contextmanager
def _copied(damaged: Path) -> Iterator[Connection]:
    with tempfile.TemporaryDirectory(dir=damaged.parent) as folder:
        copy = Path(folder, "copy")
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(damaged.with_name(damaged.name + suffix), f"{copy}{suffix}")
        with opened(lambda: sqlite3.connect(copy, isolation_level=None)) as old:
            yield old


def _readable(table: str, old: Connection) -> Iterator[Row]:
    """Yield the rows of a damaged table that can be read: from both its ends, and one by one between them."""
    its_number = ROWID.label("its_number")
    all_of_it: Select[Any] = select(its_number, EVERYTHING).select_from(raw(table))
    seen: set[int] = set()
    orders: tuple[ColumnElement[Any], ...] = (ROWID.asc(), ROWID.desc())
    for order in orders:
        try:
            for row in old.execute(all_of_it.order_by(order)).mappings():
                if row["its_number"] not in seen:
                    seen.add(row["its_number"])
                    yield dict(row)
            return
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            log.warning("not all of %s can be read in the damaged catalogue: %s", table, error)
    for number in range(min(seen, default=0), min(max(seen, default=0), _MOST_PROBED)):
        if number not in seen:
            with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
                yield from map(dict, old.execute(all_of_it.where(ROWID.in_([number]))).mappings())
