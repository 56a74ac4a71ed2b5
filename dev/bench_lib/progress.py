"""How well a job's progress tells of its time: the percentage at each quarter of it."""

import time
from dataclasses import dataclass

from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import change, load
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Told:
    """What a job said of itself: at so many seconds, in this phase, so many percent."""

    seconds: float
    phase: str
    percent: int


def progress(sandbox: Sandbox, megabytes: int) -> list[Figure]:
    """Return by how many points the percentage is off at the worst quarter of each kind of job."""
    load(sandbox, megabytes)
    connection = Connection(sandbox.facts)
    figures = []
    for form in ("zstd", "folder"):
        full = _job(connection, "/backups", {"type": "full", "form": form})
        figures.append(_figure(f"a full backup, {form}", full[1]))
        change(sandbox)
        order = {"type": "incremental", "from_backup_id": full[0], "form": form}
        step = _job(connection, "/backups", order)
        figures.append(_figure(f"an incremental backup, {form}", step[1]))
        back = _job(connection, "/restore", {"id": step[0], "target": "folder"})
        figures.append(_figure(f"a restore of full + 1, {form}", back[1]))
    return figures


def _figure(what: str, told: list[Told]) -> Figure:
    return Figure(f"progress of {what}: worst error at a quarter of its time", _worst(told), "points", "<= 5")


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
