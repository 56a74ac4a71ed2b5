"""Restores where the file system can share bytes between files: on an XFS of its own, beside the sandbox's."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from dev.bench_lib.figures import Figure
from dev.bench_lib.jobs import load
from dev.bench_lib.restores import by_hand, chain, restore
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

_MAKES = "mkfs.xfs"
_ROOM = 8
"""The image's size, in data sets, and its least in bytes; it is sparse."""
_LEAST = 2 << 30
_SHARED = "cp --recursive --reflink=always"


def reflink(sandbox: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    """Return what a restore of a folder chain takes on XFS, in turns with the sandbox's file system and by hand, where
    nothing is checked. Return nothing where no XFS can be made and mounted."""
    if os.geteuid() != 0 or not shutil.which(_MAKES, path=f"{os.environ['PATH']}:/usr/sbin"):
        print(f"bench: XFS is not measured: that needs root and {_MAKES} (package xfsprogs)", file=sys.stderr)
        return []
    with _xfs(max(megabytes * 1_000_000 * _ROOM, _LEAST)) as mounted:
        shares = Sandbox.up(mounted / "sandbox")
        try:
            return _compare(sandbox, shares, megabytes, max(rounds // 2, 2))
        finally:
            shares.down()


def _compare(copies: Sandbox, shares: Sandbox, megabytes: int, rounds: int) -> list[Figure]:
    chains = {}
    for sandbox in (copies, shares):
        load(sandbox, megabytes)
        chains[sandbox] = chain(sandbox, "folder")
        sandbox.stop_db()
    copied, shared, floor, bytes_written = [], [], [], 0
    for _ in range(rounds):
        copied.append(restore(copies, chains[copies])[0])
        floor.append(by_hand(shares, "folder", chains[shares], _SHARED))
        seconds, bytes_written = restore(shares, chains[shares])
        shared.append(seconds)
    copies.start_db()
    what, there = "restore of full + 1 to the database, folder, XFS", median(copied)
    return [
        Figure("the same chain where bytes are copied: through the API", there, "s"),
        Figure(f"{what}: by hand, nothing checked", median(floor), "s"),
        Figure(f"{what}: through the API", median(shared), "s"),
        Figure("  ratio of medians", median(shared) / there, "x copied", "<= 0.5"),
        Figure("  bytes written", bytes_written / chains[shares].data, "x data", "<= 0.15"),
    ]


@contextlib.contextmanager
def _xfs(size: int) -> Iterator[Path]:
    """Yield where a new XFS is mounted, in an image of so many bytes."""
    with tempfile.TemporaryDirectory(prefix="dbcalm-bench-", dir="/var/tmp") as folder:
        image, mounted = Path(folder, "image"), Path(folder, "xfs")
        Path(folder).chmod(0o755)
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        _run(_MAKES, "-q", "-m", "reflink=1", str(image))
        _run("mount", "-o", "loop", str(image), str(mounted))
        try:
            yield mounted
        finally:
            _run("umount", str(mounted))


def _run(*argv: str) -> None:
    path = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    ran = subprocess.run(argv, env=path, capture_output=True, check=False, text=True)
    if ran.returncode != 0:
        raise SandboxError(f"{' '.join(argv)} failed: {ran.stderr.strip()}")
