"""Backups that nobody looks after: they expire, come back, are purged, begin new chains and wait for each other."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dbcalm_mariadb_cmd.clock import text_of
from dev.sandbox_lib.services import MYSQL_SERVICE
from tests.integration.conftest import KEPT_FOR_A_DAY, Rig
from tests.support.patience import PATIENCE, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def schedule(rig: Rig) -> Iterator[int]:
    """Give a schedule that keeps for one day what it makes."""
    made = int(rig.api.call("POST", "/schedules", KEPT_FOR_A_DAY)["id"])
    yield made
    rig.api.call("DELETE", f"/schedules/{made}")


def clean_up(rig: Rig, schedule: int) -> dict[str, Any]:
    """Clean up after a schedule, which must succeed; return what was answered at its start."""
    started = rig.start("/cleanup", {"schedule_id": schedule})
    assert rig.end(started)["status"] == "success"
    return started


def verdicts(rig: Rig) -> dict[str, str]:
    """Return what ``dbcalm cleanup --dry-run`` says of each chain."""
    shown = rig.sandbox.cli("cleanup", "--dry-run")
    assert shown.returncode == 0, shown
    rows = [line.split(maxsplit=1) for line in shown.stdout.splitlines()[1:]]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_what_has_expired_goes_comes_back_and_goes_again(rig: Rig, schedule: int) -> None:
    old = rig.chain("old-0", "old-1", "old-2", schedule_id=schedule)
    expected = rig.tables()
    new = rig.chain("new-0", schedule_id=schedule)
    for number, name in enumerate(old):
        rig.rewrite(name, end_time=text_of(datetime.now(UTC) - timedelta(days=3, seconds=-number)))
    told = verdicts(rig)
    assert "goes: its newest backup old-2 has expired" in told["old-0"]
    assert f"stays: schedule {schedule} keeps it for 1 day after new-0" in told["new-0"]
    assert {*old, *new} <= rig.on_disk()

    leaf_first = old[::-1]
    started = rig.start("/cleanup", {})
    assert (started["type"], started["deleting"]) == ("cleanup_backups", leaf_first)
    assert rig.end(started)["status"] == "success"
    [process] = rig.api.call("GET", f"/processes?query=command_id|{started['pid']}")["items"]
    assert (process["type"], process["status"]) == ("cleanup_backups", "success")
    assert process["command"] == "delete old-2, old-1, old-0"
    assert process["output"].splitlines() == [f"deleted {name}" for name in leaf_first]
    assert rig.deleted()[:3] == old  # The last deleted first.
    assert not {*old} & ({*rig.listed()} | rig.on_disk())
    assert {*new} <= {*rig.listed()} & rig.on_disk()

    for name, needed in (("old-2", "old-1"), ("old-1", "old-0")):
        status, line = rig.refused("POST", f"/backups/{name}/undelete")
        assert (status, f"undelete {needed} first" in line) == (409, True)
    for name in old:
        assert rig.api.call("POST", f"/backups/{name}/undelete")["id"] == name
    assert {*old} <= {*rig.listed()} & rig.on_disk()
    assert rig.tables_of(rig.restore("old-2", "folder")) == expected
    assert clean_up(rig, schedule)["deleting"] == leaf_first


def test_what_is_held_stays_with_its_chain_until_it_is_released(rig: Rig, schedule: int) -> None:
    held = rig.chain("held-0", "held-1", "held-2", schedule_id=schedule)
    rig.chain("after-held", schedule_id=schedule)
    for name in held:
        rig.rewrite(name, end_time=text_of(datetime.now(UTC) - timedelta(days=3)))
    rig.api.call("PUT", "/backups/held-1/hold", {"reason": "audit of January"})
    assert "stays: held-1 is held: audit of January" in verdicts(rig)["held-0"]
    assert clean_up(rig, schedule)["deleting"] == []
    assert {*held} <= {*rig.listed()} & rig.on_disk()

    rig.api.call("DELETE", "/backups/held-1/hold")
    assert clean_up(rig, schedule)["deleting"] == held[::-1]
    assert not {*held} & ({*rig.listed()} | rig.on_disk())


def test_the_trash_is_purged_when_its_time_has_come(rig: Rig) -> None:
    rig.chain("before-purged")
    [name] = rig.chain("purged")
    [newest] = rig.chain("kept-in-trash")
    with rig.configured(MYSQL_SERVICE, trash_delay="2s"):
        for deleted in (newest, name):
            assert rig.api.request("DELETE", f"/backups/{deleted}").status == 204
        assert rig.deleted()[:2] == [name, newest]
        time.sleep(2.0)
        rig.sandbox.restart(MYSQL_SERVICE)  # It looks at once when it starts, and then every minute.
        trash = rig.backups / ".trash"
        eventually(lambda: not list(trash.glob(f"*{name}*")))
        assert name not in rig.deleted()
        status, line = rig.refused("POST", f"/backups/{name}/undelete")
        assert (status, line) == (404, f"no backup {name} is in the trash")
        assert rig.api.request("POST", f"/backups/{newest}/undelete").status == 200, "the newest chain stays"


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"max_chain_length": 2}, "the chain of {newest} has 2 backups, and max_chain_length is 2"),
        ({"full_every": "1s"}, "the chain's full backup {full} is "),
    ],
    ids=["max_chain_length", "full_every"],
)
def test_a_chain_that_has_had_its_time_gets_no_longer(rig: Rig, limit: dict[str, object], why: str) -> None:
    [rule] = limit
    full, newest = rig.chain(*(f"{rule.replace('_', '-')}-{number}" for number in range(2)))
    assert rig.api.call("GET", f"/backups/{newest}")["type"] == "incremental"
    time.sleep(1.0)
    with rig.configured(MYSQL_SERVICE, **limit):
        started = rig.start("/backups", {"type": "incremental"})
        assert rig.end(started)["status"] == "success"
        expected = rig.tables()
    made = rig.api.call("GET", f"/backups/{started['resource_id']}")
    assert (made["type"], made["from_backup_id"]) == ("full", None)
    assert made["note"] == started["note"]
    assert made["note"].startswith(f"a full backup is made instead: {why.format(full=full, newest=newest)}")
    assert rig.tables_of(rig.restore(made["id"], "folder")) == expected
    assert rig.backup(type="incremental")["note"] is None


def test_a_scheduled_backup_waits_for_the_one_that_runs(rig: Rig, schedule: int) -> None:
    before = json.loads(rig.sandbox.cli("status", "--json").stdout)["attention"]
    with ThreadPoolExecutor() as pool:
        with rig.held_up() as running:
            order = ("backup", "incremental", "--schedule-id", str(schedule), "--wait")
            waiting = pool.submit(rig.sandbox.cli, *order)
            refused = rig.sandbox.cli("backup", "incremental")
            assert (refused.returncode, refused.stdout) == (75, "")
            assert running["pid"] in refused.stderr
            status = rig.sandbox.cli("status", "--json")
            assert json.loads(status.stdout)["attention"] == before, "a backup that runs is no trouble"
            time.sleep(3.0)
            assert not waiting.done()
            assert rig.api.call("GET", running["link"])["status"] == "running"
        waited = waiting.result(PATIENCE)
    assert waited.returncode == 0, waited
    assert rig.end(running)["status"] == "success"
    [newest] = rig.api.call("GET", "/backups?per_page=1")["items"]
    assert (newest["type"], newest["from_backup_id"]) == ("incremental", running["resource_id"])
    assert newest["schedule_id"] == schedule
    assert waited.stdout.startswith(f"backup {newest['id']}: incremental, job ")
