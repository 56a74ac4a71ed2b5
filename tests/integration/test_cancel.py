"""Cancelling real jobs: within seconds, with the server's locks free and nothing left, at any moment."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib.api import Api
from dev.sandbox_lib.processes import all_processes, command_line
from tests.integration.conftest import Rig
from tests.support.patience import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def base(shared_rig: Rig) -> str:
    return str(shared_rig.backup(id="cancel-base")["resource_id"])


@pytest.fixture
def slow(rig: Rig) -> Iterator[Rig]:
    """Let a backup take far longer than a test waits."""
    with rig.configured("dbcalm-mariadb-cmd", copy_throttle=1):
        yield rig


def tools_of(rig: Rig) -> list[str]:
    """Return the command lines of all that jobs of this sandbox have started and that still runs."""
    home = str(rig.sandbox.root)
    words = [" ".join(command_line(process.pid)) for process in all_processes()]
    return [line for line in words if home in line and ("mariadb-backup" in line or ".runner" in line)]


def cancelled(rig: Rig, accepted: dict[str, object]) -> dict[str, object]:
    """Cancel a job, which must end and leave nothing; return its last Status."""
    reply = rig.api.request("DELETE", f"/processes/{accepted['pid']}")
    assert (reply.status, reply.body["pid"]) == (202, accepted["pid"])
    ended = rig.end(accepted)
    eventually(lambda: (rig.leftovers(), tools_of(rig)) == ([], []))
    return ended


@pytest.mark.parametrize("form", ["folder", "zstd"])
@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_backup(slow: Rig, base: str, kind: str, form: str) -> None:
    stored, before = slow.stored(base), slow.on_disk()
    order = {"type": kind, "form": form, **({"from_backup_id": base} if kind == "incremental" else {})}
    accepted = slow.start("/backups", order)
    eventually(lambda: any("mariadb-backup" in line for line in tools_of(slow)))
    time.sleep(0.5)
    ended = cancelled(slow, accepted)
    assert (ended["status"], ended["reason"], ended["error"]) == (
        "failed",
        "cancelled",
        "the job was cancelled",
    )
    assert slow.on_disk() == before
    assert slow.stored(base) == stored
    # Nothing holds a lock of the server: tables are made, changed and dropped at once.
    slow.sandbox.sql("CREATE TABLE shop.free (id INT) ENGINE=InnoDB; FLUSH TABLES; DROP TABLE shop.free")


def test_one_that_waits_for_a_lock_of_the_server(rig: Rig) -> None:
    """Somebody writes into a table: the tool waits for its own lock and writes nothing meanwhile."""
    processes = "SELECT state FROM information_schema.processlist WHERE user = 'dbcalm_backup'"
    with rig.held_up() as accepted:
        eventually(lambda: "Waiting for" in rig.sandbox.sql(processes))
        assert cancelled(rig, accepted)["reason"] == "cancelled"
        eventually(lambda: rig.sandbox.sql(processes) == "")
    assert rig.backup()["status"] == "success"


def test_restores_at_any_moment_are_cancelled_or_done(rig: Rig, base: str) -> None:
    chance = random.Random(5)
    outcomes = set()
    for number in range(6):
        accepted = rig.start("/restore", {"id": base, "target": "folder"})
        time.sleep(chance.random() * 0.15 * number)
        reply = rig.api.request("DELETE", f"/processes/{accepted['pid']}")
        assert reply.status in (202, 409), reply
        ended = rig.end(accepted)
        assert ended["reason"] in ("cancelled", None), ended
        assert Path(accepted["target_path"]).exists() == (ended["status"] == "success")
        eventually(lambda: rig.leftovers() == [])
        outcomes.add(ended["status"])
    assert "failed" in outcomes


def test_a_restore_to_the_database_leaves_all_or_nothing(rig: Rig, base: str) -> None:
    rig.put_back(base)
    expected = rig.tables()
    chance = random.Random(11)
    for number in range(6):
        rig.empty_database()
        accepted = rig.start("/restore", {"id": base, "target": "database"})
        time.sleep(chance.random() * 0.15 * number)
        reply = rig.api.request("DELETE", f"/processes/{accepted['pid']}")
        assert reply.status in (202, 409), reply
        if rig.end(accepted)["status"] == "failed":
            assert list(rig.data.iterdir()) == []
            rig.restore(base, "database")
        rig.sandbox.start_db()
        assert rig.tables() == expected


def test_who_may_cancel(slow: Rig) -> None:
    accepted = slow.start("/backups", {"type": "full"})
    reader = slow.api.call(
        "POST", "/clients", {"label": "reads", "scopes": ["processes:read", "backups:write"]}
    )
    other = Api(slow.sandbox.facts.url, Path(slow.sandbox.facts.ca), reader["id"], reader["secret"])
    refused = other.request("DELETE", f"/processes/{accepted['pid']}")
    assert (refused.status, refused.body["detail"]) == (
        403,
        "this needs a token with the scope processes:write",
    )
    assert cancelled(slow, accepted)["reason"] == "cancelled"


def test_by_the_command_line(slow: Rig) -> None:
    accepted = slow.start("/backups", {"type": "full"})
    job = str(accepted["pid"])
    done = slow.sandbox.cli("processes", "cancel", job)
    assert (done.returncode, done.stderr) == (0, f"job {job} was cancelled\n")
    again = slow.sandbox.cli("processes", "cancel", job)
    assert (again.returncode, again.stderr) == (1, f"dbcalm: job {job} has ended: failed\n")
