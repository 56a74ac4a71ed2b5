"""Schedules: what cron shall make when, kept in the catalogue and in the cron file alike.

The root service owns the cron file and is sent the whole set at each change, inside the transaction of the change: what
it has not taken is not kept. So the file never holds what nobody saved, but for one case: where its answer is lost, or
keeping fails after it. Then the set that is kept is sent again, as it is at the API's start and every few minutes,
which brings a lost or edited file back.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from dbcalm.domain.model import times
from dbcalm.domain.model.advice import ADD_FULL
from dbcalm.domain.model.entities import Caller, Plan, Run, Schedule
from dbcalm.domain.model.listing import BOOLEAN, INTEGER, TEXT, TIME, Listing, Page, Query
from dbcalm.domain.model.zone import HostZone
from dbcalm.domain.ports import Clock, RootService, ScheduleDraft, ScheduleStore
from dbcalm.domain.rules.cron_times import last_due, next_due
from dbcalm.domain.rules.retention import Age
from dbcalm.errors import (
    Conflict,
    DBCalmError,
    InvalidField,
    InvalidRequest,
    NotFound,
    RuleBroken,
    Unavailable,
)
from dbcalm.logger import audited, log
from dbcalm_cmd.command import VERIFY, CronSchedule
from dbcalm_cmd.wire import InvalidCommand, WireError
from dbcalm_cmd_client import Answer, ServiceUnreachable
from dbcalm_mariadb_cmd.command.requests import LEVELS

LISTING = Listing(
    query={
        "id": INTEGER,
        "backup_type": TEXT,
        "frequency": TEXT,
        "day_of_week": INTEGER,
        "day_of_month": INTEGER,
        "hour": INTEGER,
        "minute": INTEGER,
        "interval_value": INTEGER,
        "interval_unit": TEXT,
        "verify_level": INTEGER,
        "enabled": BOOLEAN,
        "created_at": TIME,
        "updated_at": TIME,
    },
    order=("id", "created_at", "updated_at", "enabled"),
)

RETENTION_UNITS = ("days", "weeks", "months")

ROOT_SECONDS = 4.0
"""How long the root service may take. The catalogue is locked meanwhile, and others wait 5 seconds for it."""

HEAL_SECONDS = 600.0
"""How often the cron file is compared with the schedules."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_GRACE = timedelta(minutes=2)
_CLOCK_SLACK = timedelta(seconds=5)
_DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
_RULE = "an incremental schedule needs at least one enabled full schedule"


@dataclass(frozen=True)
class Overdue:
    """A schedule that should have run at ``since``, and why it did not, where that is known."""

    schedule: Schedule
    since: str
    error: str | None


@dataclass(frozen=True)
class State:
    """A schedule, when it runs next, and what became of its last run. Times are in UTC."""

    schedule: Schedule
    timezone: str
    next_run: str | None
    last_run: str | None
    last_status: str | None
    last_error: str | None
    overdue_since: str | None


