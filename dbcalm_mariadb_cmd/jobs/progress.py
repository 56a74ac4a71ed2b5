"""How far a job is, for whoever asks: a small file in its folder, replaced now and then: often while the job is young.

What a job does is counted in bytes, as that is what time goes with: those that the backup tool has copied, or has read
where it looks for changes, or that were brought back. Time in which none of them go by, such as that of a program's
start, is told in seconds, and weighed by how fast the bytes go. The percentage never goes back, not even in the next
process of a job, and is below 100 until the job has ended.
"""

import json
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.periodic import repeating
from dbcalm_mariadb_cmd.adapter.small_files import read_small, write_new

PROGRESS = "progress.json"

_SHORTEST, _LONGEST = 0.02, 0.5
"""Seconds between two looks: short jobs are looked at more often."""

_RATE_SECONDS = 10.0
_MOST_BEFORE_THE_END = 99
_FIRST_BYTES = 0.02
"""The share of its bytes that a program may go through while it starts, about: its log, the heads of all files."""

_GUESSED_PACE, _GUESSED_SECONDS = 1e9, 0.03
"""Bytes a second, until they have gone by for so long that it can be measured."""

_JOB_STARTS = 0.12
"""Seconds from the order to the process that does it, about."""


@dataclass(frozen=True)
class State:
    """What the file says. A job that an older version has started does not tell the later ones."""

    phase: str
    bytes_done: int
    bytes_total: int | None = None
    percent: int | None = None
    bytes_per_second: int | None = None
    seconds_left: int | None = None


@dataclass(frozen=True)
class _Worked:
    """What is done: weighed bytes, the seconds of those that were foreseen in which none go by, and those in which the
    bytes went by."""

    work: float
    seconds: float
    flowing: float

    def plus(self, more: "_Worked") -> "_Worked":
        """Return both together."""
        return _Worked(self.work + more.work, self.seconds + more.seconds, self.flowing + more.flowing)

    def pace(self) -> float:
        """Return the weighed bytes a second."""
        return self.work / self.flowing if self.flowing > _GUESSED_SECONDS else _GUESSED_PACE


@dataclass
class _Phase:
    """A phase as ``Progress.phase`` has it, begun at this byte and this moment."""

    name: str
    work: float = 0.0
    expected: int = 0
    seconds: float = 0.0
    after: float = 0.0
    began_at: int = 0
    since: float = 0.0
    first_at: float | None = None
    last_at: float | None = None

    def worked(self, done: int, now: float) -> _Worked:
        """Return what of it is done, where so many bytes of the job are."""
        gone = done - self.began_at
        if self.first_at is None and self.expected and gone >= _FIRST_BYTES * self.expected:
            self.first_at = now
        if self.last_at is None and self.expected and gone >= self.expected:
            self.last_at = now
        if self.first_at is None:
            return _Worked(0.0, min(self.seconds, now - self.since), 0.0)
        flowing = (self.last_at or now) - self.first_at
        after = 0.0 if self.last_at is None else min(self.after, now - self.last_at)
        share = min(1.0, gone / max(1, self.expected))  # All that is left of it may have been put off.
        return _Worked(self.work * share, self.seconds + after, flowing)

    def whole(self, now: float) -> _Worked:
        """Return what of it is done when it has ended, now."""
        flowing = 0.0 if self.first_at is None else (self.last_at or now) - self.first_at
        return _Worked(self.work, self.seconds + self.after, flowing)


