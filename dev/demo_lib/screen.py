"""What the demo shows: a line a step, live on a terminal, and a table at the end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CLEAR = "\r\033[K"
_BAR = 24


class Screen:
    """Shows steps, keeps what they took, and sums them up."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._rows: list[tuple[str, str, str]] = []
        self._step = ""
        self._began = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[list[int]]:
        """Show a step while it runs. The list that this gives takes the step's size in bytes, if it has one."""
        self._step, self._began, sizes = f"{len(self._rows) + 1:2}. {name}", time.monotonic(), list[int]()
        self._draw("")
        try:
            yield sizes
        except BaseException:
            self.say(f"{_CLEAR if self._live else ''}{self._step}: not done")
            raise
        took = f"{time.monotonic() - self._began:.1f} s"
        self._rows.append((name, megabytes(sizes[0]) if sizes else "", took))
        self.say(f"{_CLEAR if self._live else ''}{self._step}: done in {took}")

    def progress(self, status: dict[str, Any]) -> None:
        """Show how far a running job is, from its Status."""
        progress = status.get("progress") or {}
        done, total = int(progress.get("bytes_done") or 0), int(progress.get("bytes_total") or 0)
        words = [str(progress.get("phase") or "")]
        if total:
            part = min(1.0, done / total)
            words = [
                f"[{'#' * round(part * _BAR):<{_BAR}}] {part:4.0%}",
                f"{megabytes(done)} of {megabytes(total)}",
                *words,
            ]
        elif done:
            words.insert(0, megabytes(done))
        self._draw("  ".join(words))

    def table(self) -> None:
        """Print what was done, with sizes and times."""
        lines = [
            f"{name:<42}{size:>10}{took:>9}"
            for name, size, took in [("What was done", "size", "time"), *self._rows]
        ]
        self.say("\n".join(["", lines[0], "-" * len(lines[0]), *lines[1:], ""]))

    def _draw(self, text: str) -> None:
        if self._live:
            took = f"{time.monotonic() - self._began:.1f} s"
            print(f"{_CLEAR}{self._step}  {text}  {took}", end="", flush=True)


def megabytes(size: int) -> str:
    """Return a size in bytes as a person reads it."""
    return f"{size / 1e6:.1f} MB"
