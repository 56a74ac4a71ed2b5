"""Schedules: their rules, what is sent to the root service when, and what is told of their runs."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbcalm.domain.model import times
from dbcalm.domain.model.entities import Caller, Plan, Schedule
from dbcalm.domain.model.listing import Query
from dbcalm.domain.ports import Cursor
from dbcalm.domain.rules.retention import Age
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.schedules import (
    HEAL_SECONDS,
    ROOT_SECONDS,
    Schedules,
    State,
    _check,
    describe,
    when,
)
from dbcalm.errors import Conflict, InvalidField, NotFound, RuleBroken, Unavailable
from dbcalm.repository import engine as database_module
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.engine import Database, connect, driver_of
from dbcalm_cmd.adapter import render
from dbcalm_cmd.command import CronSchedule
from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService, FakeRootService, HandClock, manifest
from tests.support.patience import PATIENCE, eventually

FULL = Plan(backup_type="full", frequency="daily", hour=3, minute=0)
INCREMENTAL = Plan(backup_type="incremental", frequency="hourly", minute=5)


def every(count: int, unit: str) -> Plan:
    return Plan(backup_type="full", frequency="interval", interval_value=count, interval_unit=unit)


NOON = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)  # A Wednesday.


@pytest.fixture
def schedules(services: Services, clock: HandClock) -> Schedules:
    clock.time = NOON.timestamp()
    return services.schedules


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def saved(catalogue: Catalogue) -> list[int]:
    return [one.id for one in catalogue.schedules.all()]


def test_a_schedule_is_kept_as_it_was_given_and_sent(
    schedules: Schedules, root: Caller, root_service: FakeRootService
) -> None:
    plan = replace(FULL, retention_value=2, retention_unit="weeks", day_of_week=3, interval_value=7)
    made = schedules.create(root, plan).schedule
    assert {name: getattr(made, name) for name in vars(plan)} == vars(plan)
    assert (made.id, made.created_at, made.updated_at) == (1, text(NOON), text(NOON))
    assert schedules.require(1) == made
    assert root_service.installed is not None
    assert root_service.installed[1].times == "0 3 * * *"


def test_only_enabled_schedules_are_sent_and_always_all(
    schedules: Schedules, root: Caller, root_service: FakeRootService
) -> None:
    schedules.create(root, FULL)
    schedules.create(root, replace(INCREMENTAL, enabled=False))
    assert set(root_service.installed or ()) == {1}
    schedules.change(root, 2, enabled=True)
    assert set(root_service.installed or ()) == {1, 2}
    schedules.create(root, replace(FULL, hour=4))
    schedules.delete(root, 1)
    assert set(root_service.installed or ()) == {2, 3}


def test_an_update_replaces_all_fields_and_a_change_some(
    schedules: Schedules, root: Caller, clock: HandClock, root_service: FakeRootService
) -> None:
    schedules.create(root, replace(FULL, retention_value=2, retention_unit="weeks"))
    clock.time += 60
    changed = schedules.change(root, 1, hour=5).schedule
    assert (changed.hour, changed.minute, changed.retention_value) == (5, 0, 2)
    assert (changed.created_at, changed.updated_at) == (text(NOON), text(NOON + timedelta(minutes=1)))
    replaced = schedules.update(root, 1, Plan(backup_type="full", frequency="hourly", minute=9)).schedule
    assert (replaced.hour, replaced.retention_value, replaced.enabled) == (None, None, True)
    assert (root_service.installed or {})[1].times == "9 * * * *"


def test_ids_are_not_given_twice(schedules: Schedules, root: Caller) -> None:
    schedules.create(root, FULL)
    schedules.create(root, FULL)
    schedules.delete(root, 2)
    assert schedules.create(root, FULL).schedule.id == 3


@pytest.mark.parametrize("act", ["require", "show", "update", "change", "delete"])
def test_what_is_not_there_is_not_found(schedules: Schedules, root: Caller, act: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "require": lambda: schedules.require(9),
        "show": lambda: schedules.show(9),
        "update": lambda: schedules.update(root, 9, FULL),
        "change": lambda: schedules.change(root, 9, hour=1),
        "delete": lambda: schedules.delete(root, 9),
    }
    with pytest.raises(NotFound, match="there is no schedule 9"):
        calls[act]()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"backup_type": "differential"}, "backup_type"),
    ({"frequency": "yearly"}, "frequency"),
    ({"hour": None}, "hour"),
    ({"minute": None}, "minute"),
    ({"hour": 24}, "hour"),
    ({"minute": -1}, "minute"),
    ({"minute": True}, "minute"),
    ({"frequency": "weekly"}, "day_of_week"),
    ({"frequency": "monthly"}, "day_of_month"),
    ({"frequency": "hourly", "minute": None}, "minute"),
    ({"frequency": "interval"}, "interval_value"),
    ({"frequency": "interval", "interval_value": 5}, "interval_unit"),
    ({"frequency": "interval", "interval_value": 60, "interval_unit": "minutes"}, "interval_value"),
    ({"frequency": "interval", "interval_value": 90, "interval_unit": "minutes"}, "interval_value"),
    ({"frequency": "interval", "interval_value": 24, "interval_unit": "hours"}, "interval_value"),
    ({"frequency": "interval", "interval_value": 5, "interval_unit": "days"}, "interval_unit"),
    ({"day_of_week": 7}, "day_of_week"),  # Not needed, and in range all the same.
    ({"day_of_month": 31}, "day_of_month"),
    ({"interval_value": 0}, "interval_value"),
    ({"retention_value": 5}, "retention_unit"),
    ({"retention_unit": "days"}, "retention_value"),
    ({"retention_value": 0, "retention_unit": "days"}, "retention_value"),
    ({"retention_value": True, "retention_unit": "days"}, "retention_value"),
    ({"retention_value": 1, "retention_unit": "years"}, "retention_unit"),
]


@pytest.mark.parametrize(("fields", "name"), WRONG)
def test_a_field_that_cannot_be_is_named_and_nothing_is_sent(
    schedules: Schedules,
    root: Caller,
    root_service: FakeRootService,
    catalogue: Catalogue,
    fields: dict[str, Any],
    name: str,
) -> None:
    with pytest.raises(InvalidField) as refused:
        schedules.create(root, replace(FULL, **fields))
    assert refused.value.field == name
    assert str(refused.value).startswith(f"{name} ")
    assert (saved(catalogue), root_service.calls) == ([], 0)
    schedules.create(root, FULL)
    calls = root_service.calls
    with pytest.raises(InvalidField):
        schedules.change(root, 1, **fields)
    assert (schedules.require(1).hour, root_service.calls) == (3, calls)


def test_an_interval_that_is_too_long_is_told_how_long_it_may_be(schedules: Schedules, root: Caller) -> None:
    plan = Plan(backup_type="full", frequency="interval", interval_value=24, interval_unit="hours")
    with pytest.raises(InvalidField, match="must be an integer from 1 to 23$"):
        schedules.create(root, plan)


def test_an_interval_that_cron_cannot_keep_tells_its_next_turn_and_is_overdue_after_it(
    schedules: Schedules, root: Caller, clock: HandClock
) -> None:
    """Turns of 45 minutes begin at 00:00, 00:45, 01:30, ... of 1970, and so at 03:00 of a day of 32 turns."""
    clock.time = times.seconds("2026-06-10T03:10:00Z")
    plan = Plan(backup_type="full", frequency="interval", interval_value=45, interval_unit="minutes")
    made = schedules.create(root, plan)
    assert made.next_run == "2026-06-10T03:45:00.000000Z"
    clock.time = times.seconds("2026-06-10T03:46:00Z")
    assert schedules.show(made.schedule.id).overdue_since is None
    clock.time = times.seconds("2026-06-10T03:50:00Z")
    assert schedules.show(made.schedule.id).overdue_since == "2026-06-10T03:45:00.000000Z"


def test_an_incremental_schedule_needs_an_enabled_full_one(
    schedules: Schedules, root: Caller, catalogue: Catalogue, root_service: FakeRootService
) -> None:
    def refused(call: Callable[[], object], word: str) -> None:
        before, file = catalogue.schedules.all(), root_service.installed
        with pytest.raises(RuleBroken, match=word):
            call()
        assert (catalogue.schedules.all(), root_service.installed) == (before, file)

    refused(lambda: schedules.create(root, INCREMENTAL), "add or enable a full one first")
    schedules.create(root, replace(FULL, enabled=False))
    refused(lambda: schedules.create(root, INCREMENTAL), "add or enable a full one first")
    schedules.create(root, replace(INCREMENTAL, enabled=False))
    refused(lambda: schedules.change(root, 2, enabled=True), "add or enable a full one first")
    schedules.change(root, 1, enabled=True)
    schedules.change(root, 2, enabled=True)
    refused(lambda: schedules.change(root, 1, enabled=False), "disable or delete schedule 2")
    refused(lambda: schedules.update(root, 1, INCREMENTAL), "add or enable a full one first")
    refused(lambda: schedules.delete(root, 1), "disable or delete schedule 2")
    schedules.create(root, FULL)
    schedules.delete(root, 1)
    refused(lambda: schedules.delete(root, 3), "disable or delete schedule 2")
    schedules.change(root, 2, enabled=False)
    schedules.delete(root, 3)


def test_without_the_root_service_nothing_is_saved(
    schedules: Schedules, root: Caller, root_service: FakeRootService, catalogue: Catalogue
) -> None:
    schedules.create(root, FULL)
    before, file = catalogue.schedules.all(), dict(root_service.installed or {})
    calls: list[Callable[[], object]] = [
        lambda: schedules.create(root, INCREMENTAL),
        lambda: schedules.update(root, 1, replace(FULL, hour=9)),
        lambda: schedules.change(root, 1, enabled=False),
        lambda: schedules.delete(root, 1),
    ]
    for call in calls:
        root_service.down, root_service.refusal = True, None
        with pytest.raises(Unavailable, match="dbcalm-cmd does not answer; nothing was saved"):
            call()
        root_service.down, root_service.refusal = False, Answer(503, "cannot write the file: full", {})
        with pytest.raises(Unavailable, match="refused: cannot write the file: full; nothing was saved"):
            call()
        assert (catalogue.schedules.all(), root_service.installed) == (before, file)


def test_a_lost_answer_saves_nothing_and_is_put_right(
    schedules: Schedules, root: Caller, root_service: FakeRootService, catalogue: Catalogue
) -> None:
    schedules.create(root, FULL)
    root_service.lost_replies = 1
    with pytest.raises(Unavailable):
        schedules.create(root, INCREMENTAL)
    assert (saved(catalogue), set(root_service.installed or ())) == ([1], {1, 2})
    assert schedules.cron_problem() is not None
    assert schedules.heal()
    assert set(root_service.installed or ()) == {1}
    assert schedules.cron_problem() is None
    assert not schedules.heal()


def test_a_catalogue_begun_anew_does_not_take_the_schedules_from_cron(
    schedules: Schedules, root: Caller, root_service: FakeRootService
) -> None:
    lost = CronSchedule(7, "full", "hourly", minute=5)
    root_service.installed = {7: lost}
    assert not schedules.heal()
    assert root_service.installed == {7: lost}
    assert "has 1 schedules that the catalogue does not know" in str(schedules.cron_problem())
    schedules.create(root, FULL)
    assert set(root_service.installed) == {8}  # Never the number of one that cron had.
    assert schedules.cron_problem() is None
    # Who has deleted the last one wants none.
    schedules.delete(root, 8)
    root_service.installed = {7: lost}
    assert schedules.heal()
    assert root_service.installed == {}


def test_a_catalogue_without_schedules_installs_the_clean_up(
    schedules: Schedules, root_service: FakeRootService
) -> None:
    assert schedules.heal()
    assert root_service.installed == {}


def test_more_than_fit_are_refused_in_one_line(
    schedules: Schedules, root: Caller, catalogue: Catalogue, root_service: FakeRootService
) -> None:
    with catalogue.schedules.draft() as draft:
        for _ in range(5000):
            draft.add(_kept(FULL))
    with pytest.raises(Conflict, match="5001 schedules are more than 5000"):
        schedules.create(root, FULL)
    assert len(saved(catalogue)) == 5000
    assert root_service.installed is None
    schedules.create(root, replace(FULL, enabled=False))
    assert len(root_service.installed or ()) == 5000


def _kept(plan: Plan) -> Schedule:
    return Schedule(id=0, created_at=text(NOON), updated_at=text(NOON), **vars(plan))


def test_a_set_larger_than_a_frame_is_refused_in_one_line(
    schedules: Schedules, root: Caller, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcalm_cmd.wire.MAX_FRAME", 300)
    schedules.create(root, FULL)
    with pytest.raises(Conflict, match="more than the service dbcalm-cmd takes at once"):
        schedules.create(root, FULL)
    assert saved(catalogue) == [1]


def test_a_catalogue_that_somebody_else_writes_refuses_and_nothing_is_sent(
    schedules: Schedules,
    root: Caller,
    database: Database,
    root_service: FakeRootService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database.close()
    monkeypatch.setattr("dbcalm.repository.engine._BUSY_SECONDS", 0.05)
    holder = connect(tmp_path / "db.sqlite3")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="busy"):
        schedules.create(root, FULL)
    assert root_service.installed is None
    holder.rollback()
    holder.close()
    schedules.create(root, FULL)


def test_the_root_service_gives_up_before_those_who_wait_for_the_catalogue_do() -> None:
    assert ROOT_SECONDS < database_module._BUSY_SECONDS


def test_what_cannot_be_kept_after_the_answer_is_sent_back_as_it_was(
    schedules: Schedules,
    root: Caller,
    root_service: FakeRootService,
    catalogue: Catalogue,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "dbcalm.domain.services.schedules._FIRST_PAUSE", 60.0
    )  # Only a doubt makes it look again in time.
    schedules.create(root, FULL)
    with database.write() as connection:
        driver_of(connection).execute(
            "CREATE TABLE late (id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        driver_of(connection).execute(
            "CREATE TRIGGER broken AFTER INSERT ON schedules BEGIN INSERT INTO late VALUES (99); END"
        )
    before = root_service.calls
    stop, healer = start_healing(schedules)
    eventually(lambda: root_service.calls > before)
    with pytest.raises(Exception, match="FOREIGN KEY"):
        schedules.create(root, replace(FULL, hour=4))
    assert root_service.calls >= before + 2
    eventually(lambda: set(root_service.installed or ()) == {1})
    assert (saved(catalogue), set(root_service.installed or ())) == ([1], {1})
    end_healing(schedules, stop, healer)


def start_healing(schedules: Schedules) -> tuple[threading.Event, threading.Thread]:
    stop = threading.Event()
    healer = threading.Thread(target=schedules.keep_healed, args=(stop,), daemon=True)
    healer.start()
    return stop, healer


def end_healing(schedules: Schedules, stop: threading.Event, healer: threading.Thread) -> None:
    stop.set()
    schedules.wake()
    healer.join(PATIENCE)
    assert not healer.is_alive()


def test_a_lost_file_comes_back_and_the_log_says_so(
    schedules: Schedules,
    root: Caller,
    root_service: FakeRootService,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "dbcalm")
    schedules.create(root, FULL)
    monkeypatch.setattr("dbcalm.domain.services.schedules.HEAL_SECONDS", 0.02)
    stop, healer = start_healing(schedules)
    eventually(lambda: root_service.calls > 3)
    assert "cron file" not in caplog.text
    root_service.installed = None
    eventually(lambda: root_service.installed is not None)
    eventually(lambda: "the cron file was not what the schedules make it" in caplog.text)
    end_healing(schedules, stop, healer)
    assert caplog.text.count("cron file") == 1


def test_a_root_service_that_is_down_is_told_once_and_asked_until_it_answers(
    schedules: Schedules,
    root: Caller,
    root_service: FakeRootService,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dbcalm.domain.services.schedules._FIRST_PAUSE", 0.005)
    monkeypatch.setattr("dbcalm.domain.services.schedules._LONGEST_PAUSE", 0.01)
    schedules.create(root, FULL)
    root_service.installed, root_service.down = None, True
    stop, healer = start_healing(schedules)
    eventually(lambda: root_service.calls > 6)
    assert caplog.text.count("dbcalm-cmd does not answer") == 1
    root_service.down = False
    eventually(lambda: root_service.installed is not None)
    end_healing(schedules, stop, healer)


def test_a_file_that_is_right_is_left_without_locking_the_catalogue(
    schedules: Schedules, root: Caller, root_service: FakeRootService, tmp_path: Path
) -> None:
    schedules.create(root, FULL)
    holder = connect(tmp_path / "db.sqlite3")
    holder.execute("BEGIN IMMEDIATE")
    assert not schedules.heal()
    assert schedules.cron_problem() is None
    holder.rollback()
    holder.close()


def test_the_file_is_compared_every_ten_minutes() -> None:
    assert HEAL_SECONDS == 600


def test_a_save_during_healing_is_not_undone(
    schedules: Schedules, root: Caller, root_service: FakeRootService, catalogue: Catalogue
) -> None:
    stop = threading.Event()

    def heal() -> None:
        while not stop.is_set():
            root_service.installed = None
            schedules.heal()

    schedules.create(root, FULL)
    healer = threading.Thread(target=heal, daemon=True)
    healer.start()
    for hour in range(20):
        schedules.create(root, replace(FULL, hour=hour))
    stop.set()
    healer.join(10)
    assert sorted(root_service.installed or ()) == saved(catalogue) == [*range(1, 22)]


def test_ages_are_those_of_all_that_have_one(schedules: Schedules, root: Caller) -> None:
    schedules.create(root, FULL)
    schedules.create(root, replace(FULL, retention_value=3, retention_unit="days", enabled=False))
    schedules.create(root, replace(FULL, retention_value=2, retention_unit="months"))
    assert schedules.ages() == {2: Age(3, "days"), 3: Age(2, "months")}


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (FULL, "daily at 03:00"),
        (replace(FULL, frequency="weekly", day_of_week=0, hour=4, minute=30), "Sundays at 04:30"),
        (replace(FULL, frequency="weekly", day_of_week=6), "Saturdays at 03:00"),
        (replace(FULL, frequency="monthly", day_of_month=1, hour=2), "on day 1 at 02:00"),
        (INCREMENTAL, "hourly at :05"),
        (every(15, "minutes"), "every 15 minutes"),
        (every(1, "minutes"), "every minute"),
        (every(6, "hours"), "every 6 hours at :00"),
        (replace(every(1, "hours"), minute=7), "every hour at :07"),
    ],
)  # fmt: skip
def test_when_a_schedule_runs_in_words(plan: Plan, words: str) -> None:
    assert when(plan) == words
    assert describe(plan) == f"{plan.backup_type}, {words}"


# What is told of runs.


class Story:
    """A schedule that was made long ago, and the jobs that came of it."""

    def __init__(self, services: Services, catalogue: Catalogue, clock: HandClock, root: Caller) -> None:
        self.services, self.catalogue, self.clock = services, catalogue, clock
        clock.time = (NOON - timedelta(days=30)).timestamp()
        services.schedules.create(root, FULL)
        clock.time = NOON.timestamp()
        self.offset = 0

    def tell(self, *events: dict[str, Any]) -> None:
        before = self.catalogue.jobs.cursor()
        self.offset += 1
        assert self.catalogue.jobs.apply(before, Cursor("j", self.offset), events)

    def run(
        self,
        start: datetime,
        status: str = "success",
        type: str = "backup",
        id: int | None = 1,
        error: str | None = None,
    ) -> None:
        job_id = f"{self.offset:032x}"
        self.tell({
            "event": "accepted", "at": text(start), "job_id": job_id, "type": type, "command": "tool",
            "args": {"schedule_id": id}, "resource_id": None,
        })  # fmt: skip
        if status != "running":
            end = text(start + timedelta(minutes=1))
            self.tell({"event": "ended", "at": end, "job_id": job_id, "status": status, "error": error})

    @property
    def state(self) -> State:
        return self.services.schedules.show(1)


@pytest.fixture
def story(services: Services, catalogue: Catalogue, clock: HandClock, root: Caller) -> Story:
    return Story(services, catalogue, clock, root)


DUE = datetime(2026, 6, 10, 3, 0, tzinfo=UTC)


def test_a_run_in_time_is_all_that_is_wanted(story: Story) -> None:
    story.run(DUE + timedelta(seconds=1))
    state = story.state
    assert (state.last_run, state.last_status, state.last_error) == (
        text(DUE + timedelta(seconds=1)),
        "success",
        None,
    )
    assert state.next_run == text(DUE + timedelta(days=1))
    assert (state.overdue_since, state.timezone) == (None, "UTC")
    assert story.services.schedules.overdue() == []


@pytest.mark.parametrize(
    ("run", "since"),
    [
        (None, DUE),
        ((DUE - timedelta(days=1), "success"), DUE),
        ((DUE - timedelta(seconds=4), "success"), None),  # The clocks of two programs.
        ((DUE - timedelta(seconds=6), "success"), DUE),
        ((DUE + timedelta(hours=1), "success"), None),
        ((DUE, "running"), None),
        ((DUE, "failed"), DUE),
    ],
)
def test_a_schedule_is_overdue_when_nothing_came_of_its_last_time(
    story: Story, run: tuple[datetime, str] | None, since: datetime | None
) -> None:
    if run:
        story.run(*run)
    assert story.state.overdue_since == (since and text(since))
    assert [one.since for one in story.services.schedules.overdue()] == ([text(since)] if since else [])


def test_a_schedule_has_two_minutes_of_grace(story: Story) -> None:
    story.run(DUE - timedelta(days=1))
    for seconds, since in ((119, None), (120, text(DUE))):
        story.clock.time = DUE.timestamp() + seconds
        assert story.state.overdue_since == since


def test_what_was_due_before_the_schedule_was_as_it_is_does_not_count(story: Story, root: Caller) -> None:
    assert story.state.overdue_since == text(DUE)
    assert story.services.schedules.change(root, 1, minute=1).overdue_since is None
    story.clock.time += 86400
    assert story.state.overdue_since == text(DUE + timedelta(days=1, minutes=1))


def test_a_disabled_schedule_has_no_next_run_and_is_never_overdue(story: Story, root: Caller) -> None:
    assert story.state.overdue_since is not None
    state = story.services.schedules.change(root, 1, enabled=False)
    assert (state.next_run, state.overdue_since) == (None, None)
    story.clock.time += 10 * 86400
    assert story.services.schedules.overdue() == []


def test_a_run_that_succeeded_after_one_that_failed_counts(story: Story) -> None:
    story.run(DUE, "failed", error="it broke")
    assert (story.state.last_status, story.state.last_error) == ("failed", "it broke")
    [overdue] = story.services.schedules.overdue()
    assert (overdue.schedule.id, overdue.since, overdue.error) == (1, text(DUE), "it broke")
    story.run(DUE + timedelta(hours=1))
    assert (story.state.last_status, story.state.last_error, story.state.overdue_since) == (
        "success",
        None,
        None,
    )


def test_only_backups_of_this_schedule_are_its_runs(story: Story) -> None:
    story.run(DUE, type="cleanup_backups")
    story.run(DUE, id=2)
    story.run(DUE, id=None)
    assert (story.state.last_run, story.state.overdue_since) == (None, text(DUE))


def test_a_refused_run_is_remembered_until_another_begins(
    story: Story, root: Caller, mysql: FakeMysqlService
) -> None:
    story.run(DUE - timedelta(days=1))
    before = story.services.schedules.require(1)
    mysql.refusal = Answer(503, "server is not running", {})
    with pytest.raises(Unavailable):
        story.services.backups.create(root, "full", schedule_id=1)
    state = story.state
    assert (state.last_status, state.last_error) == ("success", "server is not running")
    assert [one.error for one in story.services.schedules.overdue()] == ["server is not running"]
    after = story.services.schedules.require(1)
    assert (after.last_refused_at, after.updated_at) == (text(NOON), before.updated_at)
    story.run(NOON + timedelta(minutes=1))
    assert (story.state.last_error, story.state.overdue_since) == (None, None)


def test_a_service_that_is_down_is_a_refusal_too(story: Story, root: Caller, mysql: FakeMysqlService) -> None:
    mysql.down = True
    with pytest.raises(Unavailable):
        story.services.backups.create(root, "full", schedule_id=1)
    assert "dbcalm-mariadb-cmd does not answer" in str(story.state.last_error)


def test_what_was_asked_for_wrongly_is_no_refusal(story: Story, root: Caller) -> None:
    with pytest.raises(InvalidField):
        story.services.backups.create(root, "full", "../x", schedule_id=1)
    assert story.state.last_error is None


def test_a_backup_may_name_a_schedule_that_is_gone(
    story: Story, root: Caller, mysql: FakeMysqlService
) -> None:
    story.services.backups.create(root, "full", schedule_id=77)
    mysql.refusal = Answer(503, "server is not running", {})
    with pytest.raises(Unavailable, match="server is not running"):
        story.services.backups.create(root, "full", schedule_id=77)


def test_the_zone_is_the_hosts_and_followed_when_it_changes(story: Story, tmp_path: Path) -> None:
    assert story.state.next_run == "2026-06-11T03:00:00.000000Z"
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert (story.state.timezone, story.state.next_run) == ("Europe/Berlin", "2026-06-11T01:00:00.000000Z")
    assert story.state.overdue_since == "2026-06-10T01:00:00.000000Z"


def test_backups_have_the_retention_of_their_schedule_as_it_is_now(
    story: Story, root: Caller, mysql: FakeMysqlService
) -> None:
    for seq, schedule in enumerate((None, 1, 9)):
        mysql.on_disk[f"b{seq}"] = manifest(f"b{seq}", seq, schedule_id=schedule)
    mysql.journal = "j"
    story.services.jobs.add_found()

    def retention() -> list[tuple[int | None, str | None]]:
        found = [story.services.backups.require(f"b{seq}") for seq in range(3)]
        return [(one.retention_value, one.retention_unit) for one in found]

    assert retention() == [(None, None)] * 3
    story.services.schedules.change(root, 1, retention_value=2, retention_unit="weeks")
    assert retention() == [(None, None), (2, "weeks"), (None, None)]
    story.services.schedules.delete(root, 1)
    assert retention() == [(None, None)] * 3


def test_runs_are_found_in_one_query_however_many_there_are(
    story: Story, root: Caller, database: Database
) -> None:
    for hour in range(20):
        story.services.schedules.create(root, replace(FULL, hour=hour))
        story.run(DUE, id=hour + 2)
    statements: list[str] = []
    with database.read() as connection:
        driver_of(connection).set_trace_callback(statements.append)
    page = story.services.schedules.list(Query(per_page=100))
    with database.read() as connection:
        driver_of(connection).set_trace_callback(None)
    assert len(page.items) == 21
    assert sum(state.last_run is not None for state in page.items) == 20
    assert len([one for one in statements if "FROM processes" in one]) == 1


# Whatever is given is refused, or renders.

ODD: list[Any] = [
    None, -1, 0, 1, 3, 7, 12, 23, 24, 28, 29, 31, 59, 60, 2**31, 2**53, 2**63, -(2**63), 10**30, True, False,
    3.0, 3.9, float("nan"), float("inf"), "", "3", "3\n", " 3", "٣", "0x3", "*", "*/5", "1-5", "1,2", "L", "full\n",
    "FULL", "$(id)", "`id`", "; id", "root", "\x00", "\n* * * * * root id", "daily", "minutes", "hours", "days", [],
    [1], (), {}, {"a": 1}, b"3", object(),
]  # fmt: skip
WORDS = {
    "backup_type": ["full", "incremental"],
    "frequency": ["daily", "weekly", "monthly", "hourly", "interval"],
    "interval_unit": ["minutes", "hours"],
    "retention_unit": ["days", "weeks", "months"],
}
RANGES = {
    "day_of_week": 6,
    "day_of_month": 28,
    "hour": 23,
    "minute": 59,
    "interval_value": 30,
    "retention_value": 99,
}


def generated(chance: random.Random) -> dict[str, Any]:
    """Return the fields of a plan, most of which can be, and some of which cannot."""
    values: dict[str, Any] = {name: chance.choice(words) for name, words in WORDS.items()}
    values |= {name: chance.randint(0 if high < 60 else 1, high) for name, high in RANGES.items()}
    for name in chance.sample(sorted(values), chance.choice([0, 0, 1, 1, 2, 10])):
        values[name] = chance.choice(ODD)
    return values


def rendered(plan: Plan) -> str:
    """Return the line that the root service makes of an accepted plan."""
    line = CronSchedule(
        1, **{name: getattr(plan, name) for name in CronSchedule.__dataclass_fields__ if name != "id"}
    )
    lines = render((line,), "dbcalm", "/usr/bin/dbcalm", "").splitlines()
    [found] = [one for one in lines if "--schedule-id" in one]
    return found


def is_cron_line(line: str) -> bool:
    """Tell whether a line is one that Debian's cron takes, and nothing but a backup; written without the renderer."""
    words = line.split(" ")
    if words[5:8] != ["dbcalm", "/usr/bin/dbcalm", "backup"] or words[9:11] != ["--schedule-id", "1"]:
        return False
    if words[11:] and not (words[11] == "--if-due" and len(words) == 13 and 7 <= int(words[12]) <= 1380):
        return False
    if words[8] not in ("full", "incremental") or not line.isascii():
        return False
    ranges = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
    for word, (low, high) in zip(words[:5], ranges, strict=True):
        star, slash, step = word.partition("/")
        if star == "*":
            if slash and not (step.isdigit() and (high + 1) % int(step) == 0 and int(step) > 1):
                return False
        elif not (word.isdigit() and word == str(int(word)) and low <= int(word) <= high):
            return False
    return True


