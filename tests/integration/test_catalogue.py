"""A catalogue that cannot be lost: made anew from the backups, as it was."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with

pytestmark = pytest.mark.integration

API, MYSQL = "dbcalm", "dbcalm-mariadb-cmd"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Two chains, of several forms, proven and suspect, held, of two timelines."""
    with sandbox_with(tmp_path_factory.mktemp("catalogue") / "sandbox", SMALL_SHOP) as sandbox:
        rig = Rig(sandbox)
        rig.points("old", ["zstd", "folder", "gzip"])
        rig.api.call("PUT", "/backups/old-1/hold", {"reason": "audit"})
        assert rig.end(rig.start("/backups/old-2/verify", {"level": 3}))["status"] == "success"
        rig.put_back("old-2")
        rig.backup(id="new", type="incremental")
        rig.points("bad", ["folder"])
        spoilt = rig.backups / "bad-0" / "ibdata1"
        spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"!")
        assert rig.end(rig.start("/backups/bad-0/verify", {"level": 1}))["reason"] == "suspect"
        rig.api.call(
            "POST", "/schedules", {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0}
        )
        yield rig


def told(rig: Rig, what: str) -> list[dict[str, Any]]:
    """Return a whole list, newest first: by the command line, as tokens end with a lost catalogue."""
    done = rig.sandbox.cli(what, "list", "--json", "--per-page", "1000")
    assert done.returncode == 0, done
    return list(json.loads(done.stdout)["items"])


def lose(file: Path) -> None:
    for path in file.parent.glob(f"{file.name}*"):
        if path.name.removeprefix(file.name) in ("", "-wal", "-shm"):
            path.unlink()


def garble(file: Path) -> None:
    lose(file)
    file.write_bytes(b"this is no database, whatever its name says\n" * 400)


def spoil_a_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096 * 2 + 100 : 4096 * 3] = b"?" * (4096 - 100)
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [spoil_a_page, garble, lose])
def test_it_is_made_anew_as_it_was(own: Rig, harm: Callable[[Path], None]) -> None:
    before = {what: told(own, what) for what in ("backups", "processes", "restores")}
    assert [one["id"] for one in before["backups"]] == ["bad-0", "new", "old-2", "old-1", "old-0"]
    file = own.sandbox.root / "state" / "db.sqlite3"
    own.sandbox.services.end(API)
    owner = file.stat()
    harm(file)
    if file.exists():
        os.chown(file, owner.st_uid, owner.st_gid)
        file.chmod(0o600)
        line = own.sandbox.cli("users", "list").stderr
        assert harm is spoil_a_page or "make it anew with: dbcalm catalogue rebuild" in line
    done = own.sandbox.cli("catalogue", "rebuild")
    assert done.returncode == 0, done
    assert "the catalogue knows 5 backups, " in done.stderr
    assert "were brought back from the sealed copy of " in done.stderr
    assert ("restart dbcalm-api, which" in done.stderr) == (harm is not lose)
    assert {what: told(own, what) for what in before} == before
    assert len(told(own, "schedules")) == 1
    own.sandbox.restart(API)
    for path in file.parent.glob(f"{file.name}.damaged-*"):
        path.unlink()


def test_the_manifests_alone_are_enough(own: Rig) -> None:
    """Without the journal nobody knows of jobs any more; the backups are the same."""
    before = told(own, "backups")
    own.sandbox.services.end(API)
    own.sandbox.services.end(MYSQL)
    lose(own.sandbox.root / "state" / "db.sqlite3")
    for path in (own.sandbox.root / "jobs").glob("journal*"):
        path.unlink()
    own.sandbox.restart(MYSQL)
    assert own.sandbox.cli("catalogue", "rebuild").returncode == 0
    assert told(own, "backups") == [{**one, "process_id": None} for one in before]
    assert told(own, "processes") == []
    own.sandbox.restart(API)


def test_one_that_is_well_is_made_anew_while_the_api_runs(own: Rig) -> None:
    """What it knows and is not on disk is forgotten; what it does not know and is on disk is found."""
    before = told(own, "backups")
    hidden = own.backups / "bad-0"
    hidden.rename(own.backups / "Bad-0")
    assert own.sandbox.cli("catalogue", "rebuild").returncode == 0
    assert [one["id"] for one in told(own, "backups")] == [one["id"] for one in before][1:]
    (own.backups / "Bad-0").rename(hidden)
    assert own.sandbox.cli("catalogue", "rebuild").returncode == 0
    assert told(own, "backups") == before
