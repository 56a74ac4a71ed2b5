"""The host's time zone, and when cron starts a line in it: as Debian's cron does, daylight saving included."""

import itertools
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbcalm.domain.model.zone import HostZone
from dbcalm.domain.rules.cron_times import last_due, next_due
from dbcalm_cmd.command import WHOLE_INTERVALS, CronSchedule

ZONES = Path("/usr/share/zoneinfo")
MINUTE = timedelta(minutes=1)

BERLIN, NEW_YORK, LORD_HOWE, APIA = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def daily(hour: int, minute: int) -> CronSchedule:
    return CronSchedule(1, "full", "daily", hour=hour, minute=minute)


def sundays(hour: int, minute: int) -> CronSchedule:
    return CronSchedule(1, "full", "weekly", day_of_week=0, hour=hour, minute=minute)


def monthly(day: int, hour: int, minute: int) -> CronSchedule:
    return CronSchedule(1, "full", "monthly", day_of_month=day, hour=hour, minute=minute)


def hourly(minute: int) -> CronSchedule:
    return CronSchedule(1, "full", "hourly", minute=minute)


def every(count: int, unit: str, minute: int | None = None) -> CronSchedule:
    return CronSchedule(1, "full", "interval", interval_value=count, interval_unit=unit, minute=minute)


