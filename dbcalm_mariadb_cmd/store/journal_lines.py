"""The lines of the journal: each vouches for itself, and for the one that came before it.

A line ends with its number, the checksum of the line before it and its own. So a flipped bit shows in the line itself;
a line that is lost, doubled or in another's place shows in the next. Older versions wrote lines without any of that:
they are taken as they are, and the checksum of their bytes is what the next line names.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dbcalm_mariadb_cmd.command.shapes import legible

Event = dict[str, object]

_TAIL = re.compile(rb',"n":([0-9]{1,15}),"after":"([0-9a-f]{16})","sum":"([0-9a-f]{16})"\}')
_LONGEST_TAIL, _SUM_LENGTH = 80, len(',"sum":""}') + 16
_MARKS = (b'"after":"', b'"sum":"')
"""What stands in a line of ours, also where a bit of the rest of its end was flipped. In a text it has backslashes."""

_OURS = ("n", "after", "sum")
_NOTHING = "0" * 16


@dataclass(frozen=True)
class Link:
    """The end of the chain: the number of the last line that has one, and the checksum of the last line."""

    number: int = 0
    sum: str = _NOTHING


@dataclass(frozen=True)
class Line:
    """A line that is as it was written. One of an older version has no number."""

    number: int | None
    after: str
    sum: str
    event: Event


@dataclass(frozen=True)
class Fault:
    """Something is wrong at a line, which is counted from 1."""

    line: int
    what: str


def sealed_line(event: Event, last: Link) -> tuple[bytes, Link]:
    """Return the line of an event that comes after this link, without its newline, and the link that it is."""
    body = json.dumps(
        {**legible(event), "n": last.number + 1, "after": last.sum}, separators=(",", ":")
    ).encode()[:-1]
    own = _sum(body)
    return body + f',"sum":"{own}"}}'.encode(), Link(last.number + 1, own)


def line_of(raw: bytes) -> Line | None:
    """Return the line of these bytes, without the newline; None if nobody ever wrote it so."""
    tail = _TAIL.search(raw, max(0, len(raw) - _LONGEST_TAIL))
    if tail is not None and tail.end() == len(raw):
        own = tail[3].decode()
        if _sum(raw[:-_SUM_LENGTH]) != own or (event := _event(raw)) is None:
            return None
        for name in _OURS:
            event.pop(name, None)
        return Line(int(tail[1]), tail[2].decode(), own, event)
    if any(mark in raw for mark in _MARKS) or (event := _event(raw)) is None:
        return None
    return Line(None, "", _sum(raw), event)


def _event(raw: bytes) -> Event | None:
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


class Follower:
    """Takes the lines of a journal in their order, and gives those that are as they were written and stand where they
    were written. ``link`` is the line before the first of them, None where nothing is known of it.

    A line of an older version vouches for nothing. Between ours it is held back until the next of ours has named it."""

    def __init__(self, link: Link | None = None) -> None:
        self.link = link
        self.faults: list[Fault] = []
        self.strays: list[Line] = []
        self.held_since = 0
        self._held: list[Line] = []
        self._count = 0
        self._doubtful: int | None = None

    def take(self, raw: bytes) -> list[Line]:
        """Take the next line; return those that are known to be good by now."""
        self._count += 1
        line = line_of(raw)
        if line is None:
            # One that was torn when it was written is nothing that anybody was told of: the next line will tell.
            self._doubtful = self._doubtful or (self._count if raw else None)
            return []
        if line.number is None:
            return self._hold_back(line)
        if self.link is None:
            self.link = Link(line.number, line.sum)
            return [line]
        if line.number <= self.link.number:
            self.faults.append(Fault(self._count, "stands in the wrong place, or twice"))
            self.strays.append(line)
            return []
        return [*self._confirmed(line.number - 1, line.after, self._count), self._linked(line)]

    def held(self) -> int:
        """Return how many lines have passed since the first of those that are held back; 0 where none is."""
        return self._count - self.held_since + 1 if self._held else 0

    def rest(self, told: Link | None) -> list[Line]:
        """Return what is held back, as there are no more lines. ``told`` is the last of which somebody was told, None
        where that is not known: what comes after it an older version has written."""
        if self.link is None or told is None or told.number <= self.link.number:
            good, self._held = self._held, []
            return good
        return self._confirmed(told.number, told.sum, self._count + 1, at_end=True)

    def _hold_back(self, line: Line) -> list[Line]:
        if self.link is None:
            return [line]
        if not self._held:
            self.held_since = self._count
        self.link = Link(self.link.number, _sum(f"{self.link.sum}{line.sum}".encode()))
        if self.link.number == 0:
            return [line]
        self._held.append(line)
        return []

    def _confirmed(self, number: int, sum: str, place: int, *, at_end: bool = False) -> list[Line]:
        """Return what was held back, if this names the last line; else note what is wrong."""
        assert self.link is not None
        held, self._held, doubtful, self._doubtful = self._held, [], self._doubtful, None
        if (number, sum) == (self.link.number, self.link.sum):
            return held
        if held:
            self.faults.append(Fault(self.held_since, "is damaged"))
        elif doubtful is not None:
            self.faults.append(Fault(doubtful, "is damaged"))
        else:
            missing = number - self.link.number
            where = "is missing, or one after it" if at_end else "does not follow from the one before it"
            self.faults.append(Fault(place, f"{where} ({missing} missing)" if missing > 0 else where))
        return []

    def _linked(self, line: Line) -> Line:
        assert line.number is not None
        self.link = Link(line.number, line.sum)
        return line


def in_order(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield each line once and in the order in which they were written; one without a number stays behind the one that
    it stood behind."""
    placed: list[tuple[int, int, Line]] = []
    known: set[str] = set()
    last = 0
    for place, line in enumerate(lines):
        if line.number is not None:
            if line.sum in known:
                continue
            known.add(line.sum)
            last = line.number
        placed.append((last, place, line))
    yield from (line for _, _, line in sorted(placed, key=lambda one: one[:2]))


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
