"""The database's client, asked for rows that come back exactly as the server has them.

Its XML is the one output in which no value can be taken for another: names and answers may hold tabs, line ends and
quotes, letters of any script, and NULL is not the text "NULL".
"""

import html
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.linux import die_with_parent
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT

EXACTLY = ("--xml", "--binary-mode", "--default-character-set=utf8mb4", "--local-infile=0")
"""The client's words for that; in binary mode nothing in a statement is a command to the client itself."""

_ROW = re.compile(r"<row>(.*?)</row>", re.DOTALL)
_FIELD = re.compile(r'<field name="[^"]*"(?: xsi:nil="true" />|>(.*?)</field>)', re.DOTALL)
_ERROR = re.compile(r"^ERROR .*", re.MULTILINE | re.DOTALL)

Row = tuple[str | None, ...]


@dataclass(frozen=True)
class Asked:
    """What the client said: the rows of all statements in their order, and what it complained of, "" for nothing."""

    rows: list[Row]
    said: str
    return_code: int


def ask(argv: Sequence[str], statements: str, cwd: Path, seconds: float | None = None) -> Asked:
    """Run a client with these statements, of which the first that fails is the last; raise subprocess.TimeoutExpired
    if it takes longer than that."""
    asked = subprocess.run(
        [*argv, *EXACTLY],
        input=statements.encode(),
        env=ENVIRONMENT,
        cwd=cwd,
        capture_output=True,
        preexec_fn=die_with_parent,
        timeout=seconds,
        check=False,
    )
    said = asked.stderr.decode("utf-8", "replace")
    error = _ERROR.search(said)
    return Asked(
        rows(asked.stdout.decode("utf-8", "replace")),
        " ".join((error[0] if error else said).split()),
        asked.returncode,
    )


def rows(printed: str) -> list[Row]:
    """Return the rows that are in the client's XML."""
    # The client writes "<" in a value as "&lt;", so that what looks like a tag is one.
    return [
        tuple(None if field[1] is None else html.unescape(field[1]) for field in _FIELD.finditer(row[1]))
        for row in _ROW.finditer(printed)
    ]


def quoted(name: str) -> str:
    """Return a name as statements have it."""
    return "`" + name.replace("`", "``") + "`"