class Progress:
    """The progress of one job, told by any of its threads. ``bytes_total`` is an estimate of the bytes that it has to
    go through, 0 where that is not known; ``work`` what the percentage is of, in the same unit: the bytes, weighed by
    how long they take; ``seconds`` is the time that no bytes tell of."""

    def __init__(
        self, folder: Path, bytes_total: int, work: float | None = None, seconds: float = 0.0
    ) -> None:
        self._file = folder / PROGRESS
        self._total = bytes_total
        self._work = float(bytes_total) if work is None else work
        self._seconds = _JOB_STARTS + seconds
        self._done = self._beside = 0
        self._phase = _Phase("")
        self._behind = _Worked(0.0, _JOB_STARTS, 0.0)
        self._percent = _percent_in(self._file)
        self._followed: Path | None = None
        self._counted = ""
        self._counted_before = 0
        self._samples: deque[tuple[float, int, float]] = deque()
        self._began_at = time.monotonic()
        self._written_at = 0.0
        self._one = threading.Lock()

    def phase(
        self, name: str, work: float = 0.0, expected: int = 0, seconds: float = 0.0, after: float = 0.0
    ) -> None:
        """Begin a phase, such as "copying". ``expected`` are the bytes that it will go through, about, and ``work``
        what they weigh; ``seconds`` is its time before the first of them, or all of it where there are none, and
        ``after`` that after the last."""
        with self._one:
            if self._followed:
                self._done = max(self._done, self._phase.began_at + self._phase.expected)
            now = time.monotonic()
            self._behind = self._behind.plus(self._phase.whole(now))
            self._phase = _Phase(name, work, expected, seconds, after, self._done, now)
            self._followed = None
            self._write()

    def add(self, count: int) -> None:
        """Count bytes as done."""
        with self._one:
            self._done += count
            if time.monotonic() - self._written_at > self._pause():
                self._write()

    def put_off(self, count: int) -> None:
        """Take so many bytes, which ``add_beside`` will count, out of this phase: they are gone through beside the next
        ones."""
        with self._one:
            self._phase.expected -= count
            self._phase.work -= count

    def add_beside(self, count: int) -> None:
        """Count bytes as done that were put off."""
        with self._one:
            self._beside += count

    def follow(self, pid: int, counted: str) -> None:
        """Count what a process of ours does as done, from its start on, while ``looking``: what it reads ("rchar") or
        what it writes ("wchar"), which the kernel counts for all of its threads (proc(5))."""
        with self._one:
            self._followed, self._counted, self._counted_before = Path(f"/proc/{pid}/io"), counted, self._done

    def looking(self) -> AbstractContextManager[None]:
        """Tell how far it is throughout a block, whether anything is counted or not."""
        return repeating(self._look, self._pause)

    def _look(self) -> None:
        with self._one:
            self._write()

    def _pause(self) -> float:
        return min(_LONGEST, _SHORTEST + (time.monotonic() - self._began_at) / 50)

    def _count(self) -> None:
        if self._followed is None:
            return
        with suppress(OSError, ValueError, IndexError):  # It has ended, or is not ours to look into.
            counted = int(self._followed.read_text().split(f"{self._counted}: ")[1].split("\n")[0])
            most = self._phase.began_at + self._phase.expected
            self._done = max(self._done, min(self._counted_before + counted, most))

    def _write(self) -> None:
        """Write what is known at this moment; the caller holds the lock."""
        self._count()
        now = self._written_at = time.monotonic()
        worked = self._behind.plus(self._phase.worked(self._done, now))
        work, done = worked.work + self._beside, self._done + self._beside
        if self._work:
            pace = worked.pace()
            share = (work + pace * worked.seconds) / (self._work + pace * self._seconds)
            self._percent = max(self._percent or 0, min(_MOST_BEFORE_THE_END, int(100 * share)))
        state = {
            "phase": self._phase.name,
            "bytes_done": min(done, self._total) if self._total else done,
            "bytes_total": self._total,
            "percent": self._percent,
            **self._speed(now, done, work, self._seconds - worked.seconds),
        }
        with suppress(OSError):  # Progress is a courtesy: a full disk shows itself where it matters.
            fresh = self._file.with_suffix(".new")
            write_new(fresh, json.dumps(state).encode())
            fresh.replace(self._file)

    def _speed(self, now: float, done: int, work: float, seconds: float) -> dict[str, int | None]:
        """Return the bytes a second and the seconds that are left, by the last seconds; None before it can be told. So
        many ``seconds`` come besides."""
        self._samples.append((now, done, work))
        while now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        then, had_done, had_worked = self._samples[0]
        passed = now - then
        if passed < _LONGEST:
            return {"bytes_per_second": None, "seconds_left": None}
        pace = (work - had_worked) / passed
        left = round(max(0.0, self._work - work) / pace + seconds) if pace > 0 and self._work else None
        return {"bytes_per_second": int((done - had_done) / passed), "seconds_left": left}


def _percent_in(file: Path) -> int | None:
    """Return the percentage that an earlier process of the job has told, or None."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        percent = json.loads(read_small(file))["percent"]
        return percent if isinstance(percent, int) else None
    return None
