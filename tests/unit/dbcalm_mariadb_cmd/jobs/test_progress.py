"""Progress: of the whole job, never back, never done before the job is."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm_mariadb_cmd.jobs import progress as progress_module
from dbcalm_mariadb_cmd.jobs.progress import Progress
from tests.support.engine_lab import wait_until

G = 10**9
"""So much that the fractions of a second for a job's start are nothing beside it."""


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock)
    yield clock
    monkeypatch.undo()


def told(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "progress.json").read_text())
    return state


def test_bytes_percent_rate_and_time_left(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 1000 * G)
    progress.phase("copying", 1000 * G, 1000 * G)
    assert told(tmp_path) == {
        "phase": "copying",
        "bytes_done": 0,
        "bytes_total": 1000 * G,
        "percent": 0,
        "bytes_per_second": None,
        "seconds_left": None,
    }
    for _ in range(5):
        clock.time += 1
        progress.add(50 * G)
    assert told(tmp_path) == {
        "phase": "copying",
        "bytes_done": 250 * G,
        "bytes_total": 1000 * G,
        "percent": 25,
        "bytes_per_second": 50 * G,
        "seconds_left": 15,
    }


def test_rate_and_time_left_go_by_the_last_ten_seconds(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 10_000 * G)
    progress.phase("copying", 10_000 * G, 10_000 * G)
    for count in [500] * 10 + [100] * 11:
        clock.time += 1
        progress.add(count * G)
    state = told(tmp_path)
    assert (state["bytes_per_second"], state["seconds_left"]) == (100 * G, (10_000 - 6100) // 100)


def test_a_job_that_stands_still_has_no_time_left_to_tell(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 1000)
    progress.phase("copying", 1000, 1000)
    clock.time += 1
    progress.add(1)
    clock.time += 60
    progress.add(0)
    clock.time += 5
    progress.add(0)
    assert (told(tmp_path)["bytes_per_second"], told(tmp_path)["seconds_left"]) == (0, None)


def test_each_phase_has_its_share(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 100 * G, work=200 * G)
    progress.phase("copying", 150 * G, 100 * G)
    clock.time += 1
    progress.add(50 * G)
    assert told(tmp_path)["percent"] == 37
    progress.phase("preparing", 40 * G)
    assert told(tmp_path)["percent"] == 75
    progress.phase("syncing")
    assert told(tmp_path)["percent"] == 95


@pytest.mark.parametrize("grown", [1, 2, 10])
def test_more_than_was_expected_is_not_the_end(tmp_path: Path, clock: Clock, grown: int) -> None:
    """The server's data grows while it is copied."""
    progress = Progress(tmp_path, 100)
    progress.phase("copying", 100, 100)
    seen = []
    for _ in range(100 * grown):
        clock.time += 1
        progress.add(1)
        seen.append(told(tmp_path)["percent"])
    progress.phase("syncing")
    seen.append(told(tmp_path)["percent"])
    assert seen == sorted(seen)
    assert seen[-1] == 99
    assert told(tmp_path)["bytes_done"] == 100


def test_seconds_weigh_as_many_bytes_as_go_by_in_them(tmp_path: Path, clock: Clock) -> None:
    """A job of 10 s: 2 until the first byte, 6 of bytes, 2 after the last; and the start of any job's process."""
    progress = Progress(tmp_path, 6 * G, seconds=4.0)
    progress.phase("copying", 6 * G, 6 * G, seconds=2.0, after=2.0)
    seen = []

    def second(count: int) -> None:
        clock.time += 1
        progress.add(count)
        seen.append(told(tmp_path)["percent"])

    for count in (0, 0, G, G, G, G, G, G, 0, 0):
        second(count)
    assert seen[:2] == [11, 20]  # At the guess of a GB a second, which is what it is.
    assert seen[4:] == pytest.approx([50, 60, 70, 80, 90, 100], abs=3)


def test_what_was_put_off_is_not_done_until_it_is(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 100 * G)
    progress.phase("copying", 80 * G, 80 * G)
    progress.put_off(60 * G)
    clock.time += 1
    progress.add(20 * G)
    progress.phase("preparing", 20 * G, 20 * G)
    assert (told(tmp_path)["percent"], told(tmp_path)["bytes_done"]) == (20, 20 * G)
    progress.add_beside(30 * G)
    clock.time += 1
    progress.add(20 * G)
    assert (told(tmp_path)["percent"], told(tmp_path)["bytes_done"]) == (70, 70 * G)
    assert (told(tmp_path)["bytes_per_second"], told(tmp_path)["seconds_left"]) == (35 * G, 1)


def test_more_put_off_than_was_left_fails_no_job(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 100 * G)
    progress.phase("copying", 80 * G, 80 * G)
    progress.add(20 * G)
    clock.time += 1
    progress.add(0)
    progress.put_off(80 * G)
    clock.time += 1
    progress.add(0)
    assert told(tmp_path)["percent"] <= 99


def test_the_time_left_counts_what_comes_after_the_bytes(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 10 * G, seconds=7.0)
    progress.phase("copying", 10 * G, 10 * G, after=7.0)
    for _ in range(4):
        clock.time += 1
        progress.add(G)
    assert told(tmp_path)["seconds_left"] == 13
    for _ in range(6):
        clock.time += 1
        progress.add(G)
    clock.time += 3
    progress.add(0)
    assert told(tmp_path)["seconds_left"] == 4


def test_what_ended_early_counts_as_done_and_never_goes_back(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path, 200 * G, work=200 * G)
    progress.phase("copying a", 100 * G, 100 * G)
    clock.time += 1
    progress.add(20 * G)
    progress.phase("copying b", 100 * G, 100 * G)
    assert told(tmp_path)["percent"] == 50
    clock.time += 1
    progress.add(1 * G)
    assert told(tmp_path)["percent"] == 50


def test_the_next_process_of_a_job_goes_on_from_there(tmp_path: Path, clock: Clock) -> None:
    first = Progress(tmp_path, 100 * G)
    first.phase("copying", 100 * G, 100 * G)
    clock.time += 1
    first.add(97 * G)
    second = Progress(tmp_path, 0)
    second.phase("starting the database")
    state = told(tmp_path)
    assert (state["phase"], state["percent"], state["bytes_total"]) == ("starting the database", 97, 0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"percent": "1"}', '{"percent": null}', "{}"])
def test_an_unreadable_past_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    Progress(tmp_path, 0).phase("copying")
    assert told(tmp_path)["percent"] is None


def test_what_a_process_reads_is_counted_while_it_runs(tmp_path: Path) -> None:
    """By the kernel, all its threads together, with nothing said by the process."""
    data = tmp_path / "data"
    data.write_bytes(bytes(3_000_000))
    source = (
        "import sys, threading\n"
        "def read():\n"
        f"    with open({str(data)!r}, 'rb', buffering=0) as file: file.read()\n"
        "threads = [threading.Thread(target=read) for _ in range(2)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "print(flush=True); sys.stdin.read()"
    )
    progress = Progress(tmp_path, 8_000_000)
    progress.phase("copying", 8_000_000, 8_000_000)
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        progress.follow(reader.pid, "rchar")
        assert reader.stdout
        reader.stdout.readline()
        with progress.looking():
            wait_until(lambda: told(tmp_path)["bytes_done"] >= 6_000_000, "the count")
        assert 6_000_000 <= told(tmp_path)["bytes_done"] < 8_000_000
        reader.communicate(b"")
    with progress.looking():
        pass
    progress.phase("syncing")
    assert told(tmp_path)["bytes_done"] >= 6_000_000


def test_a_full_disk_does_not_fail_the_job(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "gone", 100)
    progress.phase("copying", 100, 100)
    progress.add(100)
