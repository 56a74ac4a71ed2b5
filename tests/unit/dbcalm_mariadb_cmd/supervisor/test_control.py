"""Jobs as real processes: one at a time, told once, and never open for ever."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_cmd.process import Answer
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.order import BackupJob, Job, RestoreJob, open_lock, write_order
from dbcalm_mariadb_cmd.store.journal import Event, Journal
from dbcalm_mariadb_cmd.store.manifest import read_manifest
from dbcalm_mariadb_cmd.supervisor import control as control_module
from dbcalm_mariadb_cmd.supervisor.control import JobControl, Plan
from tests.support.engine_lab import Lab, contents, wait_until
from tests.support.patience import FOR_EVER

pytestmark = pytest.mark.slow


@pytest.fixture
def control(lab: Lab) -> JobControl:
    return JobControl(lab.jobs, lab.backups)


def restarted(lab: Lab) -> JobControl:
    """Return the control of the service's next life, recovered."""
    control = JobControl(lab.jobs, lab.backups)
    control.recover(list)
    return control


def events_of(lab: Lab, job_id: str) -> list[Event]:
    return [event for event in Journal(lab.jobs / "journal").all() if event.get("job_id") == job_id]


def told(lab: Lab, job_id: str) -> list[object]:
    return [event["event"] for event in events_of(lab, job_id)]


def hold(lab: Lab, moment: str = "begin") -> Path:
    """Let the tool wait at this moment until the returned file is there."""
    go = lab.root / "go"
    tell = "(HERE / 'waiting').write_text(str(os.getppid()))"
    lab.at(moment, f"{tell}\nwhile not Path({str(go)!r}).exists(): __import__('time').sleep(0.01)")
    return go


def runner_of(lab: Lab) -> int:
    """Return the process id of the runner whose tool waits, 0 before it does."""
    waiting = lab.root / "waiting"
    return int(waiting.read_text() or 0) if waiting.exists() else 0


def settled(lab: Lab, control: JobControl, job: Job) -> Event:
    """Wait for a job's end; make sure that it is the only one, and that nothing half-made is left."""
    end = lab.end_of(job.job_id)
    wait_until(lambda: (control.history.catch_up(), control.history.open is None)[1], "the settling")
    assert told(lab, job.job_id).count("ended") == 1
    assert not list((lab.backups / ".work").iterdir())
    return end


class TestAccept:
    def test_a_job_is_done_and_told_in_order(self, lab: Lab, control: JobControl) -> None:
        lab.at("begin", "(HERE / 'runner').write_text(f'{os.getppid()} {os.getsid(0)}')")
        job = lab.backup_job("full")
        assert lab.accept(control, job) == lab.plan(job).answer
        end = settled(lab, control, job)
        assert told(lab, job.job_id)[0] == "accepted"
        events = {event["event"]: event for event in events_of(lab, job.job_id)}
        accepted, started = events["accepted"], events["started"]
        assert accepted["command"] == (
            f"{lab.tool} --defaults-file={lab.credentials} --defaults-group-suffix=-dbcalm --backup "
            f"--target-dir={lab.backups}/x --log-copy-interval=100"
        )
        pid = started["pid"]
        assert (lab.root / "runner").read_text() == f"{pid} {pid}"  # In a session of its own.
        assert (end["status"], end["reason"], end["return_code"], end["error"]) == ("success", None, 0, None)
        assert end["backup"] == json.loads(json.dumps(read_manifest(lab.backups / "full").facts()))
        assert str(end["output"]).endswith("completed OK!\n")
        assert str(accepted["at"]) < str(started["at"])
        assert str(accepted["at"]) < str(end["at"])

    def test_a_job_that_fails_says_why(self, lab: Lab, control: JobControl) -> None:
        lab.at("copied", "say('Error: no luck today'); sys.exit(1)")
        job = lab.backup_job("full")
        lab.accept(control, job)
        end = settled(lab, control, job)
        assert (end["status"], end["reason"], end["return_code"]) == ("failed", "error", 1)
        assert end["error"] == "the backup tool failed with exit code 1: Error: no luck today"
        assert "Error: no luck today" in str(end["output"])
        assert "backup" not in end

    def test_a_restore_is_done(self, lab: Lab, control: JobControl) -> None:
        job = lab.restore_job(lab.chain())
        lab.accept(control, job)
        assert settled(lab, control, job)["status"] == "success"
        assert (lab.data / "later/x.ibd").read_text() == "x"
        assert control.history.restored_seq == job.seq

    def test_a_known_job_gets_the_same_answer_and_is_done_once(self, lab: Lab, control: JobControl) -> None:
        go = hold(lab)
        job = lab.backup_job("full")
        answer = lab.accept(control, job)
        assert lab.accept(control, job) == answer  # It runs: the answer was lost.
        assert lab.accept(restarted(lab), job) == answer
        go.touch()
        settled(lab, control, job)
        assert lab.accept(control, job) == answer  # It is done.
        assert lab.accept(restarted(lab), job) == answer
        assert sorted(map(str, told(lab, job.job_id))) == ["accepted", "ended", "started"]

    def test_a_job_folder_of_this_id_is_not_used_again(self, lab: Lab, control: JobControl) -> None:
        job = lab.backup_job("full")
        write_order(job)
        with pytest.raises(Refused, match=f"job {job.job_id} was done before") as refused:
            lab.accept(control, job)
        assert refused.value.code == 409
        assert lab.is_free()

    def test_what_the_plan_refuses_leaves_nothing(self, lab: Lab, control: JobControl) -> None:
        def plan() -> Plan:
            raise Refused(503, "server is not running")

        before = contents(lab.jobs)
        with pytest.raises(Refused, match="server is not running"):
            control.accept("0" * 32, plan)
        assert {**contents(lab.jobs), "lock": b""} == {**before, "lock": b""}
        assert lab.is_free()

    def test_leaves_no_descriptor_and_no_thread(self, lab: Lab, control: JobControl) -> None:
        before = (len(os.listdir("/proc/self/fd")), threading.active_count())
        for number in range(4):
            job = lab.backup_job(f"b{number}")
            lab.accept(control, job)
            settled(lab, control, job)
        wait_until(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) == before)


