"""Bringing a chain back: always from copies, whole or not at all."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.jobs.order import RestoreJob, write_order
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.store.manifest import Damaged
from dbcalm_mariadb_cmd.supervisor import runner
from tests.support.engine_lab import Lab, contents, output, server_in, wait_until

Tree = dict[str, bytes | None]


def of_the_server(folder: Path) -> Tree:
    """Return what is the server's own below a folder."""
    ours = ("xtrabackup_info", "xtrabackup_checkpoints", "xtrabackup_binlog_info", "backup-my.cnf", ".lsn")
    return {name: data for name, data in contents(folder).items() if name not in ours}


@pytest.fixture
def states(lab: Lab) -> dict[str, Tree]:
    """Make a chain; return what the server was at each link."""
    found: dict[str, Tree] = {}
    lab.back_up("full")
    found["full"] = of_the_server(lab.server)
    lab.fill(
        {"shop/orders.ibd": "1 2 3 4", "shop/new.ibd": "n", "xtrabackup_own/t.ibd": "a schema of this name"}
    )
    lab.back_up("inc1", "full")
    found["inc1"] = of_the_server(lab.server)
    lab.fill({"shop/orders.ibd": "5", "later/x.ibd": "x"})
    (lab.server / "mysql/user.ibd").unlink()
    lab.back_up("inc2", "inc1")
    found["inc2"] = of_the_server(lab.server)
    return found


CHAINS = [("full",), ("full", "inc1"), ("full", "inc1", "inc2")]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain[-1])
@pytest.mark.parametrize("target", ["database", "folder"])
def test_each_link_is_brought_back_as_it_was(
    lab: Lab, states: dict[str, Tree], chain: tuple[str, ...], target: str
) -> None:
    originals = contents(lab.backups)
    job = lab.restore_job(chain, target)
    lab.bring_back(job)
    assert of_the_server(Path(job.target_path)) == states[chain[-1]]
    assert not job.working.exists()
    if target == "folder":
        shutil.rmtree(job.target_path)
    assert contents(lab.backups) == originals


def test_a_second_restore_is_the_same_as_the_first(lab: Lab, states: dict[str, Tree]) -> None:
    """Preparing consumes its inputs: done on the originals, the second time tables would be missing."""
    found = []
    for _ in range(2):
        lab.bring_back(lab.restore_job(CHAINS[2]))
        found.append(contents(lab.data))
        shutil.rmtree(lab.data)
        lab.data.mkdir()
    assert found[0] == found[1]


def test_each_step_works_on_copies_and_in_order(lab: Lab, states: dict[str, Tree]) -> None:
    made = len(lab.calls())
    lab.bring_back(lab.restore_job(CHAINS[2]))
    copy = f"{lab.data}/#sql-dbcalm-restore"
    cnf = f"--defaults-file={copy}/data/backup-my.cnf"
    assert lab.calls()[made:] == [
        [cnf, "--prepare", f"--target-dir={copy}/data"],
        [cnf, "--prepare", f"--target-dir={copy}/data", f"--incremental-dir={copy}/increment-1"],
        [cnf, "--prepare", f"--target-dir={copy}/data", f"--incremental-dir={copy}/increment-2"],
    ]


def test_the_data_directory_gets_what_the_tools_own_copy_back_would_put_there(
    lab: Lab, states: dict[str, Tree]
) -> None:
    lab.bring_back(lab.restore_job(CHAINS[1]))
    assert (lab.data / "ib_logfile0").exists()  # Without its redo log the server would not start.
    assert (lab.data / "xtrabackup_info").exists()
    for name in ("backup-my.cnf", "xtrabackup_checkpoints", "xtrabackup_binlog_info", "dbcalm-manifest.json"):
        assert not (lab.data / name).exists()
    for path in lab.data.rglob("*"):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o660)


