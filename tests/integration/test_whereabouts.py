"""Servers whose files are in several places, and data directories with something in them that is not the server's."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dbcalm_mariadb_cmd.store.manifest import Manifest, read_manifest
from dev.sandbox_lib.installation import account_sql
from tests.integration.conftest import Rig, sandbox_with

pytestmark = pytest.mark.integration

_OUTSIDE = "the server kept files outside its data directory: "
_SHOP = (
    "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY); INSERT INTO shop.orders VALUES (1), (2);"
    "CREATE TABLE shop.log (id INT PRIMARY KEY) ENGINE=Aria; INSERT INTO shop.log VALUES (3);"
)


class Placed(Rig):
    """A sandbox with a second disk, which user mysql may write to."""

    def disk(self, name: str) -> Path:
        folder = self.sandbox.root / name
        folder.mkdir(exist_ok=True)
        self.give(folder)
        folder.chmod(0o755)
        return folder

    def give(self, path: Path) -> None:
        who = self.sandbox.who.database
        os.chown(path, who.uid, who.gid, follow_symlinks=False)

    def made(self, backup_id: str, **order: Any) -> Manifest:
        self.backup(id=backup_id, **order)
        return read_manifest(self.backups / backup_id)

    def refuses(self, backup_id: str, words: str, *, replace: bool = True) -> None:
        """Fail unless a restore over the server is refused with these words before anything is done."""
        more = {"replace": True} if replace else {}
        status, line = self.refused("POST", "/restore", {"id": backup_id, "target": "database", **more})
        assert status == 409
        assert words in line

    def replaces(self, backup_id: str) -> None:
        status = self.end(self.start("/restore", {"id": backup_id, "target": "database", "replace": True}))
        assert status["status"] == "success", status

    @contextmanager
    def linked(self, database: str, disk: Path) -> Iterator[Path]:
        """Let a database be a link for a while."""
        self.sandbox.stop_db()
        here, there = self.data / database, disk / database
        shutil.move(here, there)
        here.symlink_to(there)
        self.give(here)
        self.sandbox.start_db()
        yield here
        self.sandbox.stop_db()
        if here.is_symlink():
            here.unlink()
            shutil.move(there, here)
        self.sandbox.start_db()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    with sandbox_with(tmp_path_factory.mktemp("places") / "sandbox", _SHOP) as sandbox:
        yield Placed(sandbox)


@pytest.fixture
def rig(own: Placed) -> Iterator[Placed]:
    yield own
    own.everything_runs()


@pytest.fixture
def lost(rig: Placed, as_root: None) -> Iterator[Path]:
    """Give the folder of root's that a data directory has that is a mount point."""
    folder = rig.data / "lost+found"
    folder.mkdir(mode=0o700)
    yield folder
    folder.rmdir()


class TestLostAndFound:
    @pytest.mark.parametrize("form", ["folder", "zstd"])
    def test_is_in_no_backups_way(self, rig: Placed, lost: Path, form: str) -> None:
        rig.backup(id=f"lost-{form}", form=form)
        rig.sandbox.sql("INSERT INTO shop.orders SELECT MAX(id) + 1 FROM shop.orders")
        expected = rig.tables()
        later = rig.made(f"later-{form}", type="incremental", from_backup_id=f"lost-{form}", form=form)
        assert later.type == "incremental"
        rig.sandbox.sql("DROP TABLE shop.log")
        rig.replaces(later.id)
        assert rig.tables() == expected
        assert rig.tables_of(rig.restore(later.id, "folder")) == expected
        assert lost.is_dir()

    def test_is_in_no_restores_way(self, rig: Placed, lost: Path) -> None:
        expected = rig.tables()
        rig.backup(id="into-a-mount-point")
        rig.sandbox.stop_db()
        for entry in rig.data.iterdir():
            if entry != lost:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        rig.restore("into-a-mount-point", "database")
        rig.sandbox.start_db()
        assert rig.tables() == expected
        assert lost.is_dir()


@pytest.mark.parametrize("name", ["old", ".snapshot", "shop/orders.frm"])
def test_what_mysql_may_not_read_is_told_before_anything_is_copied(
    rig: Placed, as_root: None, name: str
) -> None:
    path = rig.data / name
    if made := not path.exists():
        path.mkdir(mode=0o700)
    owner = path.stat()
    os.chown(path, 0, 0)
    path.chmod(0o700 if made else 0o600)
    try:
        status, line = rig.refused("POST", "/backups", {"type": "full"})
        checked = rig.sandbox.cli("setup", "--check").stdout
        told = rig.sandbox.cli("status").stdout
    finally:
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(owner.st_mode)
        if made:
            path.rmdir()
    assert status == 503
    assert f"user mysql cannot read {path}, so no backup can be made" in line
    assert f"chown -R mysql:mysql {path}" in line
    assert str(path) in checked
    assert str(path) in told
    assert rig.backup()["status"] == "success"


