"""Every command that the program advises, wherever in it, works as it is printed: the command line takes it."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dbcalm.cli.main import COMMANDS, program
from dbcalm.domain.model.entities import Plan
from dbcalm.domain.services.schedules import _check

ROOT = Path(__file__).parents[2]
PACKAGES = ("dbcalm", "dbcalm_cmd", "dbcalm_cmd_client", "dbcalm_mariadb_cmd", "dbcalm_mariadb_cmd_client")

_ADVISED = re.compile(rf"(?<![\w/.-])dbcalm ((?:{'|'.join(COMMANDS)})(?:'[^']*'|[^;,)`:'\"\n])*)")
"""A command ends its sentence, or is followed by one of these. What is in quotes belongs to it."""

_STANDS_FOR_ANYTHING = "2026"


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Give every text that a module holds, without its docstrings, by line; what a text is filled with stands for
    anything."""
    silent: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            silent.update(id(part) for part in node.values)
            parts = (
                part.value if isinstance(part, ast.Constant) else _STANDS_FOR_ANYTHING for part in node.values
            )
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.lineno, node.value


def advised() -> dict[str, str]:
    """Return every command that is advised, and one place where it is."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
                for command in _ADVISED.findall(text.replace("{}", _STANDS_FOR_ANYTHING)):
                    found.setdefault(command.strip().rstrip("."), f"{path.relative_to(ROOT)}:{line}")
    return found


ADVISED = advised()


def parse(words: list[str]) -> dict[str, Any]:
    """Have the command line read a command and run nothing, and return what it read; raise its UsageError if it does
    not take it."""
    command: Any = typer.main.get_command(program())
    context = command.make_context("dbcalm", list(words), resilient_parsing=False)
    while hasattr(command, "resolve_command"):
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(command.name, list(words), parent=context)
    return dict(context.params)


def test_there_is_advice_in_many_places() -> None:
    assert len(ADVISED) > 15
    assert "status" in ADVISED


@pytest.mark.parametrize("command", sorted(ADVISED))
def test_what_is_advised_can_be_typed(command: str) -> None:
    try:
        given = parse(shlex.split(command))
        if command.startswith("schedules add "):
            plan = {name: given[name] for name in Plan.__dataclass_fields__ if name in given}
            _check(Plan(backup_type=given["type"], **plan))
    except Exception as error:
        raise AssertionError(f"{ADVISED[command]}: dbcalm {command}: {error}") from error
