"""The disk of the backups is not mounted: the real services go on, refuse what needs it in one sentence, put nothing on
the disk below, and all is well by itself when it is back."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.store.mark import MARK
from dev.sandbox_lib.services import API, MYSQL_SERVICE
from tests.integration.conftest import Rig, sandbox_with
from tests.support.able import mounted
from tests.support.patience import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Give a sandbox with a chain, whose backups are away at times."""
    statements = (
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, body VARCHAR(200));"
        "CREATE TABLE shop.log (id INT PRIMARY KEY, body VARCHAR(200))"
    )
    with sandbox_with(tmp_path_factory.mktemp("away") / "sandbox", statements) as sandbox:
        rig = Rig(sandbox)
        rig.backup(id="full")
        rig.backup(id="inc", type="incremental", from_backup_id="full")
        rig.backup(id="alone")
        rig.backup(id="old")
        rig.api.call("DELETE", "/backups/old")
        yield rig


@contextmanager
def away(rig: Rig, left: str) -> Iterator[None]:
    """Take the folder of backups away for the time of a block."""
    aside = rig.backups.with_name("aside")
    owner = rig.backups.stat()
    rig.backups.rename(aside)
    try:
        if left != "nothing":
            rig.backups.mkdir(0o700)
            if left == "a folder of mysql's":
                shutil.chown(rig.backups, owner.st_uid, owner.st_gid)
        yield
    finally:
        if rig.backups.exists():
            shutil.rmtree(rig.backups)
        aside.rename(rig.backups)


def sentence_of_status(rig: Rig) -> str:
    """Return the one sentence that needs attention, which command and API tell alike."""
    told = rig.sandbox.cli("status")
    [sentence] = rig.api.call("GET", "/ready")["attention"]
    assert told.returncode == 1
    assert f"  ! {sentence}" in told.stdout
    return str(sentence)


ORDERS: list[tuple[str, str, dict[str, object] | None]] = [
    ("POST", "/backups", {"type": "full"}),
    ("POST", "/backups", {"type": "full", "synthetic": True}),
    ("POST", "/backups", {"type": "incremental", "from_backup_id": "full"}),
    ("POST", "/restore", {"id": "full", "target": "folder"}),
    ("POST", "/restore", {"id": "full", "target": "database"}),
    ("POST", "/backups/full/verify", {"level": 1}),
    ("DELETE", "/backups/alone", None),
    ("GET", "/trash", None),
]


@pytest.mark.parametrize("left", ["a folder of mysql's", "a folder of root's", "nothing"])
def test_without_the_disk(own: Rig, left: str) -> None:
    """The services are started without it, as after a reboot."""
    advice = f"findmnt --target {own.backups}"
    known = own.listed()
    with away(own, left):
        for name in (MYSQL_SERVICE, API):
            own.sandbox.restart(name)
        for method, path, order in ORDERS:
            status, detail = own.refused(method, path, order)
            assert status == 503, (path, detail)
            assert advice in detail
        assert advice in sentence_of_status(own)
        assert advice in own.sandbox.cli("backup", "full").stderr
        assert own.listed() == known
        assert own.api.call("GET", "/protection")["chain"] == []
        assert own.api.call("GET", "/processes")["items"]
        if own.backups.exists():
            assert not list(own.backups.iterdir()), "nothing is written on the disk below"
    assert own.deleted() == ["old"]
    assert own.backup(type="incremental", from_backup_id="inc")["status"] == "success"
    assert sorted(own.on_disk()) == sorted(own.listed())
    assert own.sandbox.cli("status").returncode == 0
    own.restore("inc", "folder")


def test_the_disk_goes_and_comes_while_all_runs(own: Rig) -> None:
    pid = own.sandbox.process(MYSQL_SERVICE)
    with away(own, "a folder of mysql's"):
        assert own.refused("POST", "/backups", {"type": "full"})[0] == 503
        assert "is not the folder that backups were made in" in sentence_of_status(own)
    own.backup()
    assert own.sandbox.process(MYSQL_SERVICE) == pid


def test_a_new_disk_is_taken_when_somebody_says_so(own: Rig) -> None:
    """What the sentence says is typed, and then backups are made there."""
    with away(own, "a folder of mysql's"):
        _, detail = own.refused("POST", "/backups", {"type": "full"})
        command, path = detail.rpartition("type: ")[2].split()
        assert (command, path) == ("touch", str(own.backups / MARK))
        Path(path).touch()
        own.backup(id="elsewhere")
        assert own.on_disk() == {"elsewhere"}
    own.sandbox.cli("catalogue", "rebuild")
    own.backup()


def test_a_real_mount_point(own: Rig) -> None:
    """Backups on a disk of its own, which is then not mounted."""
    with away(own, "a folder of mysql's"):
        with mounted(own.backups, "-t", "tmpfs", "-o", "size=500m,mode=0700", "tmpfs"):
            shutil.chown(own.backups, "mysql", "mysql")
            (own.backups / MARK).touch()
            own.backup(id="mounted")
        assert not list(own.backups.iterdir())
        for _ in range(2):
            assert own.refused("POST", "/backups", {"type": "full"})[0] == 503
            assert not list(own.backups.iterdir())
            own.sandbox.restart(MYSQL_SERVICE)
    own.sandbox.cli("catalogue", "rebuild")
    eventually(lambda: own.sandbox.cli("status").returncode == 0, "that all is well")


def test_a_folder_for_restores_without_its_disk(own: Rig) -> None:
    """Backups are made all the same, and status has its sentence."""
    folder = own.sandbox.root / "nowhere" / "restores"
    with own.configured(MYSQL_SERVICE, restore_dir=str(folder)):
        status, detail = own.refused("POST", "/restore", {"id": "full", "target": "folder"})
        assert (status, f"findmnt --target {folder.parent}" in detail) == (503, True)
        own.backup()
        told = own.api.call("GET", "/ready")["attention"]
        assert detail in told
