"""The clock, judged by the times that the journal has: what is a jump, and how long it is remembered."""

from datetime import UTC, datetime, timedelta

import pytest

from dbcalm_mariadb_cmd.clock import ClockWatch, from_ns, moment, text_of, to_ns
from dbcalm_mariadb_cmd.command.amounts import minute, span
from dbcalm_mariadb_cmd.store.history import History
from dbcalm_mariadb_cmd.store.journal import Journal
from tests.support.engine_lab import Lab
from tests.support.engine_tiny import Clock

START = datetime(2026, 11, 23, 3, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def watch(*steps: timedelta) -> tuple[ClockWatch, datetime]:
    """Return a watch that was told of an event at the start and after each step, and the time of the last."""
    watch, time = ClockWatch(), START
    watch.note(text_of(time))
    for step in steps:
        time += step
        watch.note(text_of(time))
    return watch, time


@pytest.mark.parametrize("now", [timedelta(0), HOUR, 48 * HOUR, -timedelta(seconds=60)])
def test_a_clock_that_goes_on_is_not_in_doubt(now: timedelta) -> None:
    told, time = watch(HOUR, 48 * HOUR, -timedelta(seconds=60), 30 * HOUR)
    assert told.doubt(text_of(time + now)) is None


def test_of_a_clock_that_nothing_is_known_of_nothing_is_said() -> None:
    assert ClockWatch().doubt(text_of(START)) is None


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (-timedelta(seconds=61), "went back by 61 seconds"),
        (-3 * HOUR, "went back by 3 hours"),
        (timedelta(hours=48, seconds=1), "went on by 2 days"),
        (365 * DAY, "went on by 365 days"),
    ],
)
def test_a_jump_is_told_and_forgotten_after_two_steady_days(step: timedelta, what: str) -> None:
    told, time = watch(HOUR, step)
    again = text_of(time + 48 * HOUR)
    for later in (timedelta(0), HOUR, timedelta(hours=47, minutes=59)):
        doubt = told.doubt(text_of(time + later))
        assert doubt is not None
        assert doubt.startswith(f"the clock {what} at {minute(text_of(time))}")
        assert f"before {minute(text_of(time + 48 * HOUR + timedelta(minutes=1)))}" in doubt
    assert told.doubt(again) is None


def test_the_present_counts_as_the_next_event() -> None:
    told, time = watch(HOUR)
    assert "went on by 3 days" in str(told.doubt(text_of(time + 3 * DAY)))
    assert "went back by 2 hours" in str(told.doubt(text_of(time - 2 * HOUR)))
    assert told.doubt(text_of(time + HOUR)) is None  # It was only asked.


def test_a_second_jump_begins_the_two_days_anew() -> None:
    told, time = watch(-3 * DAY, 40 * HOUR, -2 * HOUR)
    assert told.doubt(text_of(time + 20 * HOUR)) is not None
    assert told.doubt(text_of(time + 48 * HOUR)) is None


def test_what_is_no_time_says_nothing() -> None:
    told, time = watch(HOUR)
    for odd in (None, 5, "", "yesterday", [], "2026-99-99T00:00:00.000000Z"):
        told.note(odd)
    assert told.doubt(text_of(time)) is None


def test_a_stamp_is_wanted_after_a_day_of_silence_or_at_a_jump() -> None:
    told, time = watch(HOUR)
    assert not told.wants_stamp(text_of(time + 23 * HOUR))
    assert told.wants_stamp(text_of(time + 24 * HOUR))
    assert told.wants_stamp(text_of(time - HOUR))


def test_the_journal_remembers_over_a_restart(lab: Lab) -> None:
    clock = Clock()
    journal = Journal(lab.jobs / "journal", clock)
    assert History(journal, lab.backups).clock.doubt(clock()) is None  # A journal that is new has no past.
    clock.time -= DAY
    journal.append("tick")
    clock.time += HOUR
    for _ in range(2):
        doubt = History(Journal(lab.jobs / "journal", clock), lab.backups).clock.doubt(clock())
        assert str(doubt).startswith("the clock went back by 23 hours at 2026-11-22 03:00 UTC")
    for _ in range(2):
        clock.time += 24 * HOUR
        journal.append("tick")
    assert History(journal, lab.backups).clock.doubt(clock()) is None


def test_times_come_back_from_texts_and_numbers() -> None:
    for time in (START, START + timedelta(microseconds=1), datetime(1970, 1, 1, tzinfo=UTC)):
        assert moment(text_of(time)) == time
        assert from_ns(to_ns(time)) == time
    assert moment("2026-11-23T03:00:00") == START
    assert from_ns(10**20 - 1).year > 5000  # The longest name that an entry of the trash can have.


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(0), "0 seconds"),
        (timedelta(seconds=119), "119 seconds"),
        (timedelta(minutes=119), "119 minutes"),
        (47 * HOUR, "47 hours"),
        (47 * HOUR + 59 * timedelta(minutes=1), "47 hours"),
        (48 * HOUR, "2 days"),
        (400 * DAY, "400 days"),
    ],
)
def test_a_length_of_time_in_words(time: timedelta, words: str) -> None:
    assert span(time) == words
