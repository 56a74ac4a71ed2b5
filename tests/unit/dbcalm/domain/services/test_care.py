"""Clean-up, holds, the trash and the report of all that needs attention, over HTTP and over a real catalogue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from dbcalm.domain.model import times
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.services import cleanup
from dbcalm.domain.services.assembly import Services
from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService, FakeRootService, HandClock, manifest

DAILY = {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0}


def days_ago(clock: HandClock, days: float) -> str:
    return times.written(times.at(clock.now()) - timedelta(days=days))


@pytest.fixture
def week(mysql: FakeMysqlService, services: Services, clock: HandClock, api: TestClient) -> int:
    """A schedule that keeps four days, and its chains of the last week: f6 with i5, f3, and f0."""
    number = int(
        api.post("/schedules", json={**DAILY, "retention_value": 4, "retention_unit": "days"}).json()["id"]
    )
    for seq, (id, base, ago) in enumerate(
        (("f6", None, 6), ("i5", "f6", 5), ("f3", None, 3), ("f0", None, 0.1))
    ):
        mysql.on_disk[id] = manifest(
            id,
            seq,
            type="incremental" if base else "full",
            from_backup_id=base,
            schedule_id=number,
            start_time=days_ago(clock, ago + 0.01),
            end_time=days_ago(clock, ago),
        )
    services.jobs.add_found()
    return number


# Clean-up


def test_what_has_expired_is_deleted_leaf_first(api: TestClient, mysql: FakeMysqlService, week: int) -> None:
    answer = api.post("/cleanup")
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job == {
        "status": "running",
        "link": f"/status/{job['pid']}",
        "pid": job["pid"],
        "resource_id": None,
        "type": "cleanup_backups",
        "note": None,
        "deleting": ["i5", "f6"],
    }
    assert mysql.asked_for("cleanup_backups") == [(job["pid"], ("i5", "f6"), None)]
    assert [one["id"] for one in api.get("/backups").json()["items"]] == ["f0", "f3"]
    mysql.finish(job["pid"])
    assert api.get(job["link"]).json()["status"] == "success"
    [process] = api.get("/processes?query=type|cleanup_backups").json()["items"]
    assert (process["type"], process["status"], process["resource_id"]) == (
        "cleanup_backups",
        "success",
        None,
    )


@pytest.mark.parametrize("body", [None, {}, {"schedule_id": None}, {"id": 7, "more": "ignored"}])
def test_a_clean_up_needs_no_body(api: TestClient, week: int, body: object) -> None:
    assert api.post("/cleanup", json=body).status_code == 202


def test_a_clean_up_of_one_schedule_takes_only_its_chains(
    api: TestClient, mysql: FakeMysqlService, week: int
) -> None:
    other = api.post("/schedules", json={**DAILY, "retention_value": 1, "retention_unit": "days"}).json()[
        "id"
    ]
    assert api.post("/cleanup", json={"schedule_id": other}).json()["deleting"] == []
    assert api.post("/cleanup", json={"schedule_id": week}).json()["deleting"] == ["i5", "f6"]
    answer = api.post("/cleanup", json={"schedule_id": 99})
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no schedule 99")
    assert api.post("/cleanup", json={"schedule_id": "1"}).status_code == 422


def test_the_retention_of_a_disabled_schedule_still_holds(api: TestClient, week: int) -> None:
    api.put(
        f"/schedules/{week}", json={**DAILY, "enabled": False, "retention_value": 9, "retention_unit": "days"}
    )
    assert api.post("/cleanup").json()["deleting"] == []


def test_a_damaged_backup_takes_nobodys_place(api: TestClient, mysql: FakeMysqlService, week: int) -> None:
    mysql.damaged |= {"f0", "f3"}
    assert api.post("/cleanup").json()["deleting"] == []  # f6 is the newest whole chain now.


def test_a_clock_in_doubt_is_told(api: TestClient, mysql: FakeMysqlService, week: int) -> None:
    mysql.clock_doubt = "the clock went back by 3 hours"
    answer = api.post("/cleanup").json()
    assert (answer["deleting"], answer["note"]) == ([], mysql.clock_doubt)
    assert api.get("/cleanup/preview").json()["blocked"] == mysql.clock_doubt


def test_without_the_service_nothing_is_judged(api: TestClient, mysql: FakeMysqlService, week: int) -> None:
    mysql.down = True
    for answer in (api.post("/cleanup"), api.get("/cleanup/preview"), api.get("/trash")):
        assert answer.status_code == 503
        assert "dbcalm-mariadb-cmd" in answer.json()["detail"]


def test_the_preview_says_what_goes_when_and_why(api: TestClient, clock: HandClock, week: int) -> None:
    found = api.get("/cleanup/preview?days=10&points=3").json()
    now = times.written(times.at(clock.now()))
    assert [(one["chain"], one["backups"], one["on"][:10]) for one in found["removals"]] == [
        ("f6", ["f6", "i5"], now[:10]),
        ("f3", ["f3"], days_ago(clock, -1)[:10]),
    ]
    assert (
        found["removals"][0]["why"]
        == f"its newest backup i5 has expired: schedule {week} keeps it for 4 days only"
    )
    kept = {one["chain"]: one for one in found["kept"]}
    assert set(kept) == {"f3", "f0"}
    assert [reason["rule"] for reason in kept["f0"]["kept"]] == ["age", "min_full_chains"]
    assert kept["f3"]["kept"][0]["until"] == days_ago(clock, -1)
    assert [one["points"] for one in found["points"]] == [2, 1]
    assert (found["asked_points"], found["first_short_day"], found["blocked"]) == (3, now, None)


@pytest.mark.parametrize("question", ["days=-1", "days=4000", "days=x", "points=-1", "points=x"])
def test_a_preview_that_cannot_be_is_422(api: TestClient, question: str) -> None:
    answer = api.get(f"/cleanup/preview?{question}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(question.partition("=")[0])


# Holds


def test_a_held_backup_and_its_chain_stay(api: TestClient, mysql: FakeMysqlService, week: int) -> None:
    answer = api.put("/backups/i5/hold", json={"reason": "  audit "})
    assert (answer.status_code, answer.json()["hold"]) == (200, {"reason": "audit", "until": None})
    assert api.get("/backups/i5").json()["hold"] == {"reason": "audit", "until": None}
    assert api.post("/cleanup").json()["deleting"] == []
    assert api.delete("/backups/i5/hold").json()["hold"] is None
    assert api.post("/cleanup").json()["deleting"] == ["i5", "f6"]


def test_a_hold_ends_at_its_time(api: TestClient, clock: HandClock, week: int) -> None:
    until = days_ago(clock, -2)
    held = api.put("/backups/f6/hold", json={"reason": "audit", "until": until.replace("Z", "+00:00")})
    assert held.json()["hold"] == {"reason": "audit", "until": until}
    clock.time += 3 * 86400
    assert api.post("/cleanup").json()["deleting"] == ["i5", "f6", "f3"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": 7}, "reason"),
        ({"reason": "why", "until": "soon"}, "until"),
        ({"reason": "why", "until": "1969-01-01"}, "until"),
        ({"reason": "why", "until": 12}, "until"),
        ({"reason": "why", "until": "9999-12-31T23:59:59-23:00"}, "until"),
    ],
)
def test_a_hold_that_cannot_be_is_422(api: TestClient, week: int, body: dict[str, Any], field: str) -> None:
    answer = api.put("/backups/f6/hold", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(field)
    assert api.get("/backups/f6").json()["hold"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/backups/none/hold"), ("DELETE", "/backups/none/hold"), ("POST", "/backups/none/undelete"),
     ("PUT", "/backups/NO_ID/hold"), ("POST", "/backups/%00/undelete")],
)  # fmt: skip
def test_what_is_not_there_cannot_be_held_or_brought_back(api: TestClient, method: str, path: str) -> None:
    body = {"reason": "why"} if method == "PUT" else None
    answer = api.request(method, path, json=body)
    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


# The trash


def test_a_deleted_backup_comes_back(api: TestClient, week: int) -> None:
    before = api.get("/backups/f3").json()
    assert api.delete("/backups/f3").status_code == 204
    assert api.get("/backups/f3").status_code == 404
    [deleted] = api.get("/trash").json()["items"]
    assert deleted.items() >= {"id": "f3", "type": "full", "schedule_id": week, "size": 1000}.items()
    assert {"deleted_at", "purge_at"} <= set(deleted)
    assert api.post("/backups/f3/undelete", json={"deleted_at": "1999"}).status_code == 422
    assert api.post("/backups/f3/undelete").json() == before
    assert api.get("/trash").json() == {"items": [], "more": False}


def test_one_of_several_is_named_by_its_time(api: TestClient, mysql: FakeMysqlService, week: int) -> None:
    api.delete("/backups/f3")
    body = {"deleted_at": "2026-01-31T05:00:00+01:00"}
    assert api.post("/backups/f3/undelete", json=body).status_code == 200
    assert mysql.asked_for("undelete_backup") == [("f3", "2026-01-31T04:00:00.000000Z")]


def test_a_chain_longer_than_one_clean_up_goes_in_several(
    services: Services,
    mysql: FakeMysqlService,
    root: Caller,
    week: int,
    clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup, "MOST_CLEANED", 1)
    assert services.cleanup.start(root).facts["deleting"] == ["i5"]
    assert services.cleanup.start(root).facts["deleting"] == ["f6"]
    monkeypatch.setattr(cleanup, "MOST_CLEANED", 3)
    mysql.on_disk = {
        id: manifest(id, seq, from_backup_id=base, schedule_id=week, end_time=days_ago(clock, 9))
        for seq, (id, base) in enumerate((("a", None), ("b", "a"), ("c", None), ("d", "c"), ("e", None)), 1)
    }
    assert services.cleanup.start(root).facts["deleting"] == ["b", "a"]


# Whether all is well


def attention(api: TestClient) -> list[str]:
    found = api.get("/ready")
    assert found.status_code == 200
    assert found.json()["ok"] is (found.json()["attention"] == [])
    return list(found.json()["attention"])


def test_all_is_well(api: TestClient, services: Services, week: int) -> None:
    found = api.get("/ready").json()
    assert (found["ok"], found["attention"]) == (True, [])
    assert found["services"] == {"dbcalm-api": True, "dbcalm-cmd": True, "dbcalm-mariadb-cmd": True}
    assert (found["newest"]["full"]["id"], found["newest"]["full"]["age_seconds"]) == ("f0", 8640)
    assert found["newest"]["incremental"]["id"] == "i5"
    assert found["schedules"]["enabled"] == 1
    assert found["schedules"]["timezone"] == services.schedules.timezone
    assert found["running"] is None


def test_the_most_urgent_comes_first(
    api: TestClient, mysql: FakeMysqlService, root_service: FakeRootService, clock: HandClock, week: int
) -> None:
    mysql.database = {"ok": False, "message": "server is not running"}
    mysql.chain_problem = "backup f0 is damaged"
    mysql.free = 10**6
    mysql.clock_doubt = "the clock went back"
    root_service.down = True
    clock.time += 2 * 86400
    sentences = attention(api)
    assert [sentence.split(":")[0][:30] for sentence in sentences] == [
        "no backup can be made now",
        "the newest backup cannot be re",
        f"schedule {week} (full, daily at 03"[:30],
        "too little space",
        "the service dbcalm-cmd does no",
        "nothing is cleaned up",
    ]
    assert all(sentence.count("\n") == 0 for sentence in sentences)


def test_a_silent_service_keeps_nobody_from_hearing_of_the_rest(
    api: TestClient, mysql: FakeMysqlService, week: int
) -> None:
    mysql.down = True
    [sentence] = attention(api)
    assert sentence.startswith("the service dbcalm-mariadb-cmd does not answer")
    found = api.get("/ready").json()
    assert (found["database"], found["space"], found["newest"]["full"]["id"]) == (None, None, "f0")


def test_an_edited_cron_file_needs_attention(
    api: TestClient, root_service: FakeRootService, week: int
) -> None:
    root_service.installed = {}
    [sentence] = attention(api)
    assert sentence.startswith("the cron file is missing or was edited")


def test_no_backup_and_no_schedule(
    api: TestClient, mysql: FakeMysqlService, clock: HandClock, services: Services
) -> None:
    services.schedules.heal()
    assert attention(api) == ["there is no full backup: make one with: dbcalm backup full"]
    mysql.on_disk["a"] = manifest("a", 1, end_time=days_ago(clock, 1))
    services.jobs.add_found()
    assert attention(api) == []
    clock.time += 3 * 86400
    [sentence] = attention(api)
    assert sentence.startswith("the newest backup is 4 days old, and no schedule is enabled")


def test_a_clean_up_that_failed_or_does_not_run_is_told(
    api: TestClient, mysql: FakeMysqlService, clock: HandClock, week: int
) -> None:
    clock.time = datetime.now(UTC).timestamp()  # The service has its own clock.
    api.put(f"/schedules/{week}", json={**DAILY, "enabled": False})

    def told() -> list[str]:
        return [sentence for sentence in attention(api) if "clean" in sentence]

    api.post("/backups", json={"type": "full"})
    assert told() == []
    clock.time += 51 * 3600
    [sentence] = told()
    assert sentence.startswith("nothing was cleaned up since 20")
    job = api.post("/cleanup").json()["pid"]
    mysql.finish(job, "failed", error="cannot go on: No space left on device")
    failure = "the last clean-up failed: cannot go on: No space left on device"
    assert told() == [f"{failure}; once that is known: dbcalm processes acknowledge {job}"]
    clock.time -= 51 * 3600
    mysql.finish(api.post("/cleanup").json()["pid"])
    assert told() == []


def test_what_runs_is_told(api: TestClient, week: int) -> None:
    job = api.post("/backups", json={"type": "full"}).json()
    assert api.get("/ready").json()["running"]["command_id"] == job["pid"]


def test_a_schedule_that_waits_for_a_job_in_its_way_is_not_overdue(
    api: TestClient, mysql: FakeMysqlService, clock: HandClock, week: int
) -> None:
    clock.time = datetime(2026, 6, 10, 3, 0, 1, tzinfo=UTC).timestamp()
    job = api.post("/backups", json={"type": "full"}).json()["pid"]
    mysql.refusal = Answer(409, f"job {job} is running", {"job_id": job})
    assert api.post("/backups", json={"type": "full", "schedule_id": week}).status_code == 409
    clock.time += 40 * 60
    assert api.get(f"/schedules/{week}").json()["overdue"] is False
    clock.time += 21 * 60
    assert api.get(f"/schedules/{week}").json()["overdue"] is True
    clock.time -= 21 * 60
    mysql.finish(job)
    services_see_it = api.get(f"/status/{job}").json()["status"]
    assert (services_see_it, api.get(f"/schedules/{week}").json()["overdue"]) == ("success", True)


def test_a_save_that_changes_nothing_does_not_hide_that_it_is_overdue(
    api: TestClient, clock: HandClock, week: int
) -> None:
    clock.time += 2 * 86400
    whole = api.get(f"/schedules/{week}").json()
    assert whole["overdue"] is True
    assert api.put(f"/schedules/{week}", json=whole).json() == whole
    assert api.put(f"/schedules/{week}", json={**whole, "minute": 1}).json()["overdue"] is False


def test_an_overdue_schedule_says_what_was_refused(
    api: TestClient, mysql: FakeMysqlService, clock: HandClock, week: int
) -> None:
    clock.time = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
    [sentence] = attention(api)
    assert sentence.endswith("it did not run; is cron running, was the host asleep?")
    mysql.refusal = Answer(503, "server is not running", {})
    assert api.post("/backups", json={"type": "full", "schedule_id": week}).status_code == 503
    [sentence] = attention(api)
    assert sentence.endswith("UTC: server is not running")
