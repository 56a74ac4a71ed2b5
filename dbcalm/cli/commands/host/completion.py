"""``dbcalm completion``: the lines with which a shell completes commands and options.

The shell then runs ``dbcalm`` itself, with what was typed so far in its environment.
"""

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from dbcalm.cli.common.output import say

PROGRAM = "dbcalm"
"""The program that is completed, however it was started."""

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_DBCALM_COMPLETE"
_TYPED = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
_WRONG_USAGE = 2

# Typer has the scripts and the answers, but offers them as two options of every program, or not at all. Its modules of
# these names are private; the lock file names their release, and a test completes in a real shell.


def words(environment: Mapping[str, str]) -> list[str]:
    """Return what was typed so far, where a shell asks what could come next; nothing where none does."""
    return [word for name in _TYPED for word in environment.get(name, "").split() if _VARIABLE in environment]


def prepare() -> None:
    """Get ready to answer, where a shell asks what could come next."""
    if _VARIABLE in os.environ:
        from typer._completion_classes import completion_init  # No other command needs it.

        completion_init()


def script(shell: str) -> str:
    """Return what a shell of ``SHELLS`` must read."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name=PROGRAM, complete_var=_VARIABLE, shell=shell)


def completion(
    shell: Annotated[
        str,
        typer.Argument(help="bash, zsh or fish.", autocompletion=lambda: list(SHELLS), show_default=False),
    ],
) -> None:
    """Print what a shell must read to complete commands and options."""
    if shell not in SHELLS:
        say(f"{PROGRAM}: shell must be one of {', '.join(SHELLS)}, not {shell!r}")
        raise typer.Exit(_WRONG_USAGE)
    print(script(shell))
