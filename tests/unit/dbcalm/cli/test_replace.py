"""Replacing the database's data on the command line: asked for the host's name, waited for, and passed on to root."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbcalm.domain.model import times
from tests.support.dbcalm_fakes import FakeMysqlService, manifest
from tests.support.dbcalm_root import RootProcess
from tests.support.patience import eventually
from tests.unit.dbcalm.cli.test_jobs import dbcalm, job_of, on_a_terminal, service
from tests.unit.dbcalm.cli.test_main import Cli, Done, refused
from tests.unit.dbcalm.domain.services.test_services import IDENTITY

__all__ = ["dbcalm", "service"]  # Fixtures.

pytestmark = pytest.mark.slow

HOST = socket.gethostname()
KEPT = {
    "id": "r-", "backup_id": "one", "replaced_at": "2026-11-25T02:36:38.216919Z",
    "keep_until": "2026-11-26T02:36:38.216919Z", "size": 118304979,
}  # fmt: skip
COMMANDS = [("restore", "one", "--replace"), ("replaced", "bring-back", "r-0000")]
_SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
  *" stop "*) echo inactive > unit; echo stop >> verbs ;;
  *" start "*) echo active > unit; echo start >> verbs ;;
  *TriggeredBy*) ;;
  *) printf 'LoadState=loaded\\nActiveState=%s\\nSubState=x\\nResult=success\\nJob=\\n' "$(cat unit)" ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path, dbcalm: Cli) -> Iterator[RootProcess]:
    """The real root service, with a program in systemctl's place."""
    program = tmp_path / "systemctl"
    process = RootProcess(tmp_path, program)
    program.write_text(_SYSTEMCTL)
    program.chmod(0o755)
    (tmp_path / "unit").write_text("active\n")
    process.start()
    yield process
    process.kill()


def verbs(dbcalm: Cli) -> list[str]:
    """Return what systemctl was told to do."""
    file = dbcalm.config.with_name("verbs")
    return file.read_text().split() if file.exists() else []


@pytest.fixture
def stock(service: FakeMysqlService) -> FakeMysqlService:
    service.on_disk = {"one": manifest("one", 1)}
    service.replaced = [{**KEPT, "id": "r-0000"}]
    return service


def work(stock: FakeMysqlService, end: Callable[[str], None]) -> threading.Thread:
    """Do what the job's runner would: want the database stopped, then running, and end."""

    def run() -> None:
        eventually(lambda: any(event["event"] == "accepted" for event in stock.events))
        job_id = stock.events[-1]["job_id"]
        for number, goal in enumerate(("stopped", "running")):
            want = f"{number:016x}"
            stock.wanted = {"job_id": job_id, "database": goal, "want": want}
            met = (job_id, want, goal, "")
            eventually(lambda met=met: met in stock.asked_for("report_database"))  # type: ignore[misc]
        stock.wanted = {"job_id": None, "database": None, "want": None}
        end(job_id)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def untouched(dbcalm: Cli, stock: FakeMysqlService) -> bool:
    return not stock.asked_for("restore_backup") and not stock.asked_for("bring_back") and not verbs(dbcalm)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["", "--confirm="])
