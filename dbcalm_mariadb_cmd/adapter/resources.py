"""What the host can bear beside the database server: memory that a job may take, and files that it may open.

A job that takes more than there is does not fail: the kernel ends whatever is largest, which is the server. So what is
asked of the tools is cut down to what is free, and a job that cannot do with that little is refused.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dbcalm_mariadb_cmd.builder.argv import Effort
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER, PACKERS, Storing
from dbcalm_mariadb_cmd.command.amounts import size
from dbcalm_mariadb_cmd.errors import Refused

_MB = 1_000_000
_OURS = 40 * _MB
"""Our own process, and what is written and not yet on its way."""

_TOOL, _COPIER = 30 * _MB, 10 * _MB
"""What the tool takes by itself and for each of its threads (the largest of mariadb-backup 10.11, measured)."""

_LEAST_TO_PREPARE, _TOOLS_OWN_TO_PREPARE = 64 << 20, 100 << 20
_ZSTD = (
    (6, 28 * _MB, 16 * _MB),
    (9, 44 * _MB, 40 * _MB),
    (15, 56 * _MB, 84 * _MB),
    (19, 100 * _MB, 125 * _MB),
)
"""Up to each level what zstd takes by itself and for each thread (the largest of 1.5.4, measured)."""

_OTHER_FILES = 200
"""Files that the tool opens beside the tablespaces, at the most, about."""


def require_open_files(tables: int, what: str) -> None:
    """Raise Refused 503 unless so many tablespaces can be open at once, as the tool has them."""
    needed = tables + _OTHER_FILES
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most not in (resource.RLIM_INFINITY, -1) and needed > most:
        raise Refused(
            503,
            f"{what} opens about {needed} files at once, and this service may open {most}; set LimitNOFILE="
            f"{2 * needed} with: systemctl edit dbcalm-mariadb-cmd, and restart it",
        )


def for_backup(effort: Effort, how: Storing, available: int | None) -> tuple[Effort, Storing, str | None]:
    """Return how hard the tool and the packer may work with this many bytes of memory to be had, and a sentence if that
    is less than was asked for; raise Refused 503 if it is too little for any backup."""
    threads = (how.threads or len(os.sched_getaffinity(0))) if _has_threads(how) else 1
    if available is None or _backing_up(effort.parallel, how, threads) <= available:
        return effort, how, None
    least = _backing_up(1, how, 1)
    if least > available:
        raise _too_little("a backup", least, available)
    fewer = replace(how, threads=1) if _has_threads(how) else how
    copiers = max(n for n in range(1, effort.parallel + 1) if _backing_up(n, how, 1) <= available)
    told = f"with {copiers} instead of {effort.parallel} threads to copy" if copiers < effort.parallel else ""
    packing = f"with 1 instead of {threads} threads to pack" if threads > 1 else ""
    said = " and ".join(words for words in (told, packing) if words)
    return replace(effort, parallel=copiers), fewer, f"{said}: {size(available)} of memory are free"


def for_restore(effort: Effort, available: int | None) -> tuple[Effort, str | None]:
    """Return the same for the memory that a prepare may take."""
    fixed, wanted = _OURS + _TOOL, effort.prepare_memory or _TOOLS_OWN_TO_PREPARE
    if available is None or fixed + wanted <= available:
        return effort, None
    room = (available - fixed) >> 20 << 20
    if room < _LEAST_TO_PREPARE:
        raise _too_little("a restore", fixed + _LEAST_TO_PREPARE, available)
    said = f"prepared with {room >> 20} MiB instead of {wanted >> 20} MiB of memory"
    return replace(effort, prepare_memory=room), f"{said}: {size(available)} are free"


def _backing_up(copiers: int, how: Storing, threads: int) -> int:
    return _OURS + _TOOL + copiers * _COPIER + _packing(how, threads)


def _packing(how: Storing, threads: int) -> int:
    if not _has_threads(how):
        return 0 if how.form == FOLDER else _ZSTD[0][1]
    base, each = next((base, each) for level, base, each in _ZSTD if how.level <= level)
    return base + threads * each


def _has_threads(how: Storing) -> bool:
    return how.form != FOLDER and PACKERS[how.form].threads


def _too_little(what: str, needed: int, available: int) -> Refused:
    return Refused(
        503,
        f"{what} needs about {size(needed)} of memory, and {size(available)} are free; "
        "stop something else on this host, or give it more",
    )


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory that can be taken without anything being ended for it: those of the host, or what is
    left to this service's control group, if that is less. None where neither can be seen."""
    return min((*_of_the_host(root), *_of_the_groups(root)), default=None)


def _of_the_host(root: Path) -> Iterator[int]:
    """Yield what is free, and what holds copies of files and can be freed (about MemAvailable of proc(5), which is not
    to be seen from inside the unit)."""
    total, nodes = 0, list((root / "sys/devices/system/node").glob("node[0-9]*/meminfo"))
    for node in nodes:
        words = [line.split() for line in node.read_text().splitlines()]
        found = {line[2].rstrip(":"): int(line[3]) << 10 for line in words if len(line) > 3}
        files = found.get("Active(file)", 0) // 2 + found.get("Inactive(file)", 0)
        total += found.get("MemFree", 0) + files + found.get("SReclaimable", 0) // 2
    if nodes:
        yield total


def _of_the_groups(root: Path) -> Iterator[int]:
    """Yield what is left to the control group and to each above it that has a limit (cgroups(7), version 2)."""
    mounted = root / "sys/fs/cgroup"
    with suppress(OSError, StopIteration, IndexError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        group = mounted / next(line for line in lines if line.startswith("0::"))[3:].lstrip("/")
        while group != mounted and mounted in group.parents:
            yield from _left_to(group)
            group = group.parent


def _left_to(group: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):  # No limit, or no such controller.
        limits = [(group / name).read_text().strip() for name in ("memory.max", "memory.high")]
        limit = min(int(limit) for limit in limits if limit != "max")
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        freeable = int(stat["inactive_file"]) + int(stat["active_file"]) // 2
        yield max(0, limit - int((group / "memory.current").read_text()) + freeable)
