"""The manual pages tell of every command, option and key, and roff prints just what was meant."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dbcalm.cli import main as program
from dbcalm_cmd.settings import Settings
from dbcalm_mariadb_cmd.config.keys import KEYS
from dev import man
from tests.docs.commands import CHECKOUT

PAGES = man.pages()
ODD = [
    "--wait", "-", "a\\b", "\\fBbold", "\\(dq", ".SH NOT A HEADING", "'br", '"', "''", '""', "``", "~/x^2", "%", "#",
    "*/5", "\\", "\\\\", "...", "$(id)", ". x", "\\&", "\\c", "\\\"", "\\n(.x", "naïve …", "🛟", "'", ".", "\u2212",
]  # fmt: skip
"""What roff would change, hide or obey."""


def printed(page: str) -> str:
    """Return what a page looks like, in one long line; groff must have nothing to say about it."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-c", "-rLL=2000n"],
        input=page.encode("ascii"),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    return " ".join(re.sub(".\b", "", done.stdout.decode()).split())


def commands(command: Any, path: str = "dbcalm") -> Iterator[tuple[str, Any]]:
    """Yield each command that can be run, with its words."""
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield path, command


COMMANDS = dict(commands(get_command(program.program())))


@pytest.mark.parametrize("text", ODD)
def test_what_is_escaped_is_printed_as_it_was(text: str) -> None:
    page = man.page(
        "odd", 1, "odd things", man.section(text), ".PP", man.escape(text), *man.term(man.bold(text), text)
    )
    heading, plain, name, about = (text.upper(), text, text, text)
    assert (
        printed(page)
        .partition(" odd - odd things ")[2]
        .startswith(f"{heading} {plain} {name} {about} DBCalm ")
    )


def test_no_escaped_text_is_an_instruction() -> None:
    for text in (*ODD, "a\n.so /etc/passwd", "a\n\n'br", " .x"):
        line = man.escape(text)
        assert "\n" not in line
        assert not line.startswith((".", "'"))
        assert re.fullmatch(
            r"(?:[^\\'\"`^~-]|\\(?:&|-|\((?:rs|aq|dq|ga|ha|ti)|\[u[0-9A-F]{4,5}\]))*", line
        ), line


@pytest.mark.parametrize("name", PAGES)
def test_groff_reports_no_warning(name: str) -> None:
    title, _, chapter = name.rpartition(".")
    assert printed(PAGES[name]).startswith(f"{title.upper()}({chapter}) ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there_with_its_help_and_options(command: str) -> None:
    whole = printed(PAGES["dbcalm.1"])
    found = re.search(
        rf" {command} (?:\[OPTIONS\]|\{{|<)(.*?)(?= dbcalm (?:[a-z-]+ )+(?:\[OPTIONS\]|\{{)| EXIT STATUS )",
        whole,
    )
    assert found, command
    assert " ".join(COMMANDS[command].help.split()) in found[1]
    for parameter in COMMANDS[command].params:
        for option in parameter.opts:
            assert f" {option}" in found[1]
        assert " ".join((parameter.help or "").split()) in found[1]


def test_the_options_before_any_command_are_there() -> None:
    assert "--version Show the version." in printed(PAGES["dbcalm.1"])
    assert "-h, --help " in printed(PAGES["dbcalm.1"])


def test_every_exit_status_is_there() -> None:
    statuses = dict(man.exit_statuses())
    assert {"0", "1", "2", "75"} <= set(statuses)
    assert statuses["0"] == "done"
    told = printed(PAGES["dbcalm.1"]).partition(" EXIT STATUS ")[2].partition(" ENVIRONMENT ")[0]
    assert told == " ".join(f"{status} {meaning}" for status, meaning in statuses.items())
    for number in re.findall(r"\b\d+\b", (program.__doc__ or "").partition("Exit status:")[2]):
        assert number in statuses


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_configuration_is_there(key: str) -> None:
    entry, default = KEYS[key], KEYS[key].default
    shown = "empty" if default in ("", []) else default
    assert f" {key} {entry.about} Allowed: {entry.allowed} Default: {shown} " in printed(
        PAGES["dbcalm-config.5"]
    )


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_every_key_of_the_root_service_is_there(field: Any) -> None:
    told = printed(PAGES["dbcalm-config.5"]).partition(" KEYS OF CMD.TOML ")[2]
    assert re.search(
        rf" {field.name} Allowed: .*? Default: {re.escape(field.default) or 'empty'} ", f" {told}"
    )


@pytest.mark.parametrize("name", ["dbcalm-cmd", "dbcalm-mariadb-cmd"])
def test_a_service_has_a_page_that_says_what_it_is_and_never_does(name: str) -> None:
    told = printed(PAGES[f"{name}.8"])
    assert f"NAME {name} - the service of DBCalm that runs as " in told
    assert re.search(r" DESCRIPTION It takes .* [Ii]t never .* systemd starts it.* EXIT STATUS 0 ", told)


def test_the_pages_are_written_and_are_the_same_each_time(tmp_path: Path) -> None:
    for folder in (tmp_path / "one/two", tmp_path / "again"):
        command = [sys.executable, "-m", "dev.man", str(folder)]
        done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
        assert done.stdout.splitlines() == [str(folder / name) for name in PAGES]
        assert {path.name: path.read_text() for path in folder.iterdir()} == PAGES
