"""Schedules over HTTP, with a root service in memory or a real one beside them."""

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dbcalm.api.app import create_app
from dbcalm.api.deps import Application
from dbcalm.api.tokens import Tokens
from dbcalm.domain.model.zone import HostZone
from dbcalm.domain.rules.retention import Rules
from dbcalm.domain.services.assembly import SystemClock, assemble
from dbcalm.domain.services.schedules import ROOT_SECONDS
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.engine import Database, connect
from dbcalm.routes import ALL
from dbcalm_cmd.adapter import render
from dbcalm_cmd_client import Answer, CmdClient
from tests.support.dbcalm_fakes import FakeMysqlService, FakeRootService, HandClock
from tests.support.dbcalm_root import RootProcess
from tests.support.patience import eventually

FULL = {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0}
INCREMENTAL = {"backup_type": "incremental", "frequency": "hourly", "minute": 5}
ORDER_OF_FIELDS = [
    "id", "backup_type", "frequency", "day_of_week", "day_of_month", "hour", "minute", "interval_value",
    "interval_unit", "retention_value", "retention_unit", "enabled", "created_at", "updated_at", "timezone", "next_run",
    "last_run", "last_status", "last_error", "overdue", "overdue_since", "verify_level",
]  # fmt: skip


@pytest.fixture(autouse=True)
def noon(clock: HandClock) -> None:
    clock.time = datetime(2026, 6, 10, 12, 0, tzinfo=UTC).timestamp()


def test_a_schedule_from_its_birth_to_its_end(api: TestClient, root_service: FakeRootService) -> None:
    made = api.post("/schedules", json={**FULL, "retention_value": 14, "retention_unit": "days"})
    assert made.status_code == 200
    item = made.json()
    assert list(item) == ORDER_OF_FIELDS
    assert item == {
        **dict.fromkeys(ORDER_OF_FIELDS),
        **FULL,
        "id": 1,
        "retention_value": 14,
        "retention_unit": "days",
        "enabled": True,
        "created_at": "2026-06-10T12:00:00.000000Z",
        "updated_at": "2026-06-10T12:00:00.000000Z",
        "timezone": "UTC",
        "next_run": "2026-06-11T03:00:00.000000Z",
        "overdue": False,
    }
    assert api.get("/schedules/1").json() == item
    assert api.get("/schedules").json()["items"] == [item]
    sent_back = api.put("/schedules/1", json={**item, "hour": 5, "more": {"deep": []}})
    assert sent_back.status_code == 200
    assert sent_back.json() == {**item, "hour": 5, "next_run": "2026-06-11T05:00:00.000000Z"}
    bare = api.put("/schedules/1", json=FULL).json()
    assert (bare["retention_value"], bare["retention_unit"]) == (None, None)
    assert (root_service.installed or {})[1].times == "0 3 * * *"
    gone = api.delete("/schedules/1")
    assert (gone.status_code, gone.json()) == (200, {"message": "schedule 1 was deleted"})
    assert root_service.installed == {}
    for answer in (api.get("/schedules/1"), api.put("/schedules/1", json=FULL), api.delete("/schedules/1")):
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no schedule 1")


@pytest.mark.parametrize("id", ["x", "0", "-1", "1.0", "٣", "9" * 400, "%00", "1e3"])
def test_what_is_no_id_is_404(api: TestClient, id: str) -> None:
    for answer in (
        api.get(f"/schedules/{id}"),
        api.put(f"/schedules/{id}", json=FULL),
        api.delete(f"/schedules/{id}"),
    ):
        assert answer.status_code == 404
        assert isinstance(answer.json()["detail"], str)