def test_every_plan_is_refused_with_its_field_or_renders() -> None:
    chance, accepted = random.Random(11), []
    for _ in range(20_000):
        values = generated(chance)
        plan = Plan(**values)
        try:
            _check(plan)
        except InvalidField as error:
            assert error.field in values
            assert str(error).startswith(f"{error.field} ")
            continue
        assert is_cron_line(rendered(plan)), rendered(plan)
        accepted.append(plan.frequency)
    assert set(accepted) == {*WORDS["frequency"]}
    assert 1_000 < len(accepted) < 16_000


@pytest.mark.parametrize("line", [
    "60 3 * * * dbcalm /usr/bin/dbcalm backup full --schedule-id 1",
    "0 24 * * * dbcalm /usr/bin/dbcalm backup full --schedule-id 1",
    "*/7 * * * * dbcalm /usr/bin/dbcalm backup full --schedule-id 1",
    "0 3 * * * root /usr/bin/dbcalm backup full --schedule-id 1",
    "0 3 * * * dbcalm /usr/bin/dbcalm backup full --schedule-id 1 ; id",
    "0 3 * * dbcalm /usr/bin/dbcalm backup full --schedule-id 1",
])  # fmt: skip
def test_the_pattern_of_lines_is_strict(line: str) -> None:
    assert not is_cron_line(line)
    assert is_cron_line("*/15 * * * * dbcalm /usr/bin/dbcalm backup full --schedule-id 1")


