"""``dbcalm catalogue``: making the catalogue anew from the backups."""

import typer

from dbcalm.cli.common.output import say
from dbcalm.cli.common.start import caller, settings
from dbcalm.cli.common.system import assembled
from dbcalm.logger import audited
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_or_replace

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command()
def rebuild() -> None:
    """Make the catalogue anew, from the backups on disk and the journal of jobs.

    What is there of users, clients and schedules stays; of a damaged file, which is kept aside, as far as it can be
    read. It does no harm to one that is well."""
    loaded = settings()
    opened = Catalogue(open_or_replace(loaded.database_file))
    system = assembled(opened, loaded)
    with audited(caller().name, "make the catalogue anew"):
        count = system.jobs.rebuild()
    say(
        f"the catalogue knows {count} backups, {len(system.users.list())} users and "
        f"{len(system.schedules.all())} schedules"
    )
    for sentence in opened.problems():
        say(sentence)
    if opened.set_aside():
        say("restart dbcalm-api, which may still have a damaged catalogue open")
