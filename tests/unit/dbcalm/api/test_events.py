"""Server-sent events of a job: progress, log and end, from where a client has left off, for whoever may."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

from dbcalm.api import events as events_module
from dbcalm.api.events import MOST_STREAMS, Event, Look, Streams
from dbcalm.errors import NotAuthenticated
from tests.support.dbcalm_fakes import FakeMysqlService
from tests.support.patience import eventually

PROGRESS = {
    "phase": "copying", "bytes_done": 5, "bytes_total": 10,
    "percent": 50, "bytes_per_second": 1, "seconds_left": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Got:
    id: str | None
    event: str
    data: Any


def parsed(text: str) -> list[Got]:
    """Return the events in a stream's text, as a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            fields[name] = fields[name] + "\n" + value if name in fields else value
        if "data" in fields:
            found.append(Got(fields.get("id"), fields["event"], json.loads(fields["data"])))
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "_LOOK_SECONDS", 0.01)


@pytest.fixture
def job(api: TestClient) -> str:
    return str(api.post("/backups", json={"type": "full", "id": "one"}).json()["pid"])


def is_followed(mysql: FakeMysqlService) -> None:
    """Wait until somebody has looked at all that there is."""
    asked = len(mysql.asked_for("job_progress"))
    eventually(lambda: len(mysql.asked_for("job_progress")) > asked + 1)


def test_a_job_is_followed_to_its_end(api: TestClient, mysql: FakeMysqlService, job: str) -> None:
    mysql.progress[job] = PROGRESS
    mysql.logs[job] = "first\nsecönd"

    def go_on() -> None:
        is_followed(mysql)
        mysql.logs[job] += "\nthird\n"
        mysql.progress[job] = {**PROGRESS, "percent": 80}
        is_followed(mysql)
        mysql.finish(job)

    goes_on = threading.Thread(target=go_on)
    goes_on.start()
    answer = api.get(f"/processes/{job}/events")
    goes_on.join()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 2000\n\n")
    got = parsed(answer.text)
    assert "".join(one.data["text"] for one in got if one.event == "log") == "first\nsecönd\nthird\n"
    told = [one.data for one in got if one.event == "progress"]
    assert told[0] == PROGRESS
    assert [one["percent"] for one in told] == [50, 80, 100]
    assert told[-1]["phase"] == "done"
    assert (got[-1].event, got[-1].data["status"], got[-1].data["pid"]) == ("end", "success", job)
    assert [one.event for one in got].count("end") == 1


def test_a_failed_job_never_was_at_100(api: TestClient, mysql: FakeMysqlService, job: str) -> None:
    mysql.progress[job] = {**PROGRESS, "percent": 99}

    def fail() -> None:
        is_followed(mysql)
        mysql.finish(job, "failed", reason="error", error="disk full")

    threading.Thread(target=fail).start()
    got = parsed(api.get(f"/processes/{job}/events").text)
    assert [one.data["percent"] for one in got if one.event == "progress"] == [99]
    assert (got[-1].data["status"], got[-1].data["error"]) == ("failed", "disk full")


@pytest.mark.parametrize("seen", [0, 4, 8, 12])
def test_a_client_that_comes_back_gets_what_follows(
    api: TestClient, mysql: FakeMysqlService, job: str, seen: int
) -> None:
    mysql.logs[job] = "0123456789ab"
    mysql.finish(job)
    got = parsed(api.get(f"/processes/{job}/events", headers={"Last-Event-ID": str(seen)}).text)
    logs = [one for one in got if one.event == "log"]
    assert "".join(one.data["text"] for one in logs) == "0123456789ab"[seen:]
    assert [one.id for one in logs] == [str(number) for number in (4, 8, 12) if number > seen]
    assert got[-1].event == "end"


@pytest.mark.parametrize("given", ["-1", "x", "1.5", str(2**63), "", "٣"])
def test_an_id_that_no_event_had(api: TestClient, job: str, given: str) -> None:
    answer = api.get(f"/processes/{job}/events", headers={b"Last-Event-ID": given.encode()})
    assert answer.status_code == 422
    assert "Last-Event-ID" in answer.json()["detail"]


def test_the_number_of_the_process_does_too_and_what_is_not_known_is_404(
    api: TestClient, mysql: FakeMysqlService, job: str
) -> None:
    mysql.finish(job)
    number = api.get("/processes").json()["items"][0]["id"]
    assert parsed(api.get(f"/processes/{number}/events").text)[-1].event == "end"
    missing = api.get("/processes/none/events")
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no job 'none'")


def test_a_service_that_is_silent_for_a_while_does_not_end_it(
    api: TestClient, mysql: FakeMysqlService, job: str
) -> None:
    mysql.logs[job] = "text"
    mysql.down = True

    def come_back() -> None:
        time.sleep(0.3)
        mysql.down = False
        mysql.finish(job)

    back = threading.Thread(target=come_back)
    back.start()
    got = parsed(api.get(f"/processes/{job}/events").text)
    back.join()
    assert [one.event for one in got] == ["log", "end"]


def test_there_are_only_so_many(api: TestClient, mysql: FakeMysqlService, job: str) -> None:
    streams: Streams = api.app.state.application.streams  # type: ignore[attr-defined]  # the application's, not any
    for _ in range(MOST_STREAMS):
        streams.open(lambda: Look((), False, True), lambda: None)
    full = api.get(f"/processes/{job}/events")
    assert (full.status_code, full.json()["detail"]) == (
        503,
        "20 streams of events are open, and there can be no more",
    )
    streams.closed()
    mysql.finish(job)
    for _ in range(3):  # Each of them makes room again.
        assert api.get(f"/processes/{job}/events").status_code == 200


def texts(streams: Streams, look: Any, admit: Any = lambda: None, most: int = 1000) -> list[str]:
    """Return what a stream of these looks sends, as many pieces at the most."""

    async def read() -> list[str]:
        found: list[str] = []
        async for text in streams.open(look, admit).body_iterator:
            found.append(str(text))
            if len(found) == most:
                break
        return found

    return asyncio.run(read())


def test_silence_is_broken_so_that_nobody_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "_QUIET_SECONDS", 0.1)
    began = time.monotonic()
    assert texts(Streams(), lambda: Look((), False, False), most=4)[1:] == [": still here\n\n"] * 3
    assert time.monotonic() - began > 0.3


def test_whoever_may_no_longer_ask_hears_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "_ADMITTED_SECONDS", 0.1)
    asked: list[float] = []

    def admit() -> None:
        asked.append(time.monotonic())
        if len(asked) == 3:
            raise NotAuthenticated("the token has expired")

    texts(Streams(), lambda: Look([Event("log", {})], False, False), admit)
    assert len(asked) == 3


@pytest.mark.parametrize("when", ["before", "later"])
def test_the_stop_of_the_api_ends_it(when: str) -> None:
    streams = Streams()
    looks: Iterator[bool] = iter([False, when == "later"])

    def look() -> Look:
        if next(looks):
            streams.stopping.set()
        return Look((), False, False)

    if when == "before":
        streams.stopping.set()
    assert texts(streams, look) == ["retry: 2000\n\n"]


def test_the_lines_of_an_event() -> None:
    assert Event("log", {"text": "a\nb\r\n\u2028é"}, 7).encode() == (
        'id: 7\nevent: log\ndata: {"text": "a\\nb\\r\\n\u2028é"}\n\n'
    )
