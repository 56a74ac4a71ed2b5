"""``dbcalm restore`` and ``dbcalm restores``: bringing backups back."""

import enum
from typing import Annotated

import typer

from dbcalm.cli import waiting
from dbcalm.cli.lists import Conditions, Json, Orders, PageNumber, PerPage, show_page
from dbcalm.cli.start import caller
from dbcalm.cli.system import services
from dbcalm.domain import views
from dbcalm.domain.restores import LISTING

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("id", "backup_id", "target", "target_path", "start_time", "status")


class Target(enum.StrEnum):
    """Where a restore can go."""

    FOLDER = "folder"
    DATABASE = "database"


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


def restore(
    id: Annotated[str, typer.Argument(help="The backup's id.")],
    target: Annotated[
        Target,
        typer.Option(
            "--target",
            help="A new folder, or the database's own, when it is stopped and its folder is empty.",
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and show how far it is.")] = False,
) -> None:
    """Restore a backup with all that it builds on."""
    system = services()
    job = system.restores.create(caller(), id, target.value)
    path = job.facts["target_path"]
    with waiting.detachable(job.job_id):
        print(f"restore of {id}: to {path}, job {job.job_id}", flush=True)
        if wait:
            waiting.wait(system, job.job_id, f"restore of {id}")
            print(f"backup {id} is restored in {path}")


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
