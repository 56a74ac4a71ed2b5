"""What is in a package, and where: one table for both kinds."""

import gzip
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dbcalm.cli.commands.host.completion import SHELLS, script
from dev import man
from dev.package_lib import configuration, documents
from dev.package_lib.errors import PackageError
from dev.package_lib.release import CHECKOUT, Release

BUILT = CHECKOUT / "dist" / "production"
PACKAGING = CHECKOUT / "packaging"
HOME = "usr/lib/dbcalm"
SERVICES = ("dbcalm-cmd", "dbcalm-mariadb-cmd")
PROGRAMS = ("dbcalm", *SERVICES)

_DOCS = "usr/share/doc/dbcalm"
_COMPLETIONS = {
    "deb": "usr/share/zsh/vendor-completions",
    "rpm": "usr/share/zsh/site-functions",
}


@dataclass(frozen=True)
class Entry:
    """A file or a link of a package. ``path`` has no slash in front; ``content`` is what is in the file, or the file
    that it is a copy of; with ``link`` it is none of both."""

    path: str
    content: bytes | Path = b""
    mode: int = 0o644
    link: str = ""
    is_configuration: bool = False


def entries(kind: str, release: Release) -> list[Entry]:
    """Return all that is in a package of this kind, ``deb`` or ``rpm``, in the order of its paths; raise PackageError
    if the programs are not built."""
    if not BUILT.is_dir():
        raise PackageError(f"{BUILT} is missing: make binaries comes first")
    found = [*_programs(), *_system(), *_configuration(), *_shells(kind), *_documents(kind, release)]
    return sorted(found, key=lambda entry: entry.path)


def _programs() -> Iterator[Entry]:
    for path in BUILT.rglob("*"):
        if not path.is_dir():
            yield Entry(f"{HOME}/{path.relative_to(BUILT)}", path, path.stat().st_mode & 0o777)
    for name in PROGRAMS:
        yield Entry(f"usr/bin/{name}", link=f"../lib/dbcalm/{name}")
    for name in ("first-keys", "backup-user"):
        yield Entry(f"{HOME}/{name}", PACKAGING / name, 0o755)


def _system() -> Iterator[Entry]:
    for source, target in (("systemd", "systemd/system"), ("sysusers.d",) * 2, ("tmpfiles.d",) * 2):
        for path in (PACKAGING / source).iterdir():
            yield Entry(f"usr/lib/{target}/{path.name}", path)


def _configuration() -> Iterator[Entry]:
    yield Entry("etc/dbcalm/config.yml", configuration.config_yml().encode(), is_configuration=True)
    yield Entry("etc/dbcalm/cmd.toml", configuration.cmd_toml().encode(), is_configuration=True)
    yield Entry("etc/logrotate.d/dbcalm", PACKAGING / "logrotate.d" / "dbcalm", is_configuration=True)


def _shells(kind: str) -> Iterator[Entry]:
    places = (
        "usr/share/bash-completion/completions/dbcalm",
        f"{_COMPLETIONS[kind]}/_dbcalm",
        "usr/share/fish/vendor_completions.d/dbcalm.fish",
    )
    for shell, place in zip(SHELLS, places, strict=True):
        # zsh takes the file for a function, and calls it at the first Tab.
        call = '\n_dbcalm_completion "$@"' if shell == "zsh" else ""
        yield Entry(place, f"{script(shell)}{call}\n".encode())


def _documents(kind: str, release: Release) -> Iterator[Entry]:
    for name, text in man.pages().items():
        yield Entry(f"usr/share/man/man{name[-1]}/{name}.gz", _packed(text.encode()))
    for page in ("README.md", "SECURITY.md"):
        yield Entry(f"{_DOCS}/{page}", CHECKOUT / page)
    for path in (CHECKOUT / "docs").glob("*.md"):
        yield Entry(f"{_DOCS}/docs/{path.name}", path)
    bundled = documents.of_debian(BUILT)
    yield Entry(f"{_DOCS}/copyright", documents.copyright_file(bundled).encode())
    for package in bundled:
        yield Entry(f"{_DOCS}/licenses/{package}", Path(f"/usr/share/doc/{package}/copyright").resolve())
    for library in documents.libraries():
        yield Entry(f"{_DOCS}/licenses/{library.name}", library.text.encode())
    yield Entry(f"{_DOCS}/changelog.gz", _packed((CHECKOUT / "CHANGELOG.md").read_bytes()))
    if kind == "deb":
        yield Entry(f"{_DOCS}/changelog.Debian.gz", _packed(documents.changelog(release).encode()))
        yield Entry("usr/share/lintian/overrides/dbcalm", PACKAGING / "debian" / "lintian-overrides")
    else:
        yield Entry("usr/share/licenses/dbcalm/LICENSE", CHECKOUT / "LICENSE")


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def folders(found: list[Entry]) -> list[str]:
    """Return the folders that belong to the package alone, in the order of their paths."""
    below = {str(folder) for entry in found for folder in Path(entry.path).parents}
    return sorted(folder for folder in below if "dbcalm" in Path(folder).parts)


def lay_out(found: list[Entry], root: Path, epoch: int) -> None:
    """Put everything into a folder, which is made anew, with its modes and all of one time."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    for entry in found:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link:
            path.symlink_to(entry.link)
            continue
        path.write_bytes(entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content)
        path.chmod(entry.mode)
    for path in (root, *root.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
