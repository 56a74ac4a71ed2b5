"""Whatever dies, whenever: no job runs for ever, nothing half-made looks whole, no earlier backup changes."""

import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.sandbox_lib import Sandbox
from dev.sandbox_lib.api import Api
from dev.sandbox_lib.processes import all_processes, command_line
from tests.integration.conftest import Rig
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

_MYSQL_SERVICE = "dbcalm-mariadb-cmd"
_numbers = itertools.count()


def kill_processes(rig: Rig, word: str) -> None:
    """Kill this sandbox's processes that have a word on their command line."""
    home = str(rig.sandbox.root)
    for process in all_processes():
        words = " ".join(command_line(process.pid))
        if word in words and home in words and process.pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def kill_runner(rig: Rig) -> None:
    kill_processes(rig, "dbcalm_mariadb_cmd.supervisor.runner")


def kill_tool(rig: Rig) -> None:
    kill_processes(rig, "mariadb-backup")


def kill_service(rig: Rig) -> None:
    rig.sandbox.kill(_MYSQL_SERVICE)
    rig.sandbox.restart(_MYSQL_SERVICE)


def kill_service_and_runner(rig: Rig) -> None:
    rig.sandbox.kill(_MYSQL_SERVICE)
    kill_runner(rig)
    rig.sandbox.restart(_MYSQL_SERVICE)


def kill_api(rig: Rig) -> None:
    rig.sandbox.kill("dbcalm")
    rig.sandbox.restart("dbcalm")


def kill_everything(rig: Rig) -> None:
    for name in ("dbcalm", _MYSQL_SERVICE):
        rig.sandbox.kill(name)
    kill_runner(rig)
    for name in (_MYSQL_SERVICE, "dbcalm"):
        rig.sandbox.restart(name)


KILLS = [kill_runner, kill_tool, kill_service, kill_service_and_runner, kill_api, kill_everything]


@pytest.fixture(scope="module")
def base(shared_rig: Rig) -> str:
    return str(shared_rig.backup(id="faults-base")["resource_id"])


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("kind", ["full", "incremental", "folder"])
def test_a_kill_at_any_moment(rig: Rig, base: str, kind: str, kill: Callable[[Rig], None]) -> None:
    stored = rig.stored(base)
    chance = random.Random(f"{kind} {kill.__name__}")
    for _ in range(3):
        name = f"fault-{next(_numbers)}"
        order = {"type": kind, "id": name, **({"from_backup_id": base} if kind == "incremental" else {})}
        if kind == "folder":
            accepted = rig.start("/restore", {"id": base, "target": "folder"})
        else:
            accepted = rig.start("/backups", order)
        time.sleep(chance.random() * 0.5)
        kill(rig)
        ended = rig.end(accepted)
        assert ended["status"] in ("success", "failed")
        if kind != "folder":
            assert (rig.backups / name).exists() == (ended["status"] == "success")
            assert rig.api.request("GET", f"/backups/{name}").status == (
                200 if ended["status"] == "success" else 404
            )
        eventually(lambda: rig.leftovers() == [])
    assert rig.api.call("GET", "/processes?query=status|running")["items"] == []
    assert rig.stored(base) == stored


@pytest.mark.parametrize("kill", [kill_runner, kill_tool, kill_service_and_runner])
def test_a_killed_restore_to_the_database_leaves_all_or_nothing(
    rig: Rig, base: str, kill: Callable[[Rig], None]
) -> None:
    rig.put_back(base)
    expected = rig.tables()
    chance = random.Random(kill.__name__)
    for _ in range(4):
        rig.empty_database()
        accepted = rig.start("/restore", {"id": base, "target": "database"})
        time.sleep(chance.random() * 0.5)
        kill(rig)
        if rig.end(accepted)["status"] == "failed":
            assert list(rig.data.iterdir()) == []
            rig.restore(base, "database")
        assert not (rig.data / "#sql-dbcalm-restore").exists()
        rig.sandbox.start_db()
        assert rig.tables() == expected


def test_an_interrupted_job_says_so(rig: Rig) -> None:
    with rig.held_up() as accepted:
        kill_service_and_runner(rig)
        ended = rig.end(accepted)
    assert (ended["status"], ended["reason"]) == ("failed", "interrupted")
    assert "interrupted" in ended["error"]


@pytest.mark.parametrize("program", ["dbcalm", _MYSQL_SERVICE, "dbcalm-cmd"])
def test_a_backup_survives_the_restart_of_a_service(rig: Rig, program: str) -> None:
    accepted = rig.start("/backups", {"type": "full"})
    rig.sandbox.restart(program)
    assert rig.end(accepted)["status"] == "success"


def test_jobs_exclude_each_other_and_the_refusal_names_the_one_that_runs(rig: Rig, base: str) -> None:
    lonely = rig.backup()["resource_id"]
    accepted = rig.start("/backups", {"type": "full"})
    for method, path, body in (
        ("POST", "/backups", {"type": "full"}),
        ("POST", "/backups", {"type": "incremental", "from_backup_id": base}),
        ("POST", "/restore", {"id": base, "target": "folder"}),
        ("DELETE", f"/backups/{lonely}", None),
    ):
        status, line = rig.refused(method, path, body)
        assert status == 409
        assert accepted["pid"] in line
    assert rig.end(accepted)["status"] == "success"
    assert rig.backup()["status"] == "success"


def test_of_many_at_once_exactly_one_starts(rig: Rig) -> None:
    replies = []
    callers = [
        threading.Thread(
            target=lambda: replies.append(rig.sandbox.api.request("POST", "/backups", {"type": "full"}))
        )
        for _ in range(12)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(reply.status for reply in replies) == [202, *[409] * 11]
    [accepted] = [reply.body for reply in replies if reply.status == 202]
    assert rig.end(accepted)["status"] == "success"


def test_while_the_mysql_service_is_down_nothing_is_promised(rig: Rig, base: str) -> None:
    rig.sandbox.kill(_MYSQL_SERVICE)
    assert rig.refused("POST", "/backups", {"type": "full"})[0] == 503
    assert rig.refused("POST", "/restore", {"id": base, "target": "folder"})[0] == 503
    assert rig.api.request("GET", "/backups").status == 200
    rig.sandbox.restart(_MYSQL_SERVICE)
    assert rig.backup()["status"] == "success"


@pytest.mark.parametrize("damage", [b"", b"no database" * 1000], ids=["lost", "damaged"])
def test_a_catalogue_comes_back_from_the_journal(tmp_path: Path, damage: bytes) -> None:
    sandbox = Sandbox.up(tmp_path / "own")
    try:
        own = Rig(sandbox)
        full = own.backup()["resource_id"]
        own.backup(type="incremental", from_backup_id=full)
        before = [own.api.call("GET", f"/{name}")["items"] for name in ("backups", "processes")]
        sandbox.services.end("dbcalm")
        catalogue = sandbox.root / "state" / "db.sqlite3"
        for file in (sandbox.root / "state").glob("db.sqlite3*"):
            if file == catalogue and damage:
                file.write_bytes(damage)
            else:
                file.unlink()
        sandbox.restart("dbcalm")
        added = json.loads(sandbox.cli("clients", "add", "another", "--json").stdout)
        api = Api(sandbox.facts.url, Path(sandbox.facts.ca), added["id"], added["secret"])
        assert [api.call("GET", f"/{name}")["items"] for name in ("backups", "processes")] == before
        assert len(list((sandbox.root / "state").glob("*.damaged-*[0-9]"))) == bool(damage)
    finally:
        sandbox.down()
