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


_WITHOUT_CATALOGUE = (["--help"], ["--version"], ["completion", "bash"], ["config", "check"])


def starts(sandbox: Sandbox) -> list[Figure]:
    """Return how long the command line takes for the least that it can be asked for, beside Python alone, and beside
    Python with the libraries that the catalogue needs."""
    python, script = sandbox.layout.launch.split()
    bare, libraries, listed, *others = _in_turns(
        sandbox,
        [
            [python, "-c", "pass"],
            [python, "-c", "import sqlmodel, typer"],
            [python, script, "users", "list"],
            *([python, script, *arguments] for arguments in _WITHOUT_CATALOGUE),
        ],
    )
    figures = [
        Figure(f"python -c pass, of {_STARTS}, median", bare * 1e3, "ms"),
        Figure("python -c 'import sqlmodel, typer', in turns with it", libraries * 1e3, "ms"),
        Figure("dbcalm users list, in turns with it", listed * 1e3, "ms"),
        Figure("  ratio of the two", listed / libraries, "x", "<= 1.4"),
    ]
    for arguments, took in zip(_WITHOUT_CATALOGUE, others, strict=True):
        name = f"dbcalm {' '.join(arguments)}"
        figures += [
            Figure(f"{name}, in turns with it", took * 1e3, "ms"),
            Figure("  against python -c pass", took / bare, "x", "<= 10"),
        ]
    return figures


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
