"""How well a job's progress tells of its time: the percentage at each quarter of it.

A percentage is of bytes, so it cannot tell better than the bytes go by evenly. How evenly they do by hand, with nothing
else done, is measured beside it. (On a virtual machine the first GB may be written several times as fast as the next,
into memory that the host has not taken back yet.)
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dbcalm_mariadb_cmd.adapter.files import walk
from dbcalm_mariadb_cmd.builder.storage_format import stream_name
from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import change, load
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

_QUARTERS = (0.25, 0.5, 0.75)
_PIECE = 1 << 20
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Told:
    """What a job said of itself: at so many seconds, in this phase, so many percent."""

    seconds: float
    phase: str
    percent: int


def progress(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return by how many points the percentage is off at the worst quarter of a job of each kind: median of rounds."""
    load(sandbox, megabytes)
    worst: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for what, bar, told in _jobs(sandbox, Connection(sandbox.facts)):
            worst.setdefault((what, bar), []).append(_worst(told))
    return [
        Figure(f"{what}: off at the worst quarter of its time", median(points), "points", bar)
        for (what, bar), points in worst.items()
    ]


def _jobs(sandbox: Sandbox, connection: Connection) -> Iterator[tuple[str, str, list[Told]]]:
    """Do a job of each kind, and the like by hand; yield what it is, its bar, and what it told."""
    bar, aside = "<= 5", sandbox.root / "jobs" / "aside"
    for form in ("zstd", "folder"):
        full, told = _job(connection, "/backups", {"type": "full", "form": form})
        yield f"progress of a full backup, {form}", bar, told
        change(sandbox)
        order = {"type": "incremental", "from_backup_id": full, "form": form}
        step, told = _job(connection, "/backups", order)
        yield f"progress of an incremental backup, {form}", bar, told
        _, told = _job(connection, "/restore", {"id": step, "target": "folder"})
        yield f"progress of a restore of full + 1, {form}", bar, told
        aside.mkdir()
        bring = _unpacked if form == "zstd" else _copied
        yield f"  bytes of the full one brought back by hand, {form}", "", bring(sandbox, full, aside)
        shutil.rmtree(aside)


def _unpacked(sandbox: Sandbox, id: str, target: Path) -> list[Told]:
    """Unpack a backup, and return when how much of it was written."""
    stored = Path(sandbox.facts.backup_dir, id, stream_name("zstd", ()))
    began, seen = time.perf_counter(), [(0.0, 0)]
    with (
        subprocess.Popen(["zstd", "-d", "-c", stored], stdout=subprocess.PIPE) as unpacking,
        subprocess.Popen(["mbstream", "-x", "-C", target], stdin=unpacking.stdout) as writing,
    ):
        # Its numbers can be read until it is waited for.
        while "State:\tZ" not in Path(f"/proc/{writing.pid}/status").read_text():
            time.sleep(_PAUSE_SECONDS)
            numbers = dict(
                line.split(": ") for line in Path(f"/proc/{writing.pid}/io").read_text().splitlines()
            )
            seen.append((time.perf_counter() - began, int(numbers["wchar"])))
    return _told(seen)


def _copied(sandbox: Sandbox, id: str, target: Path) -> list[Told]:
    """Copy the files of a backup into one, and return when how much of them was written."""
    stored = Path(sandbox.facts.backup_dir, id)
    began, done, seen = time.perf_counter(), 0, [(0.0, 0)]
    with open(target / "copy", "wb", buffering=0) as copy:
        for name in [name for name, _ in walk(stored) if not name.endswith("/")]:
            with open(stored / name, "rb", buffering=0) as original:
                while piece := original.read(_PIECE):
                    done += copy.write(piece)
                    seen.append((time.perf_counter() - began, done))
    return _told(seen)


def _told(seen: list[tuple[float, int]]) -> list[Told]:
    return [Told(seconds, "", 100 * count // seen[-1][1]) for seconds, count in seen]


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
        time.sleep(_PAUSE_SECONDS)
    if answer["status"] != "success":
        raise SandboxError(f"the job failed: {answer}")
    return str(answer["resource_id"]), [*told, Told(time.perf_counter() - began, "", 100)]
