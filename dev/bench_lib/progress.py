"""How well a job's progress tells of its time: the percentage at each quarter of it.

A percentage is of bytes, so it cannot tell better than the bytes go by evenly: a plain copy of them, with nothing else
done, says how evenly they do. (On a virtual machine the first GB may be copied several times as fast as the next, into
memory that the host has not taken back yet.)
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import change, load
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

_QUARTERS = (0.25, 0.5, 0.75)
_PIECE = 1 << 20


_PLAIN = "a plain copy of the full folder's bytes, by one thread, not synced: its own bytes against its time"


@dataclass(frozen=True)
class Told:
    """What a job said of itself: at so many seconds, in this phase, so many percent."""

    seconds: float
    phase: str
    percent: int


def progress(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return by how many points the percentage is off at the worst quarter of a job of each kind: median of rounds."""
    load(sandbox, megabytes)
    worst: dict[str, list[float]] = {}
    for _ in range(rounds):
        for what, told in _jobs(sandbox, Connection(sandbox.facts)):
            worst.setdefault(what, []).append(_worst(told))
    evenly = worst.pop(_PLAIN)
    title = "progress of {}: worst error at a quarter of its time"
    return [
        *(Figure(title.format(what), median(points), "points", "<= 5") for what, points in worst.items()),
        Figure(f"  {_PLAIN}", median(evenly), "points"),
    ]


def _jobs(sandbox: Sandbox, connection: Connection) -> Iterator[tuple[str, list[Told]]]:
    """Do a job of each kind, and the plain copy; yield what it is and what it told."""
    for form in ("zstd", "folder"):
        full, told = _job(connection, "/backups", {"type": "full", "form": form})
        yield f"a full backup, {form}", told
        change(sandbox)
        order = {"type": "incremental", "from_backup_id": full, "form": form}
        step, told = _job(connection, "/backups", order)
        yield f"an incremental backup, {form}", told
        yield (
            f"a restore of full + 1, {form}",
            _job(connection, "/restore", {"id": step, "target": "folder"})[1],
        )
    yield _PLAIN, _plain_copy(Path(sandbox.facts.backup_dir, full), sandbox.root / "jobs" / "copy")


def _plain_copy(source: Path, target: Path) -> list[Told]:
    """Copy the files of a backup into one, and return when how much of it was copied; remove it."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    began, done, told = time.perf_counter(), 0, [Told(0.0, "", 0)]
    with open(target, "wb", buffering=0) as copy:
        for path in files:
            with open(path, "rb", buffering=0) as original:
                while piece := original.read(_PIECE):
                    done += copy.write(piece)
                    told.append(Told(time.perf_counter() - began, "", 100 * done // size))
    target.unlink()
    return told


def _worst(told: list[Told]) -> float:
    """Return the largest difference between the percentage and the share of the time that has passed."""
    whole = told[-1].seconds
    latest = {
        quarter: max((one for one in told if one.seconds <= quarter * whole), key=lambda one: one.seconds)
        for quarter in _QUARTERS
    }
    return max(abs(one.percent - 100 * one.seconds / whole) for one in latest.values())


def _job(connection: Connection, path: str, order: dict[str, str]) -> tuple[str, list[Told]]:
    """Do a job, and return the id of the backup that it is about and what it told, its end included."""
    began = time.perf_counter()
    status, answer = connection.request("POST", path, order)
    if status != 202:
        raise SandboxError(f"{path} was refused: {answer['detail']}")
    link, told = answer["link"], [Told(0.0, "", 0)]
    while (answer := connection.request("GET", link)[1])["status"] == "running":
        if now := answer["progress"]:
            told.append(Told(time.perf_counter() - began, now["phase"], now["percent"] or 0))
        time.sleep(0.02)
    if answer["status"] != "success":
        raise SandboxError(f"the job failed: {answer}")
    return str(answer["resource_id"]), [*told, Told(time.perf_counter() - began, "", 100)]
