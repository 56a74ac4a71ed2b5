"""Backups that others have made become ours: by what the tool itself wrote, and only where that leaves no doubt."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with, states

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with sandbox_with(tmp_path_factory.mktemp("adopt") / "sandbox", SMALL_SHOP) as sandbox:
        yield Rig(sandbox)


def by_hand(rig: Rig, name: str, base: str | None = None, *words: str, server: bool = True) -> Path:
    """Make a backup with the tool alone, as user mysql; return its folder."""
    folder = rig.backups / name
    basedir = [f"--incremental-basedir={rig.backups / base}"] if base else []
    database = rig.sandbox.database
    reach = [f"--socket={database.socket}", "--user=root"] if server else []
    argv = ["mariadb-backup", "--no-defaults", "--backup", *reach, f"--target-dir={folder}", *basedir, *words]
    done = subprocess.run([*rig.sandbox.who.database.drop(), *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def scan(rig: Rig) -> list[str]:
    done = rig.sandbox.cli("backups", "adopt", "--scan")
    assert done.returncode == 0, done
    return [line for line in done.stderr.splitlines() if line]


def show(rig: Rig, id: str) -> dict[str, Any]:
    return dict(rig.api.call("GET", f"/backups/{id}"))


def test_a_chain_that_was_made_by_hand_comes_back(own: Rig) -> None:
    points: dict[str, dict[str, str]] = {}
    for name, base in (("hand-full", None), ("hand-one", "hand-full"), ("hand-two", "hand-one")):
        own.change()
        by_hand(own, name, base)
        points[name] = own.tables()
    before = {name: states(own.backups / name) for name in points}
    lines = scan(own)
    assert [line.split(" was adopted: ")[0] for line in lines] == [f"backup {name}" for name in points]
    assert "full, a full backup; of 20" in lines[0]
    assert "incremental on hand-full, certain: its command names hand-full" in lines[1]
    for name, was in before.items():
        now = states(own.backups / name)
        assert {path: now[path] for path in was} == was  # Nothing in it has changed.
        assert now.keys() - was.keys() == {"dbcalm-manifest.json", "dbcalm-files.json", "RESTORE.md"}
    shown = show(own, "hand-two")
    assert (shown["type"], shown["from_backup_id"], shown["form"]) == ("incremental", "hand-one", "folder")
    assert shown["note"].startswith("adopted; certain")
    unseen = "it was not compared with the server's tables: prove it with: dbcalm verify hand-{} --level 3"
    assert shown["note"].endswith(unseen.format("two"))
    assert lines[0].endswith(unseen.format("full"))
    assert own.end(own.start("/backups/hand-two/verify", {"level": 3}))["status"] == "success"
    for name, expected in points.items():
        assert own.tables_of(own.restore(name, "folder")) == expected
    # They are none of the server's as it is now: what is asked to build on the newest becomes a full backup.
    assert show(own, str(own.backup(type="incremental")["resource_id"]))["type"] == "full"
    assert scan(own) == [f"there is nothing in {own.backups} that is not DBCalm's"]


def test_what_may_build_on_several_is_left_alone(own: Rig) -> None:
    """Two backups of a server that stands still end at the same position. The names of the folders help, or nothing."""
    own.sandbox.stop_db()
    own.sandbox.start_db()
    by_hand(own, "twin-a")
    shutil.copytree(own.backups / "twin-a", own.backups / "twin-b")
    subprocess.run(["chown", "-R", "--reference", own.backups / "twin-a", own.backups / "twin-b"], check=True)
    by_hand(own, "moved", "twin-a")
    (own.backups / "twin-a").rename(own.backups / "twin-c")
    lines = scan(own)
    assert [line for line in lines if line.startswith("left alone: moved may build on any of ")]
    assert not (own.backups / "moved" / "dbcalm-manifest.json").exists()
    own.api.call("DELETE", "/backups/twin-b")
    [line] = scan(own)
    assert "incremental on twin-c, high: twin-c alone ends where it begins" in line


def test_what_is_no_backup_or_none_that_can_be_trusted_is_left_alone(own: Rig) -> None:
    def copied(name: str) -> Path:
        folder = own.backups / name
        shutil.copytree(own.backups / "plain-one", folder)
        subprocess.run(["chown", "-R", "--reference", own.backups / "plain-one", folder], check=True)
        return folder

    own.change()
    own.sandbox.stop_db()
    own.sandbox.start_db()
    by_hand(own, "plain-one")
    info = copied("partial") / "xtrabackup_info"
    info.write_text(info.read_text().replace("partial = N", "partial = Y"))
    (copied("half") / "xtrabackup_checkpoints").unlink()
    (copied("packed") / "ibdata1.qp").write_bytes(b"x")
    (copied("linked") / "elsewhere").symlink_to("/etc")
    copied("Named_Otherwise")
    os.chown(copied("foreign") / "ibdata1", 0, 0)
    (own.backups / "foreign" / "ibdata1").chmod(0o600)
    (own.backups / "lost+found").mkdir()
    os.chown(own.backups / "lost+found", (own.backups / "half").stat().st_uid, -1)
    by_hand(own, "orphan", "plain-one")
    shutil.rmtree(own.backups / "plain-one")
    lines = scan(own)
    told = {line.removeprefix("left alone: ").split()[0].rstrip(":"): line for line in lines}
    assert "it does not bring a server back" in told["partial"]
    assert "is no backup as the tool writes it: the backup tool left no checkpoints file" in told["half"]
    assert "is packed or encrypted by the tool (ibdata1.qp): unpack it first" in told["packed"]
    assert "is neither a file nor a folder" in told["linked"]
    assert "rename the folder" in told["Named_Otherwise"]
    assert "chown -R mysql:mysql" in told["foreign"]
    assert "rename the folder" in told["lost+found"]
    assert "no backup here ends there: adopt what it was made on first" in told["orphan"]
    assert len(lines) == 8
    for name in told:
        assert not (own.backups / name / "dbcalm-manifest.json").exists()
        shutil.rmtree(own.backups / name)


def test_one_is_adopted_by_its_path(own: Rig) -> None:
    by_hand(own, "by-path")
    done = own.sandbox.cli("backups", "adopt", str(own.backups / "by-path"))
    assert (done.returncode, "backup by-path was adopted: full" in done.stderr) == (0, True)
    done = own.sandbox.cli("backups", "adopt", "/srv/elsewhere/by-path")
    assert (done.returncode, f"must lie in {own.backups}" in done.stderr) == (1, True)
    done = own.sandbox.cli("backups", "adopt", "by-path")
    assert (done.returncode, "by-path is a backup of DBCalm already" in done.stderr) == (1, True)
    done = own.sandbox.cli("backups", "adopt", "nowhere")
    assert (done.returncode, "there is no folder nowhere" in done.stderr) == (1, True)
    assert own.sandbox.cli("backups", "adopt").returncode == 2


def test_a_prepared_one_is_a_full_backup_too(own: Rig) -> None:
    own.change()
    folder = by_hand(own, "ready")
    expected = own.tables()
    argv = ["mariadb-backup", "--no-defaults", "--prepare", f"--target-dir={folder}"]
    subprocess.run([*own.sandbox.who.database.drop(), *argv], capture_output=True, check=True)
    [line] = scan(own)
    assert "full, a full backup, prepared already" in line
    assert own.tables_of(own.restore("ready", "folder")) == expected
