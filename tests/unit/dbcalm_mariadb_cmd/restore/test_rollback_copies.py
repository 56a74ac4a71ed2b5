"""What restores have replaced, for how long it is kept; and how a job hears of the database."""

import json
import os
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dbcalm_cmd.process import Answer
from dbcalm_mariadb_cmd.builder.layout import REMOVING, REPLACED
from dbcalm_mariadb_cmd.command.requests import ReportDatabase
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.jobs.order import exclusive
from dbcalm_mariadb_cmd.restore import rollback_copies, server_control
from dbcalm_mariadb_cmd.restore.server_control import Switch
from dbcalm_mariadb_cmd.restore.swap import FACTS
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from tests.support.engine_lab import Lab, contents
from tests.support.engine_tiny import Clock, reports_of

JOB = "a" * 32
HOUR = timedelta(hours=1)


class Shelf:
    """A data directory with what was replaced, and a clock that is set by hand."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.clock = Clock()
        self.control = JobControl(lab.jobs, lab.backups, self.clock)
        self.settings: Settings = lab.settings

    def keep(self, name: str, **facts: object) -> Path:
        folder = self.lab.data / f"{REPLACED}{name}"
        folder.mkdir()
        told = {
            "id": name,
            "backup_id": "monday",
            "replaced_at": self.clock(),
            "job_id": JOB,
            "succeeded": True,
        }
        (folder / FACTS).write_text(json.dumps({**told, **facts}))
        (folder / "ibdata1").write_text("old")
        return folder

    def look(self, after: timedelta = timedelta(0)) -> list[str]:
        """Let time go by in steps of an hour, as a service sees it that lives; return what is kept then."""
        while after > timedelta(0):
            self.clock.time += min(after, HOUR)
            after -= HOUR
            self.control.journal.append("tick")
        self.control.history.catch_up()
        rollback_copies.purge(self.settings, self.control.history, self.control.locked)
        return [str(one["id"]) for one in rollback_copies.told(self.settings)]


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)


class TestWhatIsKept:
    def test_is_told_the_newest_first(self, shelf: Shelf) -> None:
        shelf.keep("one")
        shelf.clock.time += HOUR
        shelf.keep("two", backup_id=None)
        two, one = rollback_copies.told(shelf.settings)
        assert (one["id"], one["backup_id"], two["id"], two["backup_id"]) == ("one", "monday", "two", None)
        kept = datetime.fromisoformat(str(one["keep_until"])) - datetime.fromisoformat(
            str(one["replaced_at"])
        )
        assert kept == timedelta(hours=24)
        assert one["size"] > 3  # type: ignore[operator]

    def test_goes_after_its_time_and_not_before(self, shelf: Shelf) -> None:
        folder = shelf.keep("one")
        assert shelf.look(23 * HOUR) == ["one"]
        assert folder.is_dir()
        assert shelf.look(2 * HOUR) == []
        assert list(shelf.lab.data.iterdir()) == []

    def test_for_no_time_goes_at_the_next_look(self, shelf: Shelf) -> None:
        shelf.settings = replace(shelf.settings, keep_replaced=timedelta(0))
        shelf.keep("one")
        assert shelf.look() == []

    def test_stays_for_good_where_its_job_did_not_succeed(self, shelf: Shelf) -> None:
        folder = shelf.keep("one", succeeded=False)
        shelf.settings = replace(shelf.settings, keep_replaced=timedelta(0))
        assert shelf.look(100 * HOUR) == ["one"]
        [told] = rollback_copies.told(shelf.settings)
        assert told["keep_until"] is None
        assert contents(folder)["ibdata1"]

    def test_stays_while_a_job_runs(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dbcalm_mariadb_cmd.supervisor.control._GRACE_SECONDS", 0.05)
        shelf.keep("one")
        with exclusive(shelf.lab.jobs) as lock:
            assert lock is not None
            assert shelf.look(48 * HOUR) == ["one"]
        assert shelf.look() == []

    @pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-3)])
    def test_stays_while_the_clock_is_in_doubt(self, shelf: Shelf, jump: timedelta) -> None:
        shelf.control.journal.append("tick")
        shelf.keep("one")
        shelf.settings = replace(shelf.settings, keep_replaced=timedelta(0))
        shelf.clock.time += jump
        shelf.control.journal.append("tick")
        assert shelf.look() == ["one"]

    def test_that_is_being_removed_is_gone_at_the_next_look(self, shelf: Shelf) -> None:
        left = shelf.lab.data / f"{REMOVING}one"
        left.mkdir()
        (left / "ibdata1").write_text("half removed")
        assert shelf.look() == []
        assert not left.exists()

    @pytest.mark.parametrize(
        "facts",
        ["", "{}", "null", '{"id": "one"}', '{"id":"other","backup_id":null,"replaced_at":"2026-01-01","job_id":""}',
         '{"id":"one","backup_id":null,"replaced_at":"yesterday","job_id":""}',
         '{"id":"one","backup_id":null,"replaced_at":5,"job_id":"","succeeded":true}'],
    )  # fmt: skip
    def test_that_cannot_be_told_is_left_alone(self, shelf: Shelf, facts: str) -> None:
        folder = shelf.keep("one")
        (folder / FACTS).write_text(facts)
        shelf.settings = replace(shelf.settings, keep_replaced=timedelta(0))
        assert shelf.look(100 * HOUR) == []
        assert (folder / "ibdata1").exists()

    def test_is_nothing_where_the_data_directory_is_away(self, shelf: Shelf) -> None:
        shelf.lab.data.rmdir()
        assert shelf.look() == []

    def test_and_cannot_be_renamed_stops_nobody(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        shelf.settings = replace(shelf.settings, keep_replaced=timedelta(0))
        folder = shelf.keep("one")
        (shelf.lab.data / f"{REMOVING}one").write_text("in the way")
        assert shelf.look() in ([], ["one"])
        assert folder.exists()


def report(state: str, want: str, problem: str = "") -> ReportDatabase:
    return ReportDatabase(JOB, want, state, problem)


class TestSwitch:
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Journal:
        return Journal(tmp_path / "journal")

    @pytest.fixture
    def one(self, tmp_path: Path, journal: Journal) -> Switch:
        return Switch(tmp_path, JOB, journal)

    def wanted(self, journal: Journal) -> str:
        return str(list(journal.all())[-1]["want"])

    def test_says_in_the_journal_what_it_wants(self, one: Switch, journal: Journal) -> None:
        one.ask("stopped")
        [event] = [event for event in journal.all() if event["event"] == "wants"]
        assert (event["job_id"], event["database"]) == (JOB, "stopped")

    def test_is_met_by_a_report_of_this_want_alone(
        self, tmp_path: Path, one: Switch, journal: Journal
    ) -> None:
        one.ask("stopped")
        first = self.wanted(journal)
        assert one.is_met("stopped") is False
        server_control.report(tmp_path, report("pending", first))
        assert one.is_met("stopped") is False
        server_control.report(tmp_path, report("stopped", first))
        assert one.is_met("stopped") is True
        one.ask("running")
        for state in ("running", "failed"):
            server_control.report(tmp_path, report(state, first, "too late" if state == "failed" else ""))
            assert one.is_met("running") is False
        server_control.report(tmp_path, report("running", self.wanted(journal)))
        assert one.is_met("running") is True

    def test_fails_with_the_problem_that_was_reported(
        self, tmp_path: Path, one: Switch, journal: Journal
    ) -> None:
        one.ask("running")
        server_control.report(
            tmp_path, report("failed", self.wanted(journal), "mariadb.service did not start")
        )
        with pytest.raises(JobFailed, match="^mariadb.service did not start$"):
            one.is_met("running")

    def test_waits_for_whoever_passes_it_on_and_not_for_ever(
        self, tmp_path: Path, one: Switch, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [1000.0]
        monkeypatch.setattr(server_control.time, "monotonic", lambda: clock[0])
        one.ask("stopped")
        for _ in range(4):
            clock[0] += server_control.SILENT_SECONDS - 1
            server_control.report(tmp_path, report("pending", self.wanted(journal)))
            assert one.is_met("stopped") is False
        clock[0] += server_control.SILENT_SECONDS + 1
        with pytest.raises(JobFailed, match="see that dbcalm-api runs"):
            one.is_met("stopped")

    @pytest.mark.parametrize(
        ("state", "told", "words"),
        [
            ("stopped", "pending", "the database is not stopped"),
            ("running", "running", "the database does not answer, though its unit is running"),
        ],
    )
    def test_does_not_wait_for_ever_for_what_does_not_come(
        self, tmp_path: Path, one: Switch, journal: Journal, monkeypatch: pytest.MonkeyPatch, state: str, told: str,
        words: str,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(server_control, "REACHED_SECONDS", 0.1)
        one.ask(state)
        server_control.report(tmp_path, report(told, self.wanted(journal)))
        time.sleep(0.15)
        with pytest.raises(JobFailed, match=words):
            one.is_met(state)

    @pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"want": 1}', "\0" * 9])
    def test_takes_what_cannot_be_read_for_no_report(self, tmp_path: Path, one: Switch, text: str) -> None:
        one.ask("stopped")
        (tmp_path / "database.json").write_text(text)
        assert one.is_met("stopped") is False


def test_reports_that_come_at_once_are_all_taken(lab: Lab) -> None:
    control = JobControl(lab.jobs, lab.backups)
    desk = reports_of(lab.settings, control)
    (lab.jobs / "jobs" / JOB).mkdir(parents=True)
    want = os.urandom(8).hex()
    control.journal.append(
        "accepted",
        job_id=JOB,
        type="restore",
        seq=1,
        answer={},
        command="",
        args={},
        resource_id=None,
        note=None,
    )
    control.journal.append("wants", job_id=JOB, database="stopped", want=want)
    assert desk.database_wanted()["want"] == want
    answers: list[Answer] = []
    callers = [
        threading.Thread(
            target=lambda: [answers.append(desk.take_database(report("pending", want))) for _ in range(20)]
        )
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [answer["code"] for answer in answers] == [200] * 160
    control.journal.append("ended", job_id=JOB, status="failed")
    assert desk.database_wanted()["want"] is None
    assert desk.take_database(report("pending", want))["code"] == 200
