"""``dbcalm backups``: what backups there are."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dbcalm.cli.common import offers, waiting
from dbcalm.cli.common.lists import Conditions, Json, Orders, PageNumber, PerPage, caught_up, show_page
from dbcalm.cli.common.offers import ONE_BACKUP
from dbcalm.cli.common.output import Row, make_sure, say, show, show_one
from dbcalm.cli.common.start import caller
from dbcalm.cli.common.system import services
from dbcalm.domain.model import times, views
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.backups import LISTING
from dbcalm.errors import Conflict, InvalidField, InvalidRequest, NotFound
from dbcalm_mariadb_cmd.command.amounts import size

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(help=ONE_BACKUP, autocompletion=offers.backups)]

_COLUMNS = ("id", "type", "from_backup_id", "start_time", "end_time", "size", "form", "proven", "held")
_PROVEN = ("whole", "intact", "applies", "runs")
"""The words for the levels of proof."""

_DELETED_COLUMNS = ("id", "type", "from_backup_id", "end_time", "size", "deleted_at", "purge_at")


@app.command("list")
def list_backups(
    query: Conditions = "",
    order: Orders = "",
    page: PageNumber = 1,
    per_page: PerPage = 25,
    as_json: Json = False,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Those that were deleted and can still be undeleted.")
    ] = False,
) -> None:
    """List whole backups, the newest first. One that failed is seen among the processes."""
    system = services()
    if deleted:
        found, more = system.backups.deleted()
        rows = [views.deleted(facts) for facts in found]
        show(rows if as_json else list(map(_readable, rows)), _DELETED_COLUMNS, as_json=as_json)
        if more:
            say("there are older ones, more than are shown at once")
        return
    asked = (query, order, page, per_page)
    show_page(
        system,
        LISTING,
        system.backups.list,
        views.backup,
        _COLUMNS,
        asked,
        as_json=as_json,
        readable=_readable,
    )


@app.command("show")
def show_backup(id: Id, as_json: Json = False) -> None:
    """Show a backup."""
    system = services()
    with caught_up(system):
        found = views.backup(system.backups.require(system.backups.chosen(id)))
        show_one(found if as_json else _readable(found), as_json=as_json)


@app.command()
def delete(id: Id, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a backup that no other builds on."""
    system = services()
    meant = system.backups.chosen(id)
    if yes and meant != id:
        raise InvalidRequest(f"with --yes the whole id is needed: dbcalm backups delete {meant} --yes")
    id = meant

    def question() -> str:
        system.jobs.catch_up()
        found = system.backups.require(id)
        return f"Delete {found.type} backup {found.id} of {found.start_time}, {size(found.size)}?"

    make_sure(yes, question)
    system.backups.delete(caller(), id)
    say(f"backup {id} was deleted")


@app.command()
def undelete(
    id: Annotated[str, typer.Argument(help="The backup's id.")],
    deleted_at: Annotated[
        str | None,
        typer.Option(
            "--deleted-at", help="Which of several, as the list of the deleted has it; else the last."
        ),
    ] = None,
) -> None:
    """Bring a deleted backup back. What it builds on must be brought back first."""
    services().backups.undelete(caller(), id, deleted_at)
    say(f"backup {id} is back")


@app.command()
def hold(
    id: Id,
    reason: Annotated[str, typer.Option("--reason", help="Why it has to stay.")],
    until: Annotated[
        str | None,
        typer.Option("--until", help="When the hold ends by itself, such as 2026-12-31T12:00 (UTC)."),
    ] = None,
) -> None:
    """Keep a backup, and the chain that it belongs to, from being deleted."""
    backups = services().backups
    id = backups.chosen(id)
    held = backups.hold(caller(), id, reason, until)
    say(f"backup {id} is held" + (f" until {times.short(held.hold_until)}" if held.hold_until else ""))


@app.command()
def release(id: Id) -> None:
    """End the hold of a backup."""
    backups = services().backups
    id = backups.chosen(id)
    backups.release(caller(), id)
    say(f"backup {id} is not held any more")


@app.command()
def adopt(
    path: Annotated[
        str | None, typer.Argument(help="The folder, which lies in backup_dir: its path, or its name.")
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="All folders in backup_dir that are not DBCalm's.")
    ] = False,
) -> None:
    """Take over backups that were made by hand or by other tools.

    Only what mariadb-backup or XtraBackup has written into a folder is believed. Nothing in it changes; a manifest is
    put beside. An incremental of which nobody can tell what it builds on is left alone."""
    if scan == (path is not None):
        raise typer.BadParameter("give a folder, or --scan", param_hint="PATH")
    system = services()
    folder, found = system.backups.adoptable()
    if path is not None:
        _adopt(system, _name_in(folder, path))
        return
    for row in found:
        if row["problem"] is not None:
            say(f"left alone: {row['problem']}")
            continue
        try:
            _adopt(system, str(row["name"]))
        except (Conflict, NotFound) as error:
            say(f"left alone: {error}")
    if not found:
        say(f"there is nothing in {folder} that is not DBCalm's")


def _name_in(folder: str, path: str) -> str:
    """Return the name of what lies in the folder of backups; raise InvalidField for a path elsewhere."""
    given = Path(path)
    if "/" in path.rstrip("/") and given.absolute().parent != Path(folder):
        raise InvalidField(
            "PATH",
            f"must lie in {folder}: move it there and give it to mysql (chown -R mysql:mysql), then adopt it",
        )
    return given.name


def _adopt(system: Services, name: str) -> None:
    job = system.backups.adopt(caller(), name)
    waiting.wait(system, job.job_id, f"adoption of {name}")
    made = system.backups.require(name)
    builds = f" on {made.from_backup_id}" if made.from_backup_id else ""
    say(f"backup {name} was adopted: {made.type}{builds}, {job.facts['note']}")


def _readable(row: Row) -> Row:
    told = {
        name: size(int(str(value))) if name in ("size", "data_size") else value for name, value in row.items()
    }
    if "proof" in row:
        proof: Any = row["proof"]
        lost = row["presence"] not in (None, "whole")
        word = str(row["presence"]) if lost else "suspect" if row["suspect"] else ""
        told["proven"] = word.upper() or _PROVEN[proof["level"]]
        told["held"] = _held(row["hold"])
    if row.get("recipients"):
        told["form"] = f"{row['form']}, encrypted"
    return told


def _held(hold: Any) -> str | None:
    """Return until when a backup is held, None if it is not."""
    if hold is None:
        return None
    return f"until {times.short(hold['until'])}" if hold["until"] else "for good"
