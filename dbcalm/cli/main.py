"""The program ``dbcalm``.

Exit status: 0 done, 1 refused or failed with one line on standard error, 2 wrong usage, 75 another job runs.
"""

import sys
from typing import Annotated

import typer

from dbcalm import __version__
from dbcalm.cli import backup, backups, clients, config, processes, restores, users
from dbcalm.domain.jobs import running_job
from dbcalm.errors import DBCalmError

_TRY_LATER = 75  # EX_TEMPFAIL, as in sysexits.h

app = typer.Typer(
    help="Backups of MariaDB and MySQL that can be trusted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
app.add_typer(backup.app, name="backup")
app.add_typer(backups.app, name="backups")
app.command()(restores.restore)
app.add_typer(restores.app, name="restores")
app.add_typer(processes.app, name="processes")
app.add_typer(users.app, name="users")
app.add_typer(clients.app, name="clients")
app.add_typer(config.app, name="config")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dbcalm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before any command."""


@app.command()
def server() -> None:
    """Serve the API until SIGTERM."""
    from dbcalm.cli.server import run  # it loads what no other command needs

    run()


def main() -> None:
    """Run the command of the arguments, and end the program with its exit status."""
    try:
        app()
    except DBCalmError as error:
        print(f"dbcalm: {error}", file=sys.stderr)
        raise SystemExit(_TRY_LATER if running_job(error) else 1) from None
    except BrokenPipeError:
        sys.stderr.close()  # Whoever read the output has gone: there is nobody to tell.
        raise SystemExit(1) from None
    except Exception as error:  # A traceback helps nobody on the command line.
        print(f"dbcalm: failed: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
