"""Whether all is well: what the report sees although nothing says so by itself."""

from pathlib import Path

import pytest

from dbcalm.domain.model.entities import Caller, Plan
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.status import Report
from dbcalm.errors import Conflict, NotFound
from tests.support.dbcalm_fakes import FakeMysqlService, FakeRootService, HandClock, manifest

START, END = "2026-06-10T03:00:00.000000Z", "2026-06-10T03:05:00.000000Z"
NOON = 1781092800.0  # 2026-06-10T12:00:00Z


def add(mysql: FakeMysqlService, id: str, seq: int, **more: object) -> None:
    """Put a backup on disk; the catalogue hears of it from the disk, as after it was lost."""
    mysql.on_disk[id] = manifest(id, seq, **{"start_time": START, "end_time": END, **more})


@pytest.fixture
def seen(
    services: Services, mysql: FakeMysqlService, root_service: FakeRootService, clock: HandClock
) -> Services:
    """The services, at noon, of a catalogue that knows a full backup and an incremental one, both on disk."""
    clock.time = NOON
    root_service.installed = {}
    add(mysql, "a", 1)
    add(mysql, "b", 2, type="incremental", from_backup_id="a")
    services.jobs.add_found()
    return services


def report(services: Services) -> Report:
    return services.status.report(lambda: True)


def test_nothing_needs_attention_while_the_newest_backups_are_there(seen: Services) -> None:
    assert report(seen).attention == []


@pytest.mark.parametrize("left", [[], ["a"], ["b"]])
def test_a_newest_backup_that_is_not_on_disk_needs_attention(
    seen: Services, mysql: FakeMysqlService, left: list[str]
) -> None:
    mysql.on_disk = {id: facts for id, facts in mysql.on_disk.items() if id in left}
    one_by_one = [f"backup {id} is not on disk any more" for id in ("a", "b") if id not in left]
    assert [sentence.split(":")[0] for sentence in report(seen).attention] == (
        one_by_one if left else ["none of the 2 backups is on disk"]
    )


