"""How far a backup is proven to come back: each level a real check, each result kept, and nothing else changed."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm_mariadb_cmd.store.manifest import FILES, MANIFEST, PROOF, sealed, unsealed
from dev.sandbox_lib.processes import all_processes, command_line
from tests.integration.conftest import SCHEMA, Rig, sandbox_with
from tests.integration.test_faults import kill_runner, kill_service_and_runner
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

FORMS = ("folder", "zstd", "gzip")


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """In place of the sandbox that others share: what is suspect needs attention there."""
    with sandbox_with(tmp_path_factory.mktemp("verify") / "sandbox", SCHEMA) as sandbox:
        yield Rig(sandbox)


def verified(rig: Rig, id: str, level: int, **order: object) -> dict[str, Any]:
    """Verify a backup; return the last Status."""
    return rig.end(rig.start(f"/backups/{id}/verify", {"level": level, **order}))


def proof(rig: Rig, id: str) -> tuple[int, str | None]:
    shown = rig.api.call("GET", f"/backups/{id}")
    return shown["proof"]["level"], shown["suspect"]


def flip(path: Path, at: int) -> None:
    """Change one bit of a file, and leave its times."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    subprocess.run(["touch", f"--date=@{before.st_mtime_ns / 1e9:.9f}", path], check=True)