def attempt(lab: Lab, job: RestoreJob) -> runner.End:
    """Run a restore as the runner does, and clean up after it if it fails; return how it ended."""
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        try:
            restore.bring_back(job, log, lock)
        except (JobFailed, Damaged, OSError) as error:
            settled = runner.settle(job)
            return replace(settled, error=settled.error and str(error))
    return runner.End()


FAULTS = {
    "fails": ("prepare", "sys.exit(1)", "exit code 1"),
    "is killed": ("prepare", "os.kill(os.getpid(), 9)", "signal 9"),
    "fails at the last link": ("prepare", "if 'increment-2' in str(OPTIONS): sys.exit(1)", "exit code 1"),
    "prepares nothing": (
        "end",
        "if 'increment-2' in str(OPTIONS): write_checkpoints(TARGET, 'full-backuped', 0, 3000)",
        "full-backuped at LSN",
    ),
    "stops early": (
        "end",
        "if 'increment-2' in str(OPTIONS): write_checkpoints(TARGET, 'log-applied', 0, 1)",
        "log-applied at LSN 1, where inc2",
    ),
    "leaves no checkpoints": (
        "end",
        "if 'increment-2' in str(OPTIONS): (TARGET / 'xtrabackup_checkpoints').unlink()",
        "no checkpoints file",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["database", "folder"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_restore_that_fails_leaves_its_target_empty(
    lab: Lab, states: dict[str, Tree], fault: str, target: str
) -> None:
    moment, code, words = FAULTS[fault]
    originals = contents(lab.backups)
    lab.at(moment, code)
    end = attempt(lab, lab.restore_job(CHAINS[2], target))
    assert words in str(end.error)
    assert list(lab.data.iterdir()) == []
    assert contents(lab.backups) == originals


@pytest.mark.parametrize("name", ["shop/orders.ibd.delta", "ibdata1"])
def test_a_flipped_bit_in_a_link_is_found_while_it_is_copied(
    lab: Lab, states: dict[str, Tree], name: str
) -> None:
    path = lab.backups / ("inc1" if name.endswith("delta") else "full") / name
    before = path.stat()
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    end = attempt(lab, lab.restore_job(CHAINS[2]))
    assert f"is damaged: the checksum of {path} differs" in str(end.error)
    assert list(lab.data.iterdir()) == []


class TestWhereCopiesShareTheirBytes:
    """On XFS nothing is read before the tool prepares; what is amiss is found beside that."""

    @pytest.fixture
    def lab(self, xfs: Path) -> Lab:
        return Lab(xfs)

    def test_the_chain_is_brought_back_as_it_was(self, lab: Lab, states: dict[str, Tree]) -> None:
        originals = contents(lab.backups)
        lab.bring_back(lab.restore_job(CHAINS[2]))
        assert of_the_server(lab.data) == states["inc2"]
        assert contents(lab.backups) == originals

    @pytest.mark.parametrize("failing", [False, True], ids=["it can be prepared", "it cannot be prepared"])
    @pytest.mark.parametrize("name", ["inc1/shop/orders.ibd.delta", "full/ibdata1"])
    def test_a_flipped_bit_is_found_and_is_the_cause(
        self, lab: Lab, states: dict[str, Tree], name: str, failing: bool
    ) -> None:
        path = lab.backups / name
        before = path.stat()
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        if failing:
            lab.at("prepare", "if 'increment-1' in str(OPTIONS): fail('a page is corrupted')")
        end = attempt(lab, lab.restore_job(CHAINS[2]))
        assert f"is damaged: the checksum of {path} differs" in str(end.error)
        assert list(lab.data.iterdir()) == []

    def test_what_cannot_be_prepared_says_so_where_no_bit_is_flipped(
        self, lab: Lab, states: dict[str, Tree]
    ) -> None:
        lab.at("prepare", "fail('a page is corrupted')")
        end = attempt(lab, lab.restore_job(CHAINS[2]))
        assert "backup full cannot be prepared: " in str(end.error)
        assert list(lab.data.iterdir()) == []


def test_what_appears_in_the_data_directory_meanwhile_is_left_alone(
    lab: Lab, states: dict[str, Tree]
) -> None:
    lab.at("end", f"Path({str(lab.data / 'mysqld.pid')!r}).write_text('1')")
    end = attempt(lab, lab.restore_job(CHAINS[0]))
    assert str(end.error) == "data directory is not empty"
    assert contents(lab.data) == {"mysqld.pid": b"1"}


def test_a_server_that_was_started_meanwhile_stops_the_restore(lab: Lab, states: dict[str, Tree]) -> None:
    with server_in(lab.data):
        end = attempt(lab, lab.restore_job(CHAINS[0]))
    assert str(end.error).startswith("server is not stopped: process ")
    assert list(lab.data.iterdir()) == []


def interrupted(lab: Lab, moves: int) -> RestoreJob:
    """Return a restore into the data directory that was killed after so many moves, -1 for before the mark."""
    job = lab.restore_job(CHAINS[1])
    write_order(job)
    lab.at(
        "end", "if '--incremental-dir' in OPTIONS: (HERE / 'ready').touch(); __import__('time').sleep(3000)"
    )
    with lab.locked() as lock:
        pid = os.fork()
        if pid == 0:
            try:
                with output(lab, job) as log:
                    restore.bring_back(job, log, lock)
            finally:
                os._exit(1)
        wait_until((lab.root / "ready").exists, "the restore")
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    wait_until(lab.is_free, "the tool's end")
    if moves >= 0:
        data = job.working / "data"
        (job.working / "moving").touch()
        for path in sorted(data.iterdir(), key=lambda path: (path.name == "ibdata1", path.name))[:moves]:
            path.rename(lab.data / path.name)
    return job


def test_killed_before_the_mark_the_data_directory_is_empty_again(lab: Lab, states: dict[str, Tree]) -> None:
    job = interrupted(lab, -1)
    assert (lab.data / "#sql-dbcalm-restore/data/ibdata1").exists()
    end = runner.settle(job)
    assert end.reason == "interrupted"
    assert list(lab.data.iterdir()) == []
    assert runner.settle(job) == end


@pytest.mark.slow
@pytest.mark.parametrize("moves", [0, 1, 3, 100])
def test_killed_after_the_mark_the_restore_is_finished(lab: Lab, states: dict[str, Tree], moves: int) -> None:
    job = interrupted(lab, moves)
    assert runner.settle(job) == runner.End()
    assert of_the_server(lab.data) == states["inc1"]
    assert runner.settle(job) == runner.End()
    assert of_the_server(lab.data) == states["inc1"]


def test_what_a_server_made_in_a_half_moved_restore_gives_way(lab: Lab, states: dict[str, Tree]) -> None:
    job = interrupted(lab, 1)
    (lab.data / "ibdata1").write_text("a fresh one")
    assert runner.settle(job) == runner.End()
    assert of_the_server(lab.data) == states["inc1"]


def test_a_half_moved_restore_is_never_taken_away_from_under_a_server(
    lab: Lab, states: dict[str, Tree]
) -> None:
    job = interrupted(lab, 3)
    before = contents(lab.data)
    with server_in(lab.data):
        end = runner.settle(job)
        assert "a server runs on half of a restore" in str(end.error)
        assert contents(lab.data) == before


def test_a_restore_to_a_folder_that_was_in_place_is_done(lab: Lab, states: dict[str, Tree]) -> None:
    job = lab.restore_job(CHAINS[1], "folder")
    lab.bring_back(job)
    (lab.places.job(job.job_id) / "restored").unlink()  # Killed between the rename and this witness.
    job.working.mkdir()
    assert runner.settle(job) == runner.End()
    assert of_the_server(Path(job.target_path)) == states["inc1"]
    assert not job.working.exists()
