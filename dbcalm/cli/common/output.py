"""How commands print what they found: data on standard output, talk on standard error."""

import json
import re
import sys
from collections.abc import Callable, Sequence

import typer

from dbcalm.domain.model import times

Row = dict[str, object]

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def say(message: str) -> None:
    """Print one line for people, beside what a program may read, and behind what was printed for it before."""
    sys.stdout.flush()
    print(message, file=sys.stderr)


def make_sure(yes: bool, question: Callable[[], str]) -> None:
    """Ask a person whether to go on, unless ``yes`` says so; where there is nobody to ask, that is wrong usage."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("must be given where there is no terminal to ask on", param_hint="--yes")
    typer.confirm(question(), abort=True, err=True)


def show(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as one JSON document, or as columns under their names."""
    if as_json:
        print(json.dumps(rows))
        return
    lines = [
        [column.upper() for column in columns],
        *([printable(text(row[column])) for column in columns] for row in rows),
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def show_one(row: Row, *, as_json: bool) -> None:
    """Print one thing as a JSON document, or as a line for each of its values, those of several lines indented."""
    if as_json:
        print(json.dumps(row))
        return
    width = max(map(len, row)) + 1
    for name, value in row.items():
        first, *more = [printable(line) for line in text(value).split("\n")]
        print(f"{name + ':':{width}} {first}")
        for line in more:
            print(f"{'':{width}} {line}")


def text(value: object) -> str:
    """Return a value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return times.short(value)
    return str(value).rstrip() if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)


def printable(line: str) -> str:
    """Return a line without what would move the cursor of who reads it."""
    return "".join(character if character.isprintable() else " " for character in line)
