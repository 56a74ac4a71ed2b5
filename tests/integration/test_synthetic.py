"""A chain rolled up into a new full backup: without the server, equal to the chain, and a base like any other."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Rig
from tests.integration.test_faults import kill_runner, kill_service_and_runner, kill_tool
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

FORMS = ("folder", "zstd", "gzip")


def rolled_up(rig: Rig, **order: object) -> str:
    return str(rig.backup(type="full", synthetic=True, **order)["resource_id"])


@pytest.mark.parametrize("form", FORMS)
def test_it_equals_the_chain_and_carries_on(rig: Rig, form: str) -> None:
    """The chain, its roll-up, incrementals on that, and the roll-up of those all come back as they were."""
    chance = random.Random(form)
    points = rig.points(f"up-{form}", chance.choices(FORMS, k=3))
    newest = list(points)[-1]
    rig.change()  # What the server has got since is not in it.
    up = rolled_up(rig, id=f"up-{form}", form=form)
    points[up] = points[newest]
    made, chained = (rig.api.call("GET", f"/backups/{id}") for id in (up, newest))
    assert (made["type"], made["from_backup_id"], made["form"]) == ("full", None, form)
    assert made["note"] == f"rolled up from {newest} and the chain below it"
    for same in ("start_time", "end_time", "timeline"):
        assert made[same] == chained[same]
    after = rig.backup(type="incremental", form=chance.choice(FORMS))
    points[str(after["resource_id"])] = rig.tables()
    shown = rig.api.call("GET", f"/backups/{after['resource_id']}")
    assert (shown["type"], shown["from_backup_id"]) == ("incremental", up)
    again = rolled_up(rig, form=chance.choice(FORMS))
    points[again] = points[str(after["resource_id"])]
    stored = {name: rig.stored(name) for name in points}
    for name, expected in points.items():
        assert rig.tables_of(rig.restore(name, "folder")) == expected
    rig.put_back(again)
    assert rig.tables() == points[again]
    assert {name: rig.stored(name) for name in points} == stored
    assert rig.leftovers() == []


def test_the_server_may_be_stopped(rig: Rig) -> None:
    points = rig.points("off", ["zstd", "zstd"])
    rig.sandbox.stop_db()
    try:
        up = rolled_up(rig, id="off-up")
    finally:
        rig.sandbox.start_db()
    assert rig.tables_of(rig.restore(up, "folder")) == points["off-1"]
    # The points below it can go, the first of them last, and it stays.
    rig.api.call("DELETE", "/backups/off-1")
    rig.api.call("DELETE", "/backups/off-0")
    assert rig.tables_of(rig.restore(up, "folder")) == points["off-1"]


def test_an_encrypted_chain_needs_the_key_of_the_host(rig: Rig, keys: tuple[str, str, Path]) -> None:
    _, public, file = keys
    with rig.configured("dbcalm-mariadb-cmd", encryption_recipients=[public]):
        points = rig.points("sealed-up", ["zstd", "gzip"])
        order = {"type": "full", "synthetic": True}
        status, line = rig.refused("POST", "/backups", order)
        assert (status, line.startswith(f"backup sealed-up-0 is encrypted to {public}")) == (409, True)
        assert "encryption_identity_file" in line
        with rig.configured("dbcalm-mariadb-cmd", encryption_identity_file=str(file)):
            up = rolled_up(rig, id="sealed-up")
            assert rig.api.call("GET", f"/backups/{up}")["recipients"] == [public]
            assert rig.tables_of(rig.restore(up, "folder")) == points["sealed-up-1"]


def test_what_cannot_be_rolled_up(rig: Rig) -> None:
    rig.backup(type="full", id="alone")
    order = {"type": "full", "synthetic": True}
    assert rig.refused("POST", "/backups", order) == (
        409,
        "there is nothing to roll up: the newest backup alone is a full one",
    )
    rig.backup(type="incremental", id="alone-1")
    rig.put_back("alone")
    status, line = rig.refused("POST", "/backups", order)
    assert (status, line) == (
        409,
        "a backup was restored into the data directory after alone-1 was made: "
        "make a full backup of the server instead",
    )
    status, line = rig.refused("POST", "/backups", {"type": "incremental", "synthetic": True})
    assert (status, line) == (422, "synthetic is only for a full backup")


@pytest.mark.parametrize("form", ["folder", "zstd"])
def test_damage_and_a_cancel_leave_nothing(rig: Rig, form: str) -> None:
    for number in range(20):  # It may have ended before this has come to it.
        name = f"hurt-{form}-{number}"
        rig.points(name, [form, form])
        before = rig.on_disk()
        accepted = rig.start("/backups", {"type": "full", "synthetic": True, "form": form})
        eventually(lambda before=before: rig.leftovers() != [] or rig.on_disk() != before)
        rig.api.request("DELETE", f"/processes/{accepted['pid']}")
        ended = rig.end(accepted)
        if ended["status"] != "success":
            break
    assert (ended["status"], ended["reason"]) == ("failed", "cancelled")
    assert (rig.on_disk(), rig.leftovers()) == (before, [])
    victim = rig.backups / f"{name}-1"
    file = next(path for path in sorted(victim.rglob("*")) if path.is_file() and path.stat().st_size > 10_000)
    stored = file.read_bytes()
    try:
        file.write_bytes(stored[:5000] + bytes([stored[5000] ^ 1]) + stored[5001:])
        ended = rig.end(rig.start("/backups", {"type": "full", "synthetic": True, "form": form}))
    finally:
        file.write_bytes(stored)
    assert (ended["status"], f"backup {name}-1 is damaged" in str(ended["error"])) == ("failed", True)
    assert (rig.on_disk(), rig.leftovers()) == (before, [])


@pytest.mark.parametrize("kill", [kill_runner, kill_tool, kill_service_and_runner])
def test_a_kill_at_any_moment(rig: Rig, kill: Callable[[Rig], None]) -> None:
    name = kill.__name__.replace("_", "-")
    points = rig.points(name, ["zstd", "folder"])
    stored, newest = {id: rig.stored(id) for id in points}, points[f"{name}-1"]
    chance = random.Random(name)
    for number in range(4):
        up = f"{name}-up-{number}"
        order = {"type": "full", "synthetic": True, "id": up, "form": FORMS[number % 2]}
        accepted = rig.start("/backups", order)
        time.sleep(chance.random() * 0.5)
        kill(rig)
        ended = rig.end(accepted)
        made = ended["status"] == "success"
        assert (rig.backups / up).exists() == made
        eventually(lambda: rig.leftovers() == [])
        if made:
            assert rig.tables_of(rig.restore(up, "folder")) == newest
            rig.backup(type="incremental")  # What is rolled up next.
            newest = rig.tables()
    assert {id: rig.stored(id) for id in points} == stored
