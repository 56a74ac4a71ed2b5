"""Which events of a long journal still count: those of the newest jobs and days, and of the older ones those without
which the service would know less of the past. A pure function over events.

The catalogue has applied all of them when a journal is shortened, and backups vouch for themselves on disk. What only
the journal knows is which numbers were given out, when a restore put other data under the server, what lies in the
trash and is held, and whether the clock is to be trusted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dbcalm_mariadb_cmd.clock import STEADY, ClockWatch, moment
from dbcalm_mariadb_cmd.command.shapes import is_time
from dbcalm_mariadb_cmd.store.journal_lines import Event

JOBS = 200
"""So many of the newest jobs are kept whole."""

_DAYS = STEADY + timedelta(days=1)
"""So long a time is kept whole at least: a gap in the times that lies before it is no jump of the clock to anybody."""


def kept(events: Sequence[Event]) -> Iterable[int]:
    """Return the places of the events that count, in their order."""
    begin = _begin(events)
    return [*sorted(_of_before(events, begin)), *range(begin, len(events))]


def _begin(events: Sequence[Event]) -> int:
    """Return the place from which on all are kept."""
    accepted = [place for place, event in enumerate(events) if event.get("event") == "accepted"]
    begin = accepted[-JOBS] if len(accepted) > JOBS else 0
    watch, jump, seen = ClockWatch(), 0, None
    times: list[datetime | None] = []
    for place, event in enumerate(events):
        at = event.get("at")
        watch.note(at)
        times.append(moment(at) if isinstance(at, str) and is_time(at) else None)
        if watch.jumped() != seen:
            jump, seen = place, watch.jumped()
    last = next((time for time in reversed(times) if time is not None), None)
    if last is None:
        return 0
    if seen is not None and abs(last - seen) < _DAYS:
        begin = min(begin, max(0, jump - 1))
    while begin > 0 and ((before := times[begin - 1]) is None or before > last - _DAYS):
        begin -= 1
    return max(0, begin - 1)  # With the one before, so that no gap comes to be that was none.


@dataclass(frozen=True)
class _Gone:
    """That the newest backup was deleted, by its name in the trash, and the places of the events that tell of it."""

    trash: str | None = None
    places: tuple[int, ...] = ()


def _of_before(events: Sequence[Event], begin: int) -> set[int]:
    """Return the places of those before a place that are kept all the same."""
    trashed: dict[str, int] = {}
    held: dict[str, int] = {}
    highest: tuple[int, int] | None = None
    highest_made: tuple[int, int] | None = None
    newest, gone = "", _Gone()
    restored: int | None = None
    for place, event in enumerate(events):
        kind, id, trash = event.get("event"), str(event.get("backup_id")), str(event.get("trash"))
        facts: Any = event.get("backup")
        if kind in ("ended", "undeleted") and isinstance(facts, dict):
            if (_seq(facts), place) >= (highest_made or (0, 0)):
                highest_made, newest, gone = (_seq(facts), place), str(facts.get("id")), _Gone()
            if facts.get("hold"):
                held[str(facts.get("id"))] = place
        if kind == "accepted":
            highest = max(highest or (0, place), (_seq(event), place))
            restored = place if event.get("breaks_timeline") else restored
        elif kind == "deleted":
            held.pop(id, None)
            trashed[trash] = place
            gone = _Gone(trash, (place,)) if id == newest else gone
        elif kind in ("purged", "undeleted"):
            trashed.pop(trash, None)
            gone = _Gone(trash, (*gone.places, place)) if trash == gone.trash else gone
        elif kind == "held":
            held[id] = place
        elif kind == "released":
            held.pop(id, None)
    jobs = {highest[1] if highest else None, restored}
    ids = {events[place].get("job_id") for place in jobs if place is not None}
    whole = {
        place
        for place, event in enumerate(events[:begin])
        if event.get("event") in ("accepted", "started", "ended") and event.get("job_id") in ids
    }
    single = {*trashed.values(), *held.values(), *gone.places, *([highest_made[1]] if highest_made else [])}
    return {place for place in whole | single if place < begin}


def _seq(facts: dict[str, Any]) -> int:
    seq = facts.get("seq")
    return seq if type(seq) is int else 0
