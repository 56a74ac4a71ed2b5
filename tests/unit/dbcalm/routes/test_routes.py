"""The calls of the contract, over HTTP."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from dbcalm.domain.services.assembly import Services
from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService, manifest


@pytest.fixture
def three(mysql: FakeMysqlService, services: Services) -> list[str]:
    """Three backups, the newest first."""
    ids = ["c", "b", "a"]
    for seq, id in enumerate(reversed(ids)):
        mysql.on_disk[id] = manifest(id, seq, start_time=f"2026-01-0{seq + 1}T00:00:00.000000Z")
    services.jobs.add_found()
    return ids


def test_a_full_backup_is_accepted_and_can_be_asked_for_at_once(api: TestClient) -> None:
    answer = api.post("/backups", json={"type": "full", "id": "Before upgrade"})
    assert answer.status_code == 202
    status = answer.json()
    assert status == {
        "status": "running",
        "link": f"/status/{status['pid']}",
        "pid": status["pid"],
        "resource_id": "before-upgrade",
        "type": "full",
        "from_backup_id": None,
        "form": "zstd",
        "note": None,
    }
    now = api.get(status["link"])
    assert now.status_code == 200
    assert {name: now.json()[name] for name in ("status", "link", "pid", "resource_id")} == {
        name: status[name] for name in ("status", "link", "pid", "resource_id")
    }


def test_the_status_of_a_backup_to_its_end(api: TestClient, mysql: FakeMysqlService) -> None:
    started = api.post("/backups", json={"type": "full"}).json()
    mysql.progress[started["pid"]] = {"phase": "copying", "bytes_done": 5, "bytes_total": 10, "percent": 50}
    assert api.get(started["link"]).json()["progress"]["percent"] == 50
    mysql.finish(started["pid"])
    status = api.get(started["link"]).json()
    assert (status["status"], status["progress"], status["error"], status["return_code"]) == (
        "success",
        None,
        None,
        0,
    )
    backup = api.get(f"/backups/{started['resource_id']}").json()
    assert list(backup)[:10] == [
        "id", "type", "from_backup_id", "schedule_id", "start_time", "end_time", "process_id", "size",
        "retention_value", "retention_unit",
    ]  # fmt: skip
    [process] = api.get("/processes").json()["items"]
    assert (process["id"], process["command_id"]) == (backup["process_id"], started["pid"])
    assert list(process)[:13] == [
        "id", "command", "command_id", "pid", "status", "output", "error", "return_code", "start_time", "end_time",
        "type", "args", "resource_id",
    ]  # fmt: skip


@pytest.mark.parametrize("named", ["job", "number"])
def test_a_job_is_cancelled(api: TestClient, mysql: FakeMysqlService, named: str) -> None:
    started = api.post("/backups", json={"type": "full"}).json()
    [process] = api.get("/processes").json()["items"]
    key = started["pid"] if named == "job" else process["id"]
    answer = api.delete(f"/processes/{key}")
    assert (answer.status_code, answer.json()["status"], answer.json()["pid"]) == (
        202,
        "running",
        started["pid"],
    )
    status = api.get(started["link"]).json()
    assert (status["status"], status["reason"], status["error"]) == (
        "failed",
        "cancelled",
        "the job was cancelled",
    )
    again = api.delete(f"/processes/{key}")
    assert (again.status_code, again.json()["detail"]) == (409, f"job {started['pid']} has ended: failed")


@pytest.mark.parametrize("key", ["0", "9" * 18, "9" * 19, "no-such", "f" * 32, "1" * 32])
def test_what_does_not_run_is_not_cancelled(api: TestClient, key: str) -> None:
    answer = api.delete(f"/processes/{key}")
    assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no job {key!r}")


def test_one_that_can_only_be_finished_says_so(api: TestClient, mysql: FakeMysqlService) -> None:
    started = api.post("/backups", json={"type": "full"}).json()
    mysql.refusal = Answer(409, "job x has begun to put its data in place, and can only be finished", {})
    answer = api.delete(f"/processes/{started['pid']}")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "job x has begun to put its data in place, and can only be finished",
    )


def test_a_failed_job_says_what_happened(api: TestClient, mysql: FakeMysqlService) -> None:
    started = api.post("/backups", json={"type": "full"}).json()
    mysql.finish(started["pid"], "failed", error="the tool was killed", reason="interrupted", return_code=-9)
    status = api.get(started["link"]).json()
    assert (status["status"], status["reason"], status["error"]) == (
        "failed",
        "interrupted",
        "the tool was killed",
    )
    assert api.get("/backups").json()["items"] == []


def test_an_incremental_builds_on_the_newest_backup(api: TestClient, three: list[str]) -> None:
    assert api.post("/backups", json={"type": "incremental"}).json()["from_backup_id"] == "c"
    named = {"type": "incremental", "from_backup_id": "a", "id": None, "schedule_id": 4}
    assert api.post("/backups", json=named).json()["from_backup_id"] == "a"


def test_a_restore_is_accepted_and_listed(api: TestClient, three: list[str]) -> None:
    answer = api.post("/restore", json={"id": "a", "target": "folder"})
    assert answer.status_code == 202
    started = answer.json()
    assert (started["status"], started["resource_id"], started["type"]) == ("running", "a", "restore")
    assert (started["target"], started["chain"]) == ("folder", ["a"])
    [restore] = api.get("/restores").json()["items"]
    assert list(restore) == [
        "id", "start_time", "end_time", "target", "target_path", "backup_id", "backup_timestamp", "process_id",
        "status",
    ]  # fmt: skip
    assert (restore["backup_id"], restore["end_time"]) == ("a", None)
    assert restore["backup_timestamp"] == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (404, "there is no backup x"),
        (409, "job 0123 is running"),
        (503, "server is not running"),
        (503, "credentials file not found or missing [client-dbcalm] section"),
        (503, "data directory is not empty"),
        (507, "the disk is too full"),
    ],
)
def test_a_refused_job_has_the_services_words_in_detail_and_in_status(
    api: TestClient, mysql: FakeMysqlService, three: list[str], code: int, sentence: str
) -> None:
    mysql.refusal = Answer(code, sentence, {})
    for path, body in (("/backups", {"type": "full"}), ("/restore", {"id": "a", "target": "database"})):
        answer = api.post(path, json=body)
        assert (answer.status_code, answer.json()) == (code, {"detail": sentence, "status": sentence})


def test_without_the_mysql_service_it_is_503_and_when_to_come_back(
    api: TestClient, mysql: FakeMysqlService
) -> None:
    mysql.down = True
    answer = api.post("/backups", json={"type": "full"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["status"] == answer.json()["detail"]
    assert "dbcalm-mariadb-cmd" in answer.json()["detail"]
    assert api.get("/backups").status_code == 200


def test_what_the_service_should_not_say_is_a_constant_line(api: TestClient, mysql: FakeMysqlService) -> None:
    mysql.refusal = Answer(500, "Traceback: secret", {})
    answer = api.post("/backups", json={"type": "full"})
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": "differential"}, "type"),
        ({"type": "full", "id": 7}, "id"),
        ({"type": "full", "id": "..."}, "id"),
        ({"type": "full", "id": "a/b"}, "id"),
        ({"type": "full", "id": "夜間"}, "id"),
        ({"type": "full", "id": "x" * 5000}, "id"),
        ({"type": "full", "id": "trash"}, "id"),
        ({"type": "full", "schedule_id": True}, "schedule_id"),
        ({"type": "full", "schedule_id": "1"}, "schedule_id"),
        ({"type": "full", "schedule_id": 0}, "schedule_id"),
        ({"type": "full", "schedule_id": 2**63}, "schedule_id"),
        ({"type": "full", "from_backup_id": "a"}, "from_backup_id"),
    ],
)
def test_a_body_of_the_wrong_form_is_422_and_names_the_field(
    api: TestClient, mysql: FakeMysqlService, body: dict[str, Any], field: str
) -> None:
    answer = api.post("/backups", json=body)
    found = answer.json()
    assert answer.status_code == 422
    assert found["detail"].startswith(field)
    assert found["status"] == found["detail"]
    assert found["errors"][0]["loc"] == ["body", field]
    assert not mysql.calls


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"type": NaN}', b"[" * 5000, b"\xff\xfe"])
def test_a_body_that_is_no_object_is_one_clear_line(api: TestClient, content: bytes) -> None:
    answer = api.post("/backups", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_unknown_backups_are_404(api: TestClient) -> None:
    for answer in (api.get("/backups/x"), api.delete("/backups/x"), api.get("/status/x")):
        assert answer.status_code == 404
    assert api.post("/backups", json={"type": "incremental"}).json() == {
        "detail": "there is no backup to build on: make a full backup first",
        "status": "there is no backup to build on: make a full backup first",
    }


def test_a_backup_is_deleted(api: TestClient, three: list[str]) -> None:
    answer = api.delete("/backups/b")
    assert (answer.status_code, answer.content) == (204, b"")
    assert [item["id"] for item in api.get("/backups").json()["items"]] == ["c", "a"]


def test_a_backup_that_others_build_on_is_409_with_their_names(
    api: TestClient, mysql: FakeMysqlService, three: list[str]
) -> None:
    mysql.refusal = Answer(409, "backups depend on b: c", {"dependents": ["c"]})
    answer = api.delete("/backups/b")
    assert (answer.status_code, answer.json()) == (409, {"detail": "backups depend on b: c"})


def test_lists_are_filtered_ordered_and_paged(api: TestClient, three: list[str]) -> None:
    assert api.get("/backups?per_page=2&page=2").json() == {
        "items": [api.get("/backups/a").json()],
        "pagination": {"total": 3, "page": 2, "per_page": 2, "total_pages": 2},
    }

    def ids(path: str) -> list[str]:
        return [item["id"] for item in api.get(path).json()["items"]]

    assert ids("/backups") == three
    assert ids("/backups?order=start_time|asc") == ["a", "b", "c"]
    assert ids("/backups?query=start_time|gt|2026-01-01T00:00,start_time|lt|2026-01-03T00:00") == ["b"]
    assert ids("/backups?query=id|in|a,c,schedule_id|isnull&order=id|asc") == ["a", "c"]
    assert ids("/backups?query=start_time|lte|2026-01-02T02:00+02:00") == ["b", "a"]
    assert ids("/backups?query=&order=") == three


def test_a_page_past_the_end_is_empty(api: TestClient, three: list[str]) -> None:
    answer = api.get("/backups?page=9")
    assert (answer.status_code, answer.json()) == (
        200,
        {"items": [], "pagination": {"total": 3, "page": 9, "per_page": 25, "total_pages": 1}},
    )
    assert api.get("/restores").json()["pagination"] == {
        "total": 0,
        "page": 1,
        "per_page": 25,
        "total_pages": 0,
    }


@pytest.mark.parametrize("path", ["/backups", "/restores", "/processes", "/clients"])
def test_a_list_that_cannot_be_read_is_400_and_names_what_can(api: TestClient, path: str) -> None:
    for question, word in (
        ("query=colour|red", "valid are id"),
        ("order=colour|asc", "valid are id"),
        ("query=id|like|x", "eq"),
    ):
        answer = api.get(f"{path}?{question}")
        assert answer.status_code == 400
        assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("per_page=0", "per_page"),
        ("per_page=1001", "per_page"),
    ],
)
def test_pages_that_cannot_be_are_422(api: TestClient, question: str, field: str) -> None:
    answer = api.get(f"/backups?{question}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert answer.json()["errors"][0]["loc"] == ["query", field]


def test_clients_from_their_birth_to_their_end(api: TestClient) -> None:
    made = api.post("/clients", json={"label": "monitoring", "scopes": ["backups:read"]})
    assert made.status_code == 200
    client = made.json()
    assert set(client) == {"id", "secret", "label", "scopes"}
    item = {name: client[name] for name in ("id", "label", "scopes")}
    assert item in api.get("/clients").json()["items"]
    changed = api.put(f"/clients/{client['id']}", json={**item, "label": "other", "scopes": ["*"], "more": 1})
    assert (changed.status_code, changed.json()) == (200, {**item, "label": "other"})
    assert api.get("/clients?query=label|other").json()["items"] == [changed.json()]
    assert api.get("/clients?query=scopes|backups:read").json()["pagination"]["total"] == 1
    assert api.delete(f"/clients/{client['id']}").status_code == 204
    for answer in (
        api.put(f"/clients/{client['id']}", json={"label": "x"}),
        api.delete(f"/clients/{client['id']}"),
    ):
        assert answer.status_code == 404


NO_LABELS: list[Any] = ["", "  ", "a\nb", "x" * 129, 7, None]
NO_SCOPES: list[Any] = [["root"], [], "*", [7]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        *({"label": label} for label in NO_LABELS),
        *({"label": "x", "scopes": scopes} for scopes in NO_SCOPES),
    ],
)
def test_clients_that_cannot_be_are_422(api: TestClient, body: dict[str, Any]) -> None:
    answer = api.post("/clients", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][0] == "body"


def test_one_of_each_list_can_be_asked_for_alone(api: TestClient, mysql: FakeMysqlService) -> None:
    mysql.on_disk = {"one": manifest("one", 1)}
    job = api.post("/restores", json={"id": "one", "target": "folder"})
    assert job.status_code == 202, job.text
    [restore] = api.get("/restores").json()["items"]
    assert api.get(f"/restores/{restore['id']}").json() == restore
    [process] = api.get("/processes").json()["items"]
    for key in (process["id"], process["command_id"]):
        assert api.get(f"/processes/{key}").json() == process
    [client] = api.get("/clients").json()["items"]
    assert api.get(f"/clients/{client['id']}").json() == client
    for path in ("/restores/2", "/restores/x", f"/restores/{'9' * 30}", "/processes/x", "/clients/x"):
        assert api.get(path).status_code == 404, path


def test_a_refused_restore_says_so_in_its_status_at_both_addresses(api: TestClient) -> None:
    for path in ("/restore", "/restores"):
        answer = api.post(path, json={"id": "none", "target": "folder"})
        assert (answer.status_code, answer.json()["status"]) == (404, answer.json()["detail"])
