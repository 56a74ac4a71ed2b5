"""Verifications against a plain restore to a folder of the same backup, in turns."""

import os
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
