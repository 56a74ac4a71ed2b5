"""How far a job is, for whoever asks: a small file in its folder, replaced at most a few times a second.

What a job does is counted in bytes, as that is what time goes with: those that the backup tool has copied, or has read
where it looks for changes, or that were brought back. Where a phase has no bytes to count, it still has its share of
the whole. The percentage never goes back, not even in the next process of a job, and is below 100 until the job has
ended.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SHORTEST, _LONGEST = 0.05, 0.5
"""Seconds between two looks: short jobs are looked at more often."""

_RATE_SECONDS = 10.0
_MOST_BEFORE_THE_END = 99


class Progress:
    """The progress of one job, told by any of its threads. ``bytes_total`` is an estimate of the bytes that it has to
    go through, 0 where that is not known; ``work`` what the percentage is of, in the same unit: the bytes, and what
    other phases are worth."""

    def __init__(self, folder: Path, bytes_total: int, work: float | None = None) -> None:
        self._file = folder / "progress.json"
        self._total = bytes_total
        self._work = float(bytes_total) if work is None else work
        self._done = 0
        self._phase = ""
        self._phase_work = 0.0
        self._phase_bytes = 0
        self._phase_began_at = 0
        self._behind = 0.0
        self._percent = _percent_in(self._file)
        self._followed: Path | None = None
        self._counted = ""
        self._counted_before = 0
        self._samples: deque[tuple[float, int, float]] = deque()
        self._began_at = time.monotonic()
        self._written_at = 0.0
        self._one = threading.Lock()

    def phase(self, name: str, work: float = 0.0, expected: int = 0) -> None:
        """Begin a phase, such as "copying". ``work`` is its share of the whole, and ``expected`` the bytes that it will
        go through, which tell how much of the share is done."""
        with self._one:
            self._behind += self._phase_work
            self._phase, self._phase_work, self._phase_bytes = name, work, expected
            self._phase_began_at = self._done
            self._followed = None
            self._write()

    def add(self, count: int) -> None:
        """Count bytes as done."""
        with self._one:
            self._done += count
            if time.monotonic() - self._written_at > self._pause():
                self._write()

    def follow(self, pid: int, counted: str) -> None:
        """Count what a process of ours does as done, from its start on, while ``looking``: what it reads ("rchar") or
        what it writes ("wchar"), which the kernel counts for all of its threads (proc(5))."""
        with self._one:
            self._followed, self._counted, self._counted_before = Path(f"/proc/{pid}/io"), counted, self._done

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Tell how far it is throughout a block, whether anything is counted or not."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(self._pause()):
                with self._one:
                    self._write()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _pause(self) -> float:
        return min(_LONGEST, _SHORTEST + (time.monotonic() - self._began_at) / 50)

    def _count(self) -> None:
        if self._followed is None:
            return
        with suppress(OSError, ValueError, IndexError):  # It has ended, or is not ours to look into.
            counted = int(self._followed.read_text().split(f"{self._counted}: ")[1].split("\n")[0])
            most = self._phase_began_at + self._phase_bytes
            self._done = max(self._done, min(self._counted_before + counted, most))

    def _worked(self) -> float:
        """Return how much of the whole is done, in its unit."""
        if not self._phase_bytes:
            return self._behind
        share = min(1.0, (self._done - self._phase_began_at) / self._phase_bytes)
        return self._behind + self._phase_work * share

    def _write(self) -> None:
        """Write what is known at this moment; the caller holds the lock."""
        self._count()
        now = self._written_at = time.monotonic()
        worked = self._worked()
        if self._work:
            percent = min(_MOST_BEFORE_THE_END, int(100 * worked / self._work))
            self._percent = max(self._percent or 0, percent)
        state = {
            "phase": self._phase,
            "bytes_done": min(self._done, self._total) if self._total else self._done,
            "bytes_total": self._total,
            "percent": self._percent,
            **self._speed(now, worked),
        }
        with suppress(OSError):  # Progress is a courtesy: a full disk shows itself where it matters.
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(state), encoding="utf-8")
            fresh.replace(self._file)

    def _speed(self, now: float, worked: float) -> dict[str, int | None]:
        """Return the bytes a second and the seconds that are left, by the last seconds; None before it can be told."""
        self._samples.append((now, self._done, worked))
        while now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        then, done, had_worked = self._samples[0]
        passed = now - then
        if passed < _LONGEST:
            return {"bytes_per_second": None, "seconds_left": None}
        pace = (worked - had_worked) / passed
        left = round(max(0.0, self._work - worked) / pace) if pace > 0 and self._work else None
        return {"bytes_per_second": int((self._done - done) / passed), "seconds_left": left}


def _percent_in(file: Path) -> int | None:
    """Return the percentage that an earlier process of the job has told, or None."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        percent = json.loads(file.read_text(encoding="utf-8"))["percent"]
        return percent if isinstance(percent, int) else None
    return None
