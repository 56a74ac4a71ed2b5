"""What is in a data directory: what the backup tool can read of it, and what can leave it."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import linux
from dbcalm_mariadb_cmd.adapter.server.datadir import Found, survey
from dbcalm_mariadb_cmd.builder.layout import OURS_IN_DATA_DIR
from dbcalm_mariadb_cmd.preflight import movable
from dbcalm_mariadb_cmd.preflight.movable import fixtures

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root: it gives files to another user")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("ibdata1", "shop/t.frm", "shop/t.ibd", f"{OURS_IN_DATA_DIR}restore/data/ibdata1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("xx")
    (folder / "lost+found").mkdir(mode=0)
    return folder


def told(data: Path, coming: set[str] | None = None) -> dict[str, str]:
    return {path.name: why for path, why in fixtures(data, coming)}


class TestMoving:
    def test_all_that_is_ours(self, data: Path) -> None:
        assert told(data) == told(data, {"ibdata1", "shop"}) == {}

    @as_root
    @pytest.mark.parametrize("kind", ["folder", "link", "file"])
    @pytest.mark.parametrize("coming", [{"theirs"}, {"shop"}, None])
    def test_what_is_theirs_is_in_the_way_of_its_name_only(
        self, data: Path, kind: str, coming: set[str] | None
    ) -> None:
        path = data / "theirs"
        make: dict[str, Callable[[], object]] = {
            "folder": path.mkdir, "link": lambda: path.symlink_to("shop"), "file": path.touch
        }  # fmt: skip
        make[kind]()
        os.chown(path, 65534, 65534, follow_symlinks=False)
        is_in_the_way = "theirs" in coming if coming is not None else kind != "file"
        assert set(told(data, coming)) == ({"theirs"} if is_in_the_way else set())
        if is_in_the_way:
            assert "does not belong to user mysql" in told(data, coming)["theirs"]

    @as_root
    @pytest.mark.parametrize("name", ["lost+found", ".snapshot", f"{OURS_IN_DATA_DIR}x"])
    def test_what_is_no_database_is_in_nobodys_way(self, data: Path, name: str) -> None:
        path = data / name
        path.mkdir(exist_ok=True)
        os.chown(path, 65534, 65534)
        assert told(data) == {}

    def test_a_mount_point(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(movable, "mount_points", lambda: {str(data), str(data / "shop")})
        assert "is a mount point" in told(data)["shop"]

    def test_a_mount(self, data: Path, mount: Callable[[Path, int], Path]) -> None:
        mount(data / "shop", 1 << 20)
        assert str(data / "shop") in linux.mount_points()
        assert "is a mount point" in told(data)["shop"]

    @pytest.mark.parametrize("name", ["shop", "ibdata1", "."])
    def test_what_is_immutable(self, data: Path, name: str) -> None:
        path = data / name
        if subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
            pytest.skip("needs root and a file system with flags")
        try:
            assert f"chattr -i -a {shlex.quote(str(path.resolve()))}" in told(data)[path.name]
        finally:
            subprocess.run(["chattr", "-i", path], check=True)
        assert told(data) == {}


class TestSurvey:
    def test_counts_what_is_copied_of_links_too(self, data: Path) -> None:
        before = survey(data, {"binlog.000001"})
        assert (before.data_bytes, before.tablespaces, before.links, before.unreadable) == (6, 1, {}, [])
        far = data.parent / "far"
        (far / "sym").mkdir(parents=True)
        (far / "sym/t.ibd").write_text("yyy")
        (far / "m.MYD").write_text("zzzz")
        (data / "sym").symlink_to(far / "sym")
        (data / "shop/m.MYD").symlink_to(far / "m.MYD")
        (data / "shop/inside.MYD").symlink_to(data / "ibdata1")
        (data / "nowhere").symlink_to("/nonexistent")
        (data / "binlog.000001").write_text("b" * 100)
        (data / "ibtmp1").write_text("b" * 100)
        found = survey(data, {"binlog.000001"})
        assert found.links == {
            "sym": str(far / "sym"), "shop/m.MYD": str(far / "m.MYD"), "nowhere": "/nonexistent"
        }  # fmt: skip
        assert (found.data_bytes, found.tablespaces) == (6 + 3 + 4 + 2, 2)
        assert found.problem() is None

    @pytest.mark.parametrize(("name", "is_told"), [("r.MAI", True), ("r.MAD", True), ("#sql-1.MAI", False)])
    def test_a_link_that_the_tool_would_leave_out(self, data: Path, name: str, is_told: bool) -> None:
        (data.parent / name).touch()
        (data / "shop" / name).symlink_to(data.parent / name)
        problem = str(survey(data, set()).problem())
        assert (f"{data}/shop/{name} is a link" in problem) == is_told
        assert ("ALTER TABLE `shop`.`r` FORCE" in problem) == is_told

    def test_what_cannot_be_read_is_told_with_what_to_type(self, data: Path) -> None:
        if os.getuid() == 0:
            os.chown(data, 65534, 65534)
            for path in data.rglob("*"):
                os.chown(path, 65534, 65534)
        for name in ("old", ".snapshot", "shop/deeper"):
            (data / name).mkdir(mode=0)
        for name in ("shop/a.frm", "shop/notes.txt", "debian.flag"):
            (data / name).touch(mode=0)
        found = _as_nobody(data)
        assert found == [".snapshot", "old", "shop/a.frm"]
        sentence = str(Found(0, 0, {}, [data / name for name in found], []).problem())
        assert (
            f"user mysql cannot read {data}/.snapshot, {data}/old, {data}/shop/a.frm, so no backup"
            in sentence
        )
        assert f"chown -R mysql:mysql {data}/.snapshot" in sentence
        assert "\n" not in sentence


def _as_nobody(data: Path) -> list[str]:
    """Return what a user that is not root cannot read."""
    if os.getuid():
        return sorted(str(path.relative_to(data)) for path in survey(data, set()).unreadable)
    reading, writing = os.pipe()
    for folder in [data, *data.parents]:
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        names = sorted(str(path.relative_to(data)) for path in survey(data, set()).unreadable)
        os.write(writing, "\n".join(names).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read().splitlines()
