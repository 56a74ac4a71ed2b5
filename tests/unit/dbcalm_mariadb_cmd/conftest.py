"""The engine's tests touch real files, locks and processes; what they need to stand on is made here."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.able import disk, mounted
from tests.support.engine_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An installation of its own, with a backup tool that needs no server."""
    made = Lab(tmp_path)
    with made.at_end:
        yield made


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, int], Path]]:
    """Mount a file system of so many KiB at a folder: ``mount(folder, 64)``. Needs root."""
    with ExitStack() as mounts:

        def at(folder: Path, kib: int) -> Path:
            folder.mkdir(exist_ok=True)
            mounts.enter_context(mounted(folder, "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "tmpfs"))
            return folder

        yield at


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A file system on which files can share their bytes. Needs root, and xfsprogs."""
    folder = tmp_path / "xfs"
    folder.mkdir()
    with disk(folder, 400, "mkfs.xfs", "-q"):
        yield folder
