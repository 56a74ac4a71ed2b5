"""``dbcalm config``: what is wrong with the configuration, if anything."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import typer

from dbcalm import config
from dbcalm.cli.common.output import say
from dbcalm.cli.common.start import become
from dbcalm.config import Settings
from dbcalm.errors import CannotStart, InvalidConfig

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command()
def check() -> None:
    """Say what is wrong with the configuration, and with the files that it names."""
    # Other commands load no TLS; and here it is before ``become``.
    from dbcalm.api.certificate import judged
    from dbcalm.api.listener import tls_context

    path = config.config_path(os.environ)
    print(f"file: {path}")
    try:
        settings = config.load(path)
        become(settings.dbcalm_user)
    except InvalidConfig as error:
        problems = list(error.mistakes)
    except CannotStart as error:
        problems = [str(error)]
    else:
        for warning in config.warnings(settings):
            print(f"warning: {warning}")
        problems = list(problems_of_files(settings, tls_context))
        if not problems:
            wrong, soon = judged(settings.ssl_cert, settings.ssl_key, datetime.now(UTC))
            problems += [wrong] if wrong else []
            print(f"warning: {soon}\n" if soon else "", end="")
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        say(f"dbcalm: {path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}")
        raise typer.Exit(1)
    print("all is well")


def problems_of_files(settings: Settings, tls_context: Callable[[Path, Path], object]) -> Iterator[str]:
    """Give what would keep the server from starting."""
    needs: tuple[Callable[[], object], ...] = (
        lambda: config.signing_key(settings),
        lambda: tls_context(settings.ssl_cert, settings.ssl_key),
    )
    for need in needs:
        try:
            need()
        except CannotStart as error:
            yield str(error)
    if not os.access(settings.database_file.parent, os.W_OK | os.X_OK):
        yield f"database_file: cannot write in the folder {settings.database_file.parent}"
