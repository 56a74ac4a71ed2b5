"""The sealed copy: all users, clients and schedules in a small file beside the catalogue, written anew at each change.

A damaged or lost catalogue gets them back from it. Each file has a checksum over all that it says and the number
of the change after which it was made, which the catalogue counts as well; so nobody has to guess which of the two is
newer. The copies before it are kept for the case that it is damaged itself.

An older copy must not bring back whom somebody has removed since, or a password that was replaced. So each removal is
written into a file of its own too, line by line, each with its checksum.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, select

from dbcalm.domain.model import times
from dbcalm.logger import log
from dbcalm.repository.tables import CHANGES, EVERYTHING, ROWID, SEQUENCE, raw
from dbcalm_cmd.process import utc_now

TABLES = ("users", "clients", "schedules")
"""What stands nowhere else. Backups and jobs are on disk and in the journal of the mysql service."""

_GENERATIONS = 4
_MOST_BYTES = 1 << 28
_MOST_HEADER = 256
_MOST_REMOVALS = 1 << 18
"""Bytes of the file of removals; of a longer one the newer half stays. An entry has about 120."""

Row = Mapping[str, Any]
Identity = tuple[str, str]
"""A table, and what names one row of it."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True)
class Copy:
    """The rows of these tables as they were after change ``number``. ``highest`` has the highest number that each table
    gave out; ``is_newest`` whether no change can have been made since."""

    number: int
    at: str
    rows: Mapping[str, Sequence[Row]]
    highest: Mapping[str, int]
    name: str = "sealed copy"
    is_newest: bool = False

    def says_the_same(self, other: "Copy") -> bool:
        """Tell whether both have the same rows and have given out the same numbers."""
        return (self.rows, self.highest) == (other.rows, other.highest)


def change_number(connection: Connection) -> int:
    """Return how many changes of these tables a catalogue has seen."""
    return int(connection.execute(select(CHANGES.c.number)).scalar_one())


def copy_of(connection: Connection, **about: Any) -> Copy:
    """Return what an open catalogue has. Raise sqlite3.Error where it cannot be read."""
    rows = {table: [dict(row) for row in connection.execute(_all(table)).mappings()] for table in TABLES}
    highest = dict(connection.execute(select(SEQUENCE.c.name, SEQUENCE.c.seq)).all())
    return Copy(
        **{
            "number": change_number(connection),
            "at": utc_now(),
            "rows": rows,
            "highest": {table: int(highest[table]) for table in TABLES if table in highest},
            **about,
        }
    )


def _all(table: str) -> Select[Any]:
    return select(EVERYTHING).select_from(raw(table)).order_by(ROWID)


def homes(catalogue: Path) -> list[Path]:
    """Return the folders in which copies lie: the catalogue's own and, where it was made, the one of the same name with
    ``-copies``, so that a folder that is lost takes not both. Others must not be able to enter it."""
    twin = catalogue.parent.with_name(f"{catalogue.parent.name}-copies")
    try:
        status = twin.lstat()
    except OSError:
        return [catalogue.parent]
    private = stat.S_ISDIR(status.st_mode) and not stat.S_IMODE(status.st_mode) & 0o077
    return [catalogue.parent, twin] if private and os.access(twin, os.W_OK) else [catalogue.parent]


class Vault:
    """The sealed copies of one catalogue in all homes, and who was removed."""

    def __init__(self, catalogue: Path) -> None:
        self._homes = [_Home(folder, catalogue.name) for folder in homes(catalogue)]

    def number(self) -> int:
        """Return the number of the newest copy, without reading it all; 0 where there is none or it is not one."""
        return max(home.number() for home in self._homes)

    def copies(self) -> Sequence[Copy]:
        """Return the copies that are whole, the newest first."""
        found = [copy for home in self._homes for copy in home.copies()]
        newest = max((copy.number for copy in found), default=0)
        judged = [replace(copy, is_newest=copy.is_newest and copy.number == newest) for copy in found]
        return sorted(judged, key=lambda copy: (copy.number, copy.is_newest), reverse=True)

    def newest(self) -> Copy | None:
        """Return the newest copy; None where it is missing or damaged everywhere, whatever the older ones are."""
        found = [copy for home in self._homes if (copy := home.newest()) is not None]
        return max(found, key=lambda copy: copy.number, default=None)

    def is_up_to(self, number: int) -> bool:
        """Tell whether each home has a whole copy that was made after this change; none need be before the first."""
        found = [home.newest() for home in self._homes]
        return all((copy.number if copy else 0) == number for copy in found)

    @contextlib.contextmanager
    def sealing(self, connection: Connection) -> Iterator[None]:
        """Write what the open transaction of the catalogue makes into new copies, before a block that commits it; if
        the block fails, they are taken back. A copy that cannot be written keeps no change from being made."""
        try:
            copy = copy_of(connection)
            before = self.newest()
            written = [home for home in self._homes if home.write(copy)]
        except (*_UNREADABLE, sqlite3.Error) as error:
            log.error("users, clients and schedules cannot be sealed: %s", error)
            yield
            return
        try:
            yield
        except BaseException:
            for home in written:
                home.take_back()
            raise
        if before is not None and (gone := _gone(before, copy)):
            for home in self._homes:
                home.note_removals(copy.number, gone)

    def removals(self, after: int) -> frozenset[Identity]:
        """Return who was removed or got another password after this change."""
        return frozenset(who for home in self._homes for who in home.removals(after))


