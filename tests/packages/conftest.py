"""The packages as `make deb` and `make rpm` made them, and what is in them."""

import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dev.package_lib.release import CHECKOUT

DIST = CHECKOUT / "dist"


@dataclass(frozen=True)
class Packed:
    """A file, folder or link of a package, as the package has it."""

    mode: int
    owner: str
    is_folder: bool
    link: str = ""
    digest: str = ""


def said(*command: str | Path) -> str:
    """Return what a command says, which must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def the_one(pattern: str) -> Path:
    """Return the package of this name; skip the test where none was made."""
    found = list(DIST.glob(pattern))
    if not found:
        pytest.skip("there are no packages: make deb rpm makes them")
    [package] = found
    return package


@pytest.fixture(scope="session")
def deb() -> Path:
    return the_one("dbcalm_*.deb")


@pytest.fixture(scope="session")
def rpm() -> Path:
    return the_one("dbcalm-*.rpm")


@pytest.fixture(scope="session")
def unpacked(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is in the Debian package, and its control files in DEBIAN."""
    folder = tmp_path_factory.mktemp("deb")
    said("dpkg-deb", "--raw-extract", deb, folder)
    return folder


@pytest.fixture(scope="session")
def in_deb(deb: Path) -> dict[str, Packed]:
    """What the archive of the Debian package lists, by path."""
    found = {}
    for line in said("dpkg-deb", "--contents", deb).splitlines():
        kind, owner, _, _, _, name = line.split(maxsplit=5)
        path, _, link = name.partition(" -> ")
        found[path.removeprefix(".").rstrip("/")] = Packed(_mode(kind[1:]), owner, kind[0] == "d", link)
    return {path: packed for path, packed in found.items() if path}


@pytest.fixture(scope="session")
def in_rpm(rpm: Path) -> dict[str, Packed]:
    """What the header of the rpm package lists, by path."""
    found = {}
    for line in said("rpm", "--query", "--package", "--dump", rpm).splitlines():
        path, _, _, digest, mode, owner, group, *_, link = line.split(" ")
        found[path] = Packed(
            int(mode, 8) & 0o7777,
            f"{owner}/{group}",
            stat.S_ISDIR(int(mode, 8)),
            "" if link == "X" else link,
            digest.strip("0"),
        )
    return found


def _mode(letters: str) -> int:
    return sum(1 << (8 - position) for position, letter in enumerate(letters) if letter != "-")