def recompute(rig: Rig, id: str, name: str) -> None:
    """Make list and manifest fit what a file has become, as nothing but malice or a broken disk cache would."""
    folder = rig.backups / id
    listed = json.loads((folder / FILES).read_bytes())
    status = (folder / name).stat()
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    listed[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, sha256]
    stored = json.dumps(listed, indent=0, separators=(",", ":")).encode()
    (folder / FILES).write_bytes(stored)
    facts = unsealed((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(sealed({**facts, "files_sha256": hashlib.sha256(stored).hexdigest()}))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_level_is_reached_and_told(rig: Rig, level: int) -> None:
    points = rig.points(f"proof-{level}", random.Random(level).sample(FORMS, k=3))
    first, _, last = points
    stored = {name: rig.stored(name) for name in points}
    status = verified(rig, last, level)
    assert (status["status"], status["error"], status["type"]) == ("success", None, "verify")
    shown = rig.api.call("GET", f"/backups/{last}")
    assert (shown["proof"]["level"], shown["suspect"]) == (level, None)
    assert shown["proof"]["at"] > shown["end_time"]
    assert (shown["proof"]["restore_seconds"] is None) == (level == 1)
    assert proof(rig, first) == (1, None)  # All that it builds on was read.
    found = rig.api.call("GET", f"/backups?query=proof_level|gte|{level},id|{last}")["items"]
    assert [one["id"] for one in found] == [last]
    assert rig.leftovers() == []
    for name, before in stored.items():
        after = rig.stored(name)
        del after[PROOF]
        assert after == before
    # What is proven stays so when less is asked for.
    assert verified(rig, last, 1)["status"] == "success"
    assert proof(rig, last) == (level, None)
    assert rig.tables_of(rig.restore(last, "folder")) == points[last]


def test_damage_makes_it_suspect_and_a_good_verification_clears_it(rig: Rig) -> None:
    ids = rig.chain("spoilt-0", "spoilt-1", "spoilt-2", form="folder")
    victim = rig.backups / ids[1] / "ibdata1.delta"
    flip(victim, 1)
    status = verified(rig, ids[2], 1)
    assert (status["status"], status["reason"]) == ("failed", "suspect")
    assert "spoilt-1 is damaged: the checksum of" in status["error"]
    assert [proof(rig, id)[1] is not None for id in ids] == [False, True, True]
    assert proof(rig, ids[0]) == (1, None)
    attention = rig.api.call("GET", "/ready")["attention"]
    assert any("spoilt-1" in sentence and "suspect" in sentence for sentence in attention)
    # Nothing is built on it: asked for by name it is refused, and else a full backup is made.
    code, line = rig.refused("POST", "/backups", {"type": "incremental", "from_backup_id": ids[2]})
    assert (code, "suspect" in line or "damaged" in line) == (409, True)
    flip(victim, 1)
    code, line = rig.refused("POST", "/backups", {"type": "incremental", "from_backup_id": ids[2]})
    assert (code, line.startswith("backup spoilt-1 is suspect")) == (409, True)
    made = rig.api.call("GET", f"/backups/{rig.backup(type='incremental')['resource_id']}")
    assert made["type"] == "full"
    assert "is suspect" in made["note"]
    listed = rig.api.call("GET", "/backups?query=suspect|isnotnull,id|in|spoilt-0,spoilt-1,spoilt-2")["items"]
    assert {one["id"] for one in listed} == {ids[1], ids[2]}
    assert verified(rig, ids[2], 1)["status"] == "success"
    assert [proof(rig, id) for id in ids] == [(1, None)] * 3


def pages_in_use(tablespace: Path) -> list[int]:
    """Return the pages that the tablespace's own map (at byte 150 of its first page, 40 bytes for 64 pages, the last 16
    of which have two bits a page, InnoDB's fsp0fsp.h) does not call free, but for that map and what belongs to it.
    Nobody looks at a free page."""
    content = tablespace.read_bytes()
    free = [
        content[150 + page // 64 * 40 + 24 + page % 64 // 4] >> page % 4 * 2 & 1
        for page in range(min(len(content) // 16384, 16384))
    ]
    return [page for page, is_free in enumerate(free) if page > 2 and not is_free]


def in_a_page(tablespace: Path, rng: random.Random) -> int:
    """Return a place in a page that is in use."""
    return rng.choice(pages_in_use(tablespace)) * 16384 + rng.randrange(16384)


def test_rot_that_the_checksums_do_not_know_is_found_in_the_pages(rig: Rig) -> None:
    """Neither the tool nor a checksum that was taken after the damage tells of it."""
    rig.sandbox.stop_db()  # Else the redo log may still have the page.
    rig.sandbox.start_db()
    rig.backup(id="rotten", form="folder")
    path = rig.backups / "rotten" / "shop" / "orders.ibd"
    flip(path, in_a_page(path, random.Random(7)))
    recompute(rig, "rotten", "shop/orders.ibd")
    assert verified(rig, "rotten", 1)["status"] == "success"
    status = verified(rig, "rotten", 2)
    assert (status["status"], status["reason"]) == ("failed", "suspect")
    assert "damaged page in shop/orders.ibd" in status["error"]
    assert proof(rig, "rotten")[0] == 1
    assert rig.leftovers() == []
    # A lower level does not clear what only a higher one can see.
    assert verified(rig, "rotten", 1)["status"] == "success"
    assert proof(rig, "rotten")[1] is not None


def test_a_damaged_table_of_another_engine_is_found_by_the_server(rig: Rig) -> None:
    rig.backup(id="aria", form="folder")
    path = rig.backups / "aria" / "shop" / "log.MAD"
    with path.open("r+b") as file:
        file.seek(8192 + 100)
        file.write(bytes(range(200)))
    recompute(rig, "aria", "shop/log.MAD")
    assert verified(rig, "aria", 2)["status"] == "success"
    status = verified(rig, "aria", 3)
    assert (status["status"], status["reason"]) == ("failed", "suspect")
    assert "backup aria has damaged tables: shop.log" in status["error"]
    assert rig.leftovers() == []


def test_the_administrators_questions_are_asked(rig: Rig) -> None:
    rig.sandbox.sql(
        "CREATE OR REPLACE TABLE shop.seen (at DATETIME); INSERT INTO shop.seen VALUES (NOW() - INTERVAL 1 HOUR)"
    )
    rig.backup(id="asked")
    good = [
        {"sql": "SELECT COUNT(*) FROM shop.orders", "at_least": 20000},
        {"sql": "SELECT COUNT(*) FROM shop.orders", "at_most": 20000},
        {"sql": "SELECT MAX(at) FROM shop.seen", "newer_than": "2h"},
        {"sql": "SELECT 'as it is'", "equals": "as it is"},
    ]
    with rig.configured("dbcalm-mariadb-cmd", verify_assertions=good):
        assert verified(rig, "asked", 3)["status"] == "success"
    for wrong, words in (
        (
            {"sql": "SELECT COUNT(*) FROM shop.orders", "at_least": 20001},
            "the answer is 20000, not at least 20001",
        ),
        (
            {"sql": "SELECT MAX(at) FROM shop.seen", "newer_than": "30m"},
            "not a time not older than 30 minutes",
        ),
        ({"sql": "SELECT a FROM shop.nowhere", "equals": 1}, "doesn't exist"),
        ({"sql": "SELECT 1 INTO OUTFILE '/tmp/dbcalm-outfile'", "equals": 1}, "secure-file-priv"),
        ({"sql": "SELECT MAX(at) FROM shop.seen WHERE 0", "newer_than": "2h"}, "no answer"),
    ):
        with rig.configured("dbcalm-mariadb-cmd", verify_assertions=[good[0], wrong]):
            status = verified(rig, "asked", 3)
        assert status["reason"] == "suspect"
        assert words in status["error"]
    assert proof(rig, "asked")[0] == 2


def test_an_encrypted_one_is_proven_as_far_as_there_is_a_key(rig: Rig, keys: tuple[str, str, Path]) -> None:
    identity, public, file = keys
    with rig.configured("dbcalm-mariadb-cmd", encryption_recipients=[public]):
        rig.points("closed", ["zstd", "gzip"])
        status = verified(rig, "closed-1", 3)
        assert (status["status"], proof(rig, "closed-1")) == ("success", (1, None))
        assert status["note"] == "level 1 only: it is encrypted, and encryption_identity_file is not set"
        assert verified(rig, "closed-1", 3, identity=identity)["status"] == "success"
        assert proof(rig, "closed-1") == (3, None)
        with rig.configured("dbcalm-mariadb-cmd", encryption_identity_file=str(file)):
            assert verified(rig, "closed-0", 2)["status"] == "success"
            assert proof(rig, "closed-0") == (2, None)
    assert rig.kept_anywhere(identity) == []


@pytest.mark.parametrize("kill", [kill_runner, kill_service_and_runner])
def test_one_that_is_killed_leaves_nothing(rig: Rig, kill: Callable[[Rig], None]) -> None:
    rig.backup(id=f"hard-{kill.__name__.replace('_', '-')}", form="zstd")
    id = rig.listed()[0]
    accepted = rig.start(f"/backups/{id}/verify", {"level": 3})
    kill(rig)
    rig.everything_runs()
    status = rig.end(accepted)
    assert (status["status"], status["reason"]) == ("failed", "interrupted")
    assert proof(rig, id) == (0, None)
    eventually(lambda: rig.leftovers() == [])


def _own_server(rig: Rig) -> int | None:
    """Return the process of the server that a verification has started."""
    for process in all_processes():
        words = command_line(process.pid)
        if any(word.startswith(f"--datadir={rig.backups}/restores/.") for word in words):
            return process.pid
    return None


_LIVES_ON = [{"sql": "SELECT SLEEP(3000)", "equals": 0}]
"""So much is asked of the server that it lives until it is ended."""


def _answers(server: int | None) -> bool:
    """Tell whether the server that a verification has started takes connections."""
    if server is None:
        return False
    [path] = [word.partition("=")[2] for word in command_line(server) if word.startswith("--socket=")]
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(Path(f"/proc/{server}/cwd") / path)) == 0


@pytest.mark.parametrize(("number", "is_fault"), [(signal.SIGKILL, False), (signal.SIGSEGV, True)])
def test_a_server_that_dies_is_a_fault_only_where_it_has_done_that_itself(
    rig: Rig, number: signal.Signals, is_fault: bool
) -> None:
    """The kernel kills what takes too much memory; a server that meets what cannot be ends itself."""
    id = f"dies-by-{number}"
    rig.backup(id=id, form="folder")
    with rig.configured("dbcalm-mariadb-cmd", verify_assertions=_LIVES_ON):
        accepted = rig.start(f"/backups/{id}/verify", {"level": 3})
        eventually(lambda: _answers(_own_server(rig)))
        os.kill(_own_server(rig) or 0, number)
        status = rig.end(accepted)
    assert (status["status"], status["reason"]) == ("failed", "suspect" if is_fault else "error")
    assert (proof(rig, id)[1] is not None) == is_fault
    assert f"by signal {int(number)}" in status["error"]
    assert rig.leftovers() == []


def test_one_that_is_cancelled_says_nothing_of_the_backup(rig: Rig) -> None:
    rig.backup(id="stopped", form="folder")
    with rig.configured("dbcalm-mariadb-cmd", verify_assertions=_LIVES_ON):
        accepted = rig.start("/backups/stopped/verify", {"level": 3})
        eventually(lambda: _own_server(rig) is not None)
        assert rig.api.request("DELETE", f"/processes/{accepted['pid']}").status == 202
        status = rig.end(accepted)
    assert (status["status"], status["reason"]) == ("failed", "cancelled")
    assert proof(rig, "stopped") == (0, None)
    assert _own_server(rig) is None
    assert rig.leftovers() == []


def test_what_is_refused(rig: Rig) -> None:
    rig.backup(id="fine")
    assert rig.refused("POST", "/backups/nowhere/verify", {"level": 1}) == (
        404,
        "there is no backup 'nowhere'",
    )
    code, line = rig.refused("POST", "/backups/fine/verify", {"level": 4})
    assert (code, line.startswith("level")) == (422, True)


def jobs_of(rig: Rig, backup_id: str) -> list[dict[str, Any]]:
    found = rig.api.call("GET", "/processes?query=type|verify&per_page=1000")["items"]
    return [one for one in found if one["resource_id"] == backup_id]


def test_a_schedule_verifies_what_it_makes_and_another_what_is_not_proven(rig: Rig) -> None:
    nightly = {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0, "verify_level": 1}
    weekly = {"backup_type": "verify", "frequency": "weekly", "day_of_week": 0, "hour": 5, "minute": 0}
    made, proves = (rig.api.call("POST", "/schedules", order) for order in (nightly, weekly))
    done = rig.sandbox.cli("backup", "full", "--schedule-id", str(made["id"]), "--id", "nightly")
    assert done.returncode == 0, done
    [job] = jobs_of(rig, "nightly")
    assert rig.api.wait(f"/status/{job['command_id']}")["status"] == "success"
    assert proof(rig, "nightly") == (1, None)
    # What proves something is no run of the schedule that makes backups, and is one of the other.
    assert rig.api.call("GET", f"/schedules/{made['id']}")["last_status"] == "success"
    assert rig.api.call("GET", f"/schedules/{proves['id']}")["last_status"] is None
    done = rig.sandbox.cli("verify", "--schedule-id", str(proves["id"]))
    assert done.returncode == 0, done
    newest = jobs_of(rig, "nightly")[0]
    assert newest["command_id"] != job["command_id"]
    assert rig.api.wait(f"/status/{newest['command_id']}")["status"] == "success"
    assert proof(rig, "nightly") == (3, None)
    assert rig.api.call("GET", f"/schedules/{proves['id']}")["last_status"] == "success"
    protection = rig.api.call("GET", "/protection")
    assert (protection["proven_backup_id"], protection["measured_by"]) == ("nightly", "nightly")
    assert protection["recovery_seconds"] > 0
    for one in (made, proves):
        rig.api.call("DELETE", f"/schedules/{one['id']}")


def test_the_command_line_says_what_was_proven_or_found(rig: Rig) -> None:
    rig.backup(id="said", form="folder")
    done = rig.sandbox.cli("verify", "said", "--level", "2", "--wait")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith(
        "backup said is proven: it can be prepared, and every page is good;"
    )
    flip(rig.backups / "said" / "ibdata1", 20_000)
    done = rig.sandbox.cli("verify", "said", "--wait")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("dbcalm: verification of said failed: backup said is damaged: the checksum of ")
    listed = rig.sandbox.cli("backups", "list", "--query", "id|said").stdout
    assert "SUSPECT" in listed
    assert rig.sandbox.cli("verify", "said", "--level", "9").returncode == 2
    flip(rig.backups / "said" / "ibdata1", 20_000)
    assert verified(rig, "said", 1)["status"] == "success"
