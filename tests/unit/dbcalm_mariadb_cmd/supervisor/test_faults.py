"""Killed before every single file operation, and out of space at every size: whole, or as if it had never begun."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.builder.storage_format import Storing
from dbcalm_mariadb_cmd.jobs.order import Job, RestoreJob, write_order
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import read_files, read_manifest, require_unchanged
from dbcalm_mariadb_cmd.supervisor import control as control_module
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from tests.support.engine_lab import CHECKOUT, Lab, contents, wait_until

pytestmark = pytest.mark.slow

KILLED = Path(__file__).parents[4] / "tests/support/engine_killed.py"


def ends(lab: Lab, job: Job) -> list[object]:
    events = Journal(lab.jobs / "journal").all()
    return [
        event["status"] for event in events if (event["event"], event.get("job_id")) == ("ended", job.job_id)
    ]


def accept(lab: Lab, job: Job) -> None:
    """Do what the service does before it starts the runner."""
    write_order(job)
    planned = lab.plan(job)
    Journal(lab.jobs / "journal").append(
        "accepted", job_id=job.job_id, answer=planned.answer, **planned.event
    )


def killed_at(lab: Lab, job: Job, number: int) -> bool:
    """Run a job whose runner kills itself at this operation, and let the service's next life settle it; return False
    if the runner came to its end before."""
    accept(lab, job)
    with lab.locked() as lock:
        command = [
            sys.executable,
            "-S",
            str(KILLED),
            str(lab.places.job(job.job_id)),
            str(lock),
            str(lab.root),
            str(number),
        ]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        died = subprocess.run(command, pass_fds=(lock,), env=environment, check=False).returncode
    assert died in (0, -9)
    wait_until(lab.is_free, "the tool's end")
    JobControl(lab.jobs, lab.backups).recover(list)
    return died == -9


@pytest.mark.parametrize(("kind", "step"), [("full", 1), ("incremental", 2), ("stream", 2)])
def test_a_backup_killed_at_any_operation_is_whole_or_not_there(lab: Lab, kind: str, step: int) -> None:
    lab.back_up("base")
    number, outcomes = 0, []
    going = True
    while going:
        number += step
        storing = Storing("zstd" if kind == "stream" else "folder")
        job = lab.backup_job(f"b{number}", "base" if kind == "incremental" else None, storing)
        going = killed_at(lab, job, number)
        folder = lab.backups / job.id
        assert ends(lab, job) == ["success" if folder.exists() else "failed"], number
        assert not list((lab.backups / ".work").iterdir()), number
        if folder.exists():
            made = read_manifest(folder)
            require_unchanged(folder, read_files(folder, made))
        outcomes.append(folder.exists())
    assert outcomes == sorted(outcomes)  # From one operation on it is whole, and never before.
    assert {True, False} == set(outcomes)
    assert outcomes[:-1].count(True) * step >= 2  # Killed after the rename too.


@pytest.mark.parametrize(
    ("target", "chain", "step"), [("database", ("full",), 1), ("folder", ("full", "inc"), 4)]
)
def test_a_restore_killed_at_any_operation_is_whole_or_not_there(
    lab: Lab, target: str, chain: tuple[str, ...], step: int
) -> None:
    lab.back_up("full")
    lab.fill({"shop/orders.ibd": "4"})
    lab.back_up("inc", "full")
    originals = contents(lab.backups)
    lab.bring_back(lab.restore_job(chain))
    expected = contents(lab.data)
    number, outcomes = 0, []
    going = True
    while going:
        number += step
        job = lab.restore_job(chain, target)
        place = lab.root / f"target-{number}"
        if target == "database":
            place.mkdir()
        job = RestoreJob(**{**vars(job), "target_path": str(place)})
        going = killed_at(lab, job, number)
        restored = place.exists() and bool(list(place.iterdir()))
        assert ends(lab, job) == ["success" if restored else "failed"], number
        if restored:
            ours = ("xtrabackup_checkpoints", "xtrabackup_binlog_info", "backup-my.cnf")
            assert {name: data for name, data in contents(place).items() if name not in ours} == expected, (
                number
            )
        assert not list(lab.root.glob(".target-*"))
        outcomes.append(restored)
        shutil.rmtree(place, ignore_errors=True)
    assert contents(lab.backups) == originals
    assert outcomes == sorted(outcomes)
    assert {True, False} == set(outcomes)
    assert outcomes[:-1].count(True) * step >= 4


def run_here(lab: Lab, job: Job) -> None:
    """Run a job in this process."""
    accept(lab, job)
    lab.run_here(job)


def mounted(lab: Lab, mount: Callable[[Path, int], Path], folder: Path, kib: int) -> None:
    """Put a file system of so many KiB under a folder of the installation, with what is in it."""
    kept = lab.root / "kept"
    shutil.move(folder, kept)
    mount(folder, kib)
    shutil.copytree(kept, folder, dirs_exist_ok=True)


@pytest.mark.parametrize("pages", range(8, 28, 2))
def test_a_backup_on_a_disk_of_any_size_is_whole_or_not_there(
    lab: Lab, mount: Callable[[Path, int], Path], pages: int
) -> None:
    mounted(lab, mount, lab.backups, 4 * pages)
    job = lab.backup_job("full")
    run_here(lab, job)
    (end,) = [event for event in Journal(lab.jobs / "journal").all() if event["event"] == "ended"]
    if (lab.backups / "full").exists():
        assert end["status"] == "success"
        made = read_manifest(lab.backups / "full")
        require_unchanged(lab.backups / "full", read_files(lab.backups / "full", made))
    else:
        assert (end["status"], end["reason"]) == ("failed", "error")
        assert "No space left on device" in str(end["error"])
    assert not list((lab.backups / ".work").iterdir())


@pytest.mark.parametrize("pages", range(6, 34, 3))
def test_a_restore_on_a_disk_of_any_size_is_whole_or_not_there(
    lab: Lab, mount: Callable[[Path, int], Path], pages: int
) -> None:
    chain = lab.chain()
    lab.bring_back(lab.restore_job(chain))
    expected = contents(lab.data)
    shutil.rmtree(lab.data)
    mount(lab.data, 4 * pages)
    job = lab.restore_job(chain)
    run_here(lab, job)
    (status,) = ends(lab, job)
    assert contents(lab.data) == (expected if status == "success" else {})


FILL_THE_DISK = """
path = HERE / "jobs/journal"
room = -path.stat().st_size % 4096 + 4096  # The journal ends where a page of the disk ends.
with path.open("a") as journal:
    journal.write('{"event":"note","text":"' + "x" * (room - 27) + '"}\\n')
with open(HERE / "jobs/filler", "wb", 0) as filler:
    filler.write(b"x" * (1 << 20))  # The kernel takes as much as there is room for.
os.kill(os.getppid(), 9)
__import__("time").sleep(3000)
"""


def test_an_end_that_does_not_fit_on_the_disk_is_written_as_soon_as_it_does(
    lab: Lab,
    mount: Callable[[Path, int], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    threads = threading.active_count()
    monkeypatch.setattr(control_module, "_RETRY_SECONDS", 0.05)
    mounted(lab, mount, lab.jobs, 128)
    control = JobControl(lab.jobs, lab.backups)
    lab.at("copied", FILL_THE_DISK)
    job = lab.backup_job("full")
    lab.accept(control, job)
    told = ""

    def is_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "cannot settle the last job" in told

    wait_until(is_told, "the log")
    assert ends(lab, job) == []
    (lab.jobs / "filler").unlink()
    assert lab.end_of(job.job_id)["reason"] == "interrupted"
    wait_until(lambda: threading.active_count() == threads, "the watcher's end")
