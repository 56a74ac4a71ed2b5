"""The package for Debian and its relatives, made by dpkg-deb."""

import hashlib
from pathlib import Path

from dev.package_lib.contents import PACKAGING, Entry, entries, lay_out
from dev.package_lib.documents import MAINTAINER
from dev.package_lib.release import REVISION, Release
from dev.package_lib.tools import filled, run

SCRIPTS = ("postinst", "prerm", "postrm")
_DEBIAN = PACKAGING / "debian"


def build(release: Release, work: Path, target: Path) -> Path:
    """Make the package below ``target``; return its path."""
    root = work / "deb"
    found = entries("deb", release)
    lay_out(found, root, release.epoch)
    machine = run(["dpkg", "--print-architecture"], release.epoch, work).strip()
    _control(root, found, release, machine)
    made = target / f"dbcalm_{release.version}-{REVISION}_{machine}.deb"
    # xz with one thread: with more, the bytes depend on the machine. zstd is not known to every dpkg.
    packing = ["--root-owner-group", "--uniform-compression", "-Zxz", "--threads-max=1"]
    run(["dpkg-deb", *packing, "--build", str(root), str(made)], release.epoch, work)
    return made


def _control(root: Path, found: list[Entry], release: Release, machine: str) -> None:
    folder = root / "DEBIAN"
    folder.mkdir()
    values = {
        "version": f"{release.version}-{REVISION}",
        "architecture": machine,
        "maintainer": MAINTAINER,
        "installed_size": str(sum(_kilobytes(root / entry.path) for entry in found)),
    }
    files = {
        "control": filled(_DEBIAN / "control", values),
        "conffiles": "".join(f"/{entry.path}\n" for entry in found if entry.is_configuration),
        "md5sums": "".join(
            f"{hashlib.md5((root / entry.path).read_bytes(), usedforsecurity=False).hexdigest()}  {entry.path}\n"
            for entry in found
            if not entry.link and not entry.is_configuration
        ),
        **{name: (_DEBIAN / name).read_text(encoding="utf-8") for name in SCRIPTS},
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755 if name in SCRIPTS else 0o644)
    folder.chmod(0o755)


def _kilobytes(path: Path) -> int:
    return 1 if path.is_symlink() else -(-path.stat().st_size // 1024)
