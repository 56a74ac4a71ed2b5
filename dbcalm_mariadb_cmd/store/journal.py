"""The journal: what happened to jobs, one JSON line an event, append-only, synced, private to ``mysql``.

It is the truth about jobs; whatever else knows of them is a copy. Readers stop at the last whole line, and pass over
what nobody ever wrote so (``chain`` says how that is told): a line that was torn by a power cut is closed by the next
append, and then passed over too.

Beside it lie ``journal.tip``, which says how far it reached when somebody was last told of an event, so that a lost end
is found; ``journal.1``, what it was before it was last shortened; and ``journal.damaged-<time>``, what it was before it
was begun anew because something in it was damaged.
"""

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dbcalm_cmd.process import utc_now
from dbcalm_mariadb_cmd.adapter.files import sync_folder, write_all
from dbcalm_mariadb_cmd.adapter.small_files import new_file, open_regular, read_small
from dbcalm_mariadb_cmd.store.journal_lines import (
    Event,
    Fault,
    Follower,
    Line,
    Link,
    in_order,
    line_of,
    sealed_line,
)

__all__ = ["PAGE", "Event", "Journal", "Page"]

PAGE = 1 << 19
"""Bytes that are read at once."""

_FIRST_LINE = 4096
_KNOWN = 16
_ASIDE_KEPT = 5
_TOLD = 3


@dataclass(frozen=True)
class Tip:
    """How far a journal reached: its bytes, and its last line."""

    id: str
    size: int
    link: Link


@dataclass(frozen=True)
class Earlier:
    """What the journal was before it was shortened: that journal's id and its bytes, and where in the present one that
    goes on which comes after them."""

    id: str
    size: int
    here: int


@dataclass(frozen=True)
class Page:
    """Events of the journal of this id, the offset in it to go on from, and whether there are more already."""

    id: str
    offset: int
    events: list[Event]
    more: bool


