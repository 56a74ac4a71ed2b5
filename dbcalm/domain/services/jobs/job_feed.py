"""Following a job: what is new of its log and of its progress, look by look, and its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dbcalm.domain.model.entities import RUNNING, SUCCESS, Process
from dbcalm.errors import NotFound, Unavailable

Status = Callable[[], tuple[Process, Mapping[str, Any] | None]]
"""Gives a job's process, and how far it is while it runs."""

Log = Callable[[int], tuple[str, int, bool]]
"""Gives what a job's log has from a byte on, the byte to go on from, and whether there is more."""


@dataclass(frozen=True)
class News:
    """One thing that is new. ``told`` is the progress, the text of the log, or the process that has ended; ``offset``,
    of the log's, how much of it has been told, in bytes."""

    kind: Literal["progress", "log", "end"]
    told: Any
    offset: int | None = None


class Following:
    """Follows one job. ``offset`` is the byte of its log to begin at."""

    def __init__(self, status: Status, log: Log, offset: int = 0) -> None:
        self._status = status
        self._log = log
        self._offset = offset
        self._progress: Mapping[str, Any] | None = None
        self.ended = False
        """Whether the end has been told."""

    def look(self) -> tuple[list[News], bool]:
        """Return what is new, and whether there is more of it already. A service that does not answer has nothing new.

        The end comes last, after all of the log; before it, where the job has succeeded, a progress of 100 percent."""
        process, progress = self._status()
        news, more = self._of_the_log()
        if process.status == RUNNING:
            if progress is not None and progress != self._progress:
                self._progress = progress
                news.append(News("progress", progress))
        elif not more:
            self.ended = True
            if process.status == SUCCESS and self._progress is not None:
                done = {"phase": "done", "percent": 100, "bytes_per_second": None, "seconds_left": None}
                news.append(News("progress", {**self._progress, **done}))
            news.append(News("end", process))
        return news, more

    def _of_the_log(self) -> tuple[list[News], bool]:
        try:
            text, self._offset, more = self._log(self._offset)
        except (NotFound, Unavailable):
            return [], False
        return ([News("log", text, self._offset)] if text else []), more
