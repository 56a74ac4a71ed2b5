"""``dbcalm schedules``: when cron makes which backup."""

import enum
from typing import Annotated, Any

import typer

from dbcalm.cli.common import offers
from dbcalm.cli.common.lists import Conditions, Json, Orders, PageNumber, PerPage, caught_up, show_page
from dbcalm.cli.common.output import Row, make_sure, say, show_one
from dbcalm.cli.common.start import caller
from dbcalm.cli.common.system import services
from dbcalm.domain.model import times, views
from dbcalm.domain.model.entities import Plan
from dbcalm.domain.services.schedules import LISTING, State, describe, when
from dbcalm.errors import InvalidField
from dbcalm_cmd.command import NEEDS
from dbcalm_mariadb_cmd.command.requests import LEVELS

app = typer.Typer(no_args_is_help=True)

_LARGEST = 2**53 - 1
_EXAMPLES = {
    "daily": "--hour 2 --minute 30",
    "weekly": "--day-of-week 0 --hour 2 --minute 30",
    "monthly": "--day-of-month 1 --hour 2 --minute 30",
    "hourly": "--minute 15",
    "interval": "--interval-value 4 --interval-unit hours",
}
_COLUMNS = ("id", "what", "when", "keep", "next_run", "last_run", "last_status")


class Type(enum.StrEnum):
    """What a schedule makes."""

    FULL = "full"
    INCREMENTAL = "incremental"
    VERIFY = "verify"


class Frequency(enum.StrEnum):
    """How a schedule repeats."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    HOURLY = "hourly"
    INTERVAL = "interval"


class IntervalUnit(enum.StrEnum):
    """What intervals are counted in."""

    MINUTES = "minutes"
    HOURS = "hours"


class RetentionUnit(enum.StrEnum):
    """What the age of backups is counted in."""

    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"


Id = Annotated[
    int, typer.Argument(min=1, max=_LARGEST, help="The schedule's id.", autocompletion=offers.schedules)
]
Hour = Annotated[int | None, typer.Option("--hour", min=0, max=23, help="For daily, weekly and monthly.")]
Minute = Annotated[int | None, typer.Option("--minute", min=0, max=59, help="For all but interval.")]
Weekday = Annotated[int | None, typer.Option("--day-of-week", min=0, max=6, help="For weekly; 0 is Sunday.")]
Monthday = Annotated[int | None, typer.Option("--day-of-month", min=1, max=28, help="For monthly.")]
Interval = Annotated[
    int | None,
    typer.Option("--interval-value", min=1, max=_LARGEST, help="1 to 59 minutes, or 1 to 23 hours."),
]
IntervalIn = Annotated[IntervalUnit | None, typer.Option("--interval-unit", help="For interval.")]
Retention = Annotated[
    int | None, typer.Option("--retention-value", min=1, max=_LARGEST, help="How long backups are kept.")
]
RetentionIn = Annotated[RetentionUnit | None, typer.Option("--retention-unit", help="With its value.")]
VerifyLevel = Annotated[
    int | None,
    typer.Option(
        "--verify-level",
        min=min(LEVELS),
        max=max(LEVELS),
        help="How far each of its backups is verified afterwards; for verify, how far it verifies.",
    ),
]
Disabled = Annotated[bool, typer.Option("--disabled", help="Keep it, but do not run it.")]


@app.command("list")
def list_schedules(
    query: Conditions = "",
    order: Orders = "",
    page: PageNumber = 1,
    per_page: PerPage = 25,
    as_json: Json = False,
) -> None:
    """List schedules, the newest first."""
    system = services()
    asked = (query, order, page, per_page)
    show_page(
        system,
        LISTING,
        system.schedules.list,
        views.schedule,
        _COLUMNS,
        asked,
        as_json=as_json,
        readable=_readable,
    )


@app.command("show")
def show_schedule(id: Id, as_json: Json = False) -> None:
    """Show a schedule."""
    system = services()
    with caught_up(system):
        show_one(views.schedule(system.schedules.show(id)), as_json=as_json)


@app.command()
def add(
    type: Annotated[Type, typer.Argument(help="What it makes.")],
    frequency: Annotated[Frequency, typer.Option("--frequency", help="How it repeats.")],
    hour: Hour = None,
    minute: Minute = None,
    day_of_week: Weekday = None,
    day_of_month: Monthday = None,
    interval_value: Interval = None,
    interval_unit: IntervalIn = None,
    retention_value: Retention = None,
    retention_unit: RetentionIn = None,
    verify_level: VerifyLevel = None,
    disabled: Disabled = False,
    as_json: Json = False,
) -> None:
    """Add a schedule. Times are those of the host's clock."""
    plan = Plan(
        backup_type=type.value,
        frequency=frequency.value,
        hour=hour,
        minute=minute,
        day_of_week=day_of_week,
        day_of_month=day_of_month,
        interval_value=interval_value,
        interval_unit=_word(interval_unit),
        retention_value=retention_value,
        retention_unit=_word(retention_unit),
        verify_level=verify_level,
        enabled=not disabled,
    )
    _require_whole(plan)
    _told(services().schedules.create(caller(), plan), "added", as_json=as_json)


