"""What the command line takes to start, and the root service to install many schedules."""

import os
import subprocess
import time
from pathlib import Path
from statistics import median

from dbcalm_cmd.command import CronSchedule
from dbcalm_cmd_client import CmdClient
from dev.bench_lib.figures import Figure
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.processes import ENVIRONMENT
from dev.sandbox_lib.sandbox import Sandbox

_SCHEDULES = 1000
_STARTS = 21
_INSTALLS = 7


def starts(sandbox: Sandbox) -> list[Figure]:
    """Return how long the command line takes for the least that it can be asked for, beside Python alone."""
    python, script = sandbox.layout.launch.split()
    bare, helped, listed = _in_turns(
        sandbox, [[python, "-c", "pass"], [python, script, "--help"], [python, script, "users", "list"]]
    )
    return [
        Figure(f"python -c pass, of {_STARTS}, median", bare * 1e3, "ms"),
        Figure("dbcalm --help, in turns with it", helped * 1e3, "ms", "<= 150"),
        Figure("dbcalm users list, in turns with it", listed * 1e3, "ms", "<= 250"),
    ]


def schedules(sandbox: Sandbox) -> list[Figure]:
    """Return what the root service takes to render, write and sync many schedules, beside a set that is there."""
    client, wrote, compared = CmdClient(Path(sandbox.facts.cmd_sock)), [], []
    for number in range(_INSTALLS):
        wanted = [
            CronSchedule(id, "full", "hourly", minute=(id + number) % 60) for id in range(1, _SCHEDULES + 1)
        ]
        wrote.append(_install(client, wanted, changed=True))
        compared.append(_install(client, wanted, changed=False))
    client.update_cron_schedules([])
    return [
        Figure(f"installing {_SCHEDULES:,} schedules, median", median(wrote), "s", "<= 0.5"),
        Figure("the same once more, nothing to write", median(compared), "s"),
    ]


def _in_turns(sandbox: Sandbox, commands: list[list[str]]) -> list[float]:
    """Return the median seconds of each command, run as the API's user, one after the other and again, so that
    whatever else the host does meets all alike."""
    took: list[list[float]] = [[] for _ in commands]
    environment = {**ENVIRONMENT, "DBCALM_CONFIG": str(sandbox.layout.config)}
    for _ in range(_STARTS + 1):
        for command, seconds in zip(commands, took, strict=True):
            began = time.perf_counter()
            ran = subprocess.run(
                [*sandbox.who.api.drop(), *command],
                cwd="/",
                env=environment,
                check=False,
                capture_output=True,
            )
            seconds.append(time.perf_counter() - began)
            if ran.returncode != 0:
                raise SandboxError(f"{' '.join(command)} failed: {os.fsdecode(ran.stderr).strip()}")
    return [median(seconds[1:]) for seconds in took]  # The first of each reads the files from disk.


def _install(client: CmdClient, wanted: list[CronSchedule], *, changed: bool) -> float:
    began = time.perf_counter()
    answer = client.update_cron_schedules(wanted)
    took = time.perf_counter() - began
    if answer.code != 200 or answer.data["changed"] is not changed:
        raise SandboxError(f"the root service did not install schedules: {answer}")
    return took
