"""Commands over a socket, requests over TLS, and the memory of the services."""

import json
import re
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.store.manifest import Manifest
from dbcalm_mariadb_cmd_client import MariadbCmdClient
from dev.bench_lib.bare import PATH, bare
from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.processes import wait_until
from dev.sandbox_lib.sandbox import Sandbox
from dev.sandbox_lib.services import API

_COMMANDS = 10_000
_SECONDS = 2.0
_TURNS = 25
_TURN_SECONDS = 0.2
_SMALL = 100
_SERVICE = "dbcalm-mariadb-cmd"
_MEMORY_BARS = {"dbcalm-cmd": "<= 20", _SERVICE: "<= 30", API: "<= 110"}


def services(sandbox: Sandbox) -> list[Figure]:
    """Return the memory of the idle services, and what a command over a socket costs."""
    figures = [
        Figure(f"memory of {name}, idle", _memory(sandbox, name), "MB", bar)
        for name, bar in _MEMORY_BARS.items()
    ]
    client = MariadbCmdClient(Path(sandbox.facts.mariadb_cmd_sock))
    before, took = _usual_state(sandbox, _SERVICE), []
    for _ in range(_COMMANDS):
        began = time.perf_counter()
        client.job_progress("0" * 32)
        took.append(time.perf_counter() - began)
    after = _usual_state(sandbox, _SERVICE)
    return [
        *figures,
        Figure(f"one command of {_COMMANDS:,} in a row, median", median(took) * 1e3, "ms", "<= 2"),
        Figure("descriptors and threads more after them", after[0] - before[0], "", "<= 0"),
        Figure("memory more after them", after[1] - before[1], "MB", "<= 1"),
    ]


def lists(sandbox: Sandbox, rows: int) -> list[Figure]:
    """Return requests a second with a small and with a large catalogue."""
    few = _rates(sandbox, _fill(sandbox, _SMALL))
    small = _against_bare(sandbox, ["/backups"])
    link = _fill(sandbox, rows)
    many = _rates(sandbox, link)
    one = f"/backups/bench-{rows // 2:07}"
    large = _against_bare(sandbox, ["/backups", link, one])
    return [
        Figure(f"GET /backups, {_SMALL} rows, against a bare route", small["/backups"], "x", ">= 0.5"),
        Figure(f"GET /backups, {rows:,} rows, the same", large["/backups"], "x"),
        Figure(f"GET /status/{{id}}, {rows:,} rows, the same", large[link], "x", ">= 0.65"),
        Figure(f"GET /backups/{{id}}, {rows:,} rows, the same", large[one], "x", ">= 0.65"),
        Figure(f"GET /backups, {_SMALL} rows", few["list"], "a second", ">= 700"),
        Figure(f"GET /backups, {rows:,} rows", many["list"], "a second"),
        Figure("  ratio of the two", many["list"] / few["list"], "x", ">= 0.8"),
        Figure(f"GET /backups?page=100, {rows:,} rows", many["page 100"], "a second"),
        Figure("  against page 1 of the small one", many["page 100"] / few["list"], "x", ">= 0.8"),
        Figure(f"GET /status/{{id}}, {_SMALL} rows", few["status"], "a second"),
        Figure(f"GET /status/{{id}}, {rows:,} rows", many["status"], "a second", ">= 1000"),
        Figure("POST /auth/token, client credentials", many["token"], "a second", ">= 400"),
    ]


def _against_bare(sandbox: Sandbox, paths: Sequence[str]) -> dict[str, float]:
    """Return for each path how its rate stands to that of a plain route that does nothing: one client, in turns."""
    connection = Connection(sandbox.facts)
    ratios: dict[str, list[float]] = {path: [] for path in paths}
    with bare(sandbox) as url:
        nothing = _get(Connection(sandbox.facts, url), PATH)
        for _ in range(_TURNS):
            for path, found in ratios.items():
                found.append(_rate(_get(connection, path), _TURN_SECONDS) / _rate(nothing, _TURN_SECONDS))
    return {path: median(found) for path, found in ratios.items()}