class TestOneAtATime:
    def test_the_second_is_refused_and_told_which_runs(self, lab: Lab, control: JobControl) -> None:
        go = hold(lab)
        first, second = lab.backup_job("a"), lab.backup_job("b")
        lab.accept(control, first)
        for another in (control, restarted(lab)):
            with pytest.raises(Refused) as refused:
                lab.accept(another, second)
            assert refused.value.code == 409
            assert str(refused.value) == f"job {first.job_id} is running (backup); wait for its end"
            assert refused.value.data == {"job_id": first.job_id}
        go.touch()
        settled(lab, control, first)
        lab.accept(control, second)
        assert settled(lab, control, second)["status"] == "success"

    def test_of_many_at_once_exactly_one_is_taken(self, lab: Lab, control: JobControl) -> None:
        go = hold(lab)
        jobs = [lab.backup_job(f"b{number}") for number in range(8)]
        codes: list[int] = []
        together = threading.Barrier(len(jobs))

        def ask(job: BackupJob) -> None:
            together.wait()
            try:
                codes.append(int(str(lab.accept(control, job)["code"])))
            except Refused as refused:
                codes.append(refused.code)

        threads = [threading.Thread(target=ask, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [202] + [409] * 7
        go.touch()
        (taken,) = [job for job in jobs if told(lab, job.job_id)]
        assert settled(lab, control, taken)["status"] == "success"

    def test_one_job_asked_for_by_many_at_once_is_done_once(self, lab: Lab, control: JobControl) -> None:
        job = lab.backup_job("full")
        answers: list[Answer] = []

        def plan() -> Plan:
            time.sleep(0.1)
            return lab.plan(job)

        def ask() -> None:
            answers.append(control.accept(job.job_id, plan))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [lab.plan(job).answer] * 8
        settled(lab, control, job)
        assert sorted(map(str, told(lab, job.job_id))) == ["accepted", "ended", "started"]

    def test_a_lock_that_no_job_holds_is_waited_for(self, lab: Lab, control: JobControl) -> None:
        job = lab.backup_job("full")
        lock = open_lock(lab.jobs)
        control_module.fcntl.flock(lock, control_module.fcntl.LOCK_EX)
        threading.Timer(0.1, os.close, (lock,)).start()
        lab.accept(control, job)
        settled(lab, control, job)

    def test_a_lock_that_stays_is_not_waited_for_ever(
        self, lab: Lab, control: JobControl, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(control_module, "_GRACE_SECONDS", 0.05)
        with lab.locked(), pytest.raises(Refused) as refused:
            lab.accept(control, lab.backup_job("full"))
        assert refused.value.code == 409


KILL_RUNNER = "os.kill(os.getppid(), 9); __import__('time').sleep(3000)"


class TestDeath:
    @pytest.mark.parametrize("moment", ["begin", "copied", "end"])
    def test_of_the_runner_in_a_backup(self, lab: Lab, control: JobControl, moment: str) -> None:
        lab.at(moment, KILL_RUNNER)
        job = lab.backup_job("full")
        lab.accept(control, job)
        end = settled(lab, control, job)
        assert (end["status"], end["reason"], end["return_code"]) == ("failed", "interrupted", None)
        assert not (lab.backups / "full").exists()

    @pytest.mark.parametrize("moment", ["prepare", "end"])
    @pytest.mark.parametrize("target", ["database", "folder"])
    def test_of_the_runner_in_a_restore(
        self, lab: Lab, control: JobControl, moment: str, target: str
    ) -> None:
        job = lab.restore_job(lab.chain(), target)
        before = contents(lab.backups)
        lab.at(moment, KILL_RUNNER)
        lab.accept(control, job)
        end = settled(lab, control, job)
        assert (end["status"], end["reason"]) == ("failed", "interrupted")
        assert list(lab.data.iterdir()) == []
        assert contents(lab.backups) == before

    def test_of_the_tool(self, lab: Lab, control: JobControl) -> None:
        lab.at("copied", "os.kill(os.getpid(), 9)")
        job = lab.backup_job("full")
        lab.accept(control, job)
        end = settled(lab, control, job)
        assert (end["status"], end["reason"], end["return_code"]) == ("failed", "error", -9)

    def test_of_the_service_does_not_touch_its_job(self, lab: Lab) -> None:
        go = hold(lab)
        job = lab.backup_job("full")
        pid = os.fork()
        if pid == 0:
            lab.accept(JobControl(lab.jobs, lab.backups), job)
            os._exit(0)
        os.waitpid(pid, 0)
        wait_until(lambda: runner_of(lab), "the tool's start")
        control = restarted(lab)
        assert "ended" not in told(lab, job.job_id)
        go.touch()
        assert settled(lab, control, job)["status"] == "success"

    def test_of_service_and_runner_is_settled_at_the_next_start(self, lab: Lab) -> None:
        hold(lab, "copied")
        job = lab.backup_job("full")
        pid = os.fork()
        if pid == 0:
            lab.accept(JobControl(lab.jobs, lab.backups), job)
            os._exit(0)
        os.waitpid(pid, 0)
        wait_until(lambda: runner_of(lab), "the tool's start")
        os.kill(runner_of(lab), 9)
        wait_until(lab.is_free, "the tool's end")
        assert "ended" not in told(lab, job.job_id)
        control = restarted(lab)
        end = settled(lab, control, job)
        assert (end["status"], end["reason"]) == ("failed", "interrupted")

    def test_of_the_service_before_it_started_the_runner(self, lab: Lab, control: JobControl) -> None:
        job = accepted_only(lab, lab.backup_job("full"))
        assert settled(lab, restarted(lab), job)["reason"] == "interrupted"

    def test_after_the_backup_had_got_its_name_is_success(self, lab: Lab, control: JobControl) -> None:
        job = accepted_only(lab, lab.backup_job("full"))
        made = finish(lab, job)
        end = settled(lab, restarted(lab), job)
        assert (end["status"], end["error"], end["backup"]) == ("success", None, made)

    def test_after_a_restore_was_in_place_is_success(self, lab: Lab, control: JobControl) -> None:
        job = lab.restore_job(lab.chain())
        lab.bring_back(job)
        accepted_only(lab, job)
        assert settled(lab, restarted(lab), job)["status"] == "success"
        assert (lab.data / "ibdata1").exists()


def accepted_only(lab: Lab, job: Job) -> Job:
    """Leave a job as a service does that is killed before it starts the runner."""
    if not lab.places.job(job.job_id).exists():
        write_order(job)
    planned = lab.plan(job)
    Journal(lab.jobs / "journal").append(
        "accepted", job_id=job.job_id, answer=planned.answer, **planned.event
    )
    return job


def finish(lab: Lab, job: Job) -> object:
    """Do a backup's work as a runner does that is killed before it can tell; return its manifest's facts."""
    assert isinstance(job, BackupJob)
    from dbcalm_mariadb_cmd.backup import take as backup
    from tests.support.engine_lab import output

    with lab.locked() as lock, output(lab, job) as log:
        return json.loads(json.dumps(backup.make(job, log, lock).facts()))


class TestOddities:
    @pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{")])
    def test_an_order_that_a_power_cut_took_does_not_stop_the_service(
        self, lab: Lab, control: JobControl, damage: Callable[[Path], object]
    ) -> None:
        job = accepted_only(lab, lab.backup_job("full"))
        damage(lab.places.job(job.job_id) / "job.json")
        control = restarted(lab)
        end = settled(lab, control, job)
        assert (end["status"], end["reason"]) == ("failed", "interrupted")
        another = lab.backup_job("another")
        lab.accept(control, another)
        assert settled(lab, control, another)["status"] == "success"

    def test_a_runner_that_cannot_be_started_is_no_open_job(
        self, lab: Lab, control: JobControl, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        job = lab.backup_job("full")
        with pytest.raises(FileNotFoundError):
            lab.accept(control, job)
        end = settled(lab, control, job)
        assert end["status"] == "failed"

    def test_waiting_ends_when_a_job_does(self, lab: Lab, control: JobControl) -> None:
        job = lab.backup_job("full")
        lab.accept(control, job)
        while "ended" not in told(lab, job.job_id):
            control.wait_for_change(FOR_EVER)
        settled(lab, control, job)

    def test_old_logs_are_forgotten(self, lab: Lab, control: JobControl) -> None:
        for number in range(1005):
            folder = lab.jobs / "jobs" / f"{number:032x}"
            folder.mkdir()
            (folder / "job.json").touch()
            os.utime(folder, (number, number))
        job = lab.backup_job("full")
        lab.accept(control, job)
        settled(lab, control, job)
        left = sorted(path.name for path in (lab.jobs / "jobs").iterdir())
        assert len(left) == 1000
        assert job.job_id in left
        assert f"{5:032x}" not in left
        assert f"{6:032x}" in left

    def test_an_order_comes_back(self, lab: Lab) -> None:
        for job in (lab.backup_job("full", "base"), lab.restore_job(("a", "b"), "folder")):
            write_order(job)
            assert control_module.read_order(lab.places.job(job.job_id)) == job
        assert isinstance(job, RestoreJob)
