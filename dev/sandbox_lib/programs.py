"""A copy of the code with the libraries that it needs, or of the built programs, where the service users can read it.

The checkout, or the folder it lies in, may be closed to them: root's home is. Copying is by hard link where that is
possible, for the libraries; the code itself is copied, since an editor may write into the very file.
"""

import compileall
import contextlib
import os
import re
import shutil
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("dbcalm", "dbcalm_cmd", "dbcalm_cmd_client", "dbcalm_mariadb_cmd", "dbcalm_mariadb_cmd_client")
LAUNCHERS = ("dbcalm.py", "dbcalm-cmd.py", "dbcalm-mariadb-cmd.py")


def install(target: Path, built: Path | None = None) -> None:
    """Make the copy, or bring the code of an existing one up to date; ``built`` is a folder of ``make binaries``."""
    if built is not None:
        make_readable_parents(target)
        shutil.copytree(built, target, symlinks=True)
        return
    python = target / "venv" / "bin" / "python"
    if not python.exists():
        _install_libraries(target / "venv")
    refresh(target)


def refresh(target: Path) -> None:
    """Copy what was changed in the checkout since, and remove what is gone from it. Built programs stay."""
    if _are_built(target):
        return
    for name in LAUNCHERS:
        _copy_newer(CHECKOUT / name, target / name)
    for package in PACKAGES:
        wanted = set(sources(CHECKOUT / package))
        for path in wanted:
            _copy_newer(CHECKOUT / package / path, target / package / path)
        for path in set(sources(target / package)) - wanted:
            (target / package / path).unlink()
        compileall.compile_dir(target / package, quiet=2)


def launcher(target: Path, name: str) -> list[str]:
    """Return the words that start a program of a copy."""
    if _are_built(target):
        return [str(target / name)]
    return [str(target / "venv" / "bin" / "python"), str(target / f"{name}.py")]


def sources(package: Path) -> list[Path]:
    """Return the files of a package, relative to it, without compiled ones."""
    return [
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def _are_built(target: Path) -> bool:
    return (target / "_internal").is_dir()


def _install_libraries(folder: Path) -> None:
    """Make a virtual environment of the runtime libraries in the versions that this very Python has."""
    previous = os.umask(0o022)
    try:
        venv.create(folder, symlinks=True)
        [site_packages] = folder.glob("lib/python3*/site-packages")
        for name in _runtime_names():
            with contextlib.suppress(PackageNotFoundError):  # what only other platforms need
                _link_files(distribution(name), site_packages)
    finally:
        os.umask(previous)


def _runtime_names() -> list[str]:
    """Return the names in the lock file, also those that only other platforms need."""
    lines = (CHECKOUT / "requirements.txt").read_text().splitlines()
    return [line.partition("==")[0] for line in lines if re.match(r"[a-z0-9]", line)]


def _link_files(library: Distribution, site_packages: Path) -> None:
    for file in library.files or ():
        if ".." in file.parts:
            continue  # a script of bin/, which nobody needs here
        target = site_packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        source = Path(str(library.locate_file(file)))
        try:
            target.hardlink_to(source)
        except FileNotFoundError:
            continue  # a compiled file of another Python
        except OSError:
            shutil.copy2(source, target)


def _copy_newer(source: Path, target: Path) -> None:
    if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
        return
    make_readable_parents(target)
    shutil.copy2(source, target)
    target.chmod(0o644)


def make_readable_parents(path: Path) -> None:
    """Make the folders above a path, open to all readers."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
