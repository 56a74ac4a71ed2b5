"""Exchanging the data of a data directory: cut short before any of its renames, no server can start on a mixture, and
the way back leads to the very files that were there."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbcalm_mariadb_cmd.builder.layout import OURS_IN_DATA_DIR, REMOVING, REPLACED
from dbcalm_mariadb_cmd.restore import swap
from dbcalm_mariadb_cmd.restore.swap import FACTS, Exchange, Facts, read_facts
from tests.support.engine_fuse import PowerCut
from tests.support.patience import FOR_EVER

FILES = (
    "ibdata1", "ib_logfile0", "aria_log_control", "aria_log.00000001", "aria_log.00000002", "ib_buffer_pool", "undo001",
    "binlog.000001", "binlog.index", "multi-master.info", "zeta", "0", "ibdata2",
)  # fmt: skip
FOLDERS = ("mysql", "shop", "#innodb_redo")
MADE_BY_A_START = ("aria_log_control", "aria_log.00000001", "binlog.index")
"""What MariaDB 10.11 makes anew before InnoDB refuses to start, where it is not there."""

FACTS_OF_IT = Facts("x", "monday", "2026-11-23T03:00:00.000000Z", "0" * 32)
SOME = st.sets(st.sampled_from([*FILES, *FOLDERS]))
WHOLE = SOME.map(lambda names: names | {"ibdata1", "ib_logfile0", "aria_log_control", "mysql"})
Tree = dict[str, tuple[int, bytes]]


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    """Thousands of exchanges need not reach the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swap, "sync_folder", lambda _folder: None)
        yield


