"""Which version a package has, and of when it is.

A release is a commit with the tag of its version. Any other commit comes before it, in the order of their times, so
that each commit's package is an upgrade of the previous one's.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbcalm import __version__
from dev.package_lib.errors import PackageError

CHECKOUT = Path(__file__).resolve().parents[2]
REVISION = 1
"""Of the packages of one version; both kinds count it."""

_VERSION = r"[0-9]+(?:\.[0-9]+)*(?:~[a-z0-9.]+)?"


@dataclass(frozen=True)
class Release:
    """``version`` in a form that dpkg and rpm order alike; ``epoch`` in seconds, the time of all that is made."""

    version: str
    epoch: int

    @property
    def made(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.epoch, UTC)


def release() -> Release:
    """Return what is made here; PACKAGE_VERSION and SOURCE_DATE_EPOCH overrule git. Raise PackageError if neither
    they nor git say it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    if epoch is None:
        raise PackageError("without git, SOURCE_DATE_EPOCH must say of when the source is")
    if not epoch.isdigit():
        raise PackageError(f"SOURCE_DATE_EPOCH must be whole seconds, not {epoch!r}")
    version = os.environ.get("PACKAGE_VERSION") or _version()
    if not re.fullmatch(_VERSION, version):
        raise PackageError(f"PACKAGE_VERSION must be like 1.2 or 1.2~git3.abc, not {version!r}")
    return Release(version, int(epoch))


def _version() -> str:
    """Return the version of the code, with time and name of the commit unless it is a release."""
    commit = _git("log", "-1", "--format=%ct %h", "--abbrev=9")
    if commit is None or f"v{__version__}" in (_git("tag", "--points-at", "HEAD") or "").split():
        return __version__
    seconds, name = commit.split()
    return f"{__version__}~git{datetime.fromtimestamp(int(seconds), UTC):%Y%m%d%H%M%S}.{name}"


def _git(*arguments: str) -> str | None:
    """Return what git says of the checkout; None if it is none, or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
