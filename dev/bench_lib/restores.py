"""Restores against the floor: what the same programs take by hand, in place, with nothing checked."""

import shlex
import subprocess
import time
from pathlib import Path
from statistics import median

from dbcalm_mariadb_cmd.warm import WARM
from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import backup, change, load, written
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.processes import ENVIRONMENT, wait_until
from dev.sandbox_lib.sandbox import Sandbox

_FORMS = ("zstd", "folder")


def restores(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return what a restore of a full backup and one incremental to the database takes, packed and as folders."""
    load(sandbox, megabytes)
    connection = Connection(sandbox.facts)
    chains: dict[str, list[str]] = {}
    for form in _FORMS:
        full = backup(connection, {"type": "full", "form": form})[2]
        change(sandbox)
        order = {"type": "incremental", "from_backup_id": full, "form": form}
        chains[form] = [full, backup(connection, order)[2]]
    data = int(connection.request("GET", f"/backups/{chains['folder'][0]}")[1]["data_size"])
    sandbox.stop_db()
    figures: list[Figure] = []
    for form, bar in (("zstd", "<= 1.25"), ("folder", "<= 1.15")):
        ours, floor, bytes_written = [], [], 0
        for _ in range(max(rounds // 2, 2)):
            sandbox.wipe_db()
            floor.append(_by_hand(sandbox, form, chains[form]))
            sandbox.wipe_db()
            seconds, bytes_written = _restore(sandbox, connection, chains[form][-1])
            ours.append(seconds)
        figures += [
            Figure(f"restore of full + 1 to the database, {form}: by hand in place", median(floor), "s"),
            Figure(f"restore of full + 1 to the database, {form}: through the API", median(ours), "s"),
            Figure("  ratio of medians", median(ours) / median(floor), "x by hand", bar),
            Figure("  bytes written", bytes_written / data, "x data", "<= 1.15"),
        ]
    figures.append(_from_warm(sandbox, connection, chains["folder"][-1], max(rounds // 2, 2)))
    sandbox.start_db()
    return figures


def _from_warm(sandbox: Sandbox, connection: Connection, newest: str, rounds: int) -> Figure:
    """Return what a restore to the database takes whose data is kept warm: the median, from request to success."""
    config, warm = sandbox.layout.config, Path(sandbox.facts.data_dir, WARM)
    written_before = config.read_text()
    config.write_text(f"{written_before}warm_restore: true\ntrash_delay: 0\n")
    took = []
    try:
        for _ in range(rounds):
            sandbox.wipe_db()
            sandbox.restart("dbcalm-mariadb-cmd")  # Only an attempt that is its first makes it again at once.
            if not wait_until(lambda: warm.exists(), 120):
                raise SandboxError("the warm copy was not made")
            took.append(_restore(sandbox, connection, newest)[0])
    finally:
        config.write_text(written_before)
        sandbox.restart("dbcalm-mariadb-cmd")
    return Figure(
        "restore of full + 1 to the database, kept warm: through the API", median(took), "s", "<= 1.0"
    )


def _restore(sandbox: Sandbox, connection: Connection, newest: str) -> tuple[float, int]:
    """Restore a chain to the database; return the seconds and the bytes written."""
    before, began = written(sandbox), time.perf_counter()
    status, answer = connection.request("POST", "/restore", {"id": newest, "target": "database"})
    if status != 202:
        raise SandboxError(f"the restore was refused: {answer['detail']}")
    ended = sandbox.api.wait(answer["link"])
    took = time.perf_counter() - began
    if ended["status"] != "success":
        raise SandboxError(f"the restore failed: {ended}")
    time.sleep(0.2)  # The service reaps its runner a moment after the job's end.
    return took, written(sandbox) - before


def _by_hand(sandbox: Sandbox, form: str, chain: list[str]) -> float:
    """Bring a chain of two into the data directory and prepare it there, as mysql; return the seconds, the sync
    included."""
    data, increment = Path(sandbox.facts.data_dir), sandbox.root / "jobs" / "increment"
    stored = [Path(sandbox.facts.backup_dir, id) for id in chain]
    steps = []
    for source, target in zip(stored, (data, increment), strict=True):
        if form == "folder":
            steps.append(f"cp --recursive {source}/. {target}")
        else:
            steps.append(f"zstd -d -c {source}/backup.xbstream.zst | mbstream -x -C {target}")
    prepare = f"mariadb-backup --no-defaults --prepare --target-dir={data}"
    apply = [f"mkdir {increment}", steps[1], f"{prepare} --incremental-dir={increment}"]
    script = " && ".join([steps[0], prepare, *apply, f"rm -r {increment}", f"sync --file-system {data}"])
    began = time.perf_counter()
    ran = subprocess.run(
        [*sandbox.who.database.drop(), "bash", "-o", "pipefail", "-c", script],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    took = time.perf_counter() - began
    if ran.returncode != 0:
        raise SandboxError(f"by hand failed: {shlex.quote(script)}: {ran.stderr.decode()[-300:]}")
    return took