FORWARD = [
    # Berlin, 29 March 2026: 02:00 is 03:00, at 01:00 UTC. A fixed time that is skipped runs at once after it.
    (BERLIN, daily(2, 30), ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
    (BERLIN, daily(2, 0), ["2026-03-28T01:00", "2026-03-29T01:00", "2026-03-30T00:00"]),
    (BERLIN, daily(3, 0), ["2026-03-28T02:00", "2026-03-29T01:00", "2026-03-30T01:00"]),
    (BERLIN, sundays(2, 59), ["2026-03-22T01:59", "2026-03-29T01:00", "2026-04-05T00:59"]),
    (BERLIN, monthly(28, 2, 30), ["2027-02-28T01:30", "2027-03-28T01:00", "2027-04-28T00:30"]),
    # What has a wildcard goes by the clock: a skipped hour is no hour.
    (BERLIN, hourly(30), ["2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T02:30"]),
    (BERLIN, every(30, "minutes"), ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"]),
    (BERLIN, every(2, "hours"), ["2026-03-28T23:00", "2026-03-29T02:00", "2026-03-29T04:00"]),
    # New York, 8 March 2026: 02:00 is 03:00, at 07:00 UTC.
    (NEW_YORK, daily(2, 30), ["2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30"]),
    (NEW_YORK, sundays(2, 0), ["2026-03-01T07:00", "2026-03-08T07:00", "2026-03-15T06:00"]),
    (NEW_YORK, monthly(8, 2, 30), ["2026-02-08T07:30", "2026-03-08T07:00", "2026-04-08T06:30"]),
    (NEW_YORK, hourly(5), ["2026-03-08T06:05", "2026-03-08T07:05", "2026-03-08T08:05"]),
    (NEW_YORK, every(15, "minutes"), ["2026-03-08T06:45", "2026-03-08T07:00", "2026-03-08T07:15"]),
    (NEW_YORK, every(6, "hours", 10), ["2026-03-08T05:10", "2026-03-08T10:10", "2026-03-08T16:10"]),
    # Lord Howe, 4 October 2026: 02:00 is 02:30, at 15:30 UTC of the day before.
    (LORD_HOWE, daily(2, 10), ["2026-10-02T15:40", "2026-10-03T15:30", "2026-10-04T15:10"]),
    (LORD_HOWE, sundays(2, 29), ["2026-09-26T15:59", "2026-10-03T15:30", "2026-10-10T15:29"]),
    (LORD_HOWE, monthly(4, 2, 0), ["2026-09-03T15:30", "2026-10-03T15:30", "2026-11-03T15:00"]),
    (LORD_HOWE, hourly(45), ["2026-10-03T15:15", "2026-10-03T15:45", "2026-10-03T16:45"]),
    (LORD_HOWE, hourly(5), ["2026-10-03T14:35", "2026-10-03T16:05", "2026-10-03T17:05"]),
    (LORD_HOWE, every(20, "minutes"), ["2026-10-03T15:10", "2026-10-03T15:40", "2026-10-03T16:00"]),
    (LORD_HOWE, every(4, "hours"), ["2026-10-03T13:30", "2026-10-03T17:00", "2026-10-03T21:00"]),
    # Apia, 27 September 2020, 13 hours ahead: 03:00 is 04:00, at 14:00 UTC of the day before.
    (APIA, daily(3, 30), ["2020-09-25T14:30", "2020-09-26T14:00", "2020-09-27T13:30"]),
    (APIA, sundays(3, 0), ["2020-09-19T14:00", "2020-09-26T14:00", "2020-10-03T13:00"]),
    (APIA, monthly(27, 3, 1), ["2020-08-26T14:01", "2020-09-26T14:00", "2020-10-26T13:01"]),
    (APIA, hourly(59), ["2020-09-26T13:59", "2020-09-26T14:59", "2020-09-26T15:59"]),
    (APIA, every(30, "minutes"), ["2020-09-26T13:30", "2020-09-26T14:00", "2020-09-26T14:30"]),
    (APIA, every(3, "hours"), ["2020-09-26T11:00", "2020-09-26T16:00", "2020-09-26T19:00"]),
]

BACK = [
    # Berlin, 25 October 2026: 03:00 is 02:00, at 01:00 UTC. A fixed time that comes twice runs the first time.
    (BERLIN, daily(2, 30), ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]),
    (BERLIN, daily(3, 0), ["2026-10-24T01:00", "2026-10-25T02:00", "2026-10-26T02:00"]),
    (BERLIN, sundays(2, 0), ["2026-10-18T00:00", "2026-10-25T00:00", "2026-11-01T01:00"]),
    (BERLIN, monthly(27, 2, 30), ["2024-09-27T00:30", "2024-10-27T00:30", "2024-11-27T01:30"]),
    (BERLIN, hourly(30), ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]),
    (BERLIN, every(30, "minutes"), ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]),
    (BERLIN, every(2, "hours"), ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T03:00"]),
    # New York, 1 November 2026: 02:00 is 01:00, at 06:00 UTC.
    (NEW_YORK, daily(1, 30), ["2026-10-31T05:30", "2026-11-01T05:30", "2026-11-02T06:30"]),
    (NEW_YORK, sundays(1, 59), ["2026-10-25T05:59", "2026-11-01T05:59", "2026-11-08T06:59"]),
    (NEW_YORK, monthly(1, 1, 0), ["2026-10-01T05:00", "2026-11-01T05:00", "2026-12-01T06:00"]),
    (NEW_YORK, hourly(0), ["2026-11-01T05:00", "2026-11-01T06:00", "2026-11-01T07:00"]),
    (NEW_YORK, every(15, "minutes"), ["2026-11-01T05:45", "2026-11-01T06:00", "2026-11-01T06:15"]),
    (NEW_YORK, every(6, "hours"), ["2026-11-01T04:00", "2026-11-01T11:00", "2026-11-01T17:00"]),
    # Lord Howe, 5 April 2026: 02:00 is 01:30, at 15:00 UTC of the day before.
    (LORD_HOWE, daily(1, 45), ["2026-04-03T14:45", "2026-04-04T14:45", "2026-04-05T15:15"]),
    (LORD_HOWE, sundays(1, 30), ["2026-03-28T14:30", "2026-04-04T14:30", "2026-04-11T15:00"]),
    (LORD_HOWE, monthly(5, 1, 59), ["2026-03-04T14:59", "2026-04-04T14:59", "2026-05-04T15:29"]),
    (LORD_HOWE, hourly(45), ["2026-04-04T14:45", "2026-04-04T15:15", "2026-04-04T16:15"]),
    (LORD_HOWE, hourly(15), ["2026-04-04T14:15", "2026-04-04T15:45", "2026-04-04T16:45"]),
    (LORD_HOWE, every(20, "minutes"), ["2026-04-04T14:40", "2026-04-04T15:10", "2026-04-04T15:30"]),
    (LORD_HOWE, every(4, "hours"), ["2026-04-04T13:00", "2026-04-04T17:30", "2026-04-04T21:30"]),
    # Apia, 4 April 2021: 04:00 is 03:00, at 14:00 UTC of the day before.
    (APIA, daily(3, 30), ["2021-04-02T13:30", "2021-04-03T13:30", "2021-04-04T14:30"]),
    (APIA, sundays(3, 0), ["2021-03-27T13:00", "2021-04-03T13:00", "2021-04-10T14:00"]),
    (APIA, monthly(4, 3, 59), ["2021-03-03T13:59", "2021-04-03T13:59", "2021-05-03T14:59"]),
    (APIA, hourly(59), ["2021-04-03T13:59", "2021-04-03T14:59", "2021-04-03T15:59"]),
    (APIA, every(30, "minutes"), ["2021-04-03T13:30", "2021-04-03T14:00", "2021-04-03T14:30"]),
    (APIA, every(3, "hours"), ["2021-04-03T13:00", "2021-04-03T14:00", "2021-04-03T17:00"]),
]