class Schedules:
    """Keeps schedules and has the root service make the cron file of them; safe to use from many threads and programs
    at once. ``recollect`` gives the catalogue the backups and jobs that it lacks."""

    def __init__(
        self,
        store: ScheduleStore,
        root: RootService,
        clock: Clock,
        zone: HostZone,
        patience: timedelta,
        recollect: Callable[[], None],
    ) -> None:
        self._recollect = recollect
        self._patience = patience
        self._store = store
        self._root = root
        self._clock = clock
        self._zone = zone
        self._doubt = threading.Event()

    def list(self, query: Query) -> Page[State]:
        """Return one page of schedules."""
        page = self._store.list(query)
        return Page(self.states(page.items), page.total, page.page, page.per_page)

    def all(self) -> Sequence[Schedule]:
        """Return all schedules in order of id."""
        return self._store.all()

    def require(self, id: int) -> Schedule:
        """Return a schedule; raise NotFound."""
        return _found(self._store.get(id), id)

    def show(self, id: int) -> State:
        """Return a schedule with its runs; raise NotFound."""
        return self.state(self.require(id))

    def ages(self) -> Mapping[int, Age]:
        """Return how long each schedule that says so keeps what it has made, by its id."""
        return {
            one.id: Age(one.retention_value, one.retention_unit)
            for one in self.all()
            if one.retention_value is not None and one.retention_unit is not None
        }

    def verify_level(self, id: int) -> int | None:
        """Return how far a schedule's backups are verified; None for not at all, also if there is no such schedule."""
        schedule = self._store.get(id)
        return None if schedule is None else schedule.verify_level

    def create(self, caller: Caller, plan: Plan) -> State:
        """Return a new schedule; raise InvalidField, RuleBroken, Conflict if there are too many, or Unavailable if the
        root service does not take it: then nothing is saved."""
        return self.create_all(caller, [plan])[0]

    def create_all(self, caller: Caller, plans: Sequence[Plan]) -> Sequence[State]:
        """Return new schedules, saved all or none; raise what ``create`` raises."""
        what = ", ".join(f"{plan.frequency} {plan.backup_type} schedule" for plan in plans)
        with audited(caller.name, f"add {what}"):
            for plan in plans:
                _check(plan)
            now, above = self._now(), self._highest_in_cron()
            with self._saving() as save:
                made = [
                    save.draft.add(Schedule(id=0, created_at=now, updated_at=now, **vars(plan)), above)
                    for plan in plans
                ]
                save.changed = made[-1].id
        return self.states(made)

    def _highest_in_cron(self) -> int:
        """Return the highest id that cron knows where the catalogue knows of none: after its loss cron may still run
        that schedule, whose backups must never be taken for those of a new one. Backups remember it too."""
        if not self._store.never_had_any():
            return 0
        with contextlib.suppress(DBCalmError):
            self._recollect()
        try:
            data = _granted(lambda: self._root.check_cron_schedules([]))
        except Unavailable as error:
            raise Unavailable(f"{error}; nothing was saved") from error
        return int(data.get("highest_id", 0))

    def update(self, caller: Caller, id: int, plan: Plan) -> State:
        """Replace all that a schedule says; raise NotFound, and what ``create`` raises."""
        return self.change(caller, id, **vars(plan))

    def change(self, caller: Caller, id: int, **fields: Any) -> State:
        """Give some fields of a schedule other values; raise NotFound, and what ``create`` raises."""
        with audited(caller.name, f"change schedule {id}"), self._saving(id) as save:
            found = _found(save.draft.get(id), id)
            changed = replace(found, **fields)
            _check(changed)
            if changed != found:  # To save it as it is must not hide that it is overdue.
                changed = replace(changed, updated_at=self._now())
                save.draft.replace(changed)
        return self.state(changed)

    def delete(self, caller: Caller, id: int) -> None:
        """Delete a schedule; its backups stay. Raise NotFound, RuleBroken or Unavailable."""
        with audited(caller.name, f"delete schedule {id}"), self._saving(id) as save:
            _found(save.draft.get(id), id)
            save.draft.delete(id)

    @contextlib.contextmanager
    def _saving(self, changed: int = 0) -> "Iterator[_Save]":
        """Give a draft, and at the block's end keep it if the root service takes what it then holds, or else raise."""
        sent = False
        try:
            with self._store.draft() as draft:
                save = _Save(draft, changed)
                yield save
                schedules = draft.all()
                _require_full(schedules, save.changed)
                sent = True
                try:
                    self._install(schedules)
                except Unavailable as error:
                    raise Unavailable(f"{error}; nothing was saved") from error
        except BaseException:
            if sent:  # The file may hold the draft although that is not kept.
                self._doubt.set()
            raise

    def _install(self, schedules: Iterable[Schedule]) -> bool:
        """Have the cron file made of the enabled ones; return whether it was not so already. Raise Unavailable, or
        Conflict if they are too many."""
        data = _granted(lambda: self._root.update_cron_schedules(_lines(schedules)))
        return data.get("changed") is not False

    def cron_problem(self) -> str | None:
        """Return what is wrong with the cron file, or None; raise Unavailable."""
        if self._present(self.all()) is None:
            return None
        # A save under way had perhaps changed the one and not yet the other.
        with self._store.draft() as draft:
            present = self._present(draft.all())
        if present is None:
            return None
        if present and self._store.never_had_any():
            return (
                f"the cron file has {present} schedules that the catalogue does not know, as after its loss; they run "
                f"until schedules are saved: add them again, such as with: {ADD_FULL}"
            )
        return (
            "the cron file is missing or was edited, so schedules may not run; the API puts it right within "
            "10 minutes, or at once when it is restarted"
        )

    def _present(self, schedules: Iterable[Schedule]) -> int | None:
        """Return None if the cron file is what these schedules make it, else how many it has instead."""
        data = _granted(lambda: self._root.check_cron_schedules(_lines(schedules)))
        return None if data.get("installed") is True else int(data.get("present", 0))

    def heal(self) -> bool:
        """Have the cron file made of what is kept; return whether it was something else. Raise Unavailable.

        A catalogue that was begun anew says nothing about the schedules that were lost with the old one: what cron has
        of them goes on until somebody saves.
        """
        present = self._present(self.all())
        if present is None or (present and self._store.never_had_any()):
            return False  # And nobody had to wait for the catalogue.
        # Inside a transaction, so that a save at the same time is sent before or after this, and never undone by it.
        with self._store.draft() as draft:
            return self._install(draft.all())

    def keep_healed(self, stop: threading.Event) -> None:
        """Bring the cron file up to the schedules now, whenever there is doubt, and every few minutes, until told to
        stop; whatever happens to the root service meanwhile. ``wake`` makes it look whether to stop."""
        failed, pause = False, _FIRST_PAUSE
        while not stop.is_set():
            try:
                if self.heal():
                    log.info("the cron file was not what the schedules make it; it is now")
                if failed:
                    failed, pause = False, _FIRST_PAUSE
            except Exception as error:  # Whatever it is, a later round may go well.
                if not failed:
                    trace = not isinstance(error, DBCalmError)
                    log.warning(
                        "the cron file cannot be compared with the schedules: %s", error, exc_info=trace
                    )
                    failed, pause = True, _FIRST_PAUSE
            pause = min(pause, _LONGEST_PAUSE if failed else HEAL_SECONDS)
            if self._doubt.wait(pause):
                self._doubt.clear()
                pause = _FIRST_PAUSE
            else:
                # Soon again at first: a service that was stuck may yet obey what nobody waits for any more.
                pause *= 2

    def wake(self) -> None:
        """End the pause of ``keep_healed``."""
        self._doubt.set()

    @contextlib.contextmanager
    def noting(self, id: int | None) -> Iterator[None]:
        """Remember with a schedule that what was asked for it in this block was refused, since no process will tell."""
        began = self._now()  # Before any process that comes of it after all.
        try:
            yield
        except DBCalmError as error:
            if id is not None and not isinstance(error, InvalidRequest):
                with contextlib.suppress(DBCalmError):
                    self._store.note_refusal(id, began, str(error))
            raise

    def overdue(self) -> Sequence[Overdue]:
        """Return the schedules that should have run and did not."""
        return [
            Overdue(state.schedule, state.overdue_since, state.last_error)
            for state in self.states([one for one in self.all() if one.enabled])
            if state.overdue_since is not None
        ]

    @property
    def timezone(self) -> str:
        """The name of the host's time zone, by which schedules run."""
        return self._zone().name

    def next_run(self, schedule: Schedule) -> str | None:
        """Return when a schedule runs next; None if it is disabled."""
        if not schedule.enabled:
            return None
        now = times.at(self._clock.now())
        line = _line(schedule)
        return times.written(next_due(line.times, self._zone().rules, now, line.every))

    def state(self, schedule: Schedule) -> State:
        """Return a schedule with its runs."""
        return self.states([schedule])[0]

    def states(self, schedules: Sequence[Schedule]) -> Sequence[State]:
        """Return schedules with their runs."""
        runs: dict[int, list[Run]] = {one.id: [] for one in schedules}
        for run in self._store.runs(runs):
            runs[run.schedule_id].append(run)
        return [self._state(one, runs[one.id]) for one in schedules]

    def _state(self, one: Schedule, runs: Sequence[Run]) -> State:
        last = runs[0] if runs else None
        return State(
            schedule=one,
            timezone=self.timezone,
            next_run=self.next_run(one),
            last_run=last.start_time if last else None,
            last_status=last.status if last else None,
            last_error=_last_error(one, last),
            overdue_since=self._overdue_since(one, runs) if one.enabled else None,
        )

    def _overdue_since(self, one: Schedule, runs: Sequence[Run]) -> str | None:
        """Return when a schedule was last due, if nothing has come of that; None if all is well."""
        now = times.at(self._clock.now())
        line = _line(one)
        due = last_due(line.times, self._zone().rules, now - _GRACE, line.every)
        if due <= datetime.fromisoformat(one.updated_at):
            return None
        enough = times.written(due - _CLOCK_SLACK)
        done = any(run.status in ("running", "success") and run.start_time >= enough for run in runs)
        waits = (
            now - due < self._patience and (one.last_refused_at or "") >= enough and self._store.job_runs()
        )
        return None if done or waits else times.written(due)

    def _now(self) -> str:
        return times.written(times.at(self._clock.now()))


