"""Verifications against a plain restore to a folder of the same backup, in turns."""

import os
import shlex
import subprocess
import time
from pathlib import Path
from statistics import median

from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import backup, load
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox


def proof(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return what the proof of a full backup takes, level by level, against its restore to a folder."""
    load(sandbox, megabytes)
    figures: list[Figure] = []
    for form in ("zstd", "folder"):
        made = backup(Connection(sandbox.facts), {"type": "full", "form": form})[2]
        restores: list[float] = []
        levels: dict[int, list[float]] = {1: [], 2: [], 3: []}
        for _ in range(max(rounds // 2, 2)):
            restores.append(_took(sandbox, "/restore", {"id": made, "target": "folder"}))
            _remove_restored(sandbox)
            for level, took in levels.items():
                took.append(_took(sandbox, f"/backups/{made}/verify", {"level": level}))
        plain = median(restores)
        figures += [
            Figure(f"restore of a full backup to a folder, {form}", plain, "s"),
            Figure("  proven to level 1", median(levels[1]) / plain, "x that"),
            Figure("  proven to level 2", median(levels[2]) / plain, "x that"),
            Figure("  proven to level 3", median(levels[3]) / plain, "x that", "<= 1.5"),
        ]
    return figures


def many_tables(sandbox: Sandbox, tables: int, rounds: int) -> list[Figure]:
    """Return what level 3 takes where there are many small tables, against the same looks by hand."""
    create = (
        "CREATE TABLE many.t{0} (id INT PRIMARY KEY, body VARCHAR(100), KEY (body));"
        "INSERT INTO many.t{0} VALUES (1, 'x');"
    )
    sandbox.sql("CREATE DATABASE many; " + "".join(create.format(number) for number in range(tables)))
    made = backup(Connection(sandbox.facts), {"type": "full", "form": "folder"})[2]
    ours, floor = [], []
    for _ in range(max(rounds // 2, 2)):
        floor.append(_by_hand(sandbox, Path(sandbox.facts.backup_dir, made)))
        ours.append(_took(sandbox, f"/backups/{made}/verify", {"level": 3}))
    sandbox.sql("DROP DATABASE many")
    return [
        Figure(f"{tables} tables: copied, prepared, checked and started by hand", median(floor), "s"),
        Figure(f"{tables} tables: proven to level 3", median(ours), "s"),
        Figure("  ratio of medians", median(ours) / median(floor), "x by hand", "<= 1.25"),
    ]


_BY_HAND = """
cp -R {backup}/. {data} && mariadb-backup --prepare --target-dir={data} 2> /dev/null &&
find {data} -name '*.ibd' -print0 | xargs -0 -n 1 innochecksum > /dev/null 2>&1 &&
{{ mariadbd --no-defaults --datadir={data} --socket={data}/s --skip-networking --skip-grant-tables 2> /dev/null & }} &&
until mariadb --no-defaults --socket={data}/s --execute 'SELECT 1' > /dev/null 2>&1; do sleep 0.02; done &&
mariadb-check --no-defaults --socket={data}/s --all-databases > /dev/null; kill -KILL $!; wait; rm -rf {data}
"""


def _by_hand(sandbox: Sandbox, made: Path) -> float:
    """Return the seconds of the same with a shell, the packages' own commands and nothing else."""
    data = made.with_name(".by-hand")
    who = sandbox.who.database
    os.sync()
    began = time.perf_counter()
    script = _BY_HAND.format(backup=shlex.quote(str(made)), data=shlex.quote(str(data)))
    words = f"mkdir {shlex.quote(str(data))}; {script}"
    done = subprocess.run([*who.drop(), "bash", "-c", words], cwd="/", check=False)
    if done.returncode:
        raise SandboxError(f"the proof by hand failed with {done.returncode}")
    return time.perf_counter() - began


def _took(sandbox: Sandbox, path: str, order: dict[str, object]) -> float:
    """Return the seconds of a job, which must succeed."""
    os.sync()  # What others have left to write would be counted here.
    connection = Connection(sandbox.facts)
    began = time.perf_counter()
    status, answer = connection.request("POST", path, order)
    if status != 202:
        raise SandboxError(f"{path} was refused: {answer['detail']}")
    ended = sandbox.api.wait(answer["link"])
    if ended["status"] != "success":
        raise SandboxError(f"{path} failed: {ended}")
    return time.perf_counter() - began


def _remove_restored(sandbox: Sandbox) -> None:
    for folder in Path(sandbox.facts.backup_dir, "restores").iterdir():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