@pytest.mark.parametrize(("name", "schedule", "starts"), [*FORWARD, *BACK])
def test_the_clock_is_set_and_each_frequency_runs_as_the_manual_says(
    name: str, schedule: CronSchedule, starts: list[str]
) -> None:
    zone, expected = ZoneInfo(name), [moment(start) for start in starts]
    now, found = expected[0] - MINUTE, []
    for _ in expected:
        now = next_due(schedule.times, zone, now)
        found.append(now)
    assert found == expected
    assert [last_due(schedule.times, zone, start) for start in expected] == expected
    for before, start in itertools.pairwise(expected):
        assert last_due(schedule.times, zone, start - timedelta(microseconds=1)) == before


def test_the_frequencies_are_all_there() -> None:
    for changes in (FORWARD, BACK):
        for zone in (BERLIN, NEW_YORK, LORD_HOWE, APIA):
            frequencies = {
                (schedule.frequency, schedule.interval_unit) for name, schedule, _ in changes if name == zone
            }
            assert len(frequencies) == 6


def matches(field: str, value: int) -> bool:
    star, _, step = field.partition("/")
    return value % int(step or 1) == 0 if star == "*" else value == int(field)


def clock_around(at: datetime, zone: ZoneInfo) -> list[tuple[datetime, int]]:
    """Return the minutes of three days, and for each what the host's clock shows, as minutes since 1970."""
    minutes = [at + minute * MINUTE for minute in range(-36 * 60, 36 * 60)]
    return [
        (minute, int(minute.astimezone(zone).replace(tzinfo=UTC).timestamp()) // 60) for minute in minutes
    ]


def debian(times: str, clock: list[tuple[datetime, int]]) -> Iterator[datetime]:
    """Yield when Debian's cron starts this line: the loop of its cron.c, minute by minute, with its virtual clock."""
    minute, hour, day, _month, weekday = times.split()
    wild = minute.startswith("*") or hour.startswith("*")

    def due(shown: int, wildcards: bool, fixed: bool) -> bool:
        if not (wildcards if wild else fixed) or not matches(minute, shown % 60):
            return False
        wall = datetime.fromtimestamp(shown * 60, UTC)
        return matches(hour, wall.hour) and matches(day, wall.day) and matches(weekday, wall.isoweekday() % 7)

    virtual = clock[0][1] - 1
    for start, running in clock:
        ahead = running - virtual
        started = False
        if -180 < ahead <= 0:
            started = due(running, True, False)
        elif ahead > 180 or ahead <= -180:
            virtual, started = running, due(running, True, True)
        else:
            late = ahead <= 5
            started = not late and due(running, True, False)
            while virtual < running:
                virtual += 1
                started |= due(virtual, late, True)
        if started:
            yield start


SCHEDULES = [
    *(daily(hour, minute) for hour in (0, 1, 2, 3, 4) for minute in (0, 15, 30, 59)),
    sundays(2, 15), sundays(1, 45), monthly(5, 1, 45), monthly(4, 2, 15), monthly(8, 2, 30),
    *(hourly(minute) for minute in (0, 5, 15, 30, 45, 59)),
    *(every(count, "minutes") for count in (1, 4, 15, 20, 30)),
    *(every(count, "hours", minute) for count in WHOLE_INTERVALS["hours"] for minute in (None, 20, 50)),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [
        (BERLIN, "2026-03-29T01:00"),
        (BERLIN, "2026-10-25T01:00"),
        (NEW_YORK, "2026-03-08T07:00"),
        (NEW_YORK, "2026-11-01T06:00"),
        (LORD_HOWE, "2026-10-03T15:30"),
        (LORD_HOWE, "2026-04-04T15:00"),
        (APIA, "2020-09-26T14:00"),
        (APIA, "2021-04-03T14:00"),
        ("Pacific/Auckland", "2026-09-26T14:00"),
        ("America/St_Johns", "2026-11-01T04:30"),
        ("Antarctica/Troll", "2026-03-29T01:00"),  # Two hours at once.
        ("Antarctica/Troll", "2026-10-25T01:00"),
        ("Asia/Kathmandu", "2026-03-29T01:00"),
        ("UTC", "2026-03-29T01:00"),
    ],
)
def test_around_a_change_every_start_is_that_of_debians_own_loop(name: str, change: str) -> None:
    zone, at = ZoneInfo(name), moment(change)
    clock = clock_around(at, zone)
    for schedule in SCHEDULES:
        starts = list(debian(schedule.times, clock))
        inner = [start for start in starts if abs(start - at) < timedelta(hours=4)]
        for now in (at + timedelta(minutes=7 * step, seconds=step % 60) for step in range(-60, 60)):
            later, earlier = [s for s in starts if s > now], [s for s in starts if s <= now]
            if later:
                assert next_due(schedule.times, zone, now) == later[0], (schedule, now)
            if earlier:
                assert last_due(schedule.times, zone, now) == earlier[-1], (schedule, now)
        for start in inner:
            assert next_due(schedule.times, zone, start - timedelta(seconds=1)) == start
            assert last_due(schedule.times, zone, start + timedelta(seconds=1)) == start


PLANS = st.one_of(
    st.builds(daily, st.integers(0, 23), st.integers(0, 59)),
    st.builds(sundays, st.integers(0, 23), st.integers(0, 59)),
    st.builds(monthly, st.integers(1, 28), st.integers(0, 23), st.integers(0, 59)),
    st.builds(hourly, st.integers(0, 59)),
    st.builds(every, st.sampled_from(WHOLE_INTERVALS["minutes"]), st.just("minutes")),
    st.builds(every, st.sampled_from(WHOLE_INTERVALS["hours"]), st.just("hours"), st.integers(0, 59)),
)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    PLANS,
    st.sampled_from(sorted(available_timezones())),
    st.integers(946_684_800, 2_114_380_800),
)
def test_the_last_start_and_the_next_enclose_every_moment(
    schedule: CronSchedule, name: str, seconds: int
) -> None:
    zone, now = ZoneInfo(name), datetime.fromtimestamp(seconds, UTC)
    before, after = last_due(schedule.times, zone, now), next_due(schedule.times, zone, now)
    assert before <= now < after
    assert after - before <= timedelta(days=33)
    assert next_due(schedule.times, zone, before) == after
    assert last_due(schedule.times, zone, after) == after
    assert last_due(schedule.times, zone, after - timedelta(seconds=1)) == before


