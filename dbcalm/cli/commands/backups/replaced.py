"""``dbcalm replaced``: what restores have replaced, and bringing it back."""

import os
from typing import Annotated

import typer

from dbcalm import config
from dbcalm.cli.common import waiting
from dbcalm.cli.common.confirm import Confirm, require_host
from dbcalm.cli.common.lists import Json
from dbcalm.cli.common.output import make_sure, printable, say, show
from dbcalm.cli.common.start import caller, settings
from dbcalm.cli.common.system import services
from dbcalm.domain.model import names
from dbcalm.domain.services.jobs.jobs import asked, granted
from dbcalm.errors import CannotStart
from dbcalm.logger import audited
from dbcalm_mariadb_cmd_client import MariadbCmdClient

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("id", "backup_id", "replaced_at", "keep_until", "size")


@app.command("list")
def list_replaced(as_json: Json = False) -> None:
    """List what restores have replaced and what is still kept, the newest first."""
    show([dict(kept) for kept in services().restores.replaced()], _COLUMNS, as_json=as_json)


@app.command("remove")
def remove(
    id: Annotated[str, typer.Argument(help="Its id, as the list has it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what a restore replaced before its time, for good. That is for root alone.

    It is done as root, and asked of the mysql service: nobody who has got hold of the API can do it."""
    if os.geteuid() != 0:
        raise CannotStart("only root may remove what a restore has replaced: sudo dbcalm replaced remove ID")
    service = MariadbCmdClient(config.load(config.config_path(os.environ)).mariadb_cmd_socket)
    known = names.known_replaced_id(id)
    make_sure(yes, lambda: f"Remove what restore {id} replaced for good? Nobody can bring it back then.")
    answer = asked(lambda: service.remove_replaced(known))
    settings()  # Now root becomes the user whose log it is.
    with audited(caller().name, f"remove what restore {known} replaced"):
        granted(answer)
    say(f"what restore {id} replaced was removed")


@app.command("bring-back")
def bring_back(
    id: Annotated[str, typer.Argument(help="Its id, as the list has it.")], confirm: Confirm = ""
) -> None:
    """Bring back what a restore replaced, and keep what is there now in its turn. The database is stopped meanwhile."""
    system = services()
    require_host(f"the database is stopped, and its data exchanged for what {id} replaced", confirm)
    job = system.restores.bring_back(caller(), id)
    with waiting.detachable(job.job_id):
        ended = waiting.wait(system, job.job_id, f"bringing back {id}")
        print(f"{id} is back, and the database runs with it")
        if remark := waiting.remark(ended, job):
            print(printable(remark))