def test_what_is_missing_is_told_once_it_is_forgotten_no_more(
    seen: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    del mysql.on_disk["b"]
    [sentence] = report(seen).attention
    assert sentence.endswith("forget the backup with: dbcalm backups delete b")
    seen.backups.delete(root, "b")
    assert report(seen).attention == []


def test_an_older_chain_is_looked_for_on_disk_and_not_in_what_a_restore_would_use(
    seen: Services, mysql: FakeMysqlService
) -> None:
    add(mysql, "c", 3)
    seen.jobs.add_found()
    newest_only = {"ids": ["c"], "problem": None}
    answer = mysql.check()
    mysql.check = lambda: type(answer)(200, "ok", {**answer.data, "chain": newest_only})  # type: ignore[method-assign]
    assert report(seen).attention == []
    del mysql.on_disk["b"]
    assert len(report(seen).attention) == 1


def test_schedules_that_are_gone_need_attention_at_once_where_they_made_the_newest_backups(
    seen: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    add(mysql, "c", 3, schedule_id=1)
    seen.jobs.add_found()
    assert report(seen).attention == [
        "no schedule is enabled, although one made the newest backups: see dbcalm schedules list"
    ]
    seen.schedules.create(root, Plan(backup_type="full", frequency="daily", hour=3, minute=0))
    assert report(seen).attention == []


def test_a_catalogue_that_was_damaged_needs_attention_until_its_remains_are_removed(
    seen: Services, tmp_path: Path
) -> None:
    aside = tmp_path / "db.sqlite3.damaged-20260610-030000"
    aside.write_bytes(b"rubbish")
    assert report(seen).attention == [
        "the catalogue was damaged and begun anew: see that nothing is missing; then remove what is kept of it with: "
        f"rm {aside}*"
    ]
    aside.unlink()
    assert report(seen).attention == []


FAILED = {
    "event": "ended",
    "at": END,
    "status": "failed",
    "reason": "error",
    "return_code": 1,
    "error": "the disk is full",
}


def fail(mysql: FakeMysqlService, job: int, type: str, at: str = END, **more: object) -> None:
    """Let a job of this type begin and fail."""
    job_id = f"{job:032x}"
    args = {"id": "a", "schedule_id": more.pop("schedule_id", None)}
    started = {"event": "accepted", "job_id": job_id, "type": type, "command": "x", "args": args, "at": at}
    mysql.tell({**started, "resource_id": "a", "note": None})
    mysql.tell({**FAILED, "job_id": job_id, "at": at, **more})


@pytest.mark.parametrize(
    ("type", "name"), [("backup", "backup"), ("restore", "restore"), ("verify", "verification")]
)
def test_a_job_that_failed_needs_attention_until_one_goes_well(
    seen: Services, mysql: FakeMysqlService, type: str, name: str
) -> None:
    fail(mysql, 1, type)
    assert report(seen).attention == [
        f"the last {name} failed at 2026-06-10 03:05 UTC: the disk is full; once that is known: "
        f"dbcalm processes acknowledge {1:032x}"
    ]
    fail(mysql, 2, type, status="success")
    assert report(seen).attention == []


@pytest.mark.parametrize(
    "more",
    [
        {"reason": "cancelled"},
        {"reason": "suspect"},
        {"schedule_id": 3},
        {"at": "2026-06-01T03:00:00.000000Z"},
    ],
)
def test_some_failures_need_none(seen: Services, mysql: FakeMysqlService, more: dict[str, str]) -> None:
    fail(mysql, 1, "verify", **more)
    assert not any("failed at" in sentence for sentence in report(seen).attention)


def test_a_suspect_backup_needs_attention(seen: Services, mysql: FakeMysqlService) -> None:
    proof = {"level": 0, "at": END, "restore_seconds": None, "fault": "a page is damaged"}
    mysql.tell({"event": "proved", "at": END, "backup_id": "b", "proof": proof})
    [sentence] = report(seen).attention
    assert sentence.startswith("backup b is suspect: a page is damaged; see whether the disk is good")
    assert sentence.endswith("dbcalm verify b, or delete it with: dbcalm backups delete b")


def test_a_backup_of_the_chain_that_the_catalogue_does_not_know_needs_attention(
    seen: Services, mysql: FakeMysqlService
) -> None:
    add(mysql, "c", 3)
    assert report(seen).attention == [
        "backup c is on disk and not in the catalogue: dbcalm catalogue rebuild"
    ]
    assert seen.jobs.rebuild() == 3
    assert report(seen).attention == []


@pytest.mark.parametrize("type", ["backup", "restore", "verify", "cleanup_backups"])
def test_a_failure_that_is_known_needs_no_attention_and_the_next_one_does(
    seen: Services, mysql: FakeMysqlService, root: Caller, type: str
) -> None:
    fail(mysql, 1, type)
    [sentence] = [one for one in report(seen).attention if "failed" in one]
    job_id = sentence.rsplit(" ", 1)[1]
    assert seen.processes.acknowledge(root, job_id).known_at is not None
    assert [one for one in report(seen).attention if "failed" in one] == []
    seen.jobs.rebuild()  # Of the journal, as after the loss of the catalogue.
    assert [one for one in report(seen).attention if "failed" in one] == []
    fail(mysql, 2, type)
    assert len([one for one in report(seen).attention if "failed" in one]) == 1


def test_only_a_failure_can_be_known(seen: Services, mysql: FakeMysqlService, root: Caller) -> None:
    fail(mysql, 1, "restore", status="success")
    with pytest.raises(Conflict, match="has not failed"):
        seen.processes.acknowledge(root, f"{1:032x}")
    with pytest.raises(NotFound):
        seen.processes.acknowledge(root, "0" * 32)