def _get(connection: Connection, path: str) -> Callable[[], object]:
    def send() -> None:
        status, answer = connection.request("GET", path)
        if status != 200:
            raise SandboxError(f"GET {path} gave {status}: {answer}")

    return send


def _rates(sandbox: Sandbox, link: str) -> dict[str, float]:
    connection = Connection(sandbox.facts)
    requests: dict[str, Callable[[], object]] = {
        "list": _get(connection, "/backups"),
        "page 100": _get(connection, "/backups?page=100"),
        "status": _get(connection, link),
        "token": connection.token,
    }
    return {name: median(_rate(send) for _ in range(3)) for name, send in requests.items()}


def _rate(send: Callable[[], object], seconds: float = _SECONDS) -> float:
    """Return how often a second this can be done, one after the other."""
    for _ in range(50):
        send()
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        send()
        count += 1
    return count / took


def _fill(sandbox: Sandbox, rows: int) -> str:
    """Bring the catalogue to this many backups the way they always come, through the journal; return a status link."""
    connection = Connection(sandbox.facts)
    have = connection.request("GET", "/backups?per_page=1")[1]["pagination"]["total"]
    sandbox.services.end(_SERVICE)
    job_ids = [uuid.uuid4().hex for _ in range(rows - have)]
    with (sandbox.root / "jobs" / "journal").open("a") as journal:
        for number, job_id in enumerate(job_ids, start=have):
            journal.writelines(json.dumps(event) + "\n" for event in _events(number, job_id))
    sandbox.restart(_SERVICE)

    def arrived() -> bool:
        return bool(connection.request("GET", "/backups?per_page=1")[1]["pagination"]["total"] >= rows)

    if not wait_until(arrived, 300):
        raise SandboxError("the catalogue did not take in the journal")
    return f"/status/{job_ids[len(job_ids) // 2]}"


def _events(number: int, job_id: str) -> list[dict[str, object]]:
    """Return the journal's events of one full backup."""
    name = f"bench-{number:07}"
    at = f"2025-{1 + number // 28 % 12:02}-{1 + number % 28:02}T{number // 336 % 24:02}:00:00.{number:06}Z"
    what = {"id": name, "type": "full", "from_backup_id": None, "schedule_id": None}
    manifest = Manifest(
        id=name, type="full", from_backup_id=None, schedule_id=None, seq=number, job_id=job_id, timeline="bench",
        note=None, start_time=at, end_time=at, size=number, file_count=1, files_sha256="", engine="mariadb",
        tool_version="10.11.0", from_lsn=0, to_lsn=number, last_lsn=number, binlog=None,
        server=Origin(version="10.11.0", data_dir="/", ibdata=(0, 0), server_uuid="", elsewhere={}),
    )  # fmt: skip
    job = {"at": at, "job_id": job_id}
    accepted: dict[str, object] = {
        "type": "backup",
        "command": "mariadb-backup",
        "args": {},
        "resource_id": name,
        "note": None,
    }
    ended = {"status": "success", "reason": None, "return_code": 0, "error": None, "output": "completed OK!"}
    return [
        {"event": "accepted", **job, **accepted, "backup": what, "answer": {"code": 202}, "seq": number},
        {"event": "started", **job, "pid": 1},
        {"event": "ended", **job, **ended, "backup": manifest.facts()},
    ]


def _memory(sandbox: Sandbox, name: str) -> float:
    return _state(sandbox, name)[1]


def _state(sandbox: Sandbox, name: str) -> tuple[int, float]:
    """Return a service's descriptors and threads together, and its memory in MB."""
    process = sandbox.process(name)
    if process is None:
        raise SandboxError(f"{name} is not running")
    home = Path(f"/proc/{process.pid}")
    found = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", (home / "status").read_text(), re.MULTILINE))
    return len(list((home / "fd").iterdir())) + int(found["Threads"]), int(found["VmRSS"]) / 1000


def _usual_state(sandbox: Sandbox, name: str) -> tuple[int, float]:
    """Return the median of some looks at it: the API holds a call most of the time, and between two of them none."""
    looks = []
    for _ in range(21):
        looks.append(_state(sandbox, name))
        time.sleep(0.05)
    return int(median(count for count, _ in looks)), median(memory for _, memory in looks)
