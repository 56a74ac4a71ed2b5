"""Processes joined by pipes: what passes is what arrives, and whoever fails is named, the cause first."""

import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.files import file_state
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.storage.pipeline import Log, Member, pack, unpack
from tests.support.able import traced
from tests.support.engine_lab import CHECKOUT

SAY = (
    "import os, sys; write = sys.stdout.buffer.write; say = lambda line: os.write(2, line.encode() + b'\\n');"
)
COPY = SAY + "[write(piece) for piece in iter(lambda: sys.stdin.buffer.read(65536), b'')];"
MEGABYTE = "write(b'x' * 1000000);"
DONE = "say('[00] 2026-11-23 03:00:00 completed OK!');"


def children() -> set[str]:
    """Return this process's children, those that nobody has reaped too."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


class Bench:
    """Runs pipes of small Python programs and keeps what they said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = Output(folder / "output.log")
        self.lines: list[str] = []
        self.passed: list[int] = []
        self.started: list[int] = []
        self.lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        self.log = Log(self.output, self.lines.append)

    def member(self, name: str, code: str, **more: bool) -> Member:
        return Member(name, [sys.executable, "-ISc", code], **more)

    def tool(self, code: str) -> Member:
        return self.member("the backup tool", SAY + code, is_tool=True)

    def pack(self, *members: Member) -> tuple[int, str, int]:
        stored, passed = self.folder / "stored", self.passed.append
        state, counted = pack(members, stored, self.log, self.lock, self.started.append, passed)
        assert state == file_state(stored)
        assert sum(self.passed) == counted
        return state.size, state.sha256, counted

    def unpack(self, *members: Member) -> str:
        return unpack(members, self.folder / "source", self.log, self.started.append, self.lock)

    def failure(self, run: Callable[[], object]) -> str:
        """Return why a pipe failed; nothing of it may be left running or open."""
        gc.collect()  # Other tests' descriptors.
        before = (len(os.listdir("/proc/self/fd")), children())
        with pytest.raises(JobFailed) as caught:
            run()
        assert (len(os.listdir("/proc/self/fd")), children()) == before
        assert not [thread for thread in threading.enumerate() if "_attend" in thread.name]
        return str(caught.value)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.output.finish()
    os.close(bench.lock)


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_001])
def test_what_the_tool_says_is_what_is_stored_and_counted(bench: Bench, size: int) -> None:
    stored, sha256, counted = bench.pack(
        bench.tool(f"write(b'y' * {size});" + DONE), bench.member("cat", COPY)
    )
    assert (stored, counted, len(bench.started)) == (size, size, 1)
    assert sha256 == hashlib.sha256(b"y" * size).hexdigest()
    assert bench.lines == ["[00] 2026-11-23 03:00:00 completed OK!"]


def test_a_pipe_of_three_stores_what_the_last_one_says(bench: Bench) -> None:
    shorten = SAY + "write(b'%d' % len(sys.stdin.buffer.read()))"
    stored, sha256, counted = bench.pack(
        bench.tool(MEGABYTE + DONE), bench.member("cat", COPY), bench.member("count", shorten)
    )
    assert (stored, counted) == (7, 1_000_000)
    assert sha256 == hashlib.sha256(b"1000000").hexdigest()


@pytest.mark.parametrize("size", [0, 1, 5_000_001])
def test_a_file_is_sent_whole_and_checksummed_on_the_way(bench: Bench, size: int) -> None:
    (bench.folder / "source").write_bytes(b"z" * size)
    end = bench.folder / "end"
    keep = f"open({str(end)!r}, 'wb').write(sys.stdin.buffer.read());"
    keep += f"open({str(bench.folder / 'pid')!r}, 'w').write(str(os.getpid()))"
    found = bench.unpack(bench.member("cat", COPY), bench.member("keep", SAY + keep))
    assert found == hashlib.sha256(b"z" * size).hexdigest()
    assert end.read_bytes() == b"z" * size
    assert [int(pid) for pid in (bench.folder / "pid").read_text().split()] == bench.started


KILL = "os.kill(os.getpid(), 9)"
FLUSH = "sys.stdout.flush();"
LATE = COPY + FLUSH + "say('late'); sys.exit(1)"
FAILURES = {
    "the tool fails": (
        "say('Error: no such thing'); sys.exit(1)",
        COPY,
        COPY,
        "the backup tool failed with exit code 1: Error: no such thing",
    ),
    "the tool is killed": (MEGABYTE + FLUSH + KILL, COPY, COPY, "the backup tool was ended by signal 9"),
    "the tool does not say that it succeeded": (
        MEGABYTE,
        COPY,
        COPY,
        "the backup tool failed with exit code 0: ",
    ),
    "the packer is killed": (
        MEGABYTE * 9 + DONE,
        SAY + "sys.stdin.buffer.read(10);" + KILL,
        COPY,
        "cat was ended by signal 9",
    ),
    "the packer fails": (
        MEGABYTE * 9 + DONE,
        SAY + "say('bad level'); sys.exit(3)",
        COPY,
        "cat failed with exit code 3: bad level",
    ),
    "the packer says nothing": (
        MEGABYTE + DONE,
        SAY + "sys.exit(3)",
        COPY,
        "cat failed with exit code 3: it did not say why",
    ),
    "the last one is killed": (MEGABYTE * 9 + DONE, COPY, SAY + KILL, "age was ended by signal 9"),
    "the last one does not read and says that all is well": (
        MEGABYTE * 9 + DONE,
        COPY,
        SAY + "sys.exit(0)",
        "cat failed with exit code 1: BrokenPipeError: [Errno 32] Broken pipe",
    ),
    "the packer does not read and says that all is well": (
        "__import__('time').sleep(1); write(b'x');" + DONE,
        SAY + "sys.exit(0)",
        COPY,
        "cat did not read all that the backup tool wrote",
    ),
    "the last one fails after all": (MEGABYTE + DONE, COPY, LATE, "age failed with exit code 1: late"),
}


