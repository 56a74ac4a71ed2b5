"""What is told of backups that are not on disk, or not whole there: in lists, in protection, and in few sentences."""

from pathlib import Path

import pytest

from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.assembly import Services
from tests.support.dbcalm_fakes import FakeMysqlService, FakeRootService, HandClock, manifest

START, END = "2026-06-10T03:00:00.000000Z", "2026-06-10T03:05:00.000000Z"
NOON = 1781092800.0  # 2026-06-10T12:00:00Z


@pytest.fixture
def seen(
    services: Services, mysql: FakeMysqlService, root_service: FakeRootService, clock: HandClock
) -> Services:
    """The services of a catalogue that knows two chains, a with b and c on it, and d alone, all on disk."""
    clock.time = NOON
    root_service.installed = {}
    for seq, (id, base) in enumerate([("a", None), ("b", "a"), ("c", "b"), ("d", None)], 1):
        type = "full" if base is None else "incremental"
        mysql.on_disk[id] = manifest(id, seq, type=type, from_backup_id=base, start_time=START, end_time=END)
    services.jobs.add_found()
    return services


def listed(services: Services) -> dict[str, str | None]:
    return {one.id: one.presence for one in services.backups.list(Query()).items}


def attention(services: Services) -> list[str]:
    return list(services.status.report(lambda: True).attention)


def test_what_is_there_is_whole(seen: Services) -> None:
    assert listed(seen) == dict.fromkeys("abcd", "whole")
    assert seen.backups.require("a").missing is None
    assert attention(seen) == []


def test_a_disk_that_is_not_mounted_is_one_sentence_and_promises_nothing(
    seen: Services, mysql: FakeMysqlService, clock: HandClock
) -> None:
    kept, mysql.on_disk = mysql.on_disk, {}
    [sentence] = attention(seen)
    assert sentence == (
        "none of the 4 backups is on disk: see that the disk of backup_dir is mounted: findmnt --target /backups; "
        "when it is, they are there again"
    )
    found = seen.status.protection()
    assert (found.chain, found.recovery_point_seconds, found.points["month"]) == ([], None, 0)
    assert found.improve == (sentence,)
    assert listed(seen) == dict.fromkeys("abcd", "gone")
    mysql.on_disk = kept
    clock.time += 10
    assert (attention(seen), listed(seen)) == ([], dict.fromkeys("abcd", "whole"))


def test_what_builds_on_a_removed_backup_is_named_and_counts_no_more(
    seen: Services, mysql: FakeMysqlService
) -> None:
    del mysql.on_disk["b"]
    assert attention(seen) == [
        "backup b is not on disk any more: see that the disk of backup_dir is mounted; "
        "a restore cannot use c, built on it"
    ]
    assert listed(seen) == {"a": "whole", "b": "gone", "c": "no base", "d": "whole"}
    assert seen.backups.require("c").missing == (
        "what it builds on cannot be used: backup b is not on disk any more"
    )
    assert seen.status.protection().points["month"] == 2


def test_an_older_one_that_is_damaged_needs_attention(seen: Services, mysql: FakeMysqlService) -> None:
    mysql.damaged = {"a"}
    assert attention(seen) == [
        "backup a is damaged; a restore cannot use it, nor b, c, built on it: make a full backup"
    ]
    assert listed(seen) == {"a": "damaged", "b": "no base", "c": "no base", "d": "whole"}
    assert seen.status.protection().chain == ["d"]


def test_a_thousand_that_are_gone_are_one_sentence(seen: Services, mysql: FakeMysqlService) -> None:
    for seq in range(5, 1000):
        mysql.on_disk[f"x{seq}"] = manifest(f"x{seq}", seq, start_time=START, end_time=END)
    seen.jobs.add_found()
    mysql.batch = 1000
    mysql.on_disk = {"d": mysql.on_disk["d"]}
    [sentence] = attention(seen)
    assert sentence.startswith("998 of 999 backups are not on disk any more (a, b, c and 995 more): see that")


def test_while_nobody_can_look_nothing_is_promised(seen: Services, mysql: FakeMysqlService) -> None:
    mysql.down = True
    found = seen.status.protection()
    assert (found.chain, found.recovery_point_seconds) == ([], None)
    assert found.improve[0].startswith(
        "nobody can tell which backups are on disk: the service dbcalm-mariadb-cmd"
    )
    assert listed(seen) == dict.fromkeys("abcd")


def test_what_is_newer_than_the_last_look_is_looked_at(seen: Services, mysql: FakeMysqlService) -> None:
    assert set(listed(seen).values()) == {"whole"}
    mysql.on_disk["e"] = manifest("e", 5, start_time=START, end_time=END)
    seen.jobs.add_found()
    assert listed(seen)["e"] == "whole"
    looks = sum(name == "look_at_backups" for name, _ in mysql.calls)
    listed(seen)
    assert sum(name == "look_at_backups" for name, _ in mysql.calls) == looks, (
        "the last look is good for seconds"
    )


def test_where_all_have_a_fault_that_comes_first(seen: Services, mysql: FakeMysqlService) -> None:
    proof = {"level": 0, "at": END, "restore_seconds": None, "fault": "an old .frm"}
    for id in "ad":
        mysql.tell({"event": "proved", "at": END, "backup_id": id, "proof": proof})
    first, *rest = attention(seen)
    assert first.startswith("no backup is without a fault: clean-up keeps the newest of them all the same")
    assert all("is suspect: an old .frm" in sentence for sentence in rest)


def test_a_folder_that_cannot_be_looked_into_is_told_once(
    seen: Services, mysql: FakeMysqlService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = mysql.look_at_backups("", 0)
    problem = f"{tmp_path}: No such file or directory: see that it is mounted"
    lost = type(answer)(200, "ok", {**answer.data, "backups": [], "more": False, "problem": problem})
    monkeypatch.setattr(mysql, "look_at_backups", lambda _after, _within: lost)
    assert attention(seen) == [problem]
    mysql.database = {"ok": False, "message": problem}
    [sentence] = attention(seen)
    assert sentence.startswith("no backup can be made now")