def test_without_a_terminal_the_host_must_be_named(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess, command: tuple[str, ...], name: str
) -> None:
    done = dbcalm(*command, *([name] if name else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"must be {HOST}" in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert untouched(dbcalm, stock)


@pytest.mark.parametrize("command", COMMANDS)
def test_another_host_is_refused_in_one_line(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess, command: tuple[str, ...]
) -> None:
    done = dbcalm(*command, "--confirm=other")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"dbcalm: this host is {HOST}, and 'other' was given; nothing was done\n"
    assert untouched(dbcalm, stock)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("word", ["y", "", f"not-{HOST}"])
def test_on_a_terminal_another_word_than_the_host_does_nothing(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess, command: tuple[str, ...], word: str
) -> None:
    asked: Callable[[str, int], bool] = lambda shown, terminal: (  # noqa: E731  # too long for the call
        "to go on: " in shown and bool(os.write(terminal, f"{word}\n".encode()))
    )
    code, shown = on_a_terminal(dbcalm, *command, react=asked)
    assert code == 1, shown
    assert f"On {HOST} the database is stopped" in shown
    assert "nothing was done" in shown
    assert "Usage" not in shown
    assert untouched(dbcalm, stock)


def test_on_a_terminal_the_host_s_name_lets_it_go(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess
) -> None:
    thread = work(stock, stock.finish)
    code, shown = on_a_terminal(
        dbcalm, *COMMANDS[0],
        react=lambda shown, terminal: (
            "to go on: " in shown and bool(os.write(terminal, f"{HOST}\n".encode()))
        ),
    )  # fmt: skip
    thread.join()
    assert code == 0, shown
    assert "backup one is restored, and the database runs with it" in shown
    assert verbs(dbcalm) == ["stop", "start"]


def test_it_waits_passes_on_and_says_what_is_kept(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess
) -> None:
    def end(job_id: str) -> None:
        stock.replaced = [{**KEPT, "id": f"r-{job_id[:4]}"}, {**KEPT, "id": "r-older"}]
        stock.finish(job_id)

    thread = work(stock, end)
    done = dbcalm(*COMMANDS[0], "--confirm", HOST)
    thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    kept = f"r-{job_of(done.stdout)[:4]}"
    assert (
        f"kept until {times.short(KEPT['keep_until'])}; to bring it back: dbcalm replaced bring-back {kept}\n"
        in done.stdout
    )
    assert "r-older" not in done.stdout
    assert verbs(dbcalm) == ["stop", "start"]


def test_what_is_encrypted_is_opened_with_the_key_on_standard_input(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess
) -> None:
    words = (*COMMANDS[0], "--identity-stdin")
    assert dbcalm(*words, stdin=f"{IDENTITY}\n").returncode == 2  # It is no terminal, and names no host.
    refused(
        dbcalm(*words, "--confirm", HOST, stdin=f"{IDENTITY[:-1]}\n"), "identity must be AGE-SECRET-KEY-1"
    )
    assert untouched(dbcalm, stock)
    thread = work(stock, stock.finish)
    done = dbcalm(*words, "--confirm", HOST, stdin=f"# public key: age1...\n{IDENTITY}\n")
    thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    [(_, id, target, replace, identity)] = stock.asked_for("restore_backup")
    assert (id, target, replace, identity) == ("one", "database", True, IDENTITY)
    assert IDENTITY not in done.stdout


def test_of_an_empty_data_directory_nothing_is_kept(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess
) -> None:
    thread = work(stock, stock.finish)
    done = dbcalm(*COMMANDS[0], "--confirm", HOST)
    thread.join()
    assert done.returncode == 0
    assert "is kept until" not in done.stdout


def test_what_was_replaced_is_listed_and_brought_back(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess
) -> None:
    assert json.loads(dbcalm("replaced", "list", "--json").stdout) == stock.replaced
    assert dbcalm("replaced", "list").stdout.splitlines()[1].split()[:2] == ["r-0000", "one"]
    thread = work(stock, stock.finish)
    done = dbcalm(*COMMANDS[1], "--confirm", HOST)
    thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("r-0000 is back, and the database runs with it\n")
    refused(
        dbcalm("replaced", "bring-back", "none", "--confirm", HOST), "nothing that was replaced is kept as"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_job_that_fails_tells_its_story(
    dbcalm: Cli, stock: FakeMysqlService, root: RootProcess, command: tuple[str, ...]
) -> None:
    story = "mariadb.service did not start; the old data is back in place, and the database runs with it"
    thread = work(stock, lambda job_id: stock.finish(job_id, "failed", error=story))
    done: Done = dbcalm(*command, "--confirm", HOST)
    thread.join()
    refused(done, story)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_the_root_service_it_is_refused_before_it_begins(
    dbcalm: Cli, stock: FakeMysqlService, command: tuple[str, ...]
) -> None:
    refused(dbcalm(*command, "--confirm", HOST), "the service dbcalm-cmd does not answer; see that it runs")
    assert untouched(dbcalm, stock)


def test_a_target_is_needed_only_without_it(dbcalm: Cli, stock: FakeMysqlService, root: RootProcess) -> None:
    assert dbcalm("restore", "one").returncode == 2
    done = dbcalm(*COMMANDS[0], "--target", "folder", "--confirm", HOST)
    refused(done, "target database only")
    assert untouched(dbcalm, stock)