@dataclass
class _Save:
    """A draft under way, and the schedule that is changed in it."""

    draft: ScheduleDraft
    changed: int


def describe(plan: Plan) -> str:
    """Return what a schedule makes and when, as people say it: ``full, daily at 03:00``."""
    verified = plan.verify_level is not None and plan.backup_type != VERIFY
    return f"{plan.backup_type}{' and verify' if verified else ''}, {when(plan)}"


def when(plan: Plan) -> str:
    """Return when a schedule runs, as people say it."""
    minute = plan.minute or 0
    clock = f"{plan.hour or 0:02}:{minute:02}"
    match plan.frequency:
        case "daily":
            return f"daily at {clock}"
        case "weekly":
            return f"{_DAYS[(plan.day_of_week or 0) % 7]} at {clock}"
        case "monthly":
            return f"on day {plan.day_of_month} at {clock}"
        case "hourly":
            return f"hourly at :{minute:02}"
    count, unit = plan.interval_value, str(plan.interval_unit)
    every = f"every {unit.removesuffix('s')}" if count == 1 else f"every {count} {unit}"
    return f"{every} at :{minute:02}" if unit == "hours" else every


def schedule_id(text: str) -> int:
    """Return the id that an address names; raise NotFound if it can be none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotFound("there is no such schedule: its id is a number")
    return int(text)


def _found(schedule: Schedule | None, id: int) -> Schedule:
    if schedule is None:
        raise NotFound(f"there is no schedule {id}")
    return schedule


def _line(one: Plan, id: int = 1) -> CronSchedule:
    """Return a schedule as the root service takes it; raise InvalidCommand if cron cannot keep it."""
    return CronSchedule(
        id=id,
        backup_type=one.backup_type,
        frequency=one.frequency,
        minute=one.minute,
        hour=one.hour,
        day_of_week=one.day_of_week,
        day_of_month=one.day_of_month,
        interval_value=one.interval_value,
        interval_unit=one.interval_unit,
    )


def _lines(schedules: Iterable[Schedule]) -> Sequence[CronSchedule]:
    return [_line(one, one.id) for one in schedules if one.enabled]


def _check(plan: Plan) -> None:
    """Raise InvalidField if a field is missing, out of range, or does not fit to another one."""
    try:
        _line(plan)
    except InvalidCommand as error:
        raise InvalidField(error.field, str(error).removeprefix(f"{error.field} ")) from error
    value, unit = plan.retention_value, plan.retention_unit
    if (value is None) != (unit is None):
        missing, there = ("value", "unit") if value is None else ("unit", "value")
        raise InvalidField(f"retention_{missing}", f"is needed with retention_{there}")
    if value is not None and (type(value) is not int or not 1 <= value < 2**53):
        raise InvalidField("retention_value", "must be an integer from 1")
    if unit is not None and unit not in RETENTION_UNITS:
        raise InvalidField("retention_unit", f"must be one of {', '.join(RETENTION_UNITS)}")
    if value is not None and plan.backup_type == VERIFY:
        raise InvalidField("retention_value", "is for schedules that make backups")
    if plan.verify_level is not None and plan.verify_level not in LEVELS:
        raise InvalidField("verify_level", f"must be one of {', '.join(map(str, LEVELS))}")


def _require_full(schedules: Iterable[Schedule], changed: int) -> None:
    """Raise RuleBroken if there are enabled incremental schedules and no full one; ``changed`` made it so."""
    enabled = [one for one in schedules if one.enabled]
    incremental = [one.id for one in enabled if one.backup_type == "incremental"]
    if not incremental or any(one.backup_type == "full" for one in enabled):
        return
    if changed in incremental:
        raise RuleBroken(f"{_RULE}: add or enable a full one first")
    named = ", ".join(map(str, incremental[:10])) + (", ..." if len(incremental) > 10 else "")
    raise RuleBroken(f"{_RULE}: enable another one, or first disable or delete schedule {named}")


def _granted(call: Callable[[], Answer]) -> Mapping[str, Any]:
    """Return the data of the root service's good answer; raise Unavailable if there is none, or Conflict if what was to
    be sent is more than it takes."""
    try:
        answer = call()
    except InvalidCommand as error:
        raise Conflict(str(error)) from error
    except WireError as error:
        raise Conflict("the schedules are more than the service dbcalm-cmd takes at once") from error
    except ServiceUnreachable as error:
        raise Unavailable("the service dbcalm-cmd does not answer") from error
    if answer.code != 200:
        raise Unavailable(f"the service dbcalm-cmd refused: {answer.status}")
    return answer.data


def _last_error(one: Schedule, last: Run | None) -> str | None:
    """Return what went wrong last: a refusal, if no run began since, or what made the last run fail."""
    if one.last_refused_at is not None and (last is None or last.start_time < one.last_refused_at):
        return one.last_refusal
    return last.error if last is not None and last.status == "failed" else None
