"""Which process has a data directory: never one that works elsewhere, always the one that works here."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.server import holders
from dbcalm_mariadb_cmd.adapter.server.holders import Holder, holder
from tests.support.engine_lab import Lab, server_in


def found(data_dir: Path) -> tuple[int, bool] | None:
    """Return the process that is told to work in this directory, and whether that is sure."""
    told = holder(data_dir)
    return (told.pid, told.sure) if told else None


class TestByItsWorkingDirectory:
    def test_none(self, lab: Lab) -> None:
        assert holder(lab.data) is None

    def test_one_that_works_here_and_nowhere_else(self, lab: Lab) -> None:
        with server_in(lab.data) as process:
            assert found(lab.data) == (process.pid, True)
            assert holder(lab.server) is None
        assert holder(lab.data) is None

    def test_through_a_link(self, lab: Lab) -> None:
        (lab.root / "link").symlink_to(lab.data)
        with server_in(lab.data) as process:
            assert found(lab.root / "link") == (process.pid, True)

    def test_one_that_is_stopped_by_a_signal(self, lab: Lab) -> None:
        with server_in(lab.data) as process:
            process.send_signal(signal.SIGSTOP)
            assert found(lab.data) == (process.pid, True)

    def test_one_whose_directory_was_emptied_and_renamed(self, lab: Lab) -> None:
        with server_in(lab.data) as process:
            moved = lab.data.rename(lab.root / "moved")
            assert found(moved) == (process.pid, True)

    def test_one_that_has_not_got_there_yet(self, lab: Lab) -> None:
        with server_in(lab.root, f"--datadir={lab.data}") as process:
            assert found(lab.data) == (process.pid, True)
            assert holder(lab.server) is None

    def test_an_ended_one_that_nobody_has_waited_for(self, lab: Lab) -> None:
        with server_in(lab.data) as process:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert holder(lab.data) is None

    def test_a_data_directory_that_is_not_there(self, lab: Lab) -> None:
        assert holder(lab.root / "none") is None


@contextmanager
def locking(path: Path) -> Iterator[int]:
    """Run a process of any name that has a server's lock on a file."""
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print(flush=True); time.sleep(3000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["ibdata1", "aria_log_control", "undo001"])
def test_by_its_locks(lab: Lab, name: str) -> None:
    (lab.data / name).touch()
    with locking(lab.data / name) as pid:
        assert found(lab.data) == (pid, True)
    assert holder(lab.data) is None


class TestOneThatKeepsItsWorkingDirectoryFromUs:
    """As a server does that root started, or that has a capability."""

    @pytest.fixture(autouse=True)
    def secretive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(holders._Home, "is_cwd_of", lambda home, pid: None)

    @pytest.fixture
    def elsewhere(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
        """The only server of this host, which works in another directory than the one that is asked for."""
        with server_in(lab.server) as process:
            monkeypatch.setattr(holders, "_processes", lambda: iter([process.pid]))
            yield process.pid

    def test_is_in_doubt_and_named(self, lab: Lab, elsewhere: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(holders, "_configured", lambda words: ())
        assert found(lab.data) == (elsewhere, False)
        assert str(holder(lab.data)).startswith(f"process {elsewhere} (")

    def test_works_here_by_its_command_line(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        for words in ([f"--datadir={lab.data}"], ["--datadir", str(lab.data)], ["-h", str(lab.data)]):
            with server_in(lab.server, *words) as process:
                monkeypatch.setattr(holders, "_processes", lambda pid=process.pid: iter([pid]))
                assert found(lab.data) == (process.pid, True)
                assert holder(lab.server) is None

    def test_works_here_by_its_option_file(
        self, lab: Lab, elsewhere: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(holders, "_configured", lambda words: (str(lab.data),))
        assert found(lab.data) == (elsewhere, True)

    def test_has_its_locks_elsewhere(self, lab: Lab, elsewhere: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(holders, "_configured", lambda words: (str(lab.server),))
        monkeypatch.setattr(
            holders, "_lock_in", lambda folder: elsewhere if folder == str(lab.server) else None
        )
        assert holder(lab.data) is None

    def test_has_no_lock_on_the_data_that_is_here(
        self, lab: Lab, elsewhere: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(holders, "_configured", lambda words: ())
        (lab.data / "ibdata1").touch()
        assert holder(lab.data) is None

    def test_has_not_mounted_what_is_here(
        self, lab: Lab, elsewhere: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As one in a container: whatever its command line says means something else there."""
        monkeypatch.setattr(holders, "_words", lambda pid: ["mariadbd", f"--datadir={lab.data}"])
        ours, mounts = os.getpid(), holders._mounts
        theirs = (("0:99", "/", "/"), ("8:1", "/volumes/one", "/var/lib/mysql"))
        monkeypatch.setattr(holders, "_mounts", lambda pid: mounts(ours) if pid == ours else theirs)
        assert holder(lab.data) is None

    def test_of_another_user_cannot_write_here(
        self, lab: Lab, elsewhere: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(holders, "_configured", lambda words: ())
        monkeypatch.setattr(holders, "_owner", lambda pid: 4242)
        assert holder(lab.data) is None


class TestMounts:
    MOUNTS = (("8:1", "/", "/"), ("8:2", "/", "/srv"), ("8:1", "/var/lib/other", "/srv/db"))

    @pytest.mark.parametrize(
        ("path", "place"),
        [
            ("/var/lib/mysql", ("8:1", "/var/lib/mysql")),
            ("/srv/x", ("8:2", "/x")),
            ("/srv/db/one", ("8:1", "/var/lib/other/one")),
            ("/srv/dbx", ("8:2", "/dbx")),
        ],
    )
    def test_what_a_path_means(self, path: str, place: tuple[str, str]) -> None:
        assert holders._place(path, self.MOUNTS) == place

    def test_of_this_process_are_known(self) -> None:
        assert holders._place("/", holders._mounts(os.getpid())) is not None


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Holder(7, "mariadbd", "mariadb.service"), "type: systemctl stop mariadb.service"),
        (Holder(7, "mariadbd", "docker-1.scope"), "type: kill 7"),
        (Holder(0), "stop what runs it"),
    ],
)
def test_how_to_stop_it_is_told(told: Holder, words: str) -> None:
    assert told.how_to_stop == words


def test_no_secret_of_a_command_line_is_told(lab: Lab) -> None:
    with server_in(lab.data, "--defaults-file=/etc/x.cnf", "--file-key-management-filekey=s3cret"):
        told = str(holder(lab.data))
    assert "--defaults-file=/etc/x.cnf" in told
    assert "s3cret" not in told


def test_our_own_locks_stay(lab: Lab) -> None:
    """Looking at a file's locks does not give back those that another process has."""
    (lab.data / "ibdata1").touch()
    with locking(lab.data / "ibdata1") as pid:
        holder(lab.data)
        assert found(lab.data) == (pid, True)
        with (lab.data / "ibdata1").open("r+") as file, pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