class Journal:
    """One journal file. Several processes may append to it and read it at once.

    ``id`` names the file, so that a reader which remembers an offset notices when it is another journal. ``now`` tells
    the time that events get, and by which everything else that the service does is timed.
    """

    def __init__(self, path: Path, now: Callable[[], str] = utc_now) -> None:
        self.now = now
        self._path = path
        self._earlier_path = path.with_name(f"{path.name}.1")
        self._tip_path = path.with_name(f"{path.name}.tip")
        self._known: dict[tuple[str, int], Link] = {}
        self._swapping = threading.RLock()
        self._clear_the_place()
        with self._locked() as descriptor:
            size = os.fstat(descriptor).st_size
            if size <= _FIRST_LINE and b"\n" not in os.pread(descriptor, _FIRST_LINE, 0):
                os.ftruncate(descriptor, 0)  # New, or torn before anything was told; or all of it is lost.
                if self._tip(None) is not None:
                    self._free_aside().touch(0o600)
                self._write_first(descriptor)
            self.id, self._earlier = _first_line(descriptor)

    def append(self, event: str, **fields: object) -> None:
        """Add an event with the present time; it is on the device when this returns. Raise OSError otherwise."""
        with self._locked() as descriptor:
            self._append(descriptor, {"event": event, "at": self.now(), **fields})

    def size(self) -> int:
        """Return the bytes of the journal."""
        return self._path.stat().st_size

    def read(self, offset: int, at_most: int = PAGE) -> tuple[list[Event], int]:
        """Return events that begin at or after an offset, and the offset to go on from. About so many bytes at most; no
        event and the same offset means that there is nothing new."""
        with self._swapping:
            return self._read(self._path, self.id, offset, at_most)

    def read_on(self, id: str, offset: int, at_most: int = PAGE) -> Page:
        """Return the events that come after an offset in the journal of an id. Where that has been shortened since,
        they are those of the earlier journal first; whoever knows another journal, or none, begins at the beginning."""
        with self._swapping:
            return self._read_on(id, offset, at_most)

    def _read_on(self, id: str, offset: int, at_most: int) -> Page:
        earlier, size = self._earlier, self.size()
        if id == self.id or earlier is None:
            offset = offset if id == self.id else 0
        elif id == earlier.id and offset >= earlier.size:
            offset = earlier.here
        elif (found := self._read_earlier(earlier, offset if id == earlier.id else 0, at_most)) is not None:
            return found
        else:
            offset = earlier.here if id == earlier.id else 0
        events, following = self.read(offset, at_most)
        return Page(self.id, following, events, following < size and following != offset)

    def all(self) -> Iterator[Event]:
        """Yield every event from the beginning on."""
        offset = 0
        while True:
            events, following = self.read(offset)
            if following == offset:
                return
            yield from events
            offset = following

    def faults(self) -> list[Fault]:
        """Return what is wrong with it, line by line."""
        with self._locked() as descriptor:  # So that no line is half-written.
            size, tip = os.fstat(descriptor).st_size, self._tip(self.id)
        _, follower = _followed(self._path, size, tip.link if tip else None)
        if self.id.startswith(_NO_ID) and not any(fault.line == 1 for fault in follower.faults):
            return [Fault(1, "is damaged"), *follower.faults]
        return follower.faults

    def problems(self) -> list[str]:
        """Return sentences on what is wrong with it, and on what was before it was begun anew, with what to type."""
        told = [
            f"line {fault.line} of {self._path} {fault.what} and is passed over" for fault in self.faults()
        ]
        if told:
            told = [
                *told[:_TOLD],
                *([f"{len(told) - _TOLD} more of its lines are"] if len(told) > _TOLD else []),
            ]
            told[-1] += ": begin the journal anew with: systemctl restart dbcalm-mariadb-cmd"
        for aside in self._aside():
            where = ""
            with suppress(OSError):
                _, follower = _followed(aside, aside.lstat().st_size, None)
                where = f" at line {follower.faults[0].line}" if follower.faults else ""
            told.append(
                f"the journal of jobs was damaged{where} and begun anew: see that no backup or job is missing (dbcalm "
                f"backups list, dbcalm processes list), and then remove {aside}"
            )
        return told

    def mend(self) -> list[Fault]:
        """Begin it anew where something is wrong with it: with all its lines that are as they were written, in their
        order, and another id, so that all is read once more. What it was is kept aside. Return what was wrong.

        To be called while no job runs: what an older version's runner appends would be lost."""
        faults = self.faults()
        if faults:
            with self._locked() as descriptor:
                tip = self._tip(self.id)
                good, follower = _followed(
                    self._path, os.fstat(descriptor).st_size, tip.link if tip else None
                )
                ordered = in_order([*good, *follower.strays])
                events = [line.event for line in ordered if line.event.get("event") != "journal"]
                self._begin_anew(events, None, self._free_aside())
            for old in self._aside()[:-_ASIDE_KEPT]:
                old.unlink(missing_ok=True)
        return faults

    def shorten(self, kept: Callable[[Sequence[Event]], Iterable[int]]) -> None:
        """Go on with those of its events alone of which ``kept`` gives the places; raise OSError. What it was becomes
        the earlier journal. To be called while no job runs, as ``mend``, and when all who read it have read the earlier
        one to its end."""
        with self._locked() as descriptor:
            size = os.fstat(descriptor).st_size
            lines, _ = _followed(self._path, size, None)
            events = [line.event for line in lines if line.event.get("event") != "journal"]
            self._begin_anew([events[place] for place in kept(events)], size, self._earlier_path)

    def _begin_anew(self, events: Sequence[Event], shortened: int | None, aside: Path) -> None:
        """Put a journal of these events in the place of the present one, which is kept under another name. A power cut
        leaves one or the other."""
        fresh = self._path.with_name(f"{self._path.name}.new")
        first: Event = {"event": "journal", "at": self._begun_at(events), "id": os.urandom(16).hex()}
        earlier = Earlier(self.id, shortened, 0) if shortened is not None else None
        content, link = _content(first, earlier, events)
        descriptor = new_file(fresh)
        try:
            os.fchmod(descriptor, 0o600)
            write_all(descriptor, memoryview(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        other = aside.with_name(f"{aside.name}.new")
        other.unlink(missing_ok=True)
        os.link(self._path, other, follow_symlinks=False)
        other.replace(aside)
        sync_folder(self._path.parent)
        with self._swapping:
            fresh.replace(self._path)
            with open(open_regular(self._path), "rb", buffering=0) as file:
                self.id, self._earlier = _first_line(file.fileno())
        sync_folder(self._path.parent)
        self._write_tip(Tip(self.id, len(content), link))

    def _begun_at(self, events: Sequence[Event]) -> object:
        """Return the time of the first line of a journal of these events. The clock is judged by the times of the
        lines: so it is that of the present one's if they begin as that does, else that of the first of them."""
        (first, second), at = ([*self.read(0, _FIRST_LINE)[0], {}, {}])[:2], self.now()
        if first.get("event") != "journal" or (events and second != events[0]):
            first = events[0] if events else {}
        return first.get("at", at)

    def _read_earlier(self, earlier: Earlier, offset: int, at_most: int) -> Page | None:
        """Return a page of the earlier journal; None if it is not there, or has no more events."""
        try:
            with open(open_regular(self._earlier_path), "rb", buffering=0) as file:
                if _first_line(file.fileno())[0] != earlier.id:
                    return None
            events, following = self._read(self._earlier_path, earlier.id, offset, at_most)
        except OSError:
            return None
        return None if following == offset else Page(earlier.id, following, events, True)

    def _read(self, path: Path, id: str, offset: int, at_most: int) -> tuple[list[Event], int]:
        with open(open_regular(path), "rb") as file:
            file.seek(offset if offset <= os.fstat(file.fileno()).st_size else 0)
            chunk = file.read(at_most)
            if b"\n" not in chunk:
                chunk += file.readline()  # One long event, such as a restore of a chain of a thousand links.
            start = file.tell() - len(chunk)
            at_end = not file.read(1)
        whole = chunk.rfind(b"\n") + 1
        follower = Follower(self._known.get((id, start), None if start else Link()))
        pieces = chunk[:whole].split(b"\n")[:-1]
        lines = [line for raw in pieces for line in follower.take(raw)]
        if held := follower.held():
            if at_end or held == len(pieces):
                tip = self._tip(id)
                lines += follower.rest(tip.link if tip and at_end else None)
            else:  # What names them comes with the next page.
                whole -= sum(len(raw) + 1 for raw in pieces[-held:])
                return [line.event for line in lines], start + whole
        if follower.link is not None:
            self._known[id, start + whole] = follower.link
            while len(self._known) > _KNOWN:
                self._known.pop(next(iter(self._known)), None)
        return [line.event for line in lines], start + whole

    def _append(self, descriptor: int, event: Event) -> None:
        size = os.fstat(descriptor).st_size
        last, torn = self._last(descriptor, size)
        line, link = sealed_line(event, last)
        line = (b"\n" if torn else b"") + line + b"\n"
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError("the journal's disk is full")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        self._write_tip(Tip(self.id, size + len(line), link))

    def _write_first(self, descriptor: int) -> None:
        line, link = sealed_line({"event": "journal", "at": self.now(), "id": os.urandom(16).hex()}, Link())
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
        sync_folder(self._path.parent)
        self._write_tip(Tip(_first_line(descriptor)[0], len(line) + 1, link))

    def _last(self, descriptor: int, size: int) -> tuple[Link, bool]:
        """Return the end of the chain, and whether the last line has no end. The lines that others have appended since
        the tip was written, such as an older version, are looked at; where the tip is beyond the end, lines are lost,
        and the chain goes on from what they were."""
        tip = self._tip(self.id)
        if tip is not None and tip.size == size:
            return tip.link, False
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        if tip is not None and tip.size > size:
            return tip.link, torn
        follower = Follower(tip.link if tip else Link())
        for raw in _lines(self._path, size, tip.size if tip else 0, torn=True):
            follower.take(raw)
        return follower.link or Link(), torn

    def _tip(self, id: str | None) -> Tip | None:
        """Return how far the journal of this id, or any, is told to have reached."""
        try:
            content = read_small(self._tip_path, _FIRST_LINE).decode("ascii")
            words, _, own = content.rstrip("\n").rpartition(" ")
            found, size, number, last = words.split(" ")
            if own == _check(words) and id in (found, None):
                return Tip(found, int(size), Link(int(number), last))
        except (OSError, ValueError):
            pass
        return None

    def _write_tip(self, tip: Tip) -> None:
        """Write down how far it reaches. It is not synced: one that is older than the journal says less, and nothing
        that is wrong."""
        words = f"{tip.id} {tip.size:020} {tip.link.number:016} {tip.link.sum}"
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._tip_path, flags, 0o600)
            try:
                os.pwrite(descriptor, f"{words} {_check(words)}\n".encode(), 0)
            finally:
                os.close(descriptor)

    def _clear_the_place(self) -> None:
        """Put away what is no file and lies in the journal's place."""
        try:
            if stat.S_ISREG(self._path.lstat().st_mode):
                return
        except FileNotFoundError:
            return
        self._path.rename(self._free_aside())

    def _aside(self) -> list[Path]:
        return sorted(self._path.parent.glob(f"{self._path.name}.damaged-*"))

    def _free_aside(self) -> Path:
        name = f"{self._path.name}.damaged-{self.now()[:26].translate({ord(mark): None for mark in '-:.Z'})}"
        return self._path.with_name(name)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the lock of the file that has the journal's name: one that waited for it may have another one's."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        while True:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                try:
                    present = self._path.lstat()
                except FileNotFoundError:
                    present = None
                if present is not None and os.path.samestat(present, os.fstat(descriptor)):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)


