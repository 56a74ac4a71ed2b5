"""How far a restore over a server's data has come is written down; whoever finds it knows whether to go on. The whole
way is in tests/integration/test_replace.py, on a real server."""

import json

import pytest

from dbcalm_mariadb_cmd.adapter.server.facts import Pulse
from dbcalm_mariadb_cmd.builder.layout import REPLACED
from dbcalm_mariadb_cmd.jobs.order import (
    BringBackJob,
    CleanupJob,
    Job,
    ReplacingJob,
    RestoreJob,
    read_order,
    write_order,
)
from dbcalm_mariadb_cmd.restore import swap_job
from dbcalm_mariadb_cmd.restore.swap import FACTS
from dbcalm_mariadb_cmd.restore.swap_job import DONE, FAILED, MOVED, MOVING, RETURNED, RETURNING, STOPPING
from dbcalm_mariadb_cmd.supervisor import runner
from tests.support.engine_lab import Lab

JOB = "a" * 32
MIDDLE = [STOPPING, MOVING, MOVED, RETURNING, RETURNED]


def restore_job(lab: Lab, *, replaces: bool = True) -> RestoreJob:
    job = RestoreJob(
        job_id=JOB, places=lab.places, restore_id="r", seq=2, chain=("monday",), target="database",
        target_path=str(lab.data), replaces=replaces, was_running=True,
    )  # fmt: skip
    write_order(job)
    return job


def back_job(lab: Lab) -> BringBackJob:
    job = BringBackJob(JOB, lab.places, "brought-back", 3, "r", was_running=False)
    write_order(job)
    return job


def at(job: ReplacingJob, stage: str, lives: int = 1) -> None:
    (job.places.job(JOB) / "stage.json").write_text(json.dumps({"name": stage, "lives": lives}))


@pytest.mark.parametrize("make", [restore_job, back_job])
class TestWhatGoesOn:
    @pytest.mark.parametrize("stage", MIDDLE)
    def test_is_what_was_left_in_the_middle_as_often_as_it_has_lives(
        self, lab: Lab, make: type, stage: str
    ) -> None:
        job = make(lab)
        at(job, stage)
        assert [swap_job.goes_on(job) for _ in range(6)] == [True] * 4 + [False] * 2
        told = swap_job.stage_of(job)
        assert told is not None
        assert told.name == stage

    @pytest.mark.parametrize("stage", [DONE, FAILED])
    def test_is_nothing_that_has_come_to_its_end(self, lab: Lab, make: type, stage: str) -> None:
        job = make(lab)
        at(job, stage)
        assert swap_job.goes_on(job) is False
        assert swap_job.undo(job) is (stage == DONE)

    def test_is_nothing_that_has_not_touched_the_server(self, lab: Lab, make: type) -> None:
        job = make(lab)
        assert swap_job.goes_on(job) is False
        assert swap_job.undo(job) is False

    @pytest.mark.parametrize("stage", MIDDLE)
    def test_and_has_no_life_left_says_where_the_old_data_is(self, lab: Lab, make: type, stage: str) -> None:
        job = make(lab)
        at(job, stage, lives=5)
        end = runner.settle(job)
        assert end.reason == "interrupted"
        assert end.error is not None
        assert f"{REPLACED}{job.restore_id}" in end.error
        assert stage in end.error

    def test_is_read_as_it_was_written(self, lab: Lab, make: type) -> None:
        job = make(lab)
        assert read_order(lab.places.job(JOB)) == job
        assert swap_job.replaces(job)


def test_jobs_of_other_kinds_do_not_go_on(lab: Lab) -> None:
    others: list[Job] = [
        restore_job(lab, replaces=False),
        CleanupJob(JOB, lab.places, (), None, 1, 0.0),
    ]
    for job in others:
        at(others[0], MOVED)  # type: ignore[arg-type]
        assert not swap_job.goes_on(job)


def test_a_copy_that_was_not_put_in_place_is_removed(lab: Lab) -> None:
    job = restore_job(lab)
    job.data.mkdir(parents=True)
    (job.data / "ibdata1").write_text("new")
    (lab.data / "ibdata1").write_text("old")
    end = runner.settle(job)
    assert end.reason == "interrupted"
    assert [path.name for path in lab.data.iterdir()] == ["ibdata1"]
    assert (lab.data / "ibdata1").read_text() == "old"


def test_what_was_kept_before_stays_when_it_was_not_brought_back(lab: Lab) -> None:
    job = back_job(lab)
    job.data.mkdir()
    (job.data / FACTS).write_text("{}")
    (job.data / "ibdata1").write_text("kept")
    assert runner.settle(job).reason == "interrupted"
    assert (job.data / "ibdata1").read_text() == "kept"


@pytest.mark.parametrize(
    ("pulse", "problem"),
    [
        (Pulse(1, "/data", 100), None),
        (Pulse(1, "/data", 101), None),
        (Pulse(0, "", None), None),  # It does not let us in, and has its own reasons.
        (Pulse(1, "/data", None), None),
        (Pulse(1, "/data", 99), "the server that was started is at LSN 99, and the backup ends at 100"),
        (Pulse(1, "/other", 100), "the server that was started works in /other, and data_dir is /data"),
    ],
)
def test_a_server_is_the_right_one_or_it_is_said_why_not(pulse: Pulse, problem: str | None) -> None:
    assert swap_job._problem(pulse, "/data", 100) == problem
