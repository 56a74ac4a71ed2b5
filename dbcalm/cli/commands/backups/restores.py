"""``dbcalm restore`` and ``dbcalm restores``: bringing backups back."""

import enum
import sys
from typing import Annotated

import typer

from dbcalm.cli.common import offers, waiting
from dbcalm.cli.common.confirm import Confirm, require_host
from dbcalm.cli.common.lists import Conditions, Json, Orders, PageNumber, PerPage, show_page
from dbcalm.cli.common.offers import ONE_BACKUP
from dbcalm.cli.common.output import make_sure, printable, say, show
from dbcalm.cli.common.start import caller
from dbcalm.cli.common.system import services
from dbcalm.domain.model import times, views
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm.domain.services.restores import LISTING
from dbcalm.errors import InvalidField
from dbcalm_mariadb_cmd.command.amounts import size

app = typer.Typer(no_args_is_help=True)

_LONGEST_KEY_FILE = 65_536
_FOLDERS = ("id", "backup_id", "made_at", "size", "path")
_COLUMNS = ("id", "backup_id", "target", "target_path", "start_time", "status")


class Target(enum.StrEnum):
    """Where a restore can go."""

    FOLDER = "folder"
    DATABASE = "database"


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


def restore(
    id: Annotated[str, typer.Argument(help=ONE_BACKUP, autocompletion=offers.backups)],
    target: Annotated[
        Target | None,
        typer.Option(
            "--target",
            help="A new folder, or the database's own, when it is stopped and its folder is empty.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="To the database as it is: stop it, exchange its data, start it. What was there is kept for a while. "
            "Waits for its end.",
        ),
    ] = False,
    confirm: Confirm = "",
    identity_stdin: Annotated[
        bool,
        typer.Option(
            "--identity-stdin",
            help="Read the private key that opens an encrypted backup from standard input.",
        ),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and show how far it is.")] = False,
) -> None:
    """Restore a backup with all that it builds on."""
    if replace:
        return _replace(id, target or Target.DATABASE, confirm, identity_stdin=identity_stdin)
    if target is None:
        raise typer.BadParameter(
            "must be folder or database, unless --replace is given", param_hint="--target"
        )
    identity = identity_given() if identity_stdin else None
    system = services()
    id = system.backups.chosen(id)
    job = system.restores.create(caller(), id, target.value, identity=identity)
    path = job.facts["target_path"]
    with waiting.detachable(job.job_id):
        _begun(job, id, f"to {path}")
        if wait:
            waiting.wait(system, job.job_id, f"restore of {id}")
            print(f"backup {id} is restored in {path}")
    return None


def _begun(job: Started, id: str, where: str) -> None:
    note = f"; {job.facts['note']}" if job.facts.get("note") else ""
    print(f"restore of {id}: {where}, job {job.job_id}{note}", flush=True)


def _replace(id: str, target: Target, confirm: str, *, identity_stdin: bool) -> None:
    system = services()
    id = system.backups.chosen(id)
    require_host(f"the database is stopped, and its data replaced by backup {id}", confirm)
    identity = identity_given() if identity_stdin else None
    job = system.restores.create(caller(), id, target.value, replace=True, identity=identity)
    with waiting.detachable(job.job_id):
        _begun(job, id, "over the database's data")
        ended = waiting.wait(system, job.job_id, f"restore of {id}")
    print(f"backup {id} is restored, and the database runs with it")
    if remark := waiting.remark(ended, job):
        print(printable(remark))
    for kept in system.restores.replaced():
        if kept["id"] == job.facts["restore_id"]:
            print(
                f"what it replaced is kept until {times.short(str(kept['keep_until']))}; "
                f"to bring it back: dbcalm replaced bring-back {kept['id']}"
            )


def identity_given() -> str:
    """Return the private key from standard input, hidden where that is a terminal: a key alone, or a file of age-keygen
    with its comments; raise InvalidField if there is not just one."""
    if sys.stdin.isatty():
        return str(typer.prompt("Identity", hide_input=True, err=True)).strip()
    lines = sys.stdin.buffer.read(_LONGEST_KEY_FILE).decode("utf-8", "replace").splitlines()
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if len(keys) != 1:
        raise InvalidField("identity", f"must be one key on standard input, and there are {len(keys)}")
    return keys[0]


@app.command("folders")
def list_folders(as_json: Json = False) -> None:
    """List the folders that restores have made and that are still there, the newest first."""
    rows = [dict(one) for one in services().restores.folders()]
    if not as_json:
        rows = [{**row, "size": size(row["size"])} for row in rows]
    show(rows, _FOLDERS, as_json=as_json)


@app.command("remove")
def remove_folder(
    id: Annotated[str, typer.Argument(help="The folder's id, as the list of folders has it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a folder that a restore has made, for good. The backup stays."""
    system = services()
    make_sure(yes, lambda: f"Remove the restored folder {id} for good?")
    system.restores.remove_folder(caller(), id)
    say(f"the restored folder {id} was removed")


@app.command("list")
def list_restores(
    query: Conditions = "",
    order: Orders = "",
    page: PageNumber = 1,
    per_page: PerPage = 25,
    as_json: Json = False,
) -> None:
    """List restores, the newest first."""
    system = services()
    asked = (query, order, page, per_page)
    show_page(system, LISTING, system.restores.list, views.restore, _COLUMNS, asked, as_json=as_json)
