"""Asking once more before something that stops the database."""

import socket
import sys
from typing import Annotated

import typer

from dbcalm.errors import RuleBroken

Confirm = Annotated[
    str, typer.Option("--confirm", help="This host's name, where nobody is there to type it.", metavar="HOST")
]


def require_host(what: str, confirm: str) -> None:
    """Return if the name of this host is given, by the option or by whoever sits at the terminal: done on the wrong
    host it is a disaster, for which one key should not be enough. Raise RuleBroken for another name; where there is
    nobody to ask, that is wrong usage."""
    host = socket.gethostname()
    if not confirm:
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                f"must be {host} where there is no terminal to ask on: {what}", param_hint="--confirm"
            )
        typer.echo(f"On {host} {what}.", err=True)
        confirm = typer.prompt(
            "Type the name of this host to go on", default="", show_default=False, err=True
        )
    if confirm.strip() != host:
        raise RuleBroken(f"this host is {host}, and {confirm.strip()!r} was given; nothing was done")