def host_zone(path: Path) -> tuple[str, timedelta | None]:
    zone = HostZone(path)()
    return zone.name, moment("2026-07-01T12:00").astimezone(zone.rules).utcoffset()


def test_the_zone_is_that_which_the_link_names(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    link.symlink_to(ZONES / BERLIN)
    assert host_zone(link) == (BERLIN, timedelta(hours=2))
    link.unlink()
    link.symlink_to(os.path.relpath(ZONES / "US/Eastern", tmp_path))
    assert host_zone(link) == ("US/Eastern", timedelta(hours=-4))


def test_a_link_to_a_link_is_named_by_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(ZONES / "Asia/Tokyo")
    (tmp_path / "localtime").symlink_to("mine")
    assert host_zone(tmp_path / "localtime") == ("Asia/Tokyo", timedelta(hours=9))


def test_a_copied_file_has_its_rules_but_no_name(tmp_path: Path) -> None:
    shutil.copy(ZONES / LORD_HOWE, tmp_path / "localtime")
    assert host_zone(tmp_path / "localtime") == ("localtime", timedelta(hours=10, minutes=30))


@pytest.mark.parametrize("content", [None, b"", b"this is no time zone"])
def test_without_a_zone_it_is_utc(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "localtime").write_bytes(content)
    assert host_zone(tmp_path / "localtime") == ("UTC", timedelta())


def test_a_link_that_leads_nowhere_is_utc(tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to(tmp_path / "zoneinfo" / "Mars" / "Olympus")
    assert host_zone(tmp_path / "localtime") == ("UTC", timedelta())


def test_a_zone_that_is_changed_is_read_anew(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    zone = HostZone(link)
    assert zone().name == "UTC"
    for name in (BERLIN, NEW_YORK, "Arctic/Longyearbyen", BERLIN):
        link.unlink(missing_ok=True)
        link.symlink_to(ZONES / name)
        assert zone().name == name
        assert zone() is zone()
    link.unlink()
    shutil.copy(ZONES / "Asia/Tokyo", link)
    assert moment("2026-07-01T00:00").astimezone(zone().rules).utcoffset() == timedelta(hours=9)
    shutil.copy(ZONES / APIA, tmp_path / "new")
    (tmp_path / "new").replace(link)
    assert (zone().name, moment("2026-07-01T00:00").astimezone(zone().rules).utcoffset()) == (
        "localtime",
        timedelta(hours=13),
    )
