"""Cancelling: whatever a job does, it ends soon with the reason, and nothing of it is left; too late is said."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.builder.storage_format import Storing
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.cancel import Cancelled, was_asked
from dbcalm_mariadb_cmd.jobs.order import CleanupJob, Job, write_order
from dbcalm_mariadb_cmd.retention.expire import delete
from dbcalm_mariadb_cmd.store.journal import Event, Journal
from dbcalm_mariadb_cmd.supervisor import cancel, runner
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from tests.support.engine_lab import Lab, wait_until

pytestmark = pytest.mark.slow

WAITS = "(HERE / 'waiting').write_text(str(os.getppid())); __import__('time').sleep(3000)"
DEAF = f"__import__('signal').signal(2, __import__('signal').SIG_IGN); {WAITS}"


@pytest.fixture
def control(lab: Lab) -> JobControl:
    return JobControl(lab.jobs, lab.backups)


def runner_of(lab: Lab) -> int:
    waiting = lab.root / "waiting"
    wait_until(lambda: waiting.exists() and waiting.read_text(), "the tool")
    return int(waiting.read_text())


def cancelled(lab: Lab, control: JobControl, job: Job) -> Event:
    """Start a job, cancel it while its tool waits, and return its end."""
    lab.accept(control, job)
    runner_of(lab)
    control.cancel(job.job_id)
    end = lab.end_of(job.job_id)
    wait_until(lambda: (control.history.catch_up(), control.history.open is None)[1], "the settling")
    return end


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("tool", [WAITS, DEAF])
@pytest.mark.parametrize("moment", ["begin", "copied", "end"])
@pytest.mark.parametrize("form", ["folder", "zstd"])
def test_a_backup(lab: Lab, control: JobControl, form: str, moment: str, tool: str) -> None:
    lab.at(moment, tool)
    end = cancelled(lab, control, lab.backup_job("b", None, Storing(form)))
    assert (end["status"], end["reason"], end["error"]) == ("failed", "cancelled", "the job was cancelled")
    assert not list((lab.backups / ".work").iterdir())
    assert not (lab.backups / "b").exists()
    lab.at(moment, "")
    again = lab.backup_job("again", None, Storing(form))
    lab.accept(control, again)
    assert lab.end_of(again.job_id)["status"] == "success"


@pytest.mark.parametrize("tool", [WAITS, DEAF])
@pytest.mark.parametrize("target", ["database", "folder"])
def test_a_restore(lab: Lab, control: JobControl, target: str, tool: str) -> None:
    chain = lab.chain()
    lab.at("prepare", tool)
    end = cancelled(lab, control, lab.restore_job(chain, target))
    assert (end["status"], end["reason"]) == ("failed", "cancelled")
    assert not list(lab.data.iterdir())
    assert not lab.restores.exists() or not list(lab.restores.iterdir())
    lab.at("prepare", "")
    lab.bring_back(lab.restore_job(chain))
    assert (lab.data / "later/x.ibd").read_text() == "x"


def test_a_job_whose_runner_died_before_it_could_obey(lab: Lab, control: JobControl) -> None:
    lab.at("begin", WAITS)
    job = lab.backup_job("b")
    lab.accept(control, job)
    pid = runner_of(lab)
    os.kill(pid, signal.SIGSTOP)
    control.cancel(job.job_id)
    os.kill(pid, signal.SIGKILL)
    end = lab.end_of(job.job_id)
    assert (end["status"], end["reason"]) == ("failed", "cancelled")
    assert not list((lab.backups / ".work").iterdir())


def test_one_that_is_done_at_that_moment_has_succeeded(lab: Lab) -> None:
    job = lab.backup_job("b")
    write_order(job)
    cancel.ask(lab.places.job(job.job_id))
    lab.back_up("other")
    (lab.backups / "other").rename(lab.backups / "b")
    lab.rewrite("b", id="b", job_id=job.job_id)
    assert runner.settle(job).error is None


def test_what_is_not_running_is_not_cancelled(lab: Lab, control: JobControl) -> None:
    job = lab.backup_job("b")
    unknown = uuid.uuid4().hex
    assert refused(lambda: control.cancel(unknown)) == (404, f"there is no job {unknown}")
    lab.accept(control, job)
    lab.end_of(job.job_id)
    assert refused(lambda: control.cancel(job.job_id)) == (409, f"job {job.job_id} has ended")
    assert (lab.backups / "b").exists()


def test_asking_twice_is_asking_once(lab: Lab, control: JobControl) -> None:
    lab.at("begin", DEAF)
    job = lab.backup_job("b")
    lab.accept(control, job)
    runner_of(lab)
    control.cancel(job.job_id)
    control.cancel(job.job_id)
    assert lab.end_of(job.job_id)["reason"] == "cancelled"


def test_data_that_is_being_put_in_place_is_not_left_half_way(lab: Lab) -> None:
    lab.back_up("full")
    job = lab.restore_job(("full",))
    write_order(job)
    job.working.mkdir(parents=True)
    (job.working / "moving").touch()
    code, sentence = refused(lambda: cancel.ask(lab.places.job(job.job_id)))
    assert (code, "can only be finished" in sentence) == (409, True)
    assert not was_asked(job)


def test_one_that_came_too_late_does_not_reach_the_process(lab: Lab) -> None:
    """Asked for in time, but seen when the data had begun to be moved: nothing is raised, nothing is killed."""
    lab.back_up("full")
    job = lab.restore_job(("full",))
    write_order(job)
    cancel.ask(lab.places.job(job.job_id))
    job.working.mkdir(parents=True)
    (job.working / "moving").touch()
    with cancel.cancellable(job):
        time.sleep(0.5)


def test_a_cleanup_stops_between_two_deletions(lab: Lab) -> None:
    for name in ("a", "b", "c"):
        lab.back_up(name)
    job = CleanupJob(uuid.uuid4().hex, lab.places, ("a", "b"), None, 1, 0.0)
    write_order(job)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        cancel.ask(lab.places.job(job.job_id))

    with pytest.raises(Cancelled):
        delete(job, Journal(lab.jobs / "journal"), say)
    assert said == ["deleted a"]
    assert {path.name for path in lab.backups.iterdir() if path.is_dir()} >= {"b", "c"}


def test_the_runner_tells_of_a_cancelled_cleanup(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.back_up(name)
    job = CleanupJob(uuid.uuid4().hex, lab.places, ("a",), None, 1, 0.0)
    write_order(job)
    cancel.ask(lab.places.job(job.job_id))
    lab.run_here(job)
    end = lab.end_of(job.job_id)
    assert (end["status"], end["reason"]) == ("failed", "cancelled")
    assert (lab.backups / "a").exists()


def test_ctrl_c_is_what_it_was_before(lab: Lab, tmp_path: Path) -> None:
    job = lab.backup_job("b")
    write_order(job)
    before = signal.getsignal(signal.SIGINT)
    with cancel.cancellable(job):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
