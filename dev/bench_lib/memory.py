"""What all our processes take of the host's memory while a backup runs, beside the backup tool's own."""

import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from dev.bench_lib.connection import Connection
from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import backup, load
from dev.sandbox_lib.sandbox import Sandbox
from dev.sandbox_lib.services import SERVICES

_LOOK_SECONDS = 0.2
_MB = 1_000_000
_THE_TOOLS_OWN = "mariadb-backup"
_PIPES_BYTES = 4 * (1 << 20)
"""What the pipes of one backup hold at the most: the kernel counts that for nobody."""


def memory(sandbox: Sandbox, megabytes: int) -> list[Figure]:
    """Return the memory of all services, the runner and the packers, in a backup with the default settings."""
    load(sandbox, megabytes)
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            seen.append(sum(_taken(pid) for pid in _ours(sandbox)) + _PIPES_BYTES)

    looks = threading.Thread(target=look)
    looks.start()
    try:
        backup(Connection(sandbox.facts), {"type": "full"})
    finally:
        over.set()
        looks.join()
    early, late = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    return [
        Figure("memory in a full backup: services, runner, packers, pipes", max(seen) / _MB, "MB", "<= 250"),
        Figure("  its second half against its first", median(late) / median(early), "x", "<= 1.05"),
    ]


def _ours(sandbox: Sandbox) -> Iterator[int]:
    """Yield the services and all that they have started, without the tool."""
    waiting = [process.pid for name in SERVICES if (process := sandbox.process(name)) is not None]
    while waiting:
        pid = waiting.pop()
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() != _THE_TOOLS_OWN:
                yield pid
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # It has ended.


def _taken(pid: int) -> int:
    """Return the bytes of a process, with its part of what it shares with others (proc(5): Pss)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass  # It has ended.
    return 0
