"""``dbcalm completion``: what real shells make of the scripts that it prints."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from dbcalm.cli.commands.host.completion import SHELLS
from dbcalm.cli.main import program
from dbcalm.domain.model.entities import Schedule
from dbcalm.domain.ports import Cursor
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_database
from tests.support.dbcalm_fakes import manifest
from tests.support.patience import PATIENCE
from tests.unit.dbcalm.cli.test_main import ME

CHECKOUT = Path(__file__).parents[4]
NOW = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``dbcalm`` is a program like an installed one. There is no configuration."""
    program = tmp_path / "bin" / "dbcalm"
    program.parent.mkdir()
    words = shlex.join([sys.executable, str(CHECKOUT / "dbcalm.py")])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "DBCALM_CONFIG": str(tmp_path / "none.yml"),
    }


def in_bash(environment: dict[str, str], *words: str) -> list[str]:
    """Return what bash offers in place of the last of these words, after it has read the script in the usual way."""
    script = """
        source <(dbcalm completion bash) || exit
        [[ $(complete -p dbcalm) =~ ' -F '([^ ]+) ]] || exit
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        ${BASH_REMATCH[1]} dbcalm "${!#}" || exit
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    command = ["bash", "--norc", "--noprofile", "-c", script, "bash", *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.slow
def test_bash_offers_commands(environment: dict[str, str]) -> None:
    assert in_bash(environment, "dbcalm", "ba") == ["backup", "backups"]
    assert set(in_bash(environment, "dbcalm", "")) == set(typer.main.get_command(program()).commands)  # type: ignore[attr-defined]
    assert in_bash(environment, "dbcalm", "backup", "in") == ["incremental"]


@pytest.mark.slow
def test_bash_offers_options_and_their_words(environment: dict[str, str]) -> None:
    offered = in_bash(environment, "dbcalm", "backup", "incremental", "--")
    assert {"--from", "--id", "--wait", "--schedule-id"} <= set(offered)
    assert in_bash(environment, "dbcalm", "restore", "monday", "--tar") == ["--target"]
    assert in_bash(environment, "dbcalm", "restore", "monday", "--target", "") == ["folder", "database"]
    assert in_bash(environment, "dbcalm", "completion", "") == ["bash", "zsh", "fish"]


def test_bash_offers_nothing_that_was_typed_as_a_command(environment: dict[str, str]) -> None:
    mark = Path(environment["HOME"]) / "mark"
    assert (
        in_bash(environment, "dbcalm", "backup", f"$(touch {mark})", f"`touch {mark}`; touch {mark}", "--w")
        == []
    )
    assert not mark.exists()


@pytest.mark.slow
def test_bash_offers_backups_jobs_and_schedules(environment: dict[str, str], tmp_path: Path) -> None:
    """Without a service, and without a word where there is no catalogue or it may not be read."""
    assert in_bash(environment, "dbcalm", "restore", "mon") == []
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "none.yml").write_text(f"database_file: {tmp_path}/state/db.sqlite3\ndbcalm_user: {ME}\n")
    assert in_bash(environment, "dbcalm", "restore", "mon") == []
    catalogue = Catalogue(open_database(tmp_path / "state" / "db.sqlite3"))
    accepted = {
        "event": "accepted",
        "job_id": "a" * 32,
        "type": "backup",
        "command": "x",
        "at": NOW,
        "args": {},
    }
    catalogue.jobs.apply(catalogue.jobs.cursor(), Cursor("j", 1), [accepted])
    backups = [manifest("monday", 1), manifest("monday-2", 2), manifest("tuesday", 3)]
    catalogue.jobs.add_found(catalogue.jobs.cursor(), backups)
    with catalogue.schedules.draft() as draft:
        draft.add(
            Schedule(
                id=0, created_at=NOW, updated_at=NOW, backup_type="full", frequency="daily", hour=3, minute=0
            )
        )
    catalogue.close()
    for command in (["restore"], ["verify"], ["backups", "delete"], ["backup", "incremental", "--from"]):
        assert in_bash(environment, "dbcalm", *command, "mon") == ["monday-2", "monday"]
    assert in_bash(environment, "dbcalm", "backups", "show", "") == [
        "latest",
        "tuesday",
        "monday-2",
        "monday",
    ]
    for command in (["processes", "show"], ["processes", "log"], ["processes", "cancel"]):
        assert in_bash(environment, "dbcalm", *command, "aa") == ["a" * 32]
    for command in (["schedules", "show"], ["backup", "full", "--schedule-id"]):
        assert in_bash(environment, "dbcalm", *command, "") == ["1"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "state").iterdir()} == {0o600}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_is_valid_and_asks_the_program(environment: dict[str, str], shell: str) -> None:
    command = ["dbcalm", "completion", shell]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_DBCALM_COMPLETE=complete_{shell}" in done.stdout
    assert "dbcalm.py" not in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=PATIENCE)


@pytest.mark.parametrize(("shell", "typed"), [("zsh", "dbcalm ba"), ("fish", "dbcalm ba")])
def test_the_program_answers_as_the_other_shells_ask(
    environment: dict[str, str], shell: str, typed: str
) -> None:
    asked = {"_DBCALM_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": typed}
    asked["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    done = subprocess.run(
        ["dbcalm"],
        env={**environment, **asked},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "backup" in done.stdout and "backups" in done.stdout
    assert "restore" not in done.stdout


@pytest.mark.parametrize("shell", ["ksh", "", "BASH", "bash\n", "--x", "../bash"])
def test_another_shell_is_refused(environment: dict[str, str], shell: str) -> None:
    command = ["dbcalm", "completion", "--", shell]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"dbcalm: shell must be one of bash, zsh, fish, not {shell!r}\n"


def test_help_has_no_options_for_it(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["dbcalm", "--help"], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "completion" in done.stdout
    assert "--install-completion" not in done.stdout and "--show-completion" not in done.stdout