def fill(folder: Path, names: set[str], text: str) -> None:
    """Make these entries, each with a content that tells whose it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in FOLDERS:
            (folder / name).mkdir()
        path = folder / name / "t.ibd" if name in FOLDERS else folder / name
        path.write_text(f"{text} {name}")


def tree(folder: Path) -> Tree:
    """Return inode and content of all that is below a folder, but for what is ours."""
    found = [
        path
        for path in folder.rglob("*")
        if not any(
            part == FACTS or part.startswith(OURS_IN_DATA_DIR) for part in path.relative_to(folder).parts
        )
    ]
    return {
        str(path.relative_to(folder)): (path.lstat().st_ino, b"" if path.is_dir() else path.read_bytes())
        for path in found
    }


class Scene:
    """A data directory with the data that comes in a folder of it."""

    def __init__(self, root: Path, old: set[str], new: set[str]) -> None:
        self.home = root / "data"
        self.coming = self.home / f"{OURS_IN_DATA_DIR}restore" / "data"
        self.leaving, self.strays = self.home / f"{REPLACED}x", self.home / f"{REMOVING}x"
        fill(self.home, old, "old")
        fill(self.coming, new, "new")
        self.exchange = Exchange(self.home, self.coming, self.leaving, self.strays, root / "exchange.json")
        self.old, self.new = tree(self.home), tree(self.coming)

    def is_of_one(self, here: Tree) -> bool:
        """Tell whether what a server looks at first is all of the old data, or all of the new."""
        names = ("ibdata1", "ib_logfile0", "aria_log_control", "aria_log.00000001", "mysql")
        seen = {name: here.get(name) for name in names}
        return any(seen == {name: data.get(name) for name in names} for data in (self.old, self.new))

    def has_its_log(self, here: Tree) -> bool:
        """Tell whether Aria finds no log without its own control file, over which it would write."""
        logs = [name for name in here if name.startswith("aria_log.")]
        owners = [data for data in (self.old, self.new) if any(here[log] == data.get(log) for log in logs)]
        return all(here.get("aria_log_control") == data.get("aria_log_control") for data in owners)


@contextmanager
def scene(old: set[str], new: set[str]) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="dbcalm-") as folder:
        yield Scene(Path(folder), old, new)


@contextmanager
def cut_before(number: int, error: Callable[[], BaseException] = PowerCut) -> Iterator[None]:
    """Fail instead of the rename or exchange of names of this number, counted from 0."""
    left = number

    def counted(call: Callable[..., None]) -> Callable[..., None]:
        def move(*paths: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise error()
            call(*paths)

        return move

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename_new", "exchange_names"):
            patch.setattr(swap, name, counted(getattr(swap, name)))
        yield


def is_cut(work: Callable[[], None], number: int) -> bool:
    """Do something with a cut before its rename of this number; return whether it had so many."""
    try:
        with cut_before(number):
            work()
    except PowerCut:
        return True
    return False


def moments(old: set[str], new: set[str]) -> Iterator[Scene]:
    """Yield a scene for each rename of a whole exchange, cut short before it, and the whole one at the end."""
    number, cut = 0, True
    while cut:
        with scene(old, new) as one:
            one.exchange.begin(FACTS_OF_IT)
            cut = is_cut(one.exchange.forward, number)
            yield one
        number += 1


@given(SOME, SOME)
@settings(max_examples=60, deadline=None)
def test_a_whole_exchange_leaves_the_new_data_and_nothing_else(old: set[str], new: set[str]) -> None:
    with scene(old, new) as one:
        one.exchange.begin(FACTS_OF_IT)
        one.exchange.forward()
        assert tree(one.home) == one.new
        assert tree(one.leaving) == one.old
        assert tree(one.coming) == {}
        assert one.exchange.is_worth_keeping() is bool(one.old)


@given(WHOLE, WHOLE)
@settings(max_examples=12, deadline=None)
def test_at_no_moment_can_a_server_start_on_a_mixture(old: set[str], new: set[str]) -> None:
    seen = 0
    for one in moments(old, new):
        here = tree(one.home)
        refuses = "ibdata1" not in here and "ib_logfile0" in here
        assert refuses or one.is_of_one(here), sorted(here)
        assert one.has_its_log(here)
        seen += refuses
    assert seen >= 7


@given(SOME, SOME)
@settings(max_examples=25, deadline=None)
def test_from_every_moment_everything_goes_back_to_the_very_same_files(old: set[str], new: set[str]) -> None:
    for one in moments(old, new):
        one.exchange.back()
        assert tree(one.home) == one.old
        assert tree(one.coming) == one.new
        one.exchange.forget()
        assert not one.leaving.exists()
        assert not one.strays.exists()


@given(WHOLE, WHOLE, st.integers(0, 30))
@settings(max_examples=15, deadline=None)
def test_the_way_back_can_be_cut_short_too(old: set[str], new: set[str], number: int) -> None:
    for one in moments(old, new):
        is_cut(one.exchange.back, number)
        here = tree(one.home)
        assert ("ibdata1" not in here and "ib_logfile0" in here) or one.is_of_one(here)
        assert one.has_its_log(here)
        one.exchange.back()
        assert tree(one.home) == one.old
        assert tree(one.coming) == one.new


@given(WHOLE, WHOLE)
@settings(max_examples=12, deadline=None)
def test_what_a_server_makes_in_the_middle_is_in_nobodys_way(old: set[str], new: set[str]) -> None:
    for one in moments(old, new):
        if "ibdata1" in tree(one.home):
            continue
        for name in MADE_BY_A_START:
            if not (one.home / name).exists():
                (one.home / name).write_text("made in the middle")
        one.exchange.back()
        assert tree(one.home) == one.old
        left = tree(one.coming)
        assert {name: left[name] for name in one.new} == one.new
        assert set(left) - set(one.new) <= set(MADE_BY_A_START)


def test_what_the_new_data_has_become_goes_back_into_its_folder() -> None:
    with scene({"ibdata1", "ib_logfile0", "shop"}, {"ibdata1", "ib_logfile0", "mysql"}) as one:
        one.exchange.begin(FACTS_OF_IT)
        one.exchange.forward()
        (one.home / "ib_logfile0").unlink()  # As a server does that makes its log of another size.
        (one.home / "ib_logfile0").write_text("of another size")
        (one.home / "binlog.000001").write_text("since")
        one.exchange.back()
        assert tree(one.home) == one.old
        assert (one.coming / "ib_logfile0").read_text() == "of another size"
        assert (one.coming / "binlog.000001").read_text() == "since"


def refuse_to_exchange(*_paths: Path) -> None:
    raise OSError(22, "Invalid argument")


@given(WHOLE, WHOLE)
@settings(max_examples=8, deadline=None)
def test_a_file_system_that_cannot_exchange_two_names_has_its_way_back_too(
    old: set[str], new: set[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swap, "exchange_names", refuse_to_exchange)
        for one in moments(old, new):
            one.exchange.back()
            assert tree(one.home) == one.old
            assert tree(one.coming) == one.new


def test_a_disk_that_fails_in_the_middle_is_told_and_the_way_back_stays() -> None:
    with scene({"ibdata1", "ib_logfile0", "shop"}, {"ibdata1", "ib_logfile0"}) as one:
        one.exchange.begin(FACTS_OF_IT)
        with cut_before(2, lambda: OSError(5, "Input/output error")), pytest.raises(OSError, match="Input"):
            one.exchange.forward()
        one.exchange.back()
        assert tree(one.home) == one.old


def test_what_took_a_name_of_the_new_data_is_not_covered_by_it() -> None:
    with scene({"ibdata1", "ib_logfile0"}, {"ibdata1", "ib_logfile0", "shop"}) as one:
        one.exchange.begin(FACTS_OF_IT)
        (one.home / "shop").mkdir()
        with pytest.raises(FileExistsError):
            one.exchange.forward()
        one.exchange.back()
        assert tree(one.home) == one.old


class TestWhatBelongsToOthers:
    @pytest.fixture(autouse=True)
    def _root(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root: it gives files to another user")

    def make(self, name: str) -> Callable[[Scene], Path]:
        def give(one: Scene) -> Path:
            path = one.home / name
            path.mkdir()
            (path / "theirs").write_text("theirs")
            os.chown(path, 65534, 65534)
            return path

        return give

    def test_stays_at_every_moment_and_on_the_way_back(self) -> None:
        give = self.make("lost+found")
        number, cut = 0, True
        while cut:
            with scene({"ibdata1", "ib_logfile0", "shop"}, {"ibdata1", "ib_logfile0"}) as one:
                path = give(one)
                before = tree(one.home)
                one.exchange.begin(FACTS_OF_IT)
                cut = is_cut(one.exchange.forward, number)
                assert (path / "theirs").read_text() == "theirs"
                one.exchange.back()
                assert tree(one.home) == before
            number += 1
        assert number > 4

    def test_is_told_before_anything_moves_if_the_new_data_needs_its_name(self) -> None:
        with scene({"ibdata1", "ib_logfile0"}, {"ibdata1", "ib_logfile0", "shop"}) as one:
            path = self.make("shop")(one)
            for ask in (one.exchange.require_movable, lambda: one.exchange.begin(FACTS_OF_IT)):
                with pytest.raises(PermissionError, match="does not belong to user mysql") as refused:
                    ask()
                assert refused.value.filename == str(path)
            assert not one.leaving.exists()


class TestLocks:
    def test_of_a_server_keep_it_from_being_moved_from_under_it(self) -> None:
        with scene({"ibdata1", "ib_logfile0"}, {"ibdata1"}) as one:
            server = os.fork()
            if server == 0:
                self._hold(one.home / "ibdata1")
            try:
                while not (one.home / "held").exists():
                    assert os.waitpid(server, os.WNOHANG) == (0, 0)
                with pytest.raises(BlockingIOError), one.exchange.locked():
                    raise AssertionError
            finally:
                os.kill(server, 9)
                os.waitpid(server, 0)

    @staticmethod
    def _hold(path: Path) -> None:
        with path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            path.with_name("held").write_text("")
            time.sleep(FOR_EVER)
        os._exit(1)

    def test_are_not_needed_where_there_is_nothing(self) -> None:
        with scene(set(), {"ibdata1", "ib_logfile0"}) as one, one.exchange.locked():
            one.exchange.begin(FACTS_OF_IT)
            one.exchange.forward()
            assert tree(one.home) == one.new


class TestFacts:
    def test_say_what_was_replaced_and_whether_that_has_succeeded(self) -> None:
        with scene({"ibdata1"}, {"ibdata1"}) as one:
            one.exchange.begin(FACTS_OF_IT)
            assert read_facts(one.leaving) == FACTS_OF_IT
            one.exchange.forward()
            one.exchange.succeed()
            told = read_facts(one.leaving)
            assert told is not None
            assert told.succeeded

    @pytest.mark.parametrize("text", ["", "{}", "null", "[]", '{"id": 1}', "\0"])
    def test_that_cannot_be_read_are_none(self, tmp_path: Path, text: str) -> None:
        assert read_facts(tmp_path) is None
        (tmp_path / FACTS).write_text(text)
        assert read_facts(tmp_path) is None

    def test_of_what_is_no_folder_are_none(self, tmp_path: Path) -> None:
        path: Any = tmp_path / "file"
        path.write_text("")
        assert read_facts(path) is None

    def test_of_an_exchange_that_never_began_are_nothing_to_forget(self) -> None:
        with scene({"ibdata1"}, {"ibdata1"}) as one:
            one.exchange.forget()
            assert tree(one.home) == one.old
