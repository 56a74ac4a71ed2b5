"""Questions to the database server, put through its own command-line client, which speaks every way of logging in that
the backup tool speaks, from the same credentials file.

Many questions are one call, and each stands alone: one that fails takes no other with it, and whoever asked it says
what that means. What the server's settings do to a session is set right first, so that an answer is all of the answer
and errors are in one language; but the question that is put ``as_the_tool`` meets the session just as the backup tool
will.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT
from dbcalm_mariadb_cmd.builder.argv import client_argv
from dbcalm_mariadb_cmd.errors import Refused

SECONDS = 30

_LIKE_THE_TOOL = ("SET SESSION lc_messages = 'en_US'", "SET SESSION max_statement_time = 0")
"""The tool says the second itself. Where a server does not know one, that is as if it were not said."""

_SET_RIGHT = (
    "SET NAMES utf8mb4",
    "SET SESSION sql_mode = ''",
    "SET SESSION sql_select_limit = 18446744073709551615",
    "SET SESSION sql_big_selects = 1",
    "SET SESSION lock_wait_timeout = 3",
)
_MARK = "#dbcalm "
_FIRST = "as the tool"
_ERROR = re.compile(r"^ERROR (\d+)(?: \(\w+\))?(?: at line (\d+))?: ?(.*)$", re.MULTILINE)
_INNER = re.compile(r"following error cannot be verified: (\d+) - (.*)$")
_ESCAPED = re.compile(r"\\([\\ntr0])")
_MEANT = {"\\": "\\", "n": "\n", "t": "\t", "r": "\r", "0": "\0"}
_OF_THE_SESSION = frozenset({1053, 1152, 1184, 1226, 1820, 1927, 2006, 2013, 3032})
"""What a server says where it answers no question at all, or none any more."""


@dataclass(frozen=True)
class Error:
    """What went wrong: the server's or the client's number for it, and the sentence that goes with it."""

    number: int
    said: str

    def __str__(self) -> str:
        return f"ERROR {self.number}: {self.said}" if self.number else self.said


class NotAnswered(Exception):
    """The server was not reached, did not let us in, or ended the connection. ``let_in`` tells which."""

    def __init__(self, error: Error, *, let_in: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.let_in = let_in


@dataclass(frozen=True)
class Answer:
    """The rows of one question as texts, and what went wrong with it, None if nothing did."""

    rows: tuple[tuple[str, ...], ...] = ()
    error: Error | None = None


def ask(
    client: Path, credentials: Path, questions: Mapping[str, str], as_the_tool: str = ""
) -> dict[str, Answer]:
    """Put these questions, each one statement in one line, and return an answer for each; that to ``as_the_tool`` is
    under "". Raise NotAnswered, or Refused 503 if nothing is heard for long or the client cannot be run."""
    lines, asked_at = _script(questions, as_the_tool)
    said = _run(client, credentials, "".join(f"{line};\n" for line in lines))
    errors = _errors(said.stderr, len(lines))
    outermost = errors.get(0)
    fatal = next((error for _, error in sorted(errors.items()) if error.number in _OF_THE_SESSION), None)
    sections = _sections(said.stdout)
    if outermost or fatal:
        raise NotAnswered(outermost or fatal or Error(0, ""), let_in=outermost is None)
    if sections.keys() != {_FIRST, *questions}:
        what = " ".join(said.stderr.split())[:300] or f"exit code {said.returncode}, and no answer"
        raise Refused(503, f"the database client failed: {what}")
    sections[""] = sections.pop(_FIRST)
    return {name: Answer(sections[name], errors.get(line)) for name, line in asked_at.items()}


def _script(questions: Mapping[str, str], as_the_tool: str) -> tuple[list[str], dict[str, int]]:
    """Return the statements, and which line each question is in. What the client prints before a mark answers the
    question that the mark names; no mark is asked for before the session gives all rows."""
    lines = [*_LIKE_THE_TOOL, as_the_tool or "DO 0"]
    asked_at = {"": len(lines)}
    lines += [*_SET_RIGHT, f"SELECT '{_MARK}{_FIRST}'"]
    for name, sql in questions.items():
        lines += [sql, f"SELECT '{_MARK}{name}'"]
        asked_at[name] = len(lines) - 1
    return lines, asked_at


def _run(client: Path, credentials: Path, sql: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            client_argv(client, credentials),
            input=sql,
            env=ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(503, f"the database does not answer within {SECONDS} s") from error


def _errors(stderr: str, last: int) -> dict[int, Error]:
    """Return the first error of each line; under 0 is that by which no line was reached."""
    errors: dict[int, Error] = {}
    for number, line, said in _ERROR.findall(stderr):
        inner = _INNER.search(said)  # The client doubts what came before the connection was encrypted.
        error = Error(int(inner[1]), inner[2]) if inner else Error(int(number), said)
        place = int(line or 0)
        errors.setdefault(place if place <= last else last, error)
    return errors


def _sections(stdout: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    sections: dict[str, tuple[tuple[str, ...], ...]] = {}
    rows: list[tuple[str, ...]] = []
    for line in stdout.removesuffix("\n").split("\n"):
        if line.startswith(_MARK):
            sections[line.removeprefix(_MARK)] = tuple(rows)
            rows = []
        else:
            rows.append(tuple(_plain(field) for field in line.split("\t")))
    return sections


def _plain(field: str) -> str:
    return _ESCAPED.sub(lambda found: _MEANT[found[1]], field)
