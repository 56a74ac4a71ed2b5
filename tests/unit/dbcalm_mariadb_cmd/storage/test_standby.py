"""The warm copy: whose it is, whether it is as it was, who makes it, and when it has to go."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.order import WarmJob, read_order, write_order
from dbcalm_mariadb_cmd.preflight import checks as preflight
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.storage import standby
from dbcalm_mariadb_cmd.store.manifest import Manifest, read_manifest
from dbcalm_mariadb_cmd.supervisor.plans import Planner
from dbcalm_mariadb_cmd.supervisor.standby_manager import Warmer
from tests.support.engine_lab import Lab, contents, wait_until
from tests.support.engine_tiny import Shelf

CHAIN = ("full", "inc1", "inc2")


@pytest.fixture
def chain(lab: Lab) -> list[Manifest]:
    lab.back_up("full")
    for name, base in (("inc1", "full"), ("inc2", "inc1")):
        lab.fill({"shop/orders.ibd": name})
        lab.back_up(name, base)
    return [read_manifest(lab.backups / name) for name in CHAIN]


def warming(lab: Lab, *links: str) -> WarmJob:
    return WarmJob(
        job_id="warm",
        places=lab.places,
        restore_id="warm",
        seq=0,
        chain=links,
        target="folder",
        target_path=str(lab.data),
    )


def make(lab: Lab, *links: str) -> int:
    """Make the warm copy of these; return how many of them it had before."""
    job = warming(lab, *links)
    folder = lab.places.job("warm")
    folder.mkdir(exist_ok=True)
    log = Output(folder / "output.log")
    done = standby.begin(job)
    restore.make_whole(job, log, os.open("/dev/null", os.O_RDONLY), done=done)
    standby.finish(job)
    log.finish()
    return done


def test_its_order_is_read_as_it_was_written(lab: Lab) -> None:
    job = warming(lab, "full", "inc1")
    write_order(job)
    assert read_order(lab.places.job("warm")) == job
    assert job.working != Path(lab.data, standby.WARM)


def test_it_goes_on_where_it_ended(lab: Lab, chain: list[Manifest]) -> None:
    before = contents(lab.backups)
    assert standby.applied(lab.data, chain) == 0
    for count in (1, 2, 3):
        assert make(lab, *CHAIN[:count]) == count - 1
        assert [standby.applied(lab.data, chain[:length]) for length in (1, 2, 3)] == [
            count if length >= count else 0 for length in (1, 2, 3)
        ]
        assert standby.is_ready(lab.data, chain[:count])
        assert standby.has(lab.data, chain[count - 1])
        assert not standby.has(lab.data, replace(chain[count - 1], files_sha256="0"))
    assert contents(lab.backups) == before
    assert make(lab, "full") == 0, "what has more than is wanted is made anew"


@pytest.mark.parametrize("number", range(3))
def test_backups_that_are_not_those_that_it_was_made_of(lab: Lab, chain: list[Manifest], number: int) -> None:
    make(lab, *CHAIN)
    for changed in (replace(chain[number], files_sha256="0"), replace(chain[number], id="other")):
        assert standby.applied(lab.data, [*chain[:number], changed, *chain[number + 1 :]]) == 0


def _append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


def _same_size_and_mtime(file: Path) -> None:
    status = file.stat()
    file.write_bytes(b"x" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _to_a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


TOUCHES: list[Callable[[Path], object]] = [
    _append,
    _same_size_and_mtime,
    _to_a_link,
    Path.unlink,
    lambda file: (file.parent / "new.ibd").touch(),
    lambda file: (file.parent / "folder").mkdir(),
    lambda file: file.rename(file.with_name("other.ibd")),
]


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_file_that_is_not_as_it_was(
    lab: Lab, chain: list[Manifest], touch: Callable[[Path], object]
) -> None:
    make(lab, *CHAIN)
    touch(lab.data / standby.WARM / "data" / "shop" / "orders.ibd")
    assert not standby.is_ready(lab.data, chain)
    job = lab.restore_job(CHAIN, "database")
    assert not standby.take(job)
    assert standby.folders(lab.data) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"chain": 1}', "\0"])
def test_facts_that_cannot_be_read(lab: Lab, chain: list[Manifest], text: str) -> None:
    make(lab, *CHAIN)
    (lab.data / standby.WARM / "dbcalm-warm.json").write_text(text)
    assert standby.read_facts(lab.data) is None
    assert not standby.is_ready(lab.data, chain)


def test_one_in_the_middle_is_begun_anew(lab: Lab, chain: list[Manifest]) -> None:
    make(lab, "full")
    job = warming(lab, *CHAIN)
    assert standby.begin(job) == 1
    assert standby.is_being_made(lab.data)
    assert not standby.is_ready(lab.data, chain[:1])
    assert standby.begin(job) == 0
    assert standby.folders(lab.data) == []


_HOLDER = """
import os, subprocess, sys, time
from dbcalm_mariadb_cmd.storage import standby
standby.note_group(int(sys.argv[1]))
child = subprocess.Popen(["sleep", "3000"], pass_fds=(int(sys.argv[1]),))
print(child.pid, flush=True)
time.sleep(3000 if sys.argv[2] == "stays" else 0)
os._exit(0)
"""


@contextmanager
def maker(lab: Lab, how: str) -> Iterator[int]:
    """Run a process that holds the lock with a child, and yield the child's id; the process itself stays or not."""
    with standby.making(lab.jobs) as lock:
        assert lock is not None
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(lock), how],
            pass_fds=(lock,),
            start_new_session=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    with process:
        assert process.stdout
        yield int(process.stdout.readline())


