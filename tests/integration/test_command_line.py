"""The command line against real services: what it prints, and how it ends."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.conftest import Rig

pytestmark = pytest.mark.integration


def run(rig: Rig, *arguments: str) -> str:
    """Return what a command printed, which must succeed and be silent on standard error."""
    done = rig.sandbox.cli(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(rig: Rig, code: int, *arguments: str) -> str:
    """Return the one line of a command that must end with this status."""
    done = rig.sandbox.cli(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
    return done.stderr


def test_backups_are_made_listed_restored_and_deleted(rig: Rig) -> None:
    run(rig, "backup", "full", "--id", "cli-other", "--wait")  # The last whole chain could not be deleted.
    run(rig, "backup", "full", "--id", "cli-one", "--wait")
    rig.change()
    expected = rig.tables()
    lines = run(rig, "backup", "incremental", "--id", "cli-two", "--wait").splitlines()
    assert lines[0].startswith("backup cli-two: incremental, job ")
    assert lines[-1].startswith("backup cli-two is whole, ")
    assert "cli-two" in run(rig, "backups", "list", "--per-page", "1000")
    assert json.loads(run(rig, "backups", "show", "cli-two", "--json")) == rig.api.call(
        "GET", "/backups/cli-two"
    )
    lines = run(rig, "restore", "cli-two", "--target", "folder", "--wait").splitlines()
    folder = Path(lines[-1].removeprefix("backup cli-two is restored in "))
    assert rig.tables_of(folder) == expected
    [newest] = json.loads(run(rig, "restores", "list", "--per-page", "1", "--json"))["items"]
    assert (newest["target_path"], newest["status"]) == (str(folder), "success")
    assert "cli-two" in refused(rig, 1, "backups", "delete", "cli-one", "--yes")
    for backup_id in ("cli-two", "cli-one"):
        assert rig.sandbox.cli("backups", "delete", backup_id, "--yes").returncode == 0
        assert not (rig.backups / backup_id).exists()


def test_of_two_at_once_one_is_told_to_come_later(rig: Rig) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: rig.sandbox.cli("backup", "full", "--wait"), range(2)))
    assert sorted(done.returncode for done in both) == [0, 75], both
    [line] = (done.stderr for done in both if done.returncode)
    assert "is running (backup)" in line


def test_wrong_input_is_one_line(rig: Rig) -> None:
    run(rig, "backup", "full", "--id", "cli-taken", "--wait")
    assert "cli-taken" in refused(rig, 1, "backup", "full", "--id", "cli-taken")
    assert "server is not stopped" in refused(rig, 1, "restore", "cli-taken", "--target", "database")
    refused(rig, 1, "restore", "cli-none", "--target", "folder")
    refused(rig, 1, "processes", "show", "cli-none")
    assert rig.sandbox.cli("restore", "cli-taken", "--target", "moon").returncode == 2
    assert rig.sandbox.cli("backups", "delete", "cli-taken").returncode == 2
