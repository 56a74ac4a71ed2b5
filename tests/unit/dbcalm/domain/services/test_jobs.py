"""Starting jobs, and keeping up with their journal."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence

import pytest

from dbcalm.domain.model.entities import Caller
from dbcalm.domain.ports import Cursor
from dbcalm.domain.services.assembly import Services, SystemClock
from dbcalm.domain.services.jobs.jobs import Jobs
from dbcalm.errors import Conflict, InvalidRequest, NoSpace, NotFound, ServiceFailed, Unavailable
from dbcalm.logger import Outcome
from dbcalm.repository.catalogue import Catalogue
from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService, HandClock, manifest
from tests.support.patience import PATIENCE, eventually


def start(services: Services, mysql: FakeMysqlService) -> str:
    return services.jobs.start(lambda job_id: mysql.full_backup(job_id, None, None), Outcome()).job_id


def test_a_job_stands_in_the_catalogue_once_it_is_started(
    services: Services, mysql: FakeMysqlService, catalogue: Catalogue
) -> None:
    job_id = start(services, mysql)
    process = catalogue.processes.get(job_id)
    assert process is not None
    assert process.status == "running"


def test_a_lost_reply_is_asked_for_once_more_with_the_same_id(
    services: Services, mysql: FakeMysqlService, catalogue: Catalogue
) -> None:
    mysql.lost_replies = 1
    job_id = start(services, mysql)
    assert [arguments[0] for arguments in mysql.asked_for("full_backup")] == [job_id, job_id]
    assert len(mysql.events) == 1
    assert catalogue.processes.get(job_id) is not None


def test_without_the_service_there_is_one_clear_line(services: Services, mysql: FakeMysqlService) -> None:
    mysql.down = True
    with pytest.raises(Unavailable, match="dbcalm-mariadb-cmd does not answer; see that it runs"):
        start(services, mysql)


def test_a_job_whose_service_goes_away_after_accepting_is_named(
    services: Services, mysql: FakeMysqlService
) -> None:
    def command(job_id: str) -> Answer:
        answer = mysql.full_backup(job_id, None, None)
        mysql.down = True
        return answer

    with pytest.raises(Unavailable, match=r"job [0-9a-f]{32} was accepted and goes on, but the service"):
        services.jobs.start(command, Outcome())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, InvalidRequest),
        (404, NotFound),
        (409, Conflict),
        (503, Unavailable),
        (507, NoSpace),
        (500, ServiceFailed),
        (418, ServiceFailed),
    ],
)
def test_what_the_service_refuses_is_an_error_of_ours(
    services: Services, mysql: FakeMysqlService, code: int, error: type[Exception]
) -> None:
    mysql.refusal = Answer(code, "server is not running", {})
    with pytest.raises(error) as refused:
        start(services, mysql)
    assert (str(refused.value) == "server is not running") == (error is not ServiceFailed)


def test_all_batches_are_applied(services: Services, mysql: FakeMysqlService, catalogue: Catalogue) -> None:
    mysql.batch = 2
    for number in range(7):
        mysql.full_backup(f"{number:032x}", f"b{number}", None)
    services.jobs.catch_up()
    assert catalogue.processes.get(f"{6:032x}") is not None
    assert catalogue.jobs.cursor() == Cursor("first", 7)


def test_where_somebody_else_was_faster_it_still_ends_up_to_date(
    mysql: FakeMysqlService, catalogue: Catalogue, clock: HandClock
) -> None:
    class Racing:
        """Lets another program apply half of the events first, once."""

        raced = False

        def __init__(self) -> None:
            self.cursor = catalogue.jobs.cursor
            self.add_found = catalogue.jobs.add_found

        def apply(self, before: Cursor, after: Cursor, events: Sequence[Mapping[str, object]]) -> bool:
            if not self.raced:
                self.raced = True
                catalogue.jobs.apply(before, Cursor("first", 1), events[:1])
            return catalogue.jobs.apply(before, after, events)

    for number in range(2):
        mysql.full_backup(f"{number:032x}", f"b{number}", None)
    Jobs(mysql, Racing(), clock).catch_up()
    assert catalogue.processes.get(f"{1:032x}") is not None
    assert catalogue.jobs.cursor() == Cursor("first", 2)


def test_whole_backups_on_disk_are_added_at_the_start(
    services: Services, mysql: FakeMysqlService, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    mysql.on_disk = {f"b{number}": manifest(f"b{number}", number) for number in range(5)}
    with caplog.at_level(logging.WARNING):
        services.jobs.add_found()
    assert all(catalogue.backups.get(id) for id in mysql.on_disk)
    assert "5 backups on disk were not in the catalogue" in caplog.text
    caplog.clear()
    services.jobs.add_found()
    assert not caplog.text


def test_a_backup_that_goes_while_the_disk_is_looked_at_is_not_added(
    services: Services, mysql: FakeMysqlService, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql.on_disk = {"gone": manifest("gone", 1), "here": manifest("here", 2)}
    look = mysql.list_backups

    def list_backups(after: str, examine: bool) -> Answer:
        answer = look(after)
        if "gone" in mysql.on_disk:
            mysql.delete_backup("gone")
            services.jobs.catch_up()
        return answer

    monkeypatch.setattr(mysql, "list_backups", list_backups)
    services.jobs.add_found()
    assert catalogue.backups.get("gone") is None
    assert catalogue.backups.get("here") is not None


def test_progress_is_as_the_service_tells_it(services: Services, mysql: FakeMysqlService) -> None:
    assert services.jobs.progress("x") is None
    told = {
        "phase": "copying",
        "bytes_done": 50,
        "bytes_total": 200,
        "percent": 24,
        "bytes_per_second": 10,
        "seconds_left": 15,
    }
    mysql.progress["x"] = told
    assert services.jobs.progress("x") == told
    mysql.down = True
    assert services.jobs.progress("x") is None


def test_the_progress_of_a_job_that_an_older_service_began(
    services: Services, mysql: FakeMysqlService, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {"phase": "copying", "bytes_done": 50, "bytes_total": 200}
    monkeypatch.setattr(mysql, "job_progress", lambda _job_id: Answer(200, "ok", dict(older)))
    assert services.jobs.progress("x") == {
        **older,
        "percent": None,
        "bytes_per_second": None,
        "seconds_left": None,
    }


class Follower:
    """The follower's thread, for the time of a test."""

    def __init__(self, catalogue: Catalogue, mysql: FakeMysqlService) -> None:
        self.stop = threading.Event()
        jobs = Jobs(mysql, catalogue.jobs, SystemClock())
        self.thread = threading.Thread(target=self._run, args=(jobs, catalogue), daemon=True)
        self.thread.start()

    def _run(self, jobs: Jobs, catalogue: Catalogue) -> None:
        jobs.follow(self.stop)
        catalogue.close()

    def end(self, mysql: FakeMysqlService) -> None:
        self.stop.set()
        mysql.tell({"event": "nothing"})
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def test_the_follower_goes_on_without_the_disk_of_backups(
    catalogue: Catalogue, mysql: FakeMysqlService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be looked for backups that the catalogue lacks; these are added once it can be."""
    mysql.on_disk["found"] = manifest("found", 7)
    look = mysql.list_backups
    away = Answer(503, "see that the disk of backup_dir is mounted", {})
    monkeypatch.setattr(mysql, "list_backups", lambda _after, _examine: away)
    follower = Follower(catalogue, mysql)
    for job in ("a" * 32, "b" * 32):
        mysql.restore_backup(job, "found", "folder", False, None)
        eventually(lambda job=job: catalogue.processes.get(job))
        mysql.finish(job)
    assert catalogue.backups.get("found") is None
    monkeypatch.setattr(mysql, "list_backups", look)
    mysql.tell({"event": "nothing"})
    eventually(lambda: catalogue.backups.get("found"))
    follower.end(mysql)


def test_the_follower_applies_news_as_they_come(catalogue: Catalogue, mysql: FakeMysqlService) -> None:
    follower = Follower(catalogue, mysql)
    mysql.full_backup("a" * 32, "one", None)
    eventually(lambda: catalogue.processes.get("a" * 32))
    mysql.finish("a" * 32)
    eventually(lambda: catalogue.backups.get("one"))
    calls = len(mysql.calls)
    time.sleep(0.3)
    assert len(mysql.calls) <= calls + 1, "it must wait for news, not ask for them"
    follower.end(mysql)


@pytest.mark.slow
def test_the_follower_outlives_the_service_and_says_so_once(
    catalogue: Catalogue, mysql: FakeMysqlService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dbcalm")
    mysql.down = True
    follower = Follower(catalogue, mysql)
    time.sleep(0.8)
    assert len(mysql.calls) < 8, "it must not ask in a tight loop"
    mysql.down = False
    mysql.full_backup("a" * 32, "one", None)
    eventually(lambda: catalogue.processes.get("a" * 32))
    eventually(lambda: "followed again" in caplog.text)
    follower.end(mysql)
    assert caplog.text.count("cannot be followed") == 1


def test_the_follower_does_not_hurry_a_service_that_does_not_hold_the_call(
    catalogue: Catalogue, mysql: FakeMysqlService, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = mysql.read_events
    monkeypatch.setattr(mysql, "read_events", lambda journal, offset, _wait: held(journal, offset, 0.0))
    began = time.monotonic()
    follower = Follower(catalogue, mysql)
    time.sleep(0.6)
    # It pauses for a tenth of a second, or longer where the machine is slow.
    assert len(mysql.calls) <= 2 + 10 * (time.monotonic() - began)
    follower.end(mysql)


def test_the_follower_survives_what_it_does_not_expect(
    catalogue: Catalogue, mysql: FakeMysqlService, caplog: pytest.LogCaptureFixture
) -> None:
    mysql.on_disk = {"bad": None}  # type: ignore[dict-item]  # no service says that
    follower = Follower(catalogue, mysql)
    eventually(lambda: "cannot be followed" in caplog.text)
    mysql.on_disk = {"good": manifest("good", 1)}
    eventually(lambda: catalogue.backups.get("good"))
    follower.end(mysql)


def test_a_backup_is_found_in_the_catalogue_by_a_caller(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    job = services.backups.create(root, "full", "one")
    mysql.finish(job.job_id)
    services.jobs.catch_up()
    assert services.backups.require("one").id == "one"
