"""The same source gives the same bytes, and a later commit a later version."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbcalm import __version__
from dev.package_lib import deb, rpm
from dev.package_lib.errors import PackageError
from dev.package_lib.release import CHECKOUT, Release, release
from tests.packages.conftest import said

pytestmark = pytest.mark.packages


@pytest.fixture
def _strict_umask() -> Iterator[None]:
    previous = os.umask(0o077)
    yield
    os.umask(previous)


@pytest.mark.slow
@pytest.mark.usefixtures("_strict_umask")
@pytest.mark.parametrize(("kind", "build"), [("deb", deb.build), ("rpm", rpm.build)])
def test_a_package_made_again_elsewhere_has_the_same_bytes(
    kind: str, build: object, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first: Path = request.getfixturevalue(kind)
    assert callable(build)
    (tmp_path / "work with a space").mkdir()
    again = build(release(), tmp_path / "work with a space", tmp_path)
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()


def at(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Release:
    """Return what the checkout in this folder would be."""
    monkeypatch.setattr("dev.package_lib.release.CHECKOUT", folder)
    return release()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, of the year 2001."""
    for name in ("PACKAGE_VERSION", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    said("git", "init", "--quiet", tmp_path)
    commit(tmp_path, 1_000_000_000)
    return tmp_path


def commit(folder: Path, when: int) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    command = ["git", "-C", str(folder), *who, "commit", "--quiet", "--allow-empty", "--message=x"]
    subprocess.run(command, check=True, env={**os.environ, "GIT_COMMITTER_DATE": f"{when} +0000"})


def test_each_commit_is_newer_than_the_last_and_older_than_its_release(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = at(monkeypatch, checkout)
    assert first.version.startswith(f"{__version__}~git20010909014640.")
    assert first.epoch == 1_000_000_000
    commit(checkout, 1_000_000_001)
    second = at(monkeypatch, checkout)
    said("git", "-C", checkout, "tag", f"v{__version__}")
    released = at(monkeypatch, checkout)
    assert released.version == __version__
    for older, newer in ((first, second), (second, released)):
        said("dpkg", "--compare-versions", f"{older.version}-1", "lt", f"{newer.version}-1")
        compared = said("rpm", "--eval", f"%{{lua:print(rpm.vercmp('{older.version}', '{newer.version}'))}}")
        assert compared.strip() == "-1"


def test_without_git_the_version_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PACKAGE_VERSION", raising=False)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    assert at(monkeypatch, tmp_path) == Release(__version__, 12)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(PackageError, match="without git, SOURCE_DATE_EPOCH must say"):
        at(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PACKAGE_VERSION", "1-2", "PACKAGE_VERSION must be like"),
        ("PACKAGE_VERSION", "1\n", "PACKAGE_VERSION must be like"),
        ("PACKAGE_VERSION", "v1", "PACKAGE_VERSION must be like"),
        ("SOURCE_DATE_EPOCH", "yesterday", "SOURCE_DATE_EPOCH must be whole seconds"),
    ],
)
def test_an_odd_order_is_refused(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(PackageError, match=message):
        release()


def test_what_cannot_be_made_is_one_line() -> None:
    environment = {**os.environ, "PACKAGE_VERSION": "no version"}
    command = [str(CHECKOUT / "build/binaries/venv/bin/python"), "-m", "dev.package_lib"]
    for arguments, status in ((["deb"], 1), ([], 2), (["msi"], 2)):
        done = subprocess.run(
            [*command, *arguments], cwd=CHECKOUT, env=environment, check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
