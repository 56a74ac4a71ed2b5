"""The engine's tests touch real files, locks and processes; what they need to stand on is made here."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An installation of its own, with a backup tool that needs no server."""
    return Lab(tmp_path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, int], Path]]:
    """Mount a file system of so many KiB at a folder: ``mount(folder, 64)``. Needs root."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    mounted: list[Path] = []

    def at(folder: Path, kib: int) -> Path:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "tmpfs", str(folder)]
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"cannot mount: {made.stderr.decode()}")
        mounted.append(folder)
        return folder

    yield at
    for folder in reversed(mounted):
        subprocess.run(
            ["umount", "--lazy", str(folder)], check=True
        )  # A test that fails may leave files open.