def test_fields_that_a_frequency_does_not_need_are_kept(api: TestClient) -> None:
    more = {"day_of_week": 6, "day_of_month": 28, "interval_value": 7, "interval_unit": "hours"}
    item = api.post("/schedules", json={**FULL, **more, "enabled": False}).json()
    assert item.items() >= more.items()
    assert (item["enabled"], item["next_run"]) == (False, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "backup_type"),
        ({**FULL, "backup_type": "differential"}, "backup_type"),
        ({**FULL, "frequency": "yearly"}, "frequency"),
        ({**FULL, "hour": None}, "hour"),
        ({**FULL, "hour": 24}, "hour"),
        ({**FULL, "hour": "3"}, "hour"),
        ({**FULL, "hour": 3.0}, "hour"),
        ({**FULL, "minute": True}, "minute"),
        ({**FULL, "minute": 60}, "minute"),
        ({**FULL, "day_of_month": 29}, "day_of_month"),
        ({**FULL, "day_of_week": -1}, "day_of_week"),
        ({**FULL, "enabled": 1}, "enabled"),
        ({**FULL, "enabled": None}, "enabled"),
        ({**FULL, "retention_value": 1}, "retention_unit"),
        ({**FULL, "retention_unit": "days"}, "retention_value"),
        ({**FULL, "retention_value": 0, "retention_unit": "days"}, "retention_value"),
        ({**FULL, "retention_value": 2**53, "retention_unit": "days"}, "retention_value"),
        ({**FULL, "frequency": "weekly"}, "day_of_week"),
        ({**FULL, "frequency": "monthly"}, "day_of_month"),
        ({**FULL, "frequency": "interval", "interval_unit": "hours"}, "interval_value"),
        ({**FULL, "frequency": "interval", "interval_value": 4}, "interval_unit"),
        ({**FULL, "frequency": "interval", "interval_value": 24, "interval_unit": "hours"}, "interval_value"),
    ],
)
def test_a_body_that_cannot_be_is_422_and_names_the_field(
    api: TestClient, root_service: FakeRootService, body: dict[str, Any], field: str
) -> None:
    api.post("/schedules", json=FULL)
    calls = root_service.calls
    for answer in (api.post("/schedules", json=body), api.put("/schedules/1", json=body)):
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(field)
        assert answer.json()["errors"][0]["loc"] == ["body", field]
    assert root_service.calls == calls


def test_the_rule_is_400_with_what_to_do(api: TestClient) -> None:
    answer = api.post("/schedules", json=INCREMENTAL)
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "detail": "an incremental schedule needs at least one enabled full schedule: "
            "add or enable a full one first"
        },
    )
    api.post("/schedules", json=FULL)
    assert api.post("/schedules", json=INCREMENTAL).status_code == 200
    for refused in (
        api.delete("/schedules/1"),
        api.put("/schedules/1", json={**FULL, "enabled": False}),
        api.put("/schedules/1", json=INCREMENTAL),
    ):
        assert refused.status_code == 400
        assert "needs at least one enabled full schedule" in refused.json()["detail"]
    assert api.get("/schedules/1").json()["enabled"]