def test_every_interval_is_taken() -> None:
    for unit, most in (("minutes", 59), ("hours", 23)):
        for count in range(1, most + 1):
            _check(Plan(backup_type="full", frequency="interval", interval_value=count, interval_unit=unit))


class TestIdsOfWhatIsGone:
    """A schedule whose id an older backup has would cover that backup by its retention."""

    def test_nor_one_of_a_backup_that_nobody_has_told_the_catalogue_of(
        self, schedules: Schedules, mysql: FakeMysqlService, root: Caller
    ) -> None:
        mysql.on_disk["old"] = manifest("old", 1, schedule_id=4)
        assert schedules.create(root, FULL).schedule.id == 5

    def test_without_the_root_service_nothing_is_saved(
        self, schedules: Schedules, root_service: FakeRootService, catalogue: Catalogue, root: Caller
    ) -> None:
        root_service.down = True
        with pytest.raises(Unavailable, match="nothing was saved"):
            schedules.create(root, FULL)
        assert saved(catalogue) == []

    def test_a_lost_catalogue_gives_no_id_that_a_backup_on_disk_has(
        self, services: Services, schedules: Schedules, mysql: FakeMysqlService, root: Caller
    ) -> None:
        mysql.on_disk["old"] = manifest("old", 1, schedule_id=4)
        services.jobs.add_found()
        assert schedules.create(root, FULL).schedule.id == 5

    def test_nor_one_that_a_job_had(
        self, services: Services, schedules: Schedules, mysql: FakeMysqlService, root: Caller
    ) -> None:
        services.backups.create(root, "full", None, None, 7)
        services.jobs.catch_up()
        assert schedules.create(root, FULL).schedule.id == 8

    def test_a_number_that_no_schedule_ever_had_does_not_use_the_ids_up(
        self, services: Services, schedules: Schedules, mysql: FakeMysqlService, root: Caller
    ) -> None:
        mysql.on_disk["typo"] = manifest("typo", 1, schedule_id=2**53 - 1)
        services.jobs.add_found()
        assert [schedules.create(root, FULL).schedule.id for _ in range(2)] == [1, 2]

    def test_a_deleted_id_is_not_given_out_again(self, schedules: Schedules, root: Caller) -> None:
        last = [schedules.create(root, FULL).schedule.id for _ in range(3)][-1]
        schedules.delete(root, last)
        assert schedules.create(root, FULL).schedule.id == last + 1
