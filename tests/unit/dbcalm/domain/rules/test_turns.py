"""Intervals that cron cannot keep by itself are kept evenly: what cron starts and the command lets run, and no more."""

import itertools
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbcalm.domain.model.entities import Schedule
from dbcalm.domain.rules.cron_times import last_due, next_due
from dbcalm.domain.rules.turns import is_due, turn_of
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.turns import Turns
from dbcalm_cmd.command import WHOLE_INTERVALS, CronSchedule

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def every(count: int, unit: str, minute: int | None = None) -> CronSchedule:
    return CronSchedule(1, "full", "interval", interval_value=count, interval_unit=unit, minute=minute)


UNEVEN = [
    *(every(count, "minutes") for count in range(1, 60) if count not in WHOLE_INTERVALS["minutes"]),
    *(
        every(count, "hours", minute)
        for count in range(1, 24)
        if count not in WHOLE_INTERVALS["hours"]
        for minute in (None, 20, 59)
    ),
]
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Asia/Kathmandu", "2026-03-29"),
    ("America/St_Johns", "2026-11-01"),
]


def shown(zone: ZoneInfo, begin: datetime) -> list[tuple[float, int]]:
    """Return the minutes of three days, and which minute of its hour the host's clock shows in each."""
    minutes = [begin + number * MINUTE for number in range(3 * 24 * 60)]
    return [(minute.timestamp(), minute.astimezone(zone).minute) for minute in minutes]


def starts(schedule: CronSchedule, clock: list[tuple[float, int]]) -> list[float]:
    """Return when cron starts the line: it has a wildcard, so that it goes by the clock as it stands."""
    minute, hour, *_ = schedule.times.split()
    assert hour == "*"
    if not minute.startswith("*"):
        return [start for start, shows in clock if shows == int(minute)]
    step = int(minute.partition("/")[2] or 1)
    return [start for start, shows in clock if shows % step == 0]


def runs(schedule: CronSchedule, clock: list[tuple[float, int]]) -> list[float]:
    """Return when the command lets it run, which is called some seconds after each start."""
    found, last, length = [], None, schedule.every or 0
    for start in starts(schedule, clock):
        if is_due(last, start + 3.5, length):
            last = turn_of(start + 3.5, length)
            found.append(start)
    return found


@pytest.mark.parametrize(("name", "day"), CHANGES)
def test_runs_are_even_over_the_days_around_each_change_of_the_clock(name: str, day: str) -> None:
    zone = ZoneInfo(name)
    clock = shown(zone, datetime.fromisoformat(day).replace(tzinfo=UTC) - DAY)
    for schedule in UNEVEN:
        found = [datetime.fromtimestamp(run, UTC) for run in runs(schedule, clock)]
        assert {after - before for before, after in itertools.pairwise(found)} == {
            timedelta(minutes=schedule.every or 0)
        }, schedule
        before, after = found[len(found) // 2 - 1 : len(found) // 2 + 1]
        assert next_due(schedule.times, zone, before, schedule.every) == after
        assert last_due(schedule.times, zone, after - MINUTE, schedule.every) == before
        assert last_due(schedule.times, zone, after, schedule.every) == after


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(UNEVEN),
    st.sampled_from([name for name, _ in CHANGES]),
    st.integers(946_684_800, 2_114_380_800),
)
def test_the_last_run_and_the_next_enclose_every_moment(
    schedule: CronSchedule, name: str, seconds: int
) -> None:
    zone, now = ZoneInfo(name), datetime.fromtimestamp(seconds, UTC)
    before = last_due(schedule.times, zone, now, schedule.every)
    after = next_due(schedule.times, zone, now, schedule.every)
    assert before <= now < after
    assert after - before == timedelta(minutes=schedule.every or 0)


TURN = 45 * 60 * 1000
"""A second at which a turn of 45 minutes begins."""


def at(minutes: float) -> float:
    return TURN + minutes * 60


def test_a_new_schedule_waits_for_its_first_turn(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    asked = [(minutes, turns.take(7, 45, at(minutes))) for minutes in (15, 30, 45, 60, 75, 90)]
    assert [minutes for minutes, due in asked if due] == [45, 90]
    assert stat.S_IMODE((tmp_path / "schedule-7.turn").stat().st_mode) == 0o600


def test_one_that_is_new_at_the_beginning_of_a_turn_runs_at_once(tmp_path: Path) -> None:
    assert Turns(tmp_path).take(7, 45, at(2))
    assert not Turns(tmp_path).take(7, 45, at(15))


def test_turns_that_were_slept_through_are_made_up_for_once(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    asked = [(minutes, turns.take(7, 45, at(minutes))) for minutes in (0, 45 * 9 + 30, 450 - 1, 450, 465)]
    assert [minutes for minutes, due in asked if due] == [0, 45 * 9 + 30, 450]


def test_a_clock_that_is_set_back_a_little_runs_nothing_twice() -> None:
    last = turn_of(at(0), 45)
    assert not is_due(last, at(-4), 45)
    assert not is_due(last, at(1), 45)
    assert is_due(last, at(45), 45)


def test_a_clock_that_was_far_ahead_once_stops_nothing(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    turns.take(7, 45, at(45 * 20_000))
    asked = [(minutes, turns.take(7, 45, at(minutes))) for minutes in (30, 45, 60, 90)]
    assert [minutes for minutes, due in asked if due] == [45, 90]


@pytest.mark.parametrize("content", [b"", b"45\n", b"x y\n", b"45 1 2\n", b"\xff" * 100, b"7 1\n"])
def test_a_file_that_is_none_is_as_no_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "schedule-7.turn").write_bytes(content)
    turns = Turns(tmp_path)
    assert [turns.take(7, 45, at(minutes)) for minutes in (15, 30, 45)] == [False, False, True]


def test_a_schedule_that_is_changed_waits_for_its_next_turn(tmp_path: Path, catalogue: Catalogue) -> None:
    """Else one that was disabled for a week would run at once, at a time that nobody was told."""
    turns = Turns(tmp_path)
    with catalogue.schedules.draft() as draft:
        one = draft.add(
            Schedule(
                id=0, created_at="x", updated_at="x", backup_type="full", frequency="interval",
                interval_value=45, interval_unit="minutes",
            )
        )  # fmt: skip
    assert turns.take(one.id, 45, at(0))
    with catalogue.schedules.draft() as draft:
        draft.replace(one)
    asked = [(minutes, turns.take(one.id, 45, at(minutes))) for minutes in (45 * 5 + 15, 45 * 5 + 30, 270)]
    assert [minutes for minutes, due in asked if due] == [270]