class TestLinks:
    def test_come_back_as_what_they_led_to(self, rig: Placed) -> None:
        disk = rig.disk("disk3")
        folders = f"DATA DIRECTORY='{disk}' INDEX DIRECTORY='{disk}'"
        rig.sandbox.sql(
            "CREATE DATABASE sym; CREATE TABLE sym.t (id INT PRIMARY KEY); INSERT INTO sym.t VALUES (1);"
            "CREATE TABLE sym.a (id INT PRIMARY KEY) ENGINE=Aria; INSERT INTO sym.a VALUES (2);"
            f"CREATE TABLE shop.m (id INT KEY) ENGINE=MyISAM {folders}; INSERT INTO shop.m VALUES (5)"
        )
        with rig.linked("sym", disk) as link:
            expected = rig.tables()
            made = rig.made("links")
            assert made.server.elsewhere == {}
            assert made.server.links["sym"] == str(disk / "sym")
            assert made.server.links["shop/m.MYD"] == str(disk / "m.MYD")
            rig.sandbox.sql("DELETE FROM sym.t; DELETE FROM sym.a; DELETE FROM shop.m")
            told = rig.sandbox.cli("restore", "links", "--replace", "--confirm", socket.gethostname())
            assert told.returncode == 0, told.stderr
            assert f"sym ({disk / 'sym'})" in told.stdout + told.stderr
            assert rig.tables() == expected
            assert link.is_dir()
            assert not link.is_symlink()

    def test_of_aria_are_refused_as_the_tool_leaves_them_out(self, rig: Placed) -> None:
        rig.sandbox.sql(f"CREATE TABLE shop.a (id INT KEY) ENGINE=Aria DATA DIRECTORY='{rig.disk('disk5')}'")
        status, line = rig.refused("POST", "/backups", {"type": "full"})
        assert status == 503
        assert f"{rig.data}/shop/a.MAD is a link" in line
        rig.sandbox.sql(line.partition("root: ")[2])
        assert rig.backup()["status"] == "success"

    @pytest.mark.parametrize("form", ["folder", "zstd"])
    def test_of_root_are_told_before_anything_is_copied(self, rig: Placed, as_root: None, form: str) -> None:
        disk = rig.disk("disk4")
        rig.sandbox.sql(
            "CREATE DATABASE IF NOT EXISTS roots; CREATE TABLE IF NOT EXISTS roots.t (id INT PRIMARY KEY)"
        )
        with rig.linked("roots", disk) as link:
            os.chown(link, 0, 0, follow_symlinks=False)
            rig.backup(id=f"roots-{form}", form=form)
            before = rig.tables()
            rig.refuses(f"roots-{form}", f"chown --no-dereference mysql:mysql {link}")
            assert rig.tables() == before
            rig.give(link)


@pytest.fixture(scope="module")
def spread(own: Placed) -> Path:
    """Give the other disk of a server that has files at every place that there is."""
    disk = own.disk("disk2")
    for name in ("undo", "redo", "aria"):
        own.give(own.disk(f"disk2/{name}"))
    own.sandbox.stop_db()
    own.sandbox.wipe_db()
    (own.data / "sub").mkdir()
    own.give(own.data / "sub")
    own.sandbox.database.add_options(
        "innodb_data_home_dir=",
        f"innodb_data_file_path=ibdata1:12M;{disk}/ibdata2:8M;../disk2/ibdata3:8M;sub/ibdata4:8M:autoextend",
        "innodb_undo_tablespaces=2",
        f"innodb_undo_directory={disk}/undo",
        f"innodb_log_group_home_dir={disk}/redo",
        f"aria_log_dir_path={disk}/aria",
    )
    own.sandbox.database.initialise()
    own.sandbox.start_db()
    own.sandbox.sql(account_sql(own.sandbox.layout) + _SHOP)
    own.sandbox.sql(
        f"CREATE TABLE shop.far (id INT PRIMARY KEY) DATA DIRECTORY='{disk}'; INSERT INTO shop.far VALUES (7);"
        "CREATE TABLE shop.parts (id INT) PARTITION BY RANGE(id) (PARTITION p0 VALUES LESS THAN (10)"
        f" DATA DIRECTORY='{disk}', PARTITION p1 VALUES LESS THAN (20)); INSERT INTO shop.parts VALUES (3), (13)"
    )
    return disk


@pytest.mark.parametrize("form", ["folder", "zstd"])
def test_files_elsewhere_are_all_found_and_restored_to_a_folder_only(
    rig: Placed, spread: Path, form: str
) -> None:
    expected = rig.tables()
    made = rig.made(f"spread-{form}", form=form)
    assert made.server.elsewhere == {
        "ibdata2": f"{spread}/ibdata2",
        "ibdata3": f"{spread}/ibdata3",
        "ibdata4": f"{rig.data}/sub/ibdata4",
        "innodb_undo_directory": f"{spread}/undo",
        "innodb_log_group_home_dir": f"{spread}/redo",
        "aria_log_dir_path": f"{spread}/aria",
        "shop/far.isl": f"{spread}/shop/far.ibd",
        "shop/parts#P#p0.isl": f"{spread}/shop/parts#P#p0.ibd",
    }
    rig.refuses(made.id, _OUTSIDE)
    assert "level 2 only" in rig.sandbox.cli("verify", made.id, "--wait").stdout
    before = {path: path.read_bytes() for path in spread.rglob("*.ibd")}
    rig.sandbox.sql("DELETE FROM shop.far; DELETE FROM shop.parts")
    folder = rig.restore(made.id, "folder")
    assert not list(folder.rglob("*.isl"))
    rig.sandbox.stop_db()
    kept = {path: path.read_bytes() for path in before}
    system = "ibdata1:12M;ibdata2:8M;ibdata3:8M;ibdata4:8M:autoextend"
    options = (f"innodb_data_file_path={system}", "innodb_undo_tablespaces=2")
    assert rig.tables_of(folder, *options) == expected
    assert {path: path.read_bytes() for path in before} == kept
    rig.sandbox.start_db()
    rig.sandbox.sql("INSERT INTO shop.far VALUES (7); INSERT INTO shop.parts VALUES (3), (13)")
