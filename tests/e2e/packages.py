"""The packages that a machine gets: of this commit, and of the one before it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.machine import CACHE, CHECKOUT


def of_checkout() -> Path:
    """Return the .deb of the checkout, which ``make deb`` has made."""
    found = list((CHECKOUT / "dist").glob("dbcalm_*.deb"))
    assert found, "make deb comes first"
    [package] = found
    return package


def of_previous_commit() -> Path:
    """Return the .deb of the commit before this one, made once; where that commit knows no packages, that of this one.

    Its version is lower than any, so that this commit's is an upgrade: the times of two commits may be the same.
    """
    commit = _git("rev-parse", "HEAD~1")
    if not commit or not _git("ls-tree", commit, "dev/package_lib"):
        commit = _git("rev-parse", "HEAD")
    kept = CACHE / f"dbcalm-{commit}.deb"
    if not kept.exists():
        CACHE.mkdir(mode=0o700, exist_ok=True)
        for old in CACHE.glob("dbcalm-*.deb"):
            old.unlink()
        with tempfile.TemporaryDirectory(prefix="dbcalm-previous-", dir="/var/tmp") as folder:
            shutil.move(_make(Path(folder, "clone"), commit), kept)
    return kept


def _make(clone: Path, commit: str) -> Path:
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, clone], check=True)
    subprocess.run(["git", "-C", clone, "checkout", "--quiet", commit], check=True)
    command = ["env", "--unset=MAKEFLAGS", "--unset=MAKELEVEL", "PACKAGE_VERSION=0.0.1"]
    done = subprocess.run(
        [*command, "make", "--silent", "deb"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [package] = (clone / "dist").glob("dbcalm_*.deb")
    return package


def _git(*arguments: str) -> str:
    """Return what git says of the checkout, nothing where it does not know."""
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
