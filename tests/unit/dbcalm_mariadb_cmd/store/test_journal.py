"""The journal under what happens to files: torn lines, many writers, killed writers, a full disk."""

import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.store.journal import Journal
from tests.support.engine_lab import CHECKOUT, wait_until

APPENDER = """
import sys
from pathlib import Path
from dbcalm_mariadb_cmd.store.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    journal.append("note", writer=sys.argv[2], number=number, text="x" * 300)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def appender(path: Path, writer: str, count: int) -> subprocess.Popen[bytes]:
    """Start a process that appends so many events."""
    command = [sys.executable, "-S", "-c", APPENDER, str(path), writer, str(count)]
    return subprocess.Popen(command, cwd=CHECKOUT)


def numbers(journal: Journal) -> list[object]:
    return [event["number"] for event in journal.all() if event["event"] == "note"]


def test_events_come_back_in_order_with_their_time(path: Path) -> None:
    journal = Journal(path)
    journal.append("note", number=1, text="é\u2028\n\0")
    journal.append("note", number=2)
    first, second = [event for event in Journal(path).all() if event["event"] == "note"]
    assert (first["number"], first["text"], second["number"]) == (1, "é\u2028\n\0", 2)
    assert str(first["at"]) <= str(second["at"])
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_id_is_that_of_the_file(path: Path, tmp_path: Path) -> None:
    journal = Journal(path)
    assert Journal(path).id == journal.id
    assert Journal(tmp_path / "other").id != journal.id


def test_a_line_torn_at_any_byte_is_skipped_and_the_next_is_kept(path: Path) -> None:
    journal = Journal(path)
    journal.append("note", number=1)
    whole = path.read_bytes()
    journal.append("note", number=2)
    line = path.read_bytes()[len(whole) :]
    for cut in range(len(line)):
        path.write_bytes(whole + line[:cut])
        assert numbers(Journal(path)) == [1]
        Journal(path).append("note", number=3)
        assert numbers(Journal(path)) == [1, 3] if cut < len(line) - 1 else [1, 2, 3]
    path.write_bytes(
        whole + line[:-1]
    )  # Whole but for its newline: the next append closes it, and it counts.
    Journal(path).append("note", number=3)
    assert numbers(Journal(path)) == [1, 2, 3]


def test_a_reader_stops_before_a_torn_line_and_goes_on_after_it(path: Path) -> None:
    journal = Journal(path)
    journal.append("note", number=1)
    _, offset = journal.read(0)
    with path.open("ab") as file:
        file.write(b'{"event":"note","numb')
    assert journal.read(offset) == ([], offset)
    journal.append("note", number=2)
    events, following = journal.read(offset)
    assert [event["number"] for event in events] == [2]
    assert following == path.stat().st_size


@pytest.mark.parametrize("garbage", [b"\0" * 64, b"\xff\xfe", b"[1]", b'"text"', b"12", b"{" * 64])
def test_garbage_lines_are_skipped(path: Path, garbage: bytes) -> None:
    journal = Journal(path)
    with path.open("ab") as file:
        file.write(garbage)
    journal.append("note", number=1)
    assert numbers(journal) == [1]


def test_reading_goes_page_by_page_and_misses_nothing(path: Path) -> None:
    journal = Journal(path)
    with path.open("a") as file:  # Quicker than 4,000 synced appends.
        for number in range(4000):
            file.write(json.dumps({"event": "note", "number": number, "text": "x" * 500}) + "\n")
    pages, offset = 0, 0
    found: list[object] = []
    while True:
        events, following = journal.read(offset)
        if following == offset:
            break
        assert following - offset <= 1 << 19
        found += [event["number"] for event in events if event["event"] == "note"]
        pages, offset = pages + 1, following
    assert pages > 3
    assert found == numbers(journal) == list(range(4000))
    assert offset == journal.size()


def test_an_event_longer_than_a_page_does_not_stop_the_reader(path: Path) -> None:
    journal = Journal(path)
    journal.append("note", number=1, text="x" * 1_200_000)
    journal.append("note", number=2)
    assert numbers(journal) == [1, 2]
    with path.open("ab") as file:
        file.write(b"x" * 600_000)
    assert numbers(journal) == [1, 2]


def test_an_offset_beyond_the_end_begins_anew(path: Path) -> None:
    journal = Journal(path)
    journal.append("note", number=1)
    events, following = journal.read(path.stat().st_size + 1)
    assert [event["event"] for event in events] == ["journal", "note"]
    assert following == path.stat().st_size


def test_an_offset_inside_a_line_goes_on_with_the_next(path: Path) -> None:
    journal = Journal(path)
    journal.append("note", number=1)
    _, offset = journal.read(0)
    journal.append("note", number=2)
    events, _ = journal.read(offset - 5)
    assert [event["number"] for event in events] == [2]


def test_many_processes_append_at_once(path: Path) -> None:
    writers = [appender(path, str(number), 50) for number in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    events = list(Journal(path).all())
    assert [event["event"] for event in events].count("journal") == 1
    for writer in range(4):
        assert [event["number"] for event in events if event.get("writer") == str(writer)] == list(range(50))


def test_a_writer_waits_for_another(path: Path) -> None:
    """Without that, undoing an append for which there was no room could cut off somebody else's."""
    journal = Journal(path)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = appender(path, "them", 1)
        time.sleep(0.3)
        waits, written = writer.poll() is None, numbers(journal)
    assert writer.wait() == 0
    assert waits
    assert written == []
    assert numbers(journal) == [0]


def test_a_killed_writer_leaves_whole_lines(path: Path) -> None:
    Journal(path)
    chance = random.Random(7)
    for round_ in range(4):
        before = path.stat().st_size
        with appender(path, str(round_), 100_000) as writer:
            wait_until(lambda before=before: path.stat().st_size > before + chance.randrange(2000))
            os.kill(writer.pid, signal.SIGKILL)
        Journal(path).append("note", writer="us", number=round_)
    events = list(Journal(path).all())
    assert [event["number"] for event in events if event.get("writer") == "us"] == [0, 1, 2, 3]
    for round_ in range(4):
        written = [event["number"] for event in events if event.get("writer") == str(round_)]
        assert written == list(range(len(written)))
        assert written


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse to let this process's files grow beyond so many bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.mark.parametrize("room", [0, 1, 20, 100])
def test_an_append_that_does_not_fit_is_undone(path: Path, room: int) -> None:
    journal = Journal(path)
    journal.append("note", number=1)
    before = path.read_bytes()
    with files_of_at_most(len(before) + room), pytest.raises(OSError, match="disk is full|too large"):
        journal.append("note", number=2, text="x" * 200)
    assert path.read_bytes() == before
    journal.append("note", number=3)
    assert numbers(journal) == [1, 3]


def test_a_full_disk_leaves_it_readable(mount: Callable[[Path, int], Path], tmp_path: Path) -> None:
    path = mount(tmp_path / "disk", 64) / "journal"
    journal = Journal(path)
    written = 0
    with pytest.raises(OSError, match="disk is full|No space left"):
        while True:
            journal.append("note", number=written, text="x" * 700)
            written += 1
    assert written > 30
    assert numbers(Journal(path)) == list(range(written))
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("keep", [0, 1, 40])
def test_a_first_line_torn_by_a_power_cut_is_written_again(path: Path, keep: int) -> None:
    Journal(path)
    path.write_bytes(path.read_bytes()[:keep])
    journal = Journal(path)
    journal.append("note", number=1)
    assert numbers(journal) == [1]
    assert Journal(path).id == journal.id