class _Home:
    """The copies in one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._newest = folder / f"{name}.sealed"
        self._removals = folder / f"{name}.removed"

    def number(self) -> int:
        try:
            with _opened(self._newest) as file:
                return int(_header(file.readline(_MOST_HEADER))["number"])
        except _UNREADABLE:
            return 0

    def copies(self) -> Iterator[Copy]:
        for generation in range(_GENERATIONS):
            path = self._path(generation)
            try:
                yield _read(path, is_newest=generation == 0)
            except FileNotFoundError:
                pass
            except _UNREADABLE as error:
                log.warning("the sealed copy %s is damaged and cannot be used: %s", path, error)

    def newest(self) -> Copy | None:
        try:
            return _read(self._newest, is_newest=True)
        except _UNREADABLE:
            return None

    def write(self, copy: Copy) -> bool:
        """Write a new copy, and keep those of before; log why that cannot be, and return whether it could."""
        said = {"at": copy.at, "rows": copy.rows, "highest": copy.highest}
        body = json.dumps(said, separators=(",", ":")).encode()
        header = {"number": copy.number, "sha256": _digest(copy.number, body)}
        try:
            aside = self._newest.with_name(f"{self._newest.name}.new")
            _write_durably(aside, json.dumps(header).encode() + b"\n" + body)
            for generation in reversed(range(1, _GENERATIONS - 1)):
                with contextlib.suppress(FileNotFoundError):
                    self._path(generation).replace(self._path(generation + 1))
            with contextlib.suppress(FileNotFoundError):
                os.link(self._newest, self._path(1))  # At no moment is there none.
            aside.replace(self._newest)
            sync(self._newest.parent)
        except OSError as error:
            log.error("the sealed copy %s cannot be written: %s", self._newest, error)
            return False
        return True

    def take_back(self) -> None:
        """Undo the last ``write``; the older copies have moved by one, and may."""
        with contextlib.suppress(OSError):
            try:
                self._path(1).replace(self._newest)
            except FileNotFoundError:
                self._newest.unlink()
            sync(self._newest.parent)

    def removals(self, after: int) -> Iterator[Identity]:
        try:
            with _opened(self._removals) as file:
                lines = file.read(_MOST_BYTES).splitlines()
        except OSError:
            return
        for line in lines:
            entry = _removal(line)
            if entry is not None and entry["number"] > after:
                yield entry["table"], entry["identity"]

    def note_removals(self, number: int, gone: Sequence[Identity]) -> None:
        """Add who is gone; the copy itself is without them, so that all is well where this cannot be written."""
        entries = [{"number": number, "table": table, "identity": name} for table, name in gone]
        # A line begins with its newline: one that a power cut tore spoils no other.
        with contextlib.suppress(OSError):
            _append_durably(self._removals, b"".join(b"\n" + _removal_line(entry) for entry in entries))
            if self._removals.stat().st_size > _MOST_REMOVALS:
                self._shorten_removals()

    def _shorten_removals(self) -> None:
        with _opened(self._removals) as file:
            content = file.read(_MOST_BYTES)
        aside = self._removals.with_name(f"{self._removals.name}.new")
        _write_durably(aside, content[len(content) // 2 :])
        aside.replace(self._removals)
        sync(self._removals.parent)

    def _path(self, generation: int) -> Path:
        return self._newest.with_name(self._newest.name + (f".{generation}" if generation else ""))


def _gone(before: Copy, after: Copy) -> list[Identity]:
    there = {one for table in TABLES for one in identities(table, after.rows[table])}
    return [one for table in TABLES for one in identities(table, before.rows[table]) if one not in there]


def identities(table: str, rows: Iterable[Row]) -> Iterator[Identity]:
    """Yield what names each row: a user with another password is another one."""
    for row in rows:
        yield table, f"{row.get('id')}/{row.get('generation')}" if table == "users" else str(row.get("id"))


def _digest(number: int, body: bytes) -> str:
    return hashlib.sha256(b"%d\n" % number + body).hexdigest()


def _header(line: bytes) -> Mapping[str, Any]:
    header = json.loads(line)
    if not isinstance(header, dict) or type(header["number"]) is not int:
        raise ValueError("its first line is not one of a sealed copy")
    return header


def _read(path: Path, *, is_newest: bool) -> Copy:
    with _opened(path) as file:
        header, body = _header(file.readline(_MOST_HEADER)), file.read(_MOST_BYTES)
    number = header["number"]
    if header["sha256"] != _digest(number, body):
        raise ValueError("its checksum differs")
    said = json.loads(body)
    return Copy(number, said["at"], said["rows"], said["highest"], is_newest=is_newest)


def _removal_line(entry: Mapping[str, Any]) -> bytes:
    said = json.dumps(entry, separators=(",", ":")).encode()
    return hashlib.sha256(said).hexdigest()[:16].encode() + b" " + said


def _removal(line: bytes) -> Mapping[str, Any] | None:
    """Return what a line of the file of removals says; None if it is damaged."""
    digest, _, said = line.partition(b" ")
    if hashlib.sha256(said).hexdigest()[:16].encode() != digest:
        return None
    entry: Mapping[str, Any] = json.loads(said)
    return entry


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a plain file of a size that one of ours can have; nothing is followed or waited for. Raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise OSError(f"{path} is no plain file of less than {_MOST_BYTES} bytes")
        yield file


def _write_durably(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _append_durably(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Send a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def told(copy: Copy) -> str:
    """Return which copy this is and how old, as people say it."""
    return f"the {copy.name} of {times.short(copy.at)}"
