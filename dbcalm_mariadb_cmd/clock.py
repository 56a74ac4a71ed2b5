"""Can the clock be trusted? What is deleted because of its age is deleted because of the clock.

A host whose clock is a year ahead for an hour would clean up everything. So the times that the journal's events carry
are compared, each with the one before: after a jump nothing is deleted on the clock's word until it was steady for two
days. All of this is told by the journal, so it holds over a restart.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dbcalm_mariadb_cmd.command.amounts import minute, span
from dbcalm_mariadb_cmd.command.shapes import is_time

STEADY = timedelta(hours=48)
"""How long the clock must have been steady; also the longest step from one event to the next that is no jump."""

STAMP_EVERY = timedelta(hours=24)
"""How often a service that has nothing to tell writes the time into the journal."""

_BACK = timedelta(seconds=60)
_ROUNDED = timedelta(minutes=1)
"""What is told in minutes, and must not be told too early."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str) -> datetime:
    """Return the time of a text as DBCalm writes it; raise ValueError if it is none."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def text_of(time: datetime) -> str:
    """Return a time as DBCalm writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_ns(time: datetime) -> int:
    """Return the nanoseconds since 1970 of a time."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(count: int) -> datetime:
    """Return the time of so many nanoseconds since 1970, or the last one there is if it is beyond."""
    try:
        return _EPOCH + timedelta(microseconds=count // 1000)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Jump:
    what: str
    seen: datetime


class ClockWatch:
    """Takes the times of events in the order of the journal, and tells whether the clock is in doubt."""

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._jump: _Jump | None = None

    def note(self, at: object) -> None:
        """Take the time of the next event; one that is no time says nothing."""
        if isinstance(at, str) and is_time(at):
            now = moment(at)
            self._jump = self._jump_to(now) or self._jump
            self._last = now

    def doubt(self, now: str) -> str | None:
        """Return what happened to the clock and when it is trusted again, or None if it is not in doubt."""
        present = moment(now)
        jump = self._jump_to(present) or self._jump
        if jump is None or present - jump.seen >= STEADY:
            return None
        again = minute(text_of(jump.seen + STEADY + _ROUNDED))
        return f"{jump.what}; nothing is deleted because of its age before {again}, and only if the clock is steady"

    def jumped(self) -> datetime | None:
        """Return when the clock was last seen to jump, if it ever was."""
        return self._jump.seen if self._jump else None

    def wants_stamp(self, now: str) -> bool:
        """Tell whether the journal should be told the time: after a day of silence, or if the clock jumps."""
        present = moment(now)
        return self._last is None or present - self._last >= STAMP_EVERY or self._jump_to(present) is not None

    def _jump_to(self, now: datetime) -> _Jump | None:
        if self._last is None:
            return None
        if self._last - now > _BACK:
            return _Jump(f"the clock went back by {span(self._last - now)} at {minute(text_of(now))}", now)
        if now - self._last > STEADY:
            return _Jump(
                f"the clock went on by {span(now - self._last)} at {minute(text_of(now))}, or nothing ran",
                now,
            )
        return None
