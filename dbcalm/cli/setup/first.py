"""What ``dbcalm setup`` makes: a first user, first schedules, a first backup. What is there already stays as it is."""

import contextlib
import shlex
from dataclasses import dataclass
from enum import StrEnum

import typer

from dbcalm.cli.commands.access.users import ask_password
from dbcalm.cli.common import waiting
from dbcalm.cli.common.start import caller
from dbcalm.cli.setup.talk import Findings, Questions, clock
from dbcalm.domain.model.advice import ADD_FULL
from dbcalm.domain.model.entities import RUNNING, Backup, Plan
from dbcalm.domain.model.listing import Condition, Query
from dbcalm.domain.rules import passwords
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.backups import HIGHEST_LEVEL
from dbcalm.domain.services.processes import VERIFY
from dbcalm.domain.services.schedules import describe
from dbcalm.errors import Conflict
from dbcalm_mariadb_cmd.command.amounts import size

DEFAULT_TIME = "02:30"


class Scheme(StrEnum):
    """Schedules that a host can begin with; the first is the default."""

    WEEKLY = "weekly-full-daily-incremental"
    DAILY = "daily-full"
    NONE = "none"


@dataclass(frozen=True)
class Wishes:
    """What was asked for. None is to be asked about, or decided where nobody can be asked."""

    user: str | None
    password_stdin: bool
    schedule: Scheme | None
    at: str | None
    backup: bool | None


def plans(scheme: Scheme, hour: int, minute: int) -> list[Plan]:
    """Return the schedules of a scheme, in the order in which they can be added."""
    match scheme:
        case Scheme.DAILY:
            return [_plan("full", "daily", hour, minute, days=7), _weekly_proof(hour + 1, minute)]
        case Scheme.WEEKLY:
            # The incremental comes an hour later, so that on Sundays it builds on the new full backup instead of being
            # in its way.
            return [
                _plan("full", "weekly", hour, minute, days=14),
                _plan("incremental", "daily", (hour + 1) % 24, minute, days=14),
                _weekly_proof(hour + 2, minute),
            ]
    return []


def _plan(type: str, frequency: str, hour: int, minute: int, *, days: int) -> Plan:
    return Plan(
        backup_type=type,
        frequency=frequency,
        day_of_week=0 if frequency == "weekly" else None,
        hour=hour,
        minute=minute,
        retention_value=days,
        retention_unit="days",
    )


def _weekly_proof(hour: int, minute: int) -> Plan:
    """Return the schedule that proves the newest backup, after those that make backups have had their hour; on the next
    day where that is past midnight."""
    day, hour = divmod(hour, 24)
    return Plan(
        backup_type=VERIFY,
        frequency="weekly",
        day_of_week=day,
        hour=hour,
        minute=minute,
        verify_level=HIGHEST_LEVEL,
    )


def add_user(system: Services, wishes: Wishes, questions: Questions, findings: Findings) -> None:
    """Add the user that is named; where none is, ask for the first one."""
    there = [user.username for user in system.users.list()]
    if wishes.user is None and there:
        findings.ok("user", f"already there: {', '.join(there)}")
        return
    name = questions.word("Name of the first user of the API, empty for none", "--user", wishes.user, "", str)
    if not name:
        findings.note("user", "nobody may use the API yet; add somebody with: dbcalm users add")
        return
    try:
        name = system.users.require_free(name)
    except Conflict:
        findings.ok("user", f"already there: {name}")
        return
    system.users.add(caller().name, name, password := ask_password(wishes.password_stdin))
    findings.done("user", f"{name} was added")
    if why := passwords.weakness(password, name):
        better = f"dbcalm users update-password {shlex.quote(name)}"
        findings.note("password", f"it is weak: {why}; for a better one: {better}")


def add_schedules(system: Services, wishes: Wishes, questions: Questions, findings: Findings) -> None:
    """Add the schedules of the scheme that is chosen, all or none, unless there are any."""
    if there := system.schedules.all():
        findings.ok("schedules", f"already there: {'; '.join(map(describe, there))}")
        return
    wanted = _wanted(wishes, questions)
    if not wanted:
        findings.note("schedules", "no backup is made by itself; add one with: " + ADD_FULL)
        return
    for one in system.schedules.create_all(caller(), wanted):
        kept = one.schedule.retention_value
        findings.done("schedules", describe(one.schedule) + (f"; kept for {kept} days" if kept else ""))


def _wanted(wishes: Wishes, questions: Questions) -> list[Plan]:
    words = ", ".join(Scheme)
    scheme = questions.word(f"Schedules: {words}", "--schedule", wishes.schedule, Scheme.WEEKLY, _scheme)
    if scheme is Scheme.NONE:
        return []
    return plans(scheme, *questions.word("At what time", "--at", wishes.at, DEFAULT_TIME, clock))


def _scheme(text: str) -> Scheme:
    try:
        return Scheme(text)
    except ValueError as error:
        raise typer.BadParameter(f"must be one of {', '.join(Scheme)}") from error


def make_backup(system: Services, wishes: Wishes, questions: Questions, findings: Findings) -> None:
    """Make a full backup and wait for its end, unless there is one and no other is asked for. A job that runs already,
    perhaps since a run before this one, is waited for first."""
    system.jobs.add_found()
    _await_running(system)
    found = _newest_full(system)
    if found is not None and wishes.backup is not True:
        findings.ok("backup", f"already there: {found.id}, {size(found.size)}")
    elif questions.sure("Make a first full backup now?", "--backup", wishes.backup):
        job = system.backups.create(caller(), "full")
        name = job.facts["id"]
        with waiting.detachable(job.job_id):
            waiting.wait(system, job.job_id, f"backup {name}")
        findings.done("backup", f"{name} is whole, {size(system.backups.require(name).size)}")
    else:
        findings.note("backup", "none was made; make one with: dbcalm backup full --wait")


def _await_running(system: Services) -> None:
    """Wait for the end of a job that runs, however it ends."""
    for running in system.processes.list(Query((Condition("status", "eq", (RUNNING,)),))).items:
        print(f"job {running.command_id} ({running.type}) runs already", flush=True)
        with waiting.detachable(running.command_id), contextlib.suppress(typer.Exit):
            waiting.wait(system, running.command_id, f"job {running.command_id}")


def _newest_full(system: Services) -> Backup | None:
    found = system.backups.list(Query((Condition("type", "eq", ("full",)),), per_page=1)).items
    return found[0] if found else None
