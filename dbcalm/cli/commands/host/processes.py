"""``dbcalm processes``: what jobs were run, and how they stand."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated

import typer

from dbcalm.cli.common import offers
from dbcalm.cli.common.lists import Conditions, Json, Orders, PageNumber, PerPage, caught_up, show_page
from dbcalm.cli.common.output import printable, say, show_one
from dbcalm.cli.common.start import caller
from dbcalm.cli.common.system import services
from dbcalm.cli.common.waiting import detachable, sentence, watch
from dbcalm.domain.model import views
from dbcalm.domain.services.jobs.job_feed import Following
from dbcalm.domain.services.processes import CANCELLED, LISTING

app = typer.Typer(no_args_is_help=True)

JobId = Annotated[
    str,
    typer.Argument(
        help="The job's id, as much of it as no other one begins with, or latest.", autocompletion=offers.jobs
    ),
]

_LOOK_SECONDS = 0.5

_COLUMNS = ("command_id", "type", "resource_id", "status", "start_time", "end_time")


@app.command("list")
def list_processes(
    query: Conditions = "",
    order: Orders = "",
    page: PageNumber = 1,
    per_page: PerPage = 25,
    as_json: Json = False,
) -> None:
    """List processes, the newest first."""
    system = services()
    asked = (query, order, page, per_page)
    show_page(system, LISTING, system.processes.list, views.process, _COLUMNS, asked, as_json=as_json)


@app.command("show")
def show_process(job_id: JobId, as_json: Json = False) -> None:
    """Show how a job stands; while it runs, how far it is."""
    system = services()
    with caught_up(system):
        process, progress = system.processes.status(system.processes.chosen(job_id))
        told = None if progress is None else sentence(progress)
        show_one({**views.process(process), "progress": progress if as_json else told}, as_json=as_json)


@app.command("cancel")
def cancel(job_id: JobId) -> None:
    """End a job before its work is done, and wait until it has ended: that takes seconds. What it had made is removed.

    A restore that has begun to put its data in place can only be finished."""
    system = services()
    job_id = system.processes.cancel(caller(), system.processes.chosen(job_id)).command_id
    with detachable(job_id):
        process = watch(system, job_id)
    if process.reason == CANCELLED:
        say(f"job {job_id} was cancelled")
        return
    how = "its work was done" if process.status == "success" else printable(process.error or "it failed")
    say(f"dbcalm: job {job_id} ended before it could be cancelled: {how}")
    raise typer.Exit(1)


@app.command("acknowledge")
def acknowledge(job_id: Annotated[str, typer.Argument(help="The job's id.")]) -> None:
    """Say that a job's failure is known: status does not tell of it any more."""
    process = services().processes.acknowledge(caller(), job_id)
    say(f"the failure of job {process.command_id} is known; status does not tell of it any more")


@app.command("log")
def show_log(
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on as it says more, until the job ends.")
    ] = False,
) -> None:
    """Print what a job's tool has said so far. The logs of the last thousand jobs are kept."""
    system = services()
    job_id = system.processes.chosen(job_id)
    pieces = _followed(system.processes.follow(job_id)) if follow else system.processes.log(job_id)
    with detachable(job_id) if follow else nullcontext():
        for piece in pieces:
            print("\n".join(map(printable, piece.split("\n"))), end="", flush=True)


def _followed(following: Following) -> Iterator[str]:
    while not following.ended:
        news, more = following.look()
        yield from (one.told for one in news if one.kind == "log")
        if not more and not following.ended:
            time.sleep(_LOOK_SECONDS)
