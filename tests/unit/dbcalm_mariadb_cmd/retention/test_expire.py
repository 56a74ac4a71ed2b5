"""Cleaning up as a job: planned, done by a real runner, told, and cut off anywhere."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from dbcalm_cmd.wire import encode
from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.command.requests import CleanupBackups, HoldBackup, UndeleteBackup
from dbcalm_mariadb_cmd.jobs.order import CleanupJob, read_order, write_order
from dbcalm_mariadb_cmd.store.journal import Event
from dbcalm_mariadb_cmd.supervisor.control import Plan
from dbcalm_mariadb_cmd.supervisor.plans import Planner
from tests.support.engine_lab import CHECKOUT, Lab, wait_until
from tests.support.engine_tiny import Shelf

pytestmark = pytest.mark.slow

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KILLED = Path(__file__).parents[4] / "tests/support/engine_killed.py"


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    shelf = Shelf(lab)
    shelf.clock.time = shelf.clock.time.now(shelf.clock.time.tzinfo)  # The runner has no other clock.
    (lab.jobs / "journal").unlink()
    shelf.start()
    return shelf


def plan(shelf: Shelf, *ids: str, schedule_id: int | None = None) -> Plan:
    shelf.control.history.catch_up()
    planner = Planner(shelf.settings, shelf.lab.restores, shelf.control.history)
    return planner.cleanup(CleanupBackups(uuid.uuid4().hex, ids, schedule_id))


def clean_up(shelf: Shelf, *ids: str) -> tuple[Plan, Event]:
    """Let a runner do what is planned; return the plan and the end."""
    planned = plan(shelf, *ids)
    assert shelf.control.accept(planned.job.job_id, lambda: planned) == planned.answer
    return planned, shelf.lab.end_of(planned.job.job_id)


class TestPlan:
    def test_says_what_will_be_deleted(self, shelf: Shelf) -> None:
        a, _ = shelf.chain("a"), shelf.chain("b", 1)
        planned = plan(shelf, *a, "gone", schedule_id=7)
        deleting = ["a2", "a1", "a0"]
        assert planned.answer == {
            "code": 202,
            "status": "accepted",
            "job_id": planned.job.job_id,
            "id": None,
            "deleting": deleting,
            "note": None,
        }
        assert planned.command == "delete a2, a1, a0"
        assert (planned.event["type"], planned.event["resource_id"]) == ("cleanup_backups", None)
        assert planned.event["args"] == {"schedule_id": 7, "ids": 4}
        assert planned.event["seq"] == 0
        assert isinstance(planned.job, CleanupJob)
        assert (planned.job.ids, planned.job.schedule_id) == (tuple(deleting), 7)

    def test_says_why_some_stay_and_does_not_go_on_for_ever(self, shelf: Shelf) -> None:
        names = [shelf.chain(name, 2) for name in "abcdef"]
        for ids in names[:5]:
            shelf.keeper.hold(HoldBackup(ids[0], "because", None))
        planned = plan(shelf, *(backup_id for ids in names for backup_id in ids))
        note = str(planned.answer["note"])
        assert planned.answer["deleting"] == ["f1", "f0"]
        assert note.startswith("not deleted: backup a0 is held for good (because), and a1 is of its chain; ")
        assert note.endswith("; and 2 more")
        assert planned.event["note"] == note

    @pytest.mark.parametrize("jump", [-2 * HOUR, 400 * DAY])
    def test_deletes_nothing_while_the_clock_is_in_doubt(self, shelf: Shelf, jump: timedelta) -> None:
        a, _ = shelf.chain("a"), shelf.chain("b", 1)
        shelf.clock.time += jump
        planned = plan(shelf, *a)
        assert (planned.answer["deleting"], planned.command) == ([], "delete nothing")
        assert str(planned.answer["note"]).startswith("nothing is deleted: the clock went ")
        shelf.keeper.purge()
        shelf.pass_time(50 * HOUR)
        assert plan(shelf, *a).answer["deleting"] == ["a2", "a1", "a0"]

    def test_an_order_comes_back(self, shelf: Shelf) -> None:
        a, _ = shelf.chain("a"), shelf.chain("b", 1)
        job = plan(shelf, *a).job
        write_order(job)
        assert read_order(shelf.lab.places.job(job.job_id)) == job

    def test_of_thousands_fits_into_a_frame(self, shelf: Shelf) -> None:
        long = "x" * 58
        shelf.add("full")
        shelf.facts["full"]["end_time"] = text_of(shelf.clock.time)
        ids = [f"{long}-{number}" for number in range(1500)]
        for backup_id in ids:
            shelf.seq += 1
            (shelf.lab.backups / backup_id).mkdir()
            for file in (shelf.lab.backups / "full").iterdir():
                os.link(file, shelf.lab.backups / backup_id / file.name)
        for number, backup_id in enumerate(ids):
            (shelf.lab.backups / backup_id / "dbcalm-manifest.json").unlink()
            shelf.lab.backups.joinpath(backup_id, "dbcalm-manifest.json").write_text(
                json.dumps({**shelf.facts["full"], "id": backup_id, "seq": number + 2})
            )
        planned = plan(shelf, *ids)
        assert len(encode(planned.answer)) > 90_000
        assert len(planned.command) <= 16_000


class TestJob:
    def test_deletes_and_tells(self, shelf: Shelf) -> None:
        a, _ = shelf.chain("a"), shelf.chain("b", 1)
        planned, end = clean_up(shelf, *a)
        assert (end["status"], end["reason"], end["error"]) == ("success", None, None)
        assert end["output"] == "deleted a2\ndeleted a1\ndeleted a0\n"
        assert shelf.here() == {"b0"}
        deleted = shelf.told("deleted")
        assert [event["backup_id"] for event in deleted] == ["a2", "a1", "a0"]
        assert {event["job_id"] for event in deleted} == {planned.job.job_id}
        assert sorted(str(event["trash"]) for event in deleted) == shelf.trash()
        (accepted,) = shelf.told("accepted")
        assert (accepted["command"], accepted["resource_id"]) == ("delete a2, a1, a0", None)
        for backup_id in ("a0", "a1", "a2"):
            shelf.keeper.undelete(UndeleteBackup(backup_id, None))
        assert shelf.here() == {"a0", "a1", "a2", "b0"}

    def test_of_nothing_is_a_job_too(self, shelf: Shelf) -> None:
        shelf.chain("a", 1)
        planned, end = clean_up(shelf, "a0", "gone")
        assert planned.answer["deleting"] == []
        assert (end["status"], end["output"]) == ("success", "")
        assert shelf.here() == {"a0"}

    def test_asks_once_more_at_each_turn(self, shelf: Shelf) -> None:
        """A hold waits for no job, so it may come between the plan and its execution."""
        a, _ = shelf.chain("a", 2), shelf.chain("b", 1)
        c = shelf.chain("c", 1)
        planned = plan(shelf, *a, *c)
        assert planned.answer["deleting"] == ["a1", "a0", "c0"]
        shelf.keeper.hold(HoldBackup("a1", "at the last moment", None))
        shelf.control.accept(planned.job.job_id, lambda: planned)
        end = shelf.lab.end_of(planned.job.job_id)
        said = "kept a1: backup a1 is held for good (at the last moment); release it first"
        assert (end["status"], end["output"]) == ("success", f"{said}\ndeleted c0\n")
        assert shelf.here() == {"a0", "a1", "b0"}

    def test_that_is_repeated_is_done_once(self, shelf: Shelf) -> None:
        a, _ = shelf.chain("a"), shelf.chain("b", 1)
        planned, _ = clean_up(shelf, *a)
        shelf.keeper.undelete(UndeleteBackup("a0", None))
        assert shelf.control.accept(planned.job.job_id, lambda: planned) == planned.answer
        assert "a0" in shelf.here()

    def test_that_cannot_go_on_fails_and_says_so(self, shelf: Shelf) -> None:
        a, _ = shelf.chain("a"), shelf.chain("b", 1)
        (shelf.lab.backups / ".trash").rmdir()
        (shelf.lab.backups / ".trash").write_text("in the way")
        _, end = clean_up(shelf, *a)
        assert (end["status"], end["reason"]) == ("failed", "error")
        assert "File exists" in str(end["error"])
        assert shelf.here() == {"a0", "a1", "a2", "b0"}


def killed_at(shelf: Shelf, planned: Plan, number: int) -> bool:
    """Run the job by a runner that kills itself at this operation; return False if it came to its end before."""
    write_order(planned.job)
    shelf.control.journal.append(
        "accepted", job_id=planned.job.job_id, answer=planned.answer, **planned.event
    )
    folder = shelf.lab.places.job(planned.job.job_id)
    with shelf.lab.locked() as lock:
        command = [
            sys.executable,
            "-S",
            str(KILLED),
            str(folder),
            str(lock),
            str(shelf.lab.root),
            str(number),
        ]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        died = subprocess.run(command, pass_fds=(lock,), env=environment, check=False).returncode
    assert died in (0, -9)
    wait_until(shelf.lab.is_free, "the runner's end")
    return died == -9


def test_a_runner_killed_at_any_operation_breaks_no_chain_and_nothing_is_left_untold(shelf: Shelf) -> None:
    number, going, outcomes = 0, True, []
    while going:
        number += 1
        for folder in (*shelf.lab.backups.glob("[a-z]*[0-9]"), *shelf.lab.backups.glob(".trash/*")):
            shutil.rmtree(folder)
        shelf.start()
        ids, _ = shelf.chain("a", 2), shelf.chain("b", 1)
        planned = plan(shelf, *ids)
        assert planned.answer["deleting"] == [ids[1], ids[0]]
        before = len(shelf.told("deleted"))
        going = killed_at(shelf, planned, number)
        shelf.start()
        left = [backup_id for backup_id in ids if backup_id in shelf.here()]
        assert left in ([], ids[:1], ids)
        told = {event["backup_id"] for event in shelf.told("deleted")[before:]}
        assert told == set(ids) - set(left)
        (end,) = [event for event in shelf.told("ended") if event["job_id"] == planned.job.job_id]
        assert (end["status"] == "success") == (not left)
        outcomes.append(len(left))
        assert number < 200, "the runner does not come to its end"
    assert set(outcomes) == {0, 1, 2}
    assert number > 20
