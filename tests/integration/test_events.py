"""Following real jobs over HTTPS and by the command line: what is told while it happens."""

import http.client
import json
import ssl
from collections.abc import Iterator
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.conftest import Rig
from tests.support.patience import PATIENCE, eventually

pytestmark = pytest.mark.integration


def stream(rig: Rig, job: object, last: int | None = None) -> Iterator[tuple[int | None, str, Any]]:
    """Yield the id, name and data of each event of a job as it arrives."""
    rig.api.call("GET", "/health")
    address = urlsplit(rig.sandbox.facts.url).netloc
    context = ssl.create_default_context(cafile=rig.sandbox.facts.ca)
    headers = {"Authorization": f"Bearer {rig.api._token}", **({"Last-Event-ID": str(last)} if last else {})}
    connection = http.client.HTTPSConnection(address, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", f"/processes/{job}/events", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        fields: dict[str, str] = {}
        while line := answer.readline().decode().rstrip("\n"):
            fields |= [line.split(": ", 1)]
            while line := answer.readline().decode().rstrip("\n"):
                fields |= [line.split(": ", 1)]
            if "data" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield number, fields["event"], json.loads(fields["data"])
            fields = {}
    finally:
        connection.close()


@pytest.mark.parametrize("form", ["zstd", "folder"])
def test_a_backup_is_followed_while_it_runs(rig: Rig, form: str) -> None:
    events = []
    with rig.held_up(form=form) as accepted:
        following = stream(rig, accepted["pid"])
        # They come one after the other, not all at the end.
        while not {"log", "progress"} <= {name for _, name, _ in events}:
            events.append(next(following))
        assert rig.api.call("GET", accepted["link"])["status"] == "running"
    events += following
    log = "".join(data["text"] for _, name, data in events if name == "log")
    assert log.rstrip().endswith("completed OK!")
    percents = [data["percent"] for _, name, data in events if name == "progress"]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(set(percents)) > 1
    assert max(percents[:-1]) < 100
    _, name, last = events[-1]
    assert (name, last["status"], last["pid"]) == ("end", "success", accepted["pid"])
    half = next(number for number, name, _ in events if name == "log" and number)
    rest = "".join(data["text"] for _, name, data in stream(rig, accepted["pid"], half) if name == "log")
    assert log.encode()[half:].decode() == rest


def test_the_stop_of_the_api_does_not_wait_for_who_listens(rig: Rig) -> None:
    with rig.configured("dbcalm-mariadb-cmd", copy_throttle=1):
        accepted = rig.start("/backups", {"type": "full"})
        names: list[str] = []
        listener = Thread(target=lambda: [names.append(name) for _, name, _ in stream(rig, accepted["pid"])])
        listener.start()
        eventually(lambda: rig.api.call("GET", str(accepted["link"]))["progress"])
        eventually(lambda: names, "the first event")
        rig.sandbox.restart("dbcalm")
        listener.join()
        assert names
        assert "end" not in names
        rig.api.call("DELETE", f"/processes/{accepted['pid']}")
        assert [name for _, name, _ in stream(rig, accepted["pid"])][-1] == "end"


def test_the_command_line_follows_the_log(rig: Rig) -> None:
    with rig.configured("dbcalm-mariadb-cmd", copy_throttle=100):
        accepted = rig.start("/backups", {"type": "full"})
        followed = rig.sandbox.cli("processes", "log", "--follow", str(accepted["pid"]))
    assert followed.returncode == 0
    assert followed.stdout.rstrip().endswith("completed OK!")
    assert followed.stdout == rig.sandbox.cli("processes", "log", str(accepted["pid"])).stdout
    assert rig.end(accepted)["status"] == "success"
    missing = rig.sandbox.cli("processes", "log", "--follow", "none")
    assert (missing.returncode, missing.stderr) == (1, "dbcalm: there is no job 'none'\n")
