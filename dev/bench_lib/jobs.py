"""Backups and restores against the raw tool: the same data, the same minute, the tree synced on both sides."""

import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import median

from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

_TABLES = 10
_ROW_BYTES = 1080
"""Of a row and its share of a page, about."""
_MB = 1_000_000
_TABLE = """
USE bench;
CREATE TABLE t{number} (id INT PRIMARY KEY, body VARCHAR(1000) NOT NULL) CHARACTER SET latin1;
INSERT INTO t{number} SELECT seq, CONCAT(
    SHA2(seq * {salt}, 512), SHA2(seq, 512), SHA2(-seq, 512), SHA1(seq), REPEAT(MD5(seq), 17)
) FROM seq_1_to_{rows};
"""


def overhead(sandbox: Sandbox, rounds: int) -> list[Figure]:
    """Return the fixed cost of a backup: an empty database through the API, less the raw tool's time."""
    api, raw, accepted = _pairs(sandbox, max(rounds, 7), lambda: None, None)
    return [
        Figure("empty database: raw tool, synced", median(raw) * 1e3, "ms"),
        Figure("empty database: through the API", median(api) * 1e3, "ms"),
        Figure("fixed overhead of a backup", (median(api) - median(raw)) * 1e3, "ms", "<= 150"),
        Figure("POST /backups to its 202, median", median(accepted) * 1e3, "ms", "<= 60"),
    ]


def copies(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return full and incremental backups against the raw tool, and what a restore of the chain writes."""
    _load(sandbox, megabytes)
    full, raw_full, _ = _pairs(sandbox, rounds, lambda: None, None)
    base = _backup(Connection(sandbox.facts), {"type": "full", "id": "bench-base"})[2]
    step, raw_step, _ = _pairs(sandbox, rounds, lambda: _change(sandbox), base)
    size = sum(
        path.stat().st_size for path in Path(sandbox.facts.backup_dir, base).rglob("*") if path.is_file()
    )
    seconds, written = _restore(sandbox, base)
    return [
        Figure("data set", size / _MB, "MB"),
        Figure("full backup: raw tool, synced", median(raw_full), "s"),
        Figure("full backup: through the API", median(full), "s"),
        Figure("full backup, ratio of medians", median(full) / median(raw_full), "x raw", "<= 1.10"),
        Figure("incremental: raw tool, synced", median(raw_step), "s"),
        Figure("incremental: through the API", median(step), "s"),
        Figure("incremental, ratio of medians", median(step) / median(raw_step), "x raw"),
        Figure("restore of full + 1 to the database", seconds, "s"),
        Figure("bytes written by it", written / size, "x data", "<= 1.2"),
    ]


def _pairs(
    sandbox: Sandbox, rounds: int, before: Callable[[], None], base: str | None
) -> tuple[list[float], list[float], list[float]]:
    """Measure the API and the raw tool in turns; return their seconds, and those until the 202."""
    connection = Connection(sandbox.facts)
    through_api, raw, accepted = [], [], []
    order = {"type": "incremental", "from_backup_id": base} if base else {"type": "full"}
    for _ in range(rounds):
        before()
        raw.append(_raw_backup(sandbox, base))
        took, until_accepted, made = _backup(connection, order)
        through_api.append(took)
        accepted.append(until_accepted)
        connection.request("DELETE", f"/backups/{made}")
    return through_api, raw, accepted


def _backup(connection: Connection, order: dict[str, str]) -> tuple[float, float, str]:
    """Make a backup through the API; return its seconds, those until the 202, and its id."""
    began = time.perf_counter()
    status, answer = connection.request("POST", "/backups", order)
    accepted = time.perf_counter() - began
    if status != 202:
        raise SandboxError(f"the backup was refused: {answer['detail']}")
    link = answer["link"]
    while (answer := connection.request("GET", link)[1])["status"] == "running":
        time.sleep(0.02)
    took = time.perf_counter() - began
    if answer["status"] != "success":
        raise SandboxError(f"the backup failed: {answer}")
    return took, accepted, str(answer["resource_id"])


def _raw_backup(sandbox: Sandbox, base: str | None) -> float:
    """Run the tool by hand, as mysql, with its defaults, and sync what it wrote; return the seconds."""
    target = sandbox.root / "jobs" / f"raw-{uuid.uuid4().hex}"
    argv = [
        "mariadb-backup",
        f"--defaults-file={sandbox.layout.credentials}",
        "--defaults-group-suffix=-dbcalm",
    ]
    argv += ["--backup", f"--target-dir={target}"]
    argv += [f"--incremental-basedir={Path(sandbox.facts.backup_dir, base)}"] if base else []
    began = time.perf_counter()
    ran = subprocess.run(
        [*sandbox.who.database.drop(), *argv], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    subprocess.run(["sync", "--file-system", str(target)], check=True)
    took = time.perf_counter() - began
    shutil.rmtree(target)
    if ran.returncode != 0:
        raise SandboxError(f"the raw tool failed: {ran.stderr.decode().splitlines()[-1]}")
    return took


def _load(sandbox: Sandbox, megabytes: int) -> None:
    """Fill the database with this much data, half of it random, and start it anew with nothing left to flush."""
    rows = megabytes * _MB // _TABLES // _ROW_BYTES
    sandbox.sql("CREATE DATABASE bench")
    for number in range(_TABLES):
        sandbox.sql(_TABLE.format(number=number, salt=number + 3, rows=rows))
    sandbox.stop_db()
    sandbox.start_db()


def _change(sandbox: Sandbox) -> None:
    """Change about one percent of the data: the first tenth of one of the tables."""
    sandbox.sql("USE bench; UPDATE t0 SET body = REVERSE(body) WHERE id <= (SELECT MAX(id) DIV 10 FROM t0)")


def _restore(sandbox: Sandbox, base: str) -> tuple[float, int]:
    """Restore the base and one incremental to the database; return the seconds and the bytes written."""
    connection = Connection(sandbox.facts)
    _change(sandbox)
    newest = _backup(connection, {"type": "incremental", "from_backup_id": base})[2]
    sandbox.stop_db()
    sandbox.wipe_db()
    before, began = _written(sandbox), time.perf_counter()
    status, answer = connection.request("POST", "/restore", {"id": newest, "target": "database"})
    if status != 202:
        raise SandboxError(f"the restore was refused: {answer['detail']}")
    ended = sandbox.api.wait(answer["link"])
    took = time.perf_counter() - began
    if ended["status"] != "success":
        raise SandboxError(f"the restore failed: {ended}")
    time.sleep(0.2)  # The service reaps its runner a moment after the job's end.
    written = _written(sandbox) - before
    sandbox.start_db()
    return took, written


def _written(sandbox: Sandbox) -> int:
    """Return the bytes that the mysql service and its children that have ended sent towards the disk."""
    process = sandbox.process("dbcalm-mariadb-cmd")
    if process is None:
        raise SandboxError("dbcalm-mariadb-cmd is not running")
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{process.pid}/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
