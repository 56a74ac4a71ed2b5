"""The engine's tests touch real files, locks and processes; what they need to stand on is made here."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_lab import Lab

SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


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


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A file system on which files can share their bytes. Needs root, and xfsprogs."""
    if os.getuid() != 0 or shutil.which("mkfs.xfs", path=SBIN) is None:
        pytest.skip("only root can mount a file system, and mkfs.xfs must be installed")
    image, folder = tmp_path / "xfs.img", tmp_path / "xfs"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([str(shutil.which("mkfs.xfs", path=SBIN)), "-q", str(image)], check=True)
    made = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"cannot mount: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