_NO_ID = "damaged-"


def _first_line(descriptor: int) -> tuple[str, Earlier | None]:
    """Return the id of a journal and what it goes on from. Where its first line is damaged it has an id that only this
    damage has."""
    beginning = os.pread(descriptor, _FIRST_LINE, 0)
    line = line_of(beginning.split(b"\n")[0]) if b"\n" in beginning else None
    event = line.event if line else None
    if event is None or event.get("event") != "journal" or not isinstance(event.get("id"), str):
        return _NO_ID + hashlib.sha256(beginning.split(b"\n")[0]).hexdigest()[:24], None
    earlier = event.get("earlier")
    if not isinstance(earlier, dict):
        return str(event["id"]), None
    return str(event["id"]), Earlier(str(earlier["id"]), int(earlier["size"]), int(earlier["here"]))


def _content(first: Event, earlier: Earlier | None, events: Sequence[Event]) -> tuple[bytes, Link]:
    """Return a journal that begins with this line, and the end of its chain. Where it goes on from an earlier one, the
    first line says at which byte: behind these events. That number has the same length whatever it is."""
    if earlier is None:
        return _joined([first, *events])
    told = {"id": earlier.id, "size": earlier.size}
    content, _ = _joined([{**first, "earlier": {**told, "here": f"{0:020}"}}, *events])
    return _joined([{**first, "earlier": {**told, "here": f"{len(content):020}"}}, *events])


def _joined(events: Iterable[Event]) -> tuple[bytes, Link]:
    link, lines = Link(), []
    for event in events:
        line, link = sealed_line(event, link)
        lines.append(line + b"\n")
    return b"".join(lines), link


def _followed(path: Path, size: int, told: Link | None) -> tuple[list[Line], Follower]:
    """Return the lines of a journal of so many bytes that are good, and who followed them to the end."""
    follower = Follower(Link())
    good = [line for raw in _lines(path, size) for line in follower.take(raw)]
    return [*good, *follower.rest(told)], follower


def _lines(path: Path, size: int, start: int = 0, *, torn: bool = False) -> Iterator[bytes]:
    """Yield the lines of the first so many bytes of a journal, from a byte on, without their newlines; with ``torn``
    also what comes after the last newline."""
    rest = b""
    with open(open_regular(path), "rb", buffering=0) as file:
        file.seek(start)
        left = size - start
        while left > 0 and (chunk := file.read(min(left, PAGE))):
            left -= len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    if torn and rest:
        yield rest


def _check(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:8]