def test_without_the_root_service_it_is_503_and_nothing_is_saved(
    api: TestClient, root_service: FakeRootService
) -> None:
    before = api.post("/schedules", json=FULL).json()
    for failure in ({"down": True}, {"refusal": Answer(503, "cannot write the file", {})}):
        for name, value in failure.items():
            setattr(root_service, name, value)
        for answer in (
            api.post("/schedules", json=FULL),
            api.put("/schedules/1", json={**FULL, "hour": 9}),
            api.delete("/schedules/1"),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["detail"].endswith("; nothing was saved")
        assert api.get("/schedules").json()["items"] == [before]
        root_service.down, root_service.refusal = False, None


def test_too_many_are_one_clear_line(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbcalm_cmd.command._MOST_SCHEDULES", 2)
    for _ in range(2):
        assert api.post("/schedules", json=FULL).status_code == 200
    answer = api.post("/schedules", json=FULL)
    assert (answer.status_code, answer.json()) == (409, {"detail": "3 schedules are more than 2"})


def test_lists_are_filtered_ordered_and_paged(api: TestClient, clock: HandClock) -> None:
    for hour in range(3):
        api.post("/schedules", json={**FULL, "hour": hour, "enabled": hour != 1})
        clock.time += 60

    def ids(question: str) -> list[int]:
        answer = api.get(f"/schedules?{question}")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert ids("") == [3, 2, 1]
    assert ids("query=enabled|false") == [2]
    assert ids("query=hour|gte|1,backup_type|full&order=id|asc") == [2, 3]
    assert ids("order=enabled|asc,created_at|desc") == [2, 3, 1]
    assert ids("query=created_at|gt|2026-06-10T12:00:30&per_page=1&page=2") == [2]
    for question, word in (
        ("query=retention_value|1", "valid are id, backup_type"),
        ("query=enabled|yes", "enabled in the query must be true or false"),
        ("order=hour|asc", "valid are id, created_at, updated_at, enabled"),
    ):
        answer = api.get(f"/schedules?{question}")
        assert answer.status_code == 400
        assert word in answer.json()["detail"]


def test_a_token_needs_the_scope(http: TestClient, sign_in: Callable[..., dict[str, str]]) -> None:
    reader, writer = sign_in("schedules:read"), sign_in("schedules:write")
    assert http.get("/schedules", headers=reader).status_code == 200
    assert http.post("/schedules", json=FULL, headers=reader).status_code == 403
    assert http.post("/schedules", json=FULL, headers=writer).status_code == 200
    assert http.get("/schedules/1", headers=writer).status_code == 403
    assert http.delete("/schedules/1").status_code == 401


def test_a_refused_backup_is_told_with_its_schedule(api: TestClient, mysql: FakeMysqlService) -> None:
    api.post("/schedules", json=FULL)
    mysql.refusal = Answer(503, "server is not running", {})
    assert api.post("/backups", json={"type": "full", "schedule_id": 1}).status_code == 503
    assert api.get("/schedules/1").json()["last_error"] == "server is not running"
    assert api.post("/backups", json={"type": "full", "schedule_id": 99}).status_code == 503


def test_a_backup_shows_its_hold_and_the_retention_of_its_schedule(
    api: TestClient, mysql: FakeMysqlService
) -> None:
    api.post("/schedules", json={**FULL, "retention_value": 2, "retention_unit": "weeks"})
    started = api.post("/backups", json={"type": "full", "schedule_id": 1}).json()
    mysql.finish(started["pid"])
    id = started["resource_id"]
    api.get(started["link"])
    shown = api.get(f"/backups/{id}").json()
    assert (shown["retention_value"], shown["retention_unit"], shown["hold"]) == (2, "weeks", None)
    hold = {"reason": "audit", "until": None}
    mysql.tell({"event": "held", "at": "x", "backup_id": id, "hold": hold})
    api.get("/status/x")
    assert api.get(f"/backups/{id}").json()["hold"] == hold
    assert api.get("/backups").json()["items"][0]["retention_unit"] == "weeks"


# Whatever is sent.

HOSTILE: list[Any] = [
    None, True, False, -1, 0, 1, 2, 5, 6, 7, 12, 23, 24, 28, 29, 31, 32, 59, 60, 90, 2**31, 2**53, 2**63, 2**64,
    -(2**63), 10**30, 0.0, 3.0, 3.9, 1e308, "", " ", "3", "3\n", "03", "٣", "²", "0x3", "1e1", "*", "*/5", "1-5", "1,2",
    "@reboot", "L", "full", "full\n", "FULL", "incremental", "daily", "weekly", "monthly", "hourly", "interval",
    "minutes", "hours", "days", "weeks", "months", "$(id)", "`id`", "; id", "root", "\x00", "\n* * * * * root id",
    "../..", "%s", "' OR 1=1 --", "x" * 5000, "🙂", "\ud83d", [], [3], {}, {"hour": 3},
]  # fmt: skip
FIELDS = [
    "backup_type", "frequency", "day_of_week", "day_of_month", "hour", "minute", "interval_value", "interval_unit",
    "retention_value", "retention_unit", "enabled",
]  # fmt: skip
GOOD = {
    **FULL, "day_of_week": 1, "day_of_month": 2, "interval_value": 6, "interval_unit": "hours", "retention_value": 1,
    "retention_unit": "days", "enabled": True,
}  # fmt: skip


CRON_LINE = re.compile(
    r"([0-9]|[1-5][0-9]) (\*|\*/[2-6]|\*/8|\*/12|[0-9]|1[0-9]|2[0-3]) (\*|[1-9]|1[0-9]|2[0-8]) \* (\*|[0-6]) "
    r"dbcalm /usr/bin/dbcalm backup (full|incremental) --schedule-id [1-9][0-9]*( --if-due [1-9][0-9]{0,3})?|"
    r"(\*|\*/([2-6]|10|12|15|20|30)) \* \* \* \* dbcalm /usr/bin/dbcalm backup (full|incremental) "
    r"--schedule-id [1-9][0-9]*( --if-due [1-9][0-9]{0,3})?"
)
"""The lines that a schedule can mean, put together here and not by the renderer."""


def lines_of(root_service: FakeRootService) -> list[str]:
    """Return the cron lines that the real root service would make of what it was sent."""
    text = render(tuple((root_service.installed or {}).values()), "dbcalm", "/usr/bin/dbcalm", "")
    return [line for line in text.splitlines() if "--schedule-id" in line]


@pytest.mark.slow
def test_whatever_is_sent_is_refused_in_one_sentence_or_renders(
    api: TestClient, root_service: FakeRootService
) -> None:
    statuses: dict[int, int] = {}
    interval = {**GOOD, "frequency": "interval"}
    cases = [
        *itertools.product([GOOD], FIELDS, HOSTILE),
        *itertools.product([interval], ["interval_value", "interval_unit", "minute"], HOSTILE),
    ]
    for base, field, value in cases:
        content = json.dumps({**base, field: value})
        answer = api.post("/schedules", content=content, headers={"content-type": "application/json"})
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        if answer.status_code == 200:
            assert answer.json()[field] == value
            lines = lines_of(root_service)
            assert len(lines) == answer.json()["enabled"], (field, value)
            assert all(CRON_LINE.fullmatch(line) for line in lines), lines
            api.delete(f"/schedules/{answer.json()['id']}").raise_for_status()
        else:
            assert answer.status_code in (400, 422), (field, value, answer.text)
            assert isinstance(answer.json()["detail"], str), (field, value)
            assert "\n" not in answer.json()["detail"]
    assert sum(statuses.values()) >= 500
    assert set(statuses) == {200, 400, 422}


# With the real root service.


@pytest.fixture
def process() -> Iterator[RootProcess]:
    folder = Path(tempfile.mkdtemp(prefix="dbcalm-"))
    root = RootProcess(folder)
    root.start()
    yield root
    root.kill()
    shutil.rmtree(folder)


@pytest.fixture
def real(
    catalogue: Catalogue,
    mysql: FakeMysqlService,
    process: RootProcess,
    tokens: Tokens,
    sign_in: Callable[..., dict[str, str]],
) -> TestClient:
    """The API over the real root service; it heals only while it is entered as a context."""
    root = CmdClient(process.socket, ROOT_SECONDS)
    services = assemble(catalogue, mysql, root, SystemClock(), Rules(), timedelta(hours=1), HostZone())
    app = create_app(Application(services, tokens), ALL, "1.2.3")
    client = TestClient(app, base_url="https://testserver", raise_server_exceptions=False)
    client.headers.update(sign_in("*"))
    return client


def test_what_is_saved_is_in_the_file_when_it_is_answered(real: TestClient, process: RootProcess) -> None:
    real.post("/schedules", json=FULL)
    assert "0 3 * * * " in process.cron.read_text()
    real.post("/schedules", json=INCREMENTAL)
    assert process.ids() == [1, 2]
    real.delete("/schedules/2")
    assert process.ids() == [1]


def test_a_root_service_that_is_gone_leaves_catalogue_and_file_as_they_were(
    real: TestClient, process: RootProcess
) -> None:
    real.post("/schedules", json=FULL)
    before, file = real.get("/schedules").json()["items"], process.cron.read_text()
    process.kill()
    for answer in (
        real.post("/schedules", json=INCREMENTAL),
        real.put("/schedules/1", json={**FULL, "hour": 8}),
        real.delete("/schedules/1"),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (
            503,
            "the service dbcalm-cmd does not answer; nothing was saved",
        )
    assert (real.get("/schedules").json()["items"], process.cron.read_text()) == (before, file)
    process.start()
    assert real.post("/schedules", json=INCREMENTAL).status_code == 200
    assert process.ids() == [1, 2]


@pytest.mark.slow  # it waits for deadlines
def test_a_root_service_that_is_stuck_refuses_in_time_and_the_file_is_put_right_later(
    real: TestClient, process: RootProcess
) -> None:
    real.post("/schedules", json=FULL)
    with real:
        process.send(signal.SIGSTOP)
        began = time.monotonic()
        answer = real.post("/schedules", json=FULL)
        assert answer.status_code == 503
        assert time.monotonic() - began > ROOT_SECONDS - 0.5
        file = process.cron.stat().st_mtime_ns
        process.send(signal.SIGCONT)  # Now it does what nobody waits for any more.
        eventually(lambda: process.cron.stat().st_mtime_ns != file)
        eventually(lambda: process.ids() == [1])
    assert [item["id"] for item in real.get("/schedules").json()["items"]] == [1]


@pytest.mark.slow
def test_a_root_service_that_is_killed_in_between_saves_nothing(
    real: TestClient, process: RootProcess
) -> None:
    """Killed while the call waits in its socket: accepted by the kernel, and never answered."""
    real.post("/schedules", json=FULL)
    process.send(signal.SIGSTOP)
    killer = subprocess.Popen(
        [sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({process._process.pid}, 9)"]  # type: ignore[union-attr]  # it runs
    )
    answer = real.post("/schedules", json=INCREMENTAL)
    killer.wait()
    assert answer.status_code == 503
    assert process.ids() == [1]
    process.kill()
    process.start()
    with real:
        eventually(lambda: process.ids() == [1])
    assert real.get("/schedules").json()["pagination"]["total"] == 1


@pytest.mark.slow
def test_the_start_of_the_api_brings_a_lost_file_back(real: TestClient, process: RootProcess) -> None:
    real.post("/schedules", json=FULL)
    whole = process.cron.read_text()
    process.cron.unlink()
    with real:
        eventually(process.cron.exists)
        eventually(lambda: process.cron.read_text() == whole)
    process.cron.write_text("* * * * * root id\n")
    with real:
        eventually(lambda: process.cron.read_text() == whole)


@pytest.mark.slow
def test_the_api_starts_without_the_root_service_and_heals_when_it_comes(
    real: TestClient, process: RootProcess, caplog: pytest.LogCaptureFixture
) -> None:
    real.post("/schedules", json=FULL)
    process.kill()
    process.cron.unlink()
    with real:
        eventually(lambda: "dbcalm-cmd does not answer" in caplog.text)
        assert real.get("/schedules").status_code == 200
        process.start()
        eventually(process.cron.exists)
        eventually(lambda: process.ids() == [1])


def test_a_locked_catalogue_is_503_and_the_file_stays(
    real: TestClient,
    process: RootProcess,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dbcalm.repository.engine._BUSY_SECONDS", 0.05)
    database.close()  # Each connection keeps the patience that it was opened with.
    real.post("/schedules", json=FULL)
    file = process.cron.stat().st_mtime_ns
    holder = connect(tmp_path / "db.sqlite3")
    holder.execute("BEGIN IMMEDIATE")
    answer = real.post("/schedules", json=FULL)
    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        "the catalogue is busy; try again in a few seconds",
    )
    holder.rollback()
    holder.close()
    assert (process.ids(), process.cron.stat().st_mtime_ns) == ([1], file)