@pytest.mark.parametrize("fault", FAILURES)
def test_whoever_fails_is_named_first(bench: Bench, fault: str) -> None:
    first, second, third, words = FAILURES[fault]
    members = (bench.tool(first), bench.member("cat", second), bench.member("age", third))
    found = bench.failure(lambda: bench.pack(*members))
    assert found.startswith(words)


def test_one_that_waits_for_ever_is_ended_when_another_fails(bench: Bench) -> None:
    found = bench.failure(
        lambda: bench.pack(bench.tool("__import__('time').sleep(3000)"), bench.member("cat", SAY + KILL))
    )
    assert found == "cat was ended by signal 9"


def test_a_member_that_blocks_signals_is_ended_all_the_same(bench: Bench) -> None:
    """The backup tool blocks all but SIGINT and SIGKILL."""
    deaf = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64)); __import__('time').sleep(3000)"
    assert "cat was ended by signal 9" in bench.failure(
        lambda: bench.pack(bench.tool(deaf), bench.member("cat", SAY + KILL))
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_on_the_way_back_too(bench: Bench, place: int) -> None:
    (bench.folder / "source").write_bytes(b"z" * 9_000_000)
    codes = [COPY, COPY, COPY]
    codes[place] = SAY + KILL
    members = [
        bench.member(name, code) for name, code in zip(("age", "zstd", "mbstream"), codes, strict=True)
    ]
    found = bench.failure(lambda: bench.unpack(*members))
    assert found.startswith(f"{members[place].name} was ended by signal 9")


def test_a_program_that_is_not_there_fails_and_leaves_nothing(bench: Bench) -> None:
    gc.collect()  # Other tests' descriptors.
    before = (len(os.listdir("/proc/self/fd")), children())
    with pytest.raises(FileNotFoundError):
        bench.pack(bench.tool("__import__('time').sleep(3000)"), Member("gone", ["/nowhere/gone"]))
    assert (len(os.listdir("/proc/self/fd")), children()) == before


def test_a_full_disk_is_named_with_the_file(bench: Bench, mount: Callable[[Path, int], Path]) -> None:
    bench.folder = mount(bench.folder / "small", 64)
    with pytest.raises(OSError, match="No space left on device") as caught:
        bench.pack(bench.tool(MEGABYTE + DONE), bench.member("cat", COPY))
    assert caught.value.filename == str(bench.folder / "stored")


_PACK = """
import sys
from pathlib import Path
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.storage.pipeline import Log, Member, pack
members = [Member(name, [sys.executable, "-ISc", code]) for name, code in (("a", "print(1)"), ("b", "print(2)"))]
try:
    pack(members, Path("stored"), Log(Output(Path("output.log")), print), 0)
except OSError as error:
    print(error)
"""


def test_a_disk_that_loses_what_was_written_is_named_with_the_file(tmp_path: Path) -> None:
    """Bytes are taken before they are on the disk; that they never came there is told when the file is synced."""
    strace = traced("-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")
    done = subprocess.run(
        [*strace, sys.executable, "-c", _PACK],
        cwd=tmp_path, env={"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[Errno 5] Input/output error: 'stored'\n"


def test_each_member_holds_the_lock_and_dies_with_its_parent(bench: Bench) -> None:
    """Whoever sees the lock free knows that nothing writes any more."""
    look = f"write(os.readlink('/proc/self/fd/{bench.lock}').encode()); sys.stdin.buffer.read()"
    bench.pack(bench.tool(DONE), bench.member("look", SAY + look))
    assert (bench.folder / "stored").read_text() == str(bench.folder / "lock")


def test_what_others_say_is_in_the_log_under_their_name(bench: Bench) -> None:
    bench.pack(bench.tool(DONE), bench.member("zstd", COPY + "say('a warning')"))
    assert "zstd: a warning\n" in bench.output.tail()
    assert bench.lines == ["[00] 2026-11-23 03:00:00 completed OK!"]


def test_a_link_is_not_followed(bench: Bench) -> None:
    (bench.folder / "source").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        bench.unpack(bench.member("cat", COPY))


def test_memory_does_not_grow_with_what_passes(bench: Bench) -> None:
    """200 MB pass through this process, which keeps a megabyte of it."""
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    bench.pack(bench.tool("[write(b'x' * 1000000) for _ in range(200)];" + DONE), bench.member("cat", COPY))
    grown = (int(Path("/proc/self/statm").read_text().split()[1]) - resident) * os.sysconf("SC_PAGE_SIZE")
    assert grown < 20_000_000
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