@pytest.mark.parametrize("how", ["stays", "leaves"])
def test_whoever_makes_it_is_ended_with_all_that_it_started(lab: Lab, how: str) -> None:
    with maker(lab, how) as child:
        with standby.making(lab.jobs) as lock:
            assert lock is None
        with standby.alone(lab.jobs):
            wait_until(lambda: not _runs(child))
    with standby.making(lab.jobs) as lock:
        assert lock is not None
    assert (lab.jobs / "warm.lock").read_bytes() == b""


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nobody_is_ended_where_nobody_makes_it(lab: Lab) -> None:
    with subprocess.Popen(["sleep", "3000"], start_new_session=True) as bystander:
        (lab.jobs / "warm.lock").write_text(str(bystander.pid))  # Left by one that has ended since.
        with standby.alone(lab.jobs):
            pass
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("removes", [True, False])
def test_it_is_not_taken_while_it_is_removed(lab: Lab, chain: list[Manifest], removes: bool) -> None:
    """Whoever takes it waits for whoever has begun to take it away, and then looks."""
    make(lab, *CHAIN)
    job = lab.restore_job(CHAIN, "database")
    with ThreadPoolExecutor() as pool:
        with standby.alone(lab.jobs):
            taking = pool.submit(standby.take, job)
            time.sleep(0.2)
            assert not taking.done()
            if removes:
                standby.remove(lab.data)
        assert taking.result() == (not removes)
    assert job.working.exists() == (not removes)


def warmer(shelf: Shelf, **changes: object) -> Warmer:
    settings = replace(shelf.settings, warm_restore=True, **changes)  # type: ignore[arg-type]  # whatever a test changes
    return Warmer(settings, shelf.control, Planner(settings, shelf.lab.restores, shelf.control.history))


def settled(lab: Lab, keeper: Warmer) -> None:
    """Wait until nobody makes it, and let the service notice."""

    def is_free() -> bool:
        with standby.making(lab.jobs) as lock:
            return lock is not None

    wait_until(is_free)
    time.sleep(0.1)  # The lock is free a moment before its process is gone.
    keeper.look()


def test_the_service_has_it_made_and_takes_it_away(lab: Lab, chain: list[Manifest]) -> None:
    shelf = Shelf(lab)
    keeper = warmer(shelf)
    assert keeper.told() == {"backup_id": None, "is_being_made": False, "problem": None}
    keeper.look()
    wait_until(lambda: standby.is_ready(lab.data, chain))
    assert keeper.told() == {"backup_id": "inc2", "is_being_made": False, "problem": None}
    settled(lab, keeper)
    off = Warmer(shelf.settings, shelf.control, Planner(shelf.settings, lab.restores, shelf.control.history))
    assert off.told() is None
    off.look()
    assert standby.folders(lab.data) == []
    time.sleep(0.1)
    keeper.look()
    assert standby.folders(lab.data) == [], (
        "whoever took it away had a reason: it is made again for the next backup"
    )


def test_what_failed_is_told_and_tried_again_for_a_newer_backup(lab: Lab, chain: list[Manifest]) -> None:
    shelf = Shelf(lab)
    stored = lab.backups / "inc2" / "shop" / "orders.ibd.delta"
    sound = stored.read_bytes()
    _same_size_and_mtime(stored)
    keeper = warmer(shelf)
    keeper.look()
    wait_until(lambda: (keeper.look(), keeper.told() or {})[1]["problem"])
    told = keeper.told()
    assert told is not None
    assert str(told["problem"]).startswith("backup inc2 is damaged: the checksum of ")
    assert standby.folders(lab.data) == []
    stored.write_bytes(sound)
    keeper.look()
    assert not standby.is_being_made(lab.data)
    lab.fill({"shop/orders.ibd": "more"})
    lab.back_up("inc3", "inc2")
    shelf.start()
    keeper = warmer(shelf)
    keeper.look()
    wait_until(lambda: (keeper.told() or {})["backup_id"] == "inc3")
    settled(lab, keeper)


def test_it_leaves_the_database_room(
    lab: Lab, chain: list[Manifest], mount: Callable[[Path, int], Path]
) -> None:
    small = mount(lab.root / "small", 1000)
    with pytest.raises(Refused, match="^disk full: the warm copy needs about "):
        preflight.ready_for_warm(replace(lab.settings, data_dir=small), chain[-1])
    keeper = warmer(Shelf(lab), data_dir=small)
    keeper.look()
    assert "disk full" in str((keeper.told() or {})["problem"])
    (small / standby.WARM).mkdir()
    keeper.look()
    assert (small / standby.WARM).exists()
    (small / "growing").write_bytes(b"x" * 980_000)
    keeper.look()
    assert not (small / standby.WARM).exists()
    assert (keeper.told() or {})["problem"] == "the database's disk is nearly full"
    (small / "growing").unlink()
    keeper.look()
    assert "disk full" in str((keeper.told() or {})["problem"]), "with room it is tried again"


def test_a_mysql_has_none(lab: Lab, chain: list[Manifest]) -> None:
    with pytest.raises(Refused, match="^warm_restore is for MariaDB only$"):
        preflight.ready_for_warm(replace(lab.settings, db_type="mysql"), chain[-1])


def test_a_restore_needs_no_space_for_what_is_warm(lab: Lab, chain: list[Manifest]) -> None:
    make(lab, *CHAIN)
    job = lab.restore_job(CHAIN, "database")
    lab.bring_back(job)
    assert (lab.data / "shop" / "orders.ibd").read_text() == "inc2"
    assert not [path for path in lab.data.iterdir() if path.name.startswith("#sql")]
    assert "the warm copy is taken" in (lab.places.job(job.job_id) / "output.log").read_text()
