"""Folders and the calls of Linux below them: links, other devices, odd names, flipped bits, reused inodes."""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import linux
from dbcalm_mariadb_cmd.adapter.files import (
    copy_tree,
    file_state,
    read_tree,
    remove_tree,
    sent_to_disk,
    set_modes,
    size_of,
    sync_folder,
    walk,
)
from dbcalm_mariadb_cmd.adapter.linux import birth_time, die_with_parent, rename_new, sync_file_system
from tests.support.engine_lab import CHECKOUT, contents, wait_until

ODD_NAMES = [
    "a b",
    "é",
    "new\nline",
    "-rf",
    "$(id)",
    "'\"",
    ".hidden",
    "#sql-1",
    "t@0020x",
    "x" * 255,
    "\udcff",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files, odd names, and empty folders."""
    root = tmp_path / "tree"
    (root / "empty/deeper").mkdir(parents=True)
    (root / "shop").mkdir()
    for number, name in enumerate(ODD_NAMES):
        (root / "shop" / name).write_bytes(b"x" * number)
    (root / "ibdata1").write_bytes(os.urandom(100_000))
    return root


def checksums(root: Path) -> dict[str, str]:
    """Return what ``copy_tree`` wants to know of a folder."""
    return {name: "" if name.endswith("/") else file_state(root / name).sha256 for name, _ in walk(root)}


def open_below(folder: Path) -> list[str]:
    """Return what this process has open in a folder; other tests' descriptors may go at any time."""
    opened = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            opened.append(os.readlink(entry))
    return [path for path in opened if path.startswith(str(folder))]


def ignore(_count: int) -> None:
    pass


class TestWalk:
    def test_lists_files_and_folders_with_each_folder_before_what_is_in_it(self, tree: Path) -> None:
        names = [name for name, _ in walk(tree)]
        assert set(names) == {
            "empty/",
            "empty/deeper/",
            "shop/",
            "ibdata1",
            *(f"shop/{name}" for name in ODD_NAMES),
        }
        assert names.index("shop/") < min(names.index(f"shop/{name}") for name in ODD_NAMES)
        assert dict(walk(tree))["ibdata1"].st_size == 100_000

    @pytest.mark.parametrize(
        "kind", ["link to a file", "link to a folder", "dangling link", "fifo", "socket"]
    )
    def test_refuses_what_is_neither_file_nor_folder(self, tree: Path, kind: str) -> None:
        odd = tree / "shop/odd"
        if kind == "fifo":
            os.mkfifo(odd)
        elif kind == "socket":
            os.mknod(odd, 0o140600)
        else:
            odd.symlink_to(
                {"link to a file": tree / "ibdata1", "link to a folder": "/etc"}.get(kind, "/none")
            )
        with pytest.raises(OSError, match="shop/odd is neither a file nor a folder"):
            list(walk(tree))


class TestSize:
    def test_counts_all_files(self, tree: Path) -> None:
        assert size_of(tree) == 100_000 + sum(range(len(ODD_NAMES)))

    def test_of_nothing_is_nothing(self, tmp_path: Path) -> None:
        assert size_of(tmp_path / "none") == 0


class TestFileState:
    def test_says_what_is_in_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        state = file_state(tmp_path / "file")
        assert (state.size, state.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
        assert state.unwritten((tmp_path / "file").stat())

    def test_is_told_apart_from_the_same_size_with_the_time_put_back(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"abc")
        before, state = path.stat(), file_state(path)
        path.write_bytes(b"abd")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert not state.unwritten(path.stat())

    def test_notices_a_change_while_it_reads(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with path.open("wb") as file:
            file.truncate(1 << 28)
        done = threading.Event()

        def write() -> None:
            with path.open("r+b") as file:
                while not done.wait(0.005):
                    os.pwrite(file.fileno(), b"x", 0)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with pytest.raises(OSError, match="changed while it was read"):
                file_state(path)
        finally:
            done.set()
            writer.join()


class TestCopy:
    def test_is_the_same_with_the_servers_modes(self, tree: Path, tmp_path: Path) -> None:
        counted: list[int] = []
        assert copy_tree(tree, tmp_path / "copy", checksums(tree), counted.append) == {}
        set_modes(tmp_path / "copy")
        assert contents(tmp_path / "copy") == contents(tree)
        assert sum(counted) == size_of(tree)
        for name, status in walk(tmp_path / "copy"):
            assert status.st_mode & 0o777 == (0o700 if name.endswith("/") else 0o660), name

    def test_goes_to_another_file_system(
        self, tree: Path, tmp_path: Path, mount: Callable[[Path, int], Path]
    ) -> None:
        target = mount(tmp_path / "other", 2000) / "copy"
        copy_tree(tree, target, checksums(tree), ignore)
        assert contents(target) == contents(tree)

    def test_writes_next_to_nothing_where_files_can_share_their_bytes(self, xfs: Path) -> None:
        def used() -> int:
            sync_file_system(xfs)
            status = os.statvfs(xfs)
            return (status.f_blocks - status.f_bfree) * status.f_frsize

        (xfs / "tree").mkdir()
        (xfs / "tree/big").write_bytes(os.urandom(50_000_000))
        before = used()
        shared = copy_tree(xfs / "tree", xfs / "copy", checksums(xfs / "tree"), ignore)
        assert shared == checksums(xfs / "tree")
        assert used() - before < 1_000_000
        (xfs / "copy/big").write_bytes(b"changed")  # The original is another file still.
        assert (xfs / "tree/big").stat().st_size == 50_000_000
        counted: list[int] = []
        read_tree(xfs / "tree", shared, counted.append, from_disk=False)
        assert sum(counted) == 50_000_000
        with pytest.raises(ValueError, match="the checksum of .*big differs"):
            read_tree(xfs / "tree", {"big": "0" * 64}, ignore, from_disk=False)

    def test_takes_only_what_is_named(self, tree: Path, tmp_path: Path) -> None:
        names = {name: sha256 for name, sha256 in checksums(tree).items() if not name.startswith("shop/")}
        copy_tree(tree, tmp_path / "copy", names, ignore)
        assert sorted(contents(tmp_path / "copy")) == ["empty", "empty/deeper", "ibdata1"]

    @pytest.mark.parametrize("damage", ["flip", "cut", "grow", "other"])
    def test_names_the_file_that_is_damaged(self, tree: Path, tmp_path: Path, damage: str) -> None:
        expected, path = checksums(tree), tree / "ibdata1"
        whole = path.read_bytes()
        flipped = bytes([whole[50_000] ^ 1])
        path.write_bytes(
            {
                "flip": whole[:50_000] + flipped + whole[50_001:],
                "cut": whole[:-1],
                "grow": whole + b"\0",
                "other": b"",
            }[damage]
        )
        with pytest.raises(ValueError, match="the checksum of .*/ibdata1 differs"):
            copy_tree(tree, tmp_path / "copy", expected, ignore)

    def test_does_not_follow_a_link(self, tree: Path, tmp_path: Path) -> None:
        expected = checksums(tree)
        (tree / "ibdata1").rename(tmp_path / "elsewhere")
        (tree / "ibdata1").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="ibdata1"):
            copy_tree(tree, tmp_path / "copy", expected, ignore)

    def test_does_not_write_into_a_folder_that_exists(self, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "copy").mkdir()
        with pytest.raises(FileExistsError):
            copy_tree(tree, tmp_path / "copy", checksums(tree), ignore)

    @pytest.mark.parametrize("kib", [8, 60, 96])
    def test_tells_a_full_disk(
        self, tree: Path, tmp_path: Path, mount: Callable[[Path, int], Path], kib: int
    ) -> None:
        with pytest.raises(OSError, match="No space left on device"):
            copy_tree(tree, mount(tmp_path / "small", kib) / "copy", checksums(tree), ignore)

    def test_leaves_no_descriptor_open(self, tree: Path, tmp_path: Path) -> None:
        expected = checksums(tree) | {"ibdata1": "0" * 64}
        for number in range(5):
            with pytest.raises(ValueError, match="checksum"):
                copy_tree(tree, tmp_path / f"copy-{number}", expected, ignore)
        assert open_below(tmp_path) == []


class TestRemove:
    def test_removes_everything(self, tree: Path) -> None:
        remove_tree(tree)
        assert not tree.exists()

    def test_removes_links_and_not_what_they_point_to(self, tree: Path, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        kept.mkdir()
        (kept / "file").write_text("precious")
        (tree / "shop/folder-link").symlink_to(kept)
        (tree / "shop/file-link").symlink_to(kept / "file")
        os.mkfifo(tree / "fifo")
        remove_tree(tree)
        assert not tree.exists()
        assert (kept / "file").read_text() == "precious"

    def test_refuses_to_start_at_a_link(self, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tree)
        with pytest.raises(OSError):  # noqa: PT011  # ELOOP or ENOTDIR, as the kernel likes
            remove_tree(tmp_path / "link")
        assert (tree / "ibdata1").exists()

    def test_does_not_leave_its_device(self, tree: Path, mount: Callable[[Path, int], Path]) -> None:
        inside = mount(tree / "zz", 64)
        (inside / "precious").write_text("kept")
        with pytest.raises(OSError, match="zz lies on another device"):
            remove_tree(tree)
        assert (inside / "precious").read_text() == "kept"

    def test_of_nothing_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            remove_tree(tmp_path / "none")

    def test_leaves_no_descriptor_open(self, tree: Path) -> None:
        remove_tree(tree)
        assert open_below(tree) == []


class TestRename:
    @pytest.mark.parametrize("taken_by", ["file", "folder", "dangling link"])
    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_replaces_nothing(self, tmp_path: Path, kind: str, taken_by: str) -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        old.write_text("old") if kind == "file" else old.mkdir()
        if taken_by == "dangling link":
            new.symlink_to("/none")
        else:
            new.write_text("new") if taken_by == "file" else new.mkdir()
        with pytest.raises(FileExistsError, match="new"):
            rename_new(old, new)
        assert old.exists()

    def test_moves_what_is_free(self, tmp_path: Path) -> None:
        (tmp_path / "é").mkdir()
        rename_new(tmp_path / "é", tmp_path / "new")
        assert os.listdir(tmp_path) == ["new"]

    def test_says_which_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            rename_new(tmp_path / "none", tmp_path / "new")

    def test_where_the_file_system_lacks_the_flag(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on NFS, which cannot be mounted here: renameat2 answers EINVAL."""

        class Lacking:
            def renameat2(self, *_: object) -> int:
                ctypes.set_errno(errno.EINVAL)
                return -1

        monkeypatch.setattr(linux, "_LIBC", Lacking())
        for old, new in (("file", "other"), ("folder", "place")):
            (tmp_path / old).mkdir() if old == "folder" else (tmp_path / old).write_text("1")
            rename_new(tmp_path / old, tmp_path / new)
            assert not (tmp_path / old).exists()
            assert (tmp_path / new).exists()
        (tmp_path / "third").write_text("3")
        with pytest.raises(FileExistsError):
            rename_new(tmp_path / "third", tmp_path / "other")
        assert (tmp_path / "other").read_text() == "1"


class TestBirth:
    def test_differs_for_a_file_that_was_made_again_on_the_same_inode(self, tmp_path: Path) -> None:
        path = tmp_path / "ibdata1"
        path.write_text("old")
        if birth_time(path) == 0:
            pytest.skip("this file system tells no birth times")
        for _ in range(100):
            inode, born = path.stat().st_ino, birth_time(path)
            time.sleep(0.01)  # The kernel's clock for files ticks so often.
            path.unlink()
            path.write_text("new")
            assert birth_time(path) > born
            if path.stat().st_ino == inode:
                return
        pytest.skip("this file system gives no inode out again")

    def test_stays_as_it_is_while_the_file_is_written_and_renamed(self, tmp_path: Path) -> None:
        path = tmp_path / "ibdata1"
        path.write_text("old")
        born = birth_time(path)
        path.write_text("new")
        os.utime(path, (0, 0))
        path = path.rename(tmp_path / "moved")
        assert birth_time(path) == born

    def test_of_nothing_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            birth_time(tmp_path / "none")

    def test_is_what_the_system_says(self, tmp_path: Path) -> None:
        if not (stat := shutil.which("stat")):
            pytest.skip("there is no stat to compare with")
        told = subprocess.run([stat, "-c", "%W", str(tmp_path)], capture_output=True, check=True).stdout
        assert birth_time(tmp_path) // 10**9 == int(told)


def test_syncing_says_what_cannot_be_synced(tmp_path: Path) -> None:
    sync_file_system(tmp_path)
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")


def test_a_child_asks_to_die_with_its_parent() -> None:
    source = (
        "import ctypes; from dbcalm_mariadb_cmd.adapter.linux import die_with_parent; die_with_parent()\n"
        "number = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0); print(number.value)"
    )
    told = subprocess.run([sys.executable, "-c", source], cwd=CHECKOUT, capture_output=True, check=True)
    assert told.stdout == b"9\n"
    assert callable(die_with_parent)


def is_unsent(file: Path) -> bool:
    """Tell whether the file system has yet to choose where on the disk the file goes, which it does when it writes it
    (filefrag(8))."""
    command = [shutil.which("filefrag", path="/usr/sbin:/sbin:/usr/bin") or "false", "-v", str(file)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return "delalloc" in listed.stdout


def test_what_a_program_writes_is_sent_to_the_disk_while_it_goes_on(tmp_path: Path) -> None:
    """Left alone the kernel lets it lie for half a minute, unless somebody syncs."""
    folder, beside = tmp_path / "data", tmp_path / "beside"
    beside.write_bytes(os.urandom(1_000_000))
    if not is_unsent(beside):
        pytest.skip("this file system does not say what it has yet to write")
    with sent_to_disk(folder):
        (folder / "bench").mkdir(parents=True)
        first, second = folder / "ibdata1", folder / "bench" / "t0.ibd"
        first.write_bytes(os.urandom(1_000_000))
        wait_until(lambda: not is_unsent(first), "the first file")
        second.write_bytes(os.urandom(1_000_000))
        wait_until(lambda: not is_unsent(second), "the second file")
        with first.open("ab") as file:
            file.write(os.urandom(1_000_000))
        wait_until(lambda: not is_unsent(first), "what was added to the first")
