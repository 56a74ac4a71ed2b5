"""In which turn each schedule ran last, one small file each beside the catalogue: a look costs no database."""

import contextlib
import os
from pathlib import Path

from dbcalm.domain.rules.turns import is_due, turn_of

_MOST_BYTES = 40


class Turns:
    """The turns of all schedules with an interval that cron cannot keep by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, schedule_id: int, every: int, seconds: float) -> bool:
        """Tell whether a schedule is due that runs every so many minutes; if it is, or if it was never looked at, its
        turn is taken. Who asks holds the schedule's name alone. Raise OSError."""
        last = self._last(schedule_id, every)
        due = is_due(last, seconds, every)
        if due or last is None:
            path = self._path(schedule_id)
            aside = path.with_name(f"{path.name}.new")
            aside.touch(0o600)
            aside.write_text(f"{every} {turn_of(seconds, every)}\n", encoding="ascii")
            aside.replace(path)
        return due

    def forget(self, schedule_id: int) -> None:
        """Forget the last turn of a schedule that is not what it was."""
        with contextlib.suppress(OSError):
            self._path(schedule_id).unlink()

    def _path(self, schedule_id: int) -> Path:
        return self._folder / f"schedule-{schedule_id}.turn"

    def _last(self, schedule_id: int, every: int) -> int | None:
        """Return the last turn; None if none is known, or it was one of another length."""
        try:
            descriptor = os.open(
                self._path(schedule_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            with os.fdopen(descriptor, "rb") as file:
                length, turn = map(int, file.read(_MOST_BYTES).split())
        except (OSError, ValueError):
            return None
        return turn if length == every else None
