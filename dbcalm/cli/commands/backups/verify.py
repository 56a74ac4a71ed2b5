"""``dbcalm verify``: prove that a backup comes back."""

from typing import Annotated

import typer

from dbcalm.cli.commands.backups.restores import identity_given
from dbcalm.cli.common import offers, waiting
from dbcalm.cli.common.offers import ONE_BACKUP
from dbcalm.cli.common.output import printable, say
from dbcalm.cli.common.patience import IfDue, is_turn, only_one, patiently, require_schedule
from dbcalm.cli.common.start import caller, settings
from dbcalm.cli.common.system import services
from dbcalm.config import Settings
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.backups import HIGHEST_LEVEL
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm_mariadb_cmd.command.requests import LEVELS

Id = Annotated[
    str | None,
    typer.Argument(
        help=f"{ONE_BACKUP} Without it, the newest one if it is not proven so far.",
        autocompletion=offers.backups,
    ),
]
Level = Annotated[
    int | None,
    typer.Option(
        "--level",
        min=min(LEVELS),
        max=max(LEVELS),
        help="1: every stored byte is as it was. 2: a copy can be prepared, and its pages are good. "
        "3: a server runs on the copy, and its tables are good. Without it, 3.",
    ),
]
ScheduleId = Annotated[
    int | None, typer.Option("--schedule-id", min=1, max=2**63 - 1, help="The schedule that asks for it.")
]
Identity = Annotated[
    bool,
    typer.Option(
        "--identity-stdin", help="Read the private key that opens an encrypted backup from standard input."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end, and show how far it is.")]


def verify(
    id: Id = None,
    level: Level = None,
    schedule_id: ScheduleId = None,
    identity_stdin: Identity = False,
    wait: Wait = False,
    if_due: IfDue = None,
) -> None:
    """Prove that a backup comes back.

    It is read, brought back aside, and a server is started on it, with all that it builds on. What that makes is
    removed; how far the backup is proven stands in the lists."""
    require_schedule(schedule_id, if_due)
    loaded = settings()
    system = services(loaded)
    if schedule_id is not None:
        with only_one(loaded.database_file.parent, f"schedule {schedule_id}"):
            if not is_turn(loaded.database_file.parent, schedule_id, if_due):
                return
            scheduled(system, loaded, schedule_id, id, level)
        return
    wanted = level or HIGHEST_LEVEL
    if id is None:
        newest = system.backups.unproven(wanted)
        if newest is None:
            say(f"nothing is left to prove: every chain is proven to level {wanted}, or suspect")
            return
        id = newest.id
    id = system.backups.chosen(id)
    identity = identity_given() if identity_stdin else None
    job = system.backups.verify(caller(), id, wanted, identity=identity)
    _follow(system, job, id, to_the_end=wait)


def scheduled(
    system: Services, loaded: Settings, schedule_id: int, id: str | None, level: int | None = None
) -> None:
    """Start to verify a backup for a schedule, or the one that it is the turn of, once no job is in the way."""
    wanted = level or system.schedules.verify_level(schedule_id) or HIGHEST_LEVEL

    def start() -> Started:
        turn = id or system.backups.to_verify(wanted).id
        return system.backups.verify(caller(), turn, wanted, schedule_id)

    with system.schedules.noting(schedule_id):
        job = patiently(system, loaded.schedule_patience, start)
    print(f"verification of {job.facts['id']}: level {job.facts['level']}, job {job.job_id}", flush=True)


def _follow(system: Services, job: Started, id: str, *, to_the_end: bool) -> None:
    level, note = job.facts["level"], job.facts.get("note")
    with waiting.detachable(job.job_id):
        print(
            f"verification of {id}: level {level}, job {job.job_id}" + (f"; {note}" if note else ""),
            flush=True,
        )
        if to_the_end:
            ended = waiting.wait(system, job.job_id, f"verification of {id}")
            found = waiting.remark(ended, job)
            shown = f"{_PROVEN_BUT}; {printable(found)}" if found else PROVEN[level]
            print(f"backup {id} is proven: {shown}{_took(system, id)}")


PROVEN = {
    1: "every stored byte of it, and of what it builds on, is as it was",
    2: "it can be prepared, and every page is good",
    3: "a server runs on it, and every table is good",
}

_PROVEN_BUT = "a server runs on it, and every other table is good"


def _took(system: Services, id: str) -> str:
    seconds = system.backups.require(id).restore_seconds
    return "" if seconds is None else f"; bringing it back took {seconds:.1f} s"
