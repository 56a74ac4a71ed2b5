"""``dbcalm backup``: make a backup."""

import enum
from typing import Annotated

import typer

from dbcalm.cli.commands.backups.verify import scheduled
from dbcalm.cli.common import offers, waiting
from dbcalm.cli.common.patience import IfDue, is_turn, only_one, patiently, require_schedule
from dbcalm.cli.common.start import caller, settings
from dbcalm.cli.common.system import services
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm_mariadb_cmd.command.amounts import size

app = typer.Typer(no_args_is_help=True)


class StoredForm(enum.StrEnum):
    """How a backup can be stored."""

    FOLDER = "folder"
    ZSTD = "zstd"
    GZIP = "gzip"


ScheduleId = Annotated[
    int | None,
    typer.Option(
        "--schedule-id",
        min=1,
        max=2**63 - 1,
        help="The schedule that it belongs to.",
        autocompletion=offers.schedules,
    ),
]
Id = Annotated[str | None, typer.Option("--id", help="What it is called; without it, by its time.")]
Base = Annotated[
    str | None,
    typer.Option(
        "--from", help="The backup that it builds on; without it, the newest.", autocompletion=offers.backups
    ),
]
Form = Annotated[
    StoredForm | None,
    typer.Option("--form", help="How it is stored; without it, as stored_form in the configuration says."),
]
Synthetic = Annotated[
    bool,
    typer.Option(
        "--synthetic", help="Made of the newest backup and the chain below it; the server is left alone."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end, and show how far it is.")]


@app.command()
def full(
    schedule_id: ScheduleId = None,
    id: Id = None,
    form: Form = None,
    synthetic: Synthetic = False,
    wait: Wait = False,
    if_due: IfDue = None,
) -> None:
    """Copy the whole server."""
    _make("full", id, None, schedule_id, form, wait, synthetic, if_due)


@app.command()
def incremental(
    schedule_id: ScheduleId = None,
    id: Id = None,
    base: Base = None,
    form: Form = None,
    wait: Wait = False,
    if_due: IfDue = None,
) -> None:
    """Copy what has changed since another backup."""
    _make("incremental", id, base, schedule_id, form, wait, if_due=if_due)


def _make(
    type: str,
    id: str | None,
    base: str | None,
    schedule_id: int | None,
    form: StoredForm | None,
    to_the_end: bool,
    synthetic: bool = False,
    if_due: int | None = None,
) -> None:
    require_schedule(schedule_id, if_due)
    loaded = settings()
    system = services(loaded)

    if base is not None:
        base = system.backups.chosen(base)

    def start() -> Started:
        return system.backups.create(caller(), type, id, base, schedule_id, form and form.value, synthetic)

    if schedule_id is None:
        job = start()
    else:
        with only_one(loaded.database_file.parent, f"schedule {schedule_id}"):
            if not is_turn(loaded.database_file.parent, schedule_id, if_due):
                return
            job = patiently(system, loaded.schedule_patience, start)
    name, note = job.facts["id"], job.facts.get("note")
    with waiting.detachable(job.job_id):
        print(
            f"backup {name}: {job.facts['type']}, job {job.job_id}" + (f"; {note}" if note else ""),
            flush=True,
        )
        if to_the_end:
            waiting.wait(system, job.job_id, f"backup {name}")
            print(f"backup {name} is whole, {size(system.backups.require(name).size)}")
    if schedule_id is not None and system.schedules.verify_level(schedule_id) is not None:
        waiting.wait(system, job.job_id, f"backup {name}")
        scheduled(system, loaded, schedule_id, name)
