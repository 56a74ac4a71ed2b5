"""The package for Enterprise Linux and its relatives, made by rpmbuild."""

import platform
import shutil
from pathlib import Path

from dev.package_lib.contents import PACKAGING, Entry, entries, folders, lay_out
from dev.package_lib.documents import MAINTAINER
from dev.package_lib.release import REVISION, Release
from dev.package_lib.tools import filled, run

_SPEC = PACKAGING / "rpm" / "dbcalm.spec"


def build(release: Release, work: Path, target: Path) -> Path:
    """Make the package below ``target``; return its path."""
    root, home = work / "rpm", work / "rpmbuild"
    found = entries("rpm", release)
    lay_out(found, root, release.epoch)
    if home.exists():
        shutil.rmtree(home)
    home.mkdir()
    spec = home / "dbcalm.spec"
    values = {
        "version": release.version,
        "revision": str(REVISION),
        "root": str(root),
        "files": "\n".join(
            [*(f'%dir "/{folder}"' for folder in folders(found)), *(_listed(entry) for entry in found)]
        ),
        "day": f"{release.made:%a %b %d %Y}",
        "maintainer": MAINTAINER,
    }
    spec.write_text(filled(_SPEC, values), encoding="utf-8")
    run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {home}", str(spec)], release.epoch, work)
    machine = platform.machine()
    name = f"dbcalm-{release.version}-{REVISION}.{machine}.rpm"
    shutil.copyfile(home / "RPMS" / machine / name, target / name)
    return target / name


def _listed(entry: Entry) -> str:
    """Return the line of %files. Only what has a role of its own has words before it."""
    if entry.is_configuration:
        words = "%config(noreplace) "
    elif entry.path.startswith("usr/share/licenses/"):
        words = "%license "
    elif entry.path.startswith(("usr/share/doc/", "usr/share/man/")):
        words = "%doc "
    else:
        words = ""
    return f'{words}"/{entry.path}"'
