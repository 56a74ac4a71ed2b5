"""Backups against the raw tool: the same data, the same minute, the tree synced on both sides."""

import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dbcalm_mariadb_cmd.adapter.files import size_of
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


@dataclass(frozen=True)
class Turns:
    """The seconds of a backup through the API and of the raw tool, taken in turns, those until the 202, and the bytes
    on disk of either side's last one."""

    api: list[float]
    raw: list[float]
    accepted: list[float]
    bytes: int
    raw_bytes: int

    @property
    def ratio(self) -> float:
        """The API's median against the raw tool's."""
        return median(self.api) / median(self.raw)


def overhead(sandbox: Sandbox, rounds: int) -> list[Figure]:
    """Return the fixed cost of a backup: an empty database through the API, less the raw tool's time."""
    turns = _turns(sandbox, max(rounds, 7), {"type": "full"})
    api, raw = median(turns.api), median(turns.raw)
    return [
        Figure("empty database: raw tool, synced", raw * 1e3, "ms"),
        Figure("empty database: through the API", api * 1e3, "ms"),
        Figure("fixed overhead of a backup", (api - raw) * 1e3, "ms", "<= 150"),
        Figure("POST /backups to its 202, median", median(turns.accepted) * 1e3, "ms", "<= 60"),
    ]


def copies(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return full and incremental backups, as configured by default and as folders, against the raw tool's default: a
    plain copy by one thread."""
    load(sandbox, megabytes)
    full = _turns(sandbox, rounds, {"type": "full"})
    folder = _turns(sandbox, rounds, {"type": "full", "form": "folder"})
    base = backup(Connection(sandbox.facts), {"type": "full", "form": "folder"})[2]
    step = _turns(
        sandbox, rounds, {"type": "incremental", "from_backup_id": base}, before=lambda: change(sandbox)
    )
    return [
        Figure("data set", full.raw_bytes / _MB, "MB"),
        Figure("full backup: raw tool, plain copy, synced", median(full.raw), "s"),
        Figure("full backup: through the API, default settings", median(full.api), "s"),
        Figure("  ratio of medians", full.ratio, "x raw", "<= 0.95"),
        Figure("  bytes on disk", full.bytes / full.raw_bytes, "x raw", "<= 0.30"),
        Figure("full backup: raw tool, in turns with the next", median(folder.raw), "s"),
        Figure("full backup: through the API, folder", median(folder.api), "s"),
        Figure("  ratio of medians", folder.ratio, "x raw", "<= 0.80"),
        Figure("incremental: raw tool, synced", median(step.raw), "s"),
        Figure("incremental: through the API, default settings", median(step.api), "s"),
        Figure("  ratio of medians", step.ratio, "x raw"),
    ]


def _turns(
    sandbox: Sandbox, rounds: int, order: dict[str, str], before: Callable[[], None] = lambda: None
) -> Turns:
    """Measure the API and the raw tool in turns; ``before`` is done before each."""
    connection = Connection(sandbox.facts)
    through_api, raw, accepted = [], [], []
    stored = raw_stored = 0
    for _ in range(rounds):
        before()
        seconds, raw_stored = _raw_backup(sandbox, order.get("from_backup_id"))
        raw.append(seconds)
        took, until_accepted, made = backup(connection, order)
        through_api.append(took)
        accepted.append(until_accepted)
        stored = size_of(Path(sandbox.facts.backup_dir, made))
        connection.request("DELETE", f"/backups/{made}")
    return Turns(through_api, raw, accepted, stored, raw_stored)


def backup(connection: Connection, order: dict[str, str]) -> tuple[float, float, str]:
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


def _raw_backup(sandbox: Sandbox, base: str | None) -> tuple[float, int]:
    """Run the tool by hand, as mysql, with its defaults, and sync what it wrote; return the seconds and the bytes.
    ``base`` is a folder's id."""
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
    took, stored = time.perf_counter() - began, size_of(target)
    shutil.rmtree(target)
    if ran.returncode != 0:
        raise SandboxError(f"the raw tool failed: {ran.stderr.decode().splitlines()[-1]}")
    return took, stored


def load(sandbox: Sandbox, megabytes: int) -> None:
    """Fill the database with this much data, half of it random, and start it anew with nothing left to flush, unless it
    was filled before."""
    if "bench" in sandbox.sql("SHOW DATABASES").split():
        return
    rows = megabytes * _MB // _TABLES // _ROW_BYTES
    sandbox.sql("CREATE DATABASE bench")
    for number in range(_TABLES):
        sandbox.sql(_TABLE.format(number=number, salt=number + 3, rows=rows))
    sandbox.stop_db()
    sandbox.start_db()


def change(sandbox: Sandbox) -> None:
    """Change about one percent of the data: the first tenth of one of the tables."""
    sandbox.sql("USE bench; UPDATE t0 SET body = REVERSE(body) WHERE id <= (SELECT MAX(id) DIV 10 FROM t0)")


def written(sandbox: Sandbox) -> int:
    """Return the bytes that the mysql service and its children that have ended sent towards the disk."""
    process = sandbox.process("dbcalm-mariadb-cmd")
    if process is None:
        raise SandboxError("dbcalm-mariadb-cmd is not running")
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{process.pid}/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
