"""Restores against the floor: what the same programs take by hand, in place, with nothing checked."""

import os
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dbcalm_mariadb_cmd.storage.standby import WARM
from dbcalm_mariadb_cmd.store.restore_instructions import WHOLE
from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import backup, change, load, written
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.processes import ENVIRONMENT, wait_until
from dev.sandbox_lib.sandbox import Sandbox

_FORMS = ("zstd", "folder")


@dataclass(frozen=True)
class Chain:
    """A full backup, an incremental on it, and the bytes of the data."""

    ids: tuple[str, str]
    data: int


def restores(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return what a restore of a full backup and one incremental to the database takes, packed and as folders."""
    load(sandbox, megabytes)
    chains = {form: chain(sandbox, form) for form in _FORMS}
    sandbox.stop_db()
    figures: list[Figure] = []
    for form, bar in (("zstd", "<= 1.25"), ("folder", "<= 1.15")):
        ours, floor, checked, bytes_written = [], [], [], 0
        for _ in range(max(rounds // 2, 2)):
            floor.append(by_hand(sandbox, form, chains[form]))
            checked.append(by_hand(sandbox, form, chains[form], check=True))
            seconds, bytes_written = restore(sandbox, chains[form])
            ours.append(seconds)
        figures += [
            Figure(f"restore of full + 1 to the database, {form}: by hand in place", median(floor), "s"),
            Figure(f"restore of full + 1 to the database, {form}: through the API", median(ours), "s"),
            Figure("  ratio of medians", median(ours) / median(floor), "x by hand", bar),
            Figure(
                "  the same against by hand with the checksums compared",
                median(ours) / median(checked),
                "x that",
            ),
            Figure("  bytes written", bytes_written / chains["folder"].data, "x data", "<= 1.15"),
        ]
    figures.append(_from_warm(sandbox, chains["folder"], max(rounds // 2, 2)))
    sandbox.start_db()
    return figures


def chain(sandbox: Sandbox, form: str) -> Chain:
    """Make a full backup of this form, and an incremental of about one percent of the data."""
    connection = Connection(sandbox.facts)
    full = backup(connection, {"type": "full", "form": form})[2]
    change(sandbox)
    step = backup(connection, {"type": "incremental", "from_backup_id": full, "form": form})[2]
    return Chain((full, step), int(connection.request("GET", f"/backups/{full}")[1]["data_size"]))


def _from_warm(sandbox: Sandbox, made: Chain, rounds: int) -> Figure:
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
            took.append(restore(sandbox, made, wipe=False)[0])
    finally:
        config.write_text(written_before)
        sandbox.restart("dbcalm-mariadb-cmd")
    return Figure(
        "restore of full + 1 to the database, kept warm: through the API", median(took), "s", "<= 1.0"
    )


def restore(sandbox: Sandbox, made: Chain, *, wipe: bool = True) -> tuple[float, int]:
    """Restore a chain to the database of the stopped server, emptied before; return the seconds and the bytes
    written."""
    if wipe:
        sandbox.wipe_db()
    os.sync()
    connection = Connection(sandbox.facts)
    before, began = written(sandbox), time.perf_counter()
    status, answer = connection.request("POST", "/restore", {"id": made.ids[-1], "target": "database"})
    if status != 202:
        raise SandboxError(f"the restore was refused: {answer['detail']}")
    ended = sandbox.api.wait(answer["link"])
    took = time.perf_counter() - began
    if ended["status"] != "success":
        raise SandboxError(f"the restore failed: {ended}")
    time.sleep(0.2)  # The service reaps its runner a moment after the job's end.
    return took, written(sandbox) - before


def by_hand(
    sandbox: Sandbox, form: str, made: Chain, copy: str = "cp --recursive", *, check: bool = False
) -> float:
    """Bring a chain of two into the emptied data directory and prepare it there, as mysql; return the seconds, the sync
    included. With ``check`` what is stored is compared with its checksums first, as RESTORE.md has it."""
    sandbox.wipe_db()
    os.sync()  # What others have left to write would be counted here.
    data, increment = Path(sandbox.facts.data_dir), sandbox.root / "jobs" / "increment"
    stored = [Path(sandbox.facts.backup_dir, id) for id in made.ids]
    steps = []
    for source, target in zip(stored, (data, increment), strict=True):
        if form == "folder":
            steps.append(f"{copy} {source}/. {target}")
        else:
            steps.append(f"zstd -d -c {source}/backup.xbstream.zst | mbstream -x -C {target}")
    prepare = f"mariadb-backup --no-defaults --prepare --target-dir={data}"
    apply = [f"mkdir {increment}", steps[1], f"{prepare} --incremental-dir={increment}"]
    checks = [f"(cd {folder} && {WHOLE})" for folder in stored] if check else []
    script = " && ".join(
        [*checks, steps[0], prepare, *apply, f"rm -r {increment}", f"sync --file-system {data}"]
    )
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