@app.command()
def update(
    id: Id,
    type: Annotated[Type | None, typer.Option("--type", help="What it makes.")] = None,
    frequency: Annotated[Frequency | None, typer.Option("--frequency", help="How it repeats.")] = None,
    hour: Hour = None,
    minute: Minute = None,
    day_of_week: Weekday = None,
    day_of_month: Monthday = None,
    interval_value: Interval = None,
    interval_unit: IntervalIn = None,
    retention_value: Retention = None,
    retention_unit: RetentionIn = None,
    no_retention: Annotated[
        bool, typer.Option("--no-retention", help="Let its backups be kept whatever their age.")
    ] = False,
    verify_level: VerifyLevel = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not verify its backups.")] = False,
    disabled: Disabled = False,
    as_json: Json = False,
) -> None:
    """Change what is given of a schedule, and nothing else."""
    if no_retention and (retention_value or retention_unit):
        raise typer.BadParameter("cannot be given with a retention", param_hint="--no-retention")
    if no_verify and verify_level:
        raise typer.BadParameter("cannot be given with a level", param_hint="--no-verify")
    given: dict[str, Any] = {
        "backup_type": _word(type),
        "frequency": _word(frequency),
        "hour": hour,
        "minute": minute,
        "day_of_week": day_of_week,
        "day_of_month": day_of_month,
        "interval_value": interval_value,
        "interval_unit": _word(interval_unit),
        "retention_value": retention_value,
        "retention_unit": _word(retention_unit),
        "verify_level": verify_level,
        "enabled": False if disabled else None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if no_retention:
        changes |= {"retention_value": None, "retention_unit": None}
    if no_verify:
        changes["verify_level"] = None
    _told(services().schedules.change(caller(), id, **changes), "changed", as_json=as_json)


@app.command()
def delete(id: Id, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a schedule. Its backups stay."""
    system = services()
    make_sure(yes, lambda: f"Delete schedule {id} ({describe(system.schedules.require(id))})?")
    system.schedules.delete(caller(), id)
    say(f"schedule {id} was deleted")


@app.command()
def enable(id: Id) -> None:
    """Let a schedule run."""
    _told(services().schedules.change(caller(), id, enabled=True), "enabled", as_json=False)


@app.command()
def disable(id: Id) -> None:
    """Keep a schedule, but do not run it."""
    _told(services().schedules.change(caller(), id, enabled=False), "disabled", as_json=False)


def _require_whole(plan: Plan) -> None:
    """Raise InvalidField unless all is given that a frequency needs; name all that is missing."""
    frequency = plan.frequency
    missing = [f"--{name.replace('_', '-')}" for name in NEEDS[frequency] if getattr(plan, name) is None]
    if missing:
        words = f"{', '.join(missing[:-1])} and {missing[-1]}" if len(missing) > 1 else missing[0]
        raise InvalidField("--frequency", f"{frequency} needs {words} too, such as {_EXAMPLES[frequency]}")


def _word(given: enum.StrEnum | None) -> str | None:
    return None if given is None else given.value


def _told(state: State, done: str, *, as_json: bool) -> None:
    """Say what became of a schedule, or print it."""
    if as_json:
        show_one(views.schedule(state), as_json=True)
        return
    one = state.schedule
    run = f"; runs next at {times.short(state.next_run)}" if state.next_run else ""
    say(f"schedule {one.id} was {done}: {describe(one)}{run}")


def _readable(row: Row) -> Row:
    plan = Plan(**{name: row[name] for name in Plan.__dataclass_fields__})  # type: ignore[arg-type]  # as it was
    status = "never ran" if row["last_status"] is None else row["last_status"]
    return {
        **row,
        "what": plan.backup_type,
        "when": when(plan),
        "keep": _keep(plan),
        "next_run": row["next_run"] if plan.enabled else "disabled",
        "last_status": f"{status}, OVERDUE" if row["overdue"] else row["last_status"],
    }


def _keep(plan: Plan) -> str | None:
    if plan.retention_value is None or plan.retention_unit is None:
        return None
    unit = plan.retention_unit
    return f"{plan.retention_value} {unit.removesuffix('s') if plan.retention_value == 1 else unit}"
