"""What ``dbcalm setup`` says and asks: a line for each thing, and what to take where nobody is asked."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, cast

import typer

from dbcalm.cli.common.output import printable
from dbcalm.errors import DBCalmError

T = TypeVar("T")


class Mark(StrEnum):
    """How a line begins."""

    OK = "ok"
    DONE = "done"
    NOTE = "note"
    WRONG = "WRONG"


class Findings:
    """Prints a line for each thing that was looked at or done, and counts what is not as it should be."""

    def __init__(self) -> None:
        self.wrong = 0

    def ok(self, name: str, sentence: str) -> None:
        """Say that something is as it should be."""
        self._tell(Mark.OK, name, sentence)

    def done(self, name: str, sentence: str) -> None:
        """Say what was done."""
        self._tell(Mark.DONE, name, sentence)

    def note(self, name: str, sentence: str) -> None:
        """Say what works but should be known."""
        self._tell(Mark.NOTE, name, sentence)

    def problem(self, name: str, sentence: str) -> None:
        """Say what is wrong and what to do, and count it."""
        self.wrong += 1
        self._tell(Mark.WRONG, name, sentence)

    def judge(self, name: str, problems: list[str], fine: str) -> None:
        """Tell every problem, or that all is fine."""
        for problem in problems:
            self.problem(name, problem)
        if not problems:
            self.ok(name, fine)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Make a problem of what the block is refused, and go on behind it."""
        try:
            yield
        except DBCalmError as error:
            self.problem(name, str(error))

    def _tell(self, mark: Mark, name: str, sentence: str) -> None:
        print(f"{mark:5}  {name:18}  {printable(sentence)}", flush=True)


@dataclass(frozen=True)
class Questions:
    """Asks on the terminal. With ``yes`` nobody is asked, and the default is taken; where there is neither, it is wrong
    usage."""

    yes: bool

    def sure(self, question: str, option: str, given: bool | None) -> bool:
        """Return what the option says, or else whether a person agrees."""
        if given is not None:
            return given
        return not self._may_ask(option) or typer.confirm(question, default=True, err=True)

    def word(
        self, question: str, option: str, given: str | None, default: str, read: Callable[[str], T]
    ) -> T:
        """Return what ``read`` makes of what the option says, or else of what a person types: whoever types what it
        raises BadParameter for is asked again."""
        if given is not None:
            return read(given)
        if not self._may_ask(option):
            return read(default)
        return cast(
            "T",
            typer.prompt(question, default=default, show_default=bool(default), value_proc=read, err=True),
        )

    def _may_ask(self, option: str) -> bool:
        if self.yes:
            return False
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                f"or {option} must be given where there is no terminal to ask on", param_hint="--yes"
            )
        return True


def clock(text: str) -> tuple[int, int]:
    """Return the hour and the minute of a time such as 02:30; raise BadParameter if it is none."""
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text, re.ASCII)
    if found is None:
        raise typer.BadParameter(f"must be a time from 00:00 to 23:59, not {text!r}", param_hint="--at")
    return int(found[1]), int(found[2])
