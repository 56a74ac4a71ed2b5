"""Events of the journal, applied to the catalogue."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from dbcalm.domain.model.listing import Condition, Query
from dbcalm.domain.ports import Cursor
from dbcalm.repository.catalogue import Catalogue
from tests.support.dbcalm_fakes import manifest

JOB = "a" * 32
START = Cursor("", 0)


def accepted(job_id: str = JOB, **more: Any) -> dict[str, Any]:
    return {
        "event": "accepted",
        "at": "2026-01-01T00:00:00.000000Z",
        "job_id": job_id,
        "type": "backup",
        "command": "mariadb-backup --backup",
        "args": {"id": "one"},
        "resource_id": "one",
        "note": "why",
        "backup": {"id": "one", "type": "full", "from_backup_id": None, "schedule_id": None},
        **more,
    }


STARTED = {"event": "started", "at": "2026-01-01T00:00:01.000000Z", "job_id": JOB, "pid": 77}


def ended(status: str = "success", **more: Any) -> dict[str, Any]:
    return {
        "event": "ended",
        "at": "2026-01-01T00:00:09.000000Z",
        "job_id": JOB,
        "status": status,
        "reason": None if status == "success" else "error",
        "return_code": 0 if status == "success" else 1,
        "error": None if status == "success" else "it broke",
        "output": "completed OK!",
        "backup": manifest("one", 1, job_id=JOB, note="why") if status == "success" else None,
        **more,
    }


RESTORE = {
    "restore_id": "r", "target": "folder", "target_path": "/r/1", "backup_id": "one",
    "backup_timestamp": "2026-01-01T00:00:00.000000Z",
}  # fmt: skip


def apply(catalogue: Catalogue, *events: dict[str, Any]) -> None:
    before = catalogue.jobs.cursor()
    assert catalogue.jobs.apply(before, Cursor("j", before.offset + len(events)), events)


def rows(catalogue: Catalogue) -> tuple[list[Any], ...]:
    lists = (catalogue.processes, catalogue.backups, catalogue.restores)
    return tuple(list(table.list(Query()).items) for table in lists)


def test_a_backup_from_its_acceptance_to_its_end(catalogue: Catalogue) -> None:
    apply(catalogue, accepted())
    process = catalogue.processes.get(JOB)
    assert process is not None
    assert (process.status, process.pid, process.end_time, process.note) == ("running", None, None, "why")
    assert (process.args, process.command, process.resource_id) == (
        {"id": "one"},
        "mariadb-backup --backup",
        "one",
    )
    apply(catalogue, STARTED, ended())
    process = catalogue.processes.get(JOB)
    assert process is not None
    assert (process.status, process.pid, process.return_code, process.output) == (
        "success",
        77,
        0,
        "completed OK!",
    )
    assert (process.start_time, process.end_time) == (accepted()["at"], ended()["at"])
    backup = catalogue.backups.get("one")
    assert backup is not None
    assert (backup.process_id, backup.seq, backup.size, backup.note) == (process.id, 1, 1000, "why")


def test_a_failed_backup_is_a_process_and_no_backup(catalogue: Catalogue) -> None:
    apply(catalogue, accepted(), STARTED, ended("failed", reason="interrupted"))
    process = catalogue.processes.get(JOB)
    assert process is not None
    assert (process.status, process.reason, process.error) == ("failed", "interrupted", "it broke")
    assert catalogue.backups.get("one") is None


def test_a_restore_has_its_process_and_its_end(catalogue: Catalogue) -> None:
    apply(catalogue, accepted(type="restore", backup=None, restore=RESTORE))
    [restore] = catalogue.restores.list(Query()).items
    assert (restore.end_time, restore.target_path, restore.backup_id) == (None, "/r/1", "one")
    apply(catalogue, ended(backup=None))
    [restore] = catalogue.restores.list(Query()).items
    process = catalogue.processes.get(JOB)
    assert process is not None
    assert (restore.end_time, restore.process_id) == (ended()["at"], process.id)


def test_a_deleted_backup_is_gone_and_its_process_stays(catalogue: Catalogue) -> None:
    apply(catalogue, accepted(), ended(), {"event": "deleted", "at": "x", "backup_id": "one"})
    assert catalogue.backups.get("one") is None
    assert catalogue.processes.get(JOB) is not None


HOLD = {"reason": "audit", "until": "2026-06-01T00:00:00.000000Z"}


def hold_of(catalogue: Catalogue, id: str = "one") -> tuple[str | None, str | None] | None:
    backup = catalogue.backups.get(id)
    return None if backup is None else (backup.hold_reason, backup.hold_until)


def test_a_backup_is_held_and_released(catalogue: Catalogue) -> None:
    held = {"event": "held", "at": "x", "backup_id": "one", "hold": HOLD}
    apply(catalogue, accepted(), ended())
    assert hold_of(catalogue) == (None, None)
    apply(catalogue, held)
    assert hold_of(catalogue) == ("audit", HOLD["until"])
    apply(catalogue, {**held, "hold": {"reason": "for good", "until": None}})
    assert hold_of(catalogue) == ("for good", None)
    apply(catalogue, {"event": "released", "at": "x", "backup_id": "one"})
    assert hold_of(catalogue) == (None, None)


def test_a_backup_is_deleted_and_comes_back_as_it_was(catalogue: Catalogue) -> None:
    facts = manifest("one", 1, job_id=JOB, note="why", hold=HOLD, intact=True)
    deleted = {"event": "deleted", "at": "x", "backup_id": "one", "purge_at": "y", "job_id": None}
    apply(catalogue, accepted(), ended())
    before = catalogue.backups.get("one")
    apply(catalogue, deleted)
    assert catalogue.backups.get("one") is None
    apply(catalogue, {"event": "undeleted", "at": "x", "backup": facts})
    after = catalogue.backups.get("one")
    assert before is not None
    assert after == replace(
        before,
        hold_reason="audit",
        hold_until=HOLD["until"],
        start_time=facts["start_time"],
        end_time=facts["end_time"],
        proof_at=facts["end_time"],
    )
    apply(catalogue, {"event": "purged", "at": "x", "backup_id": "one"})
    assert catalogue.backups.get("one") == after


def test_what_is_found_on_disk_has_its_hold(catalogue: Catalogue) -> None:
    found = [manifest("one", 1, hold=HOLD, intact=False), manifest("two", 2, hold=None), manifest("three", 3)]
    assert catalogue.jobs.add_found(START, found) == 3
    holds = [hold_of(catalogue, id) for id in ("one", "two", "three")]
    assert holds == [("audit", HOLD["until"]), (None, None), (None, None)]


def test_a_newer_backup_of_the_same_name_does_not_inherit_the_hold(catalogue: Catalogue) -> None:
    apply(catalogue, accepted(), ended(), {"event": "held", "at": "x", "backup_id": "one", "hold": HOLD})
    assert catalogue.jobs.add_found(catalogue.jobs.cursor(), [manifest("one", 2)]) == 1
    assert hold_of(catalogue) == (None, None)


def test_a_job_has_the_schedule_that_began_it(catalogue: Catalogue) -> None:
    cleanup = {"type": "cleanup_backups", "backup": None, "args": {"ids": [], "schedule_id": 5}}
    without = {key: value for key, value in accepted("b" * 32, **cleanup).items() if key != "resource_id"}
    apply(catalogue, accepted(args={"id": "one", "schedule_id": 4}), without)
    for id in (4, 5):
        [process] = catalogue.processes.list(Query((Condition("schedule_id", "eq", (id,)),))).items
        assert process.args["schedule_id"] == id
    cleaning = catalogue.processes.get("b" * 32)
    assert cleaning is not None
    assert (cleaning.type, cleaning.resource_id, cleaning.status) == ("cleanup_backups", None, "running")
    assert [run.schedule_id for run in catalogue.schedules.runs([4, 5])] == [4]


def test_replaying_all_of_it_changes_nothing(catalogue: Catalogue) -> None:
    events = [
        accepted(), STARTED, ended(),
        accepted("b" * 32, type="restore", restore=RESTORE, backup=None),
        {**ended(backup=None), "job_id": "b" * 32},
    ]  # fmt: skip
    apply(catalogue, *events)
    before = rows(catalogue)
    apply(catalogue, *events)
    apply(catalogue, *events[2:])
    assert rows(catalogue) == before


def test_an_id_that_was_deleted_can_be_used_again(catalogue: Catalogue) -> None:
    second = {**ended(), "job_id": "b" * 32, "backup": manifest("one", 2, job_id="b" * 32)}
    apply(catalogue, accepted(), ended(), {"event": "deleted", "at": "x", "backup_id": "one"})
    apply(catalogue, accepted("b" * 32), second)
    backup = catalogue.backups.get("one")
    assert backup is not None
    assert backup.seq == 2


def test_events_are_applied_once_by_whoever_comes_first(catalogue: Catalogue) -> None:
    assert catalogue.jobs.apply(START, Cursor("j", 1), [accepted()])
    assert not catalogue.jobs.apply(START, Cursor("j", 9), [ended("failed")])
    assert catalogue.jobs.cursor() == Cursor("j", 1)
    process = catalogue.processes.get(JOB)
    assert process is not None
    assert process.status == "running"


def test_kinds_of_events_that_are_not_known_are_passed_over(catalogue: Catalogue) -> None:
    apply(catalogue, {"event": "sneezed", "at": "x"}, {}, accepted())
    assert catalogue.processes.get(JOB) is not None


@pytest.mark.parametrize(
    "broken",
    [
        {"event": "accepted"},
        {**accepted("c" * 32), "type": None},
        {**ended(), "status": "cancelled"},
        {**STARTED, "pid": {}},
        {**accepted("c" * 32), "args": [1]},
        {"event": "held", "at": "x", "backup_id": "one", "hold": None},
        {"event": "undeleted", "at": "x", "backup": {"id": "two"}},
        {"event": "undeleted", "at": "x"},
    ],
)
def test_one_broken_event_does_not_keep_the_others_out(
    catalogue: Catalogue, broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        apply(catalogue, accepted(), broken, ended())
    assert catalogue.backups.get("one") is not None
    assert "cannot be applied" in caplog.text


HUGE = 2**70
UNFIT = [
    accepted("c" * 32, note="caf\udce9.txt"),
    accepted("c" * 32, at="never"),
    accepted("c" * 32, at="9999-12-31T23:59:59.999999Z"),
    accepted("c" * 32, args={"schedule_id": HUGE}),
    accepted("c" * 32, args={"schedule_id": True}),
    accepted("c" * 32, restore={"target": []}),
    accepted("c" * 33),
    {**STARTED, "pid": HUGE},
    {**STARTED, "pid": True},
    ended(job_id="c" * 32, error={"x": 1}),
    ended(job_id="c" * 32, return_code=HUGE),
    ended(job_id="c" * 32, backup=manifest("two", HUGE)),
    ended(job_id="c" * 32, backup=manifest("two", 2, size=-1)),
    ended(job_id="c" * 32, backup=manifest("two", 2, size=1.5)),
    ended(job_id="c" * 32, backup=manifest("two", 2, end_time="never")),
    ended(job_id="c" * 32, backup=manifest("../two", 2)),
    ended(job_id="c" * 32, backup=manifest("two", 2, recipients="text")),
    ended(job_id="c" * 32, backup=manifest("two", 2, proof={"level": 9, "at": "x"})),
    {
        "event": "proved",
        "at": "x",
        "backup_id": "one",
        "proof": {"level": 1, "at": "x", "restore_seconds": None},
    },
    {"event": "held", "at": "x", "backup_id": "one", "hold": {"reason": "caf\udce9", "until": None}},
    {"event": "held", "at": "x", "backup_id": "one", "hold": {"reason": "x", "until": "never"}},
    {"event": "deleted", "at": "x", "backup_id": ["one"]},
]


@pytest.mark.parametrize("unfit", UNFIT)
def test_an_event_that_does_not_fit_is_kept_aside_whole(catalogue: Catalogue, unfit: dict[str, Any]) -> None:
    apply(catalogue, accepted(), unfit, ended())
    backup = catalogue.backups.get("one")
    assert backup is not None
    assert (backup.hold_reason, backup.suspect) == (None, None)
    assert [one.command_id for one in rows(catalogue)[0]] == [JOB]
    assert catalogue.backups.get("two") is None
    (reason,) = catalogue.jobs.set_aside()
    assert str(unfit["event"]) in reason
    assert catalogue.jobs.replace_backups(catalogue.jobs.cursor(), [manifest("one", 1)])
    assert catalogue.jobs.set_aside() == []


def test_no_more_than_a_hundred_are_kept(catalogue: Catalogue) -> None:
    apply(catalogue, *[{"event": "deleted", "backup_id": number} for number in range(150)])
    assert len(catalogue.jobs.set_aside()) == 100


def test_a_manifest_that_does_not_fit_hides_no_other(catalogue: Catalogue) -> None:
    found = [
        manifest("a", HUGE),
        manifest("b", 2),
        {"id": "c"},
        manifest("d", 4, note="\udce9"),
        manifest("e", 5),
    ]
    assert catalogue.jobs.add_found(START, found) == 2
    assert catalogue.jobs.replace_backups(START, found)
    assert [one.id for one in rows(catalogue)[1]] == ["e", "b"]


def test_what_a_lost_journal_left_running_is_ended(catalogue: Catalogue) -> None:
    apply(catalogue, accepted())
    assert catalogue.jobs.apply(Cursor("j", 1), Cursor("other", 1), [accepted("b" * 32)])
    old, new = catalogue.processes.get(JOB), catalogue.processes.get("b" * 32)
    assert old is not None
    assert new is not None
    assert (old.status, old.reason, new.status) == ("failed", "interrupted", "running")
    assert old.end_time is not None


def test_backups_that_are_found_on_disk_are_added_once(catalogue: Catalogue) -> None:
    apply(catalogue, accepted(), ended())
    cursor = catalogue.jobs.cursor()
    found = [manifest("one", 1), manifest("two", 2, job_id=JOB), manifest("three", 3, job_id="unknown")]
    assert catalogue.jobs.add_found(cursor, found) == 2
    assert catalogue.jobs.add_found(cursor, found) == 0
    assert catalogue.jobs.add_found(START, found) is None
    two, three = catalogue.backups.get("two"), catalogue.backups.get("three")
    assert two is not None
    assert three is not None
    assert (two.process_id, three.process_id) == (1, None)
