"""A clean-up is killed in the middle, with its service: what is left is whole, and everybody agrees on what that is."""

import json
import random
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.store.manifest import MANIFEST
from dev.sandbox_lib.services import MYSQL_SERVICE
from tests.integration.conftest import KEPT_FOR_A_DAY, Rig
from tests.integration.test_faults import kill_service_and_runner
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

CHAINS = 60
KILLS = 5


@pytest.fixture
def schedule(plain: Rig) -> Iterator[int]:
    made = int(plain.api.call("POST", "/schedules", KEPT_FOR_A_DAY)["id"])
    yield made
    plain.api.call("DELETE", f"/schedules/{made}")


def copies(rig: Rig, chain: list[str], schedule: int) -> set[str]:
    """Lay copies of a chain beside it, which expired days ago and are of this schedule; return their ids once they are
    listed."""
    made = set()
    seq = 1_000_000
    for number in range(CHAINS):
        base = None
        for place, model in enumerate(chain):
            id, seq = f"copy-{number}-{place}", seq + 1
            command = ["cp", "--archive", "--link", str(rig.backups / model), str(rig.backups / id)]
            subprocess.run(command, check=True)
            rig.rewrite(
                id,
                id=id,
                from_backup_id=base,
                seq=seq,
                schedule_id=schedule,
                end_time=text_of(datetime.now(UTC) - timedelta(days=9)),
            )
            made.add(id)
            base = id
    rig.sandbox.restart(MYSQL_SERVICE)
    eventually(lambda: made <= set(rig.listed()))
    return made


def assert_whole(rig: Rig) -> None:
    """Assert that what is listed is what lies on disk, each backup with what it builds on, and that nothing runs."""
    on_disk = rig.on_disk()
    assert set(rig.listed()) == on_disk
    for id in on_disk:
        base = json.loads((rig.backups / id / MANIFEST).read_text())["from_backup_id"]
        assert base is None or base in on_disk, f"{id} has lost {base}"
    assert rig.api.call("GET", "/processes?query=status|running")["items"] == []


def test_a_killed_clean_up_leaves_whole_chains_that_everybody_lists(plain: Rig, schedule: int) -> None:
    chain = plain.chain("model-0", "model-1", "model-2")
    made = copies(plain, chain, schedule)
    [newest] = plain.chain("newest")  # The one that min_full_chains keeps.
    chance, interrupted = random.Random(8), 0
    for round in range(KILLS):
        before = made & plain.on_disk()
        started = plain.start("/cleanup", {"schedule_id": schedule})
        assert set(started["deleting"]) == before
        enough = len(before) - chance.randrange(len(before) // 3)
        eventually(lambda enough=enough: len(made & plain.on_disk()) <= enough)
        kill_service_and_runner(plain)
        left = made & plain.on_disk()
        ended = plain.end(started)
        assert (ended["status"], ended["reason"]) == (
            ("failed", "interrupted") if left else ("success", None)
        )
        interrupted += 0 < len(left) < len(before)
        assert_whole(plain)
        assert set(plain.deleted()) >= made - left, round
        if not left:
            break
    assert interrupted >= 2
    plain.end(plain.start("/cleanup", {"schedule_id": schedule}))
    assert_whole(plain)
    assert not made & plain.on_disk()
    assert {*chain, newest} <= plain.on_disk()
    assert plain.leftovers() == []
