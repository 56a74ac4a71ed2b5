"""The program ``dbcalm``.

Exit status: 0 done, 1 refused or failed with one line on standard error, 2 wrong usage, 75 another job runs.
"""

import os
import shlex
import sys
from collections.abc import Collection
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dbcalm import __version__, logger
from dbcalm.cli.commands.host import completion
from dbcalm.errors import Busy, DBCalmError

_TRY_LATER = 75  # EX_TEMPFAIL, as in sysexits.h
_JOBS = ("backup", "cleanup", "replaced", "restore", "verify")
"""The commands that begin jobs."""

COMMANDS = {
    "setup": ("setup.command", "setup", "Check this host, and set up what a first backup needs."),
    "backup": ("commands.backups.backup", "app", "Make a backup."),
    "backups": ("commands.backups.backups", "app", "The backups that there are."),
    "restore": ("commands.backups.restores", "restore", "Restore a backup with all that it builds on."),
    "verify": ("commands.backups.verify", "verify", "Prove that a backup comes back."),
    "restores": ("commands.backups.restores", "app", "The restores that there were."),
    "replaced": ("commands.backups.replaced", "app", "What restores have replaced, and bringing it back."),
    "status": ("commands.host.status", "status", "Tell whether all is well, and what needs attention first."),
    "schedules": ("commands.host.schedules", "app", "When which backup is made."),
    "cleanup": ("commands.backups.cleanup", "cleanup", "Delete the chains of backups that have expired."),
    "processes": ("commands.host.processes", "app", "What jobs were run, and how they stand."),
    "users": ("commands.access.users", "app", "People who may use the API."),
    "clients": ("commands.access.clients", "app", "Programs that may use the API."),
    "config": ("commands.host.config", "app", "The configuration."),
    "catalogue": (
        "commands.backups.catalogue",
        "app",
        "The catalogue, which can be made anew from the backups.",
    ),
    "server": ("main", "server", "Serve the API until SIGTERM."),
    "completion": (
        "commands.host.completion",
        "completion",
        "Print what a shell must read to complete commands and options.",
    ),
    "help": ("main", "help_with", "Show how a command is used; the same as its --help."),
    "version": ("main", "version", "Show the version; the same as --version."),
}
"""Every command: its module, what it is there (a function, or an app of further commands), and its help."""


def program(wanted: Collection[str] = tuple(COMMANDS)) -> typer.Typer:
    """Return the program. Only the commands that are wanted are loaded; the others are there by name and help, which is
    all that a user sees of them, and a start takes half the time."""
    app = typer.Typer(
        cls=_InOrder,
        help="Backups of MariaDB and MySQL that can be trusted.",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
    )
    app.callback()(_options)
    for name, (module, attribute, about) in COMMANDS.items():
        if name not in wanted:
            app.command(name, help=about)(_not_loaded)
            continue
        command = getattr(import_module(f"dbcalm.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, help=about)
        else:
            app.command(name)(command)
    return app


class _InOrder(TyperGroup):
    """Lists the commands as the table does."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(COMMANDS)


def _not_loaded() -> None:
    """Never runs: what is run was loaded."""


def _log(error: Exception) -> None:
    """Tell the host's log of a job that was asked for and did not begin: cron's commands have nobody else to tell."""
    words = sys.argv[1:]
    if words and words[0] in _JOBS:
        if not logger.is_started():  # It may be the configuration that is wrong.
            logger.start_logging("warning", terminal=True)
        logger.log_refusal(shlex.join(words), error)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dbcalm {__version__}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before any command."""


def server() -> None:
    """Serve the API until SIGTERM."""
    from dbcalm.cli.commands.host.server import run  # it loads what no other command needs

    run()


def version() -> None:
    """Show the version; the same as --version."""
    _show_version(wanted=True)


def help_with(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(help="As it is typed: backups list.")] = None,
) -> None:
    """Show how a command is used; the same as its --help."""
    words = command or []
    program({*words})([*words, "--help"], prog_name=context.find_root().info_name)


def main() -> None:
    """Run the command of the arguments, and end the program with its exit status."""
    try:
        completion.prepare()
        app = program({*sys.argv[1:], *completion.words(os.environ)})
        app(prog_name=completion.PROGRAM)
    except DBCalmError as error:
        _log(error)
        print(f"dbcalm: {error}", file=sys.stderr)
        raise SystemExit(_TRY_LATER if isinstance(error, Busy) else 1) from None
    except BrokenPipeError:
        sys.stderr.close()  # Whoever read the output has gone: there is nobody to tell.
        raise SystemExit(1) from None
    except Exception as error:  # A traceback helps nobody on the command line.
        _log(error)
        print(f"dbcalm: failed: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
