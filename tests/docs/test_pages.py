"""Links lead somewhere, and what exists is documented: commands, options, targets, folders, this version."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dbcalm import __version__
from dbcalm.cli.main import program
from dbcalm_cmd import __version__ as version_of_services
from tests.docs.commands import CHECKOUT

PAGES = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")]
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def text(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_can_be_read(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    assert written.startswith("# ")
    prose = [line for line in _FENCED.sub("", written).splitlines() if not line.startswith("|")]
    assert [line for line in prose if len(line) > 120] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in _LINK.findall(text("README.md"))}
    pages = {str(page.relative_to(CHECKOUT)) for page in PAGES} - {"README.md"}
    assert pages <= linked


def cli_commands(group: Any, words: tuple[str, ...] = ("dbcalm",)) -> Iterator[tuple[str, list[str]]]:
    """Yield each command with its long options."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from cli_commands(command, (*words, name))
        else:
            options = [
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
                if option.startswith("--")
            ]
            yield " ".join((*words, name)), options


def documented_commands() -> dict[str, str]:
    """Return the rows of the table of commands: the command's words, and the whole row."""
    rows = re.findall(r"^\| `(dbcalm [^`]+)` \|.*$", text("docs/configuration.md"), re.MULTILINE)
    return {" ".join(re.findall(r"^dbcalm(?: [a-z-]+)+|^dbcalm --\S+", row)): row for row in rows}


def test_every_command_is_documented_with_its_options() -> None:
    documented = documented_commands()
    found = dict(cli_commands(typer.main.get_command(program())))
    assert set(documented) == {*found, "dbcalm --version"}
    for command, options in found.items():
        assert set(re.findall(r"--[a-z-]+", documented[command])) == set(options), command


def test_every_target_is_documented() -> None:
    targets = re.findall(r"^([a-z0-9-]+):.*## ", text("Makefile"), re.MULTILINE)
    assert re.findall(r"^\| `make ([a-z0-9-]+)` \|", text("CONTRIBUTING.md"), re.MULTILINE) == targets


def test_no_page_speaks_of_a_target_that_is_not_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", text("Makefile"), re.MULTILINE))
    for page in PAGES:
        spoken = re.findall(r"(?:`|\$ )make\s+([a-z0-9-]+)", page.read_text(encoding="utf-8"))
        assert set(spoken) <= targets, page.name


def test_every_folder_of_code_is_described() -> None:
    layout = text("CONTRIBUTING.md")
    folders = [path.parent.name for path in CHECKOUT.glob("dbcalm*/__init__.py")]
    tests = [f"tests/{path.name}" for path in (CHECKOUT / "tests").iterdir() if path.is_dir()]
    assert [
        name for name in (*folders, "dev", *tests) if f"`{name}/`" not in layout and "__" not in name
    ] == []


def test_this_version_has_its_entry() -> None:
    assert re.search(rf"^## {re.escape(__version__)}\b", text("CHANGELOG.md"), re.MULTILINE)
    assert __version__ == version_of_services
