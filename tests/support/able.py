"""What not every machine can do, a container least of all: a test that needs it is skipped there, with the reason."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextmanager
def mounted(at: Path, *words: str) -> Iterator[None]:
    """Mount a file system at a folder for the time of a block: ``mounted(folder, "-t", "tmpfs", "-o", "size=6m",
    "none")``."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    made = subprocess.run(["mount", *words, str(at)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        # A test that fails may leave files open.
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def disk(at: Path, megabytes: int, *make: str) -> Iterator[None]:
    """Put a new file system in an image beside a folder at that folder, for the time of a block, made by a command such
    as ``"mkfs.xfs", "-q"``. Needs a loop device."""
    program = shutil.which(make[0], path=_PATH)
    if program is None:
        pytest.skip(f"{make[0]} is not installed")
    image = at.with_name(f"{at.name}.img")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    try:
        subprocess.run([program, *make[1:], str(image)], check=True)
        with mounted(at, "-o", "loop", str(image)):
            yield
    finally:
        image.unlink()


def traced(*options: str) -> list[str]:
    """Return how a program is run under strace, with these options, and all that it starts."""
    strace = ["strace", "-f", "-qq"]
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([*strace, "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"nothing can be traced here: {tried.stderr.strip()}")
    return [*strace, *options]


def own_view() -> list[str]:
    """Return how a shell script is run where what it mounts is seen by nobody else: ``[*own_view(), script]``."""
    tried = ["unshare", "--mount", "true"]
    if os.getuid() != 0 or not shutil.which("unshare") or subprocess.run(tried, check=False).returncode:
        pytest.skip("a view of its own needs root and the right to mount")
    return ["unshare", "--mount", "sh", "-euc"]
