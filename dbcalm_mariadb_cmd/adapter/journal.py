"""The journal: what happened to jobs, one JSON line an event, append-only, synced, private to ``mysql``.

It is the truth about jobs; whatever else knows of them is a copy. Readers stop at the last whole line. A line that was
torn by a power cut is closed by the next append and then skipped.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dbcalm_cmd.process import utc_now
from dbcalm_mariadb_cmd.shapes import legible

Event = dict[str, object]

PAGE = 1 << 19
"""Bytes that are read at once."""

_FIRST_LINE = 4096


class Journal:
    """One journal file. Several processes may append to it and read it at once.

    ``id`` names the file, so that a reader which remembers an offset notices when it is another journal. ``now`` tells
    the time that events get, and by which everything else that the service does is timed.
    """

    def __init__(self, path: Path, now: Callable[[], str] = utc_now) -> None:
        self.now = now
        self._path = path
        with self._locked() as descriptor:
            if b"\n" not in os.pread(descriptor, _FIRST_LINE, 0):  # New, or torn before anything was told.
                os.ftruncate(descriptor, 0)
                _append(
                    descriptor,
                    {"event": "journal", "at": self.now(), "id": os.urandom(16).hex()},
                )
        with path.open("rb") as file:
            self.id = str(json.loads(file.readline())["id"])

    def append(self, event: str, **fields: object) -> None:
        """Add an event with the present time; it is on the device when this returns. Raise OSError otherwise."""
        with self._locked() as descriptor:
            _append(descriptor, {"event": event, "at": self.now(), **fields})

    def size(self) -> int:
        """Return the bytes of the journal."""
        return self._path.stat().st_size

    def read(self, offset: int, at_most: int = PAGE) -> tuple[list[Event], int]:
        """Return events that begin at or after an offset, and the offset to go on from. About so many bytes at most; no
        event and the same offset means that there is nothing new."""
        with self._path.open("rb") as file:
            file.seek(offset if offset <= os.fstat(file.fileno()).st_size else 0)
            chunk = file.read(at_most)
            if b"\n" not in chunk:
                chunk += file.readline()  # One long event, such as a restore of a chain of a thousand links.
            start = file.tell() - len(chunk)
        whole = chunk.rfind(b"\n") + 1
        return [event for line in chunk[:whole].splitlines() if (event := _decoded(line))], start + whole

    def all(self) -> Iterator[Event]:
        """Yield every event from the beginning on."""
        offset = 0
        while True:
            events, following = self.read(offset)
            if following == offset:
                return
            yield from events
            offset = following

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _append(descriptor: int, event: Event) -> None:
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    line = (b"\n" if torn else b"") + json.dumps(legible(event), separators=(",", ":")).encode() + b"\n"
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError("the journal's disk is full")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _decoded(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
