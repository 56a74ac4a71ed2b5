"""What lies in the folder that is shipped, and what does not."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PyInstaller.archive.readers import CArchiveReader

from dev.sandbox_lib.services import SERVICES
from tests.binaries.conftest import CHECKOUT

pytestmark = pytest.mark.binaries

MOST_BYTES = 45_000_000
NEWEST_GLIBC = 35
"""The minor version of what Ubuntu 22.04 has; Debian 12 has 2.36, EL 10 has 2.39."""

OF_GLIBC = re.compile(r"ld-linux.*|lib(c|dl|m|pthread|rt)\.so\.\d")
LOADER = {"struct", "pyimod01_archive", "pyimod02_importers", "pyimod03_ctypes", "pyiboot01_bootstrap"}
"""What every program of PyInstaller begins with."""

SAME_AS_THE_CHECKOUT = [
    ["--help"],
    ["--version"],
    ["backups", "list", "--help"],
    ["schedules", "--help"],
    ["nonsense"],
    ["backup", "full", "--nonsense"],
    ["status"],
    ["completion", "bash"],
    ["completion", "zsh"],
    ["completion", "fish"],
]


def files(folder: Path) -> list[Path]:
    """Return what lies in a folder, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def modules(program: Path) -> set[str]:
    """Return the names of all modules and scripts in a program's own archive, the loader's left out."""
    archive = CArchiveReader(str(program))
    inside = set(archive.open_embedded_archive("PYZ.pyz").toc)
    return inside | {name for name, entry in archive.toc.items() if entry[-1] in "ms"} - LOADER


def test_three_programs_share_one_folder(built: Path) -> None:
    assert {path.name for path in built.iterdir()} == {*SERVICES, "_internal"}
    size = sum(path.lstat().st_size for path in built.rglob("*") if not path.is_dir())
    assert size < MOST_BYTES


def test_everybody_can_read_it_and_only_the_programs_are_programs(built: Path) -> None:
    programs = {built / name for name in SERVICES}
    for path in built.rglob("*"):
        assert not path.is_symlink()
        expected = 0o755 if path.is_dir() or path in programs else 0o644
        assert path.stat().st_mode & 0o7777 == expected, path


def test_no_file_knows_where_it_was_built(built: Path) -> None:
    for path in built.rglob("*"):
        assert path.is_dir() or os.fsencode(CHECKOUT) not in path.read_bytes(), path


def read_elf(built: Path, *what: str) -> Iterator[tuple[Path, str]]:
    """Yield each program and library with what readelf says of it."""
    for path in built.rglob("*"):
        if not path.is_dir() and path.read_bytes()[:4] == b"\x7fELF":
            command = ["readelf", "--wide", *what, str(path)]
            yield path, subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_libraries_are_stripped_and_look_for_no_others_elsewhere(built: Path) -> None:
    for path, read in read_elf(built, "--dynamic", "--section-headers"):
        assert not {"(RUNPATH)", "(RPATH)", ".symtab"} & set(read.split()), path


@pytest.mark.skipif(
    int(platform.libc_ver()[1].partition(".")[2] or 0) > 36, reason="built on a newer system than Debian 12"
)
def test_it_runs_on_every_system_that_is_promised(built: Path) -> None:
    bundled = {path.name for path in built.rglob("*.so*")}
    needed: set[str] = set()
    for path, read in read_elf(built, "--dynamic", "--version-info"):
        newest = max((int(minor) for minor in re.findall(r"\bGLIBC_2\.(\d+)", read)), default=0)
        assert newest <= NEWEST_GLIBC, path
        needed |= set(re.findall(r"\(NEEDED\) +Shared library: \[(.+)\]", read))
    assert {name for name in needed - bundled if not OF_GLIBC.fullmatch(name)} == {"libexpat.so.1"}


def test_root_runs_the_standard_library_and_its_own_package_alone(built: Path) -> None:
    found = modules(built / "dbcalm-cmd")
    assert {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "dbcalm-cmd", "dbcalm_cmd", "dbcalm_cmd.adapter", "dbcalm_cmd.command", "dbcalm_cmd.process",
        "dbcalm_cmd.service", "dbcalm_cmd.settings", "dbcalm_cmd.unit", "dbcalm_cmd.wire",
    }  # fmt: skip


def test_root_has_nothing_to_speak_to_a_network_with(built: Path) -> None:
    assert not modules(built / "dbcalm-cmd") & {
        "asyncio", "ctypes", "http", "multiprocessing", "pickle", "sqlite3", "ssl",
    }  # fmt: skip


def test_the_mysql_service_has_no_catalogue_and_no_framework(built: Path) -> None:
    found = {name.partition(".")[0] for name in modules(built / "dbcalm-mariadb-cmd")}
    ours = {name for name in found if name.startswith("dbcalm")}
    assert ours == {"dbcalm-mariadb-cmd", "dbcalm_cmd", "dbcalm_mariadb_cmd"}
    assert not found & {"fastapi", "jose", "passlib", "pydantic", "sqlite3", "typer", "uvicorn"}


@pytest.mark.parametrize("arguments", SAME_AS_THE_CHECKOUT, ids=" ".join)
def test_a_command_says_what_it_says_in_the_checkout(
    built: Path, tmp_path: Path, arguments: list[str]
) -> None:
    environment = {"PATH": os.environ["PATH"], "DBCALM_CONFIG": str(tmp_path / "none.yml")}

    def said(*program: Path | str) -> tuple[int, str, str]:
        command = [*program, *arguments]
        done = subprocess.run(
            command, env=environment, cwd="/", check=False, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    assert said(built / "dbcalm") == said(sys.executable, CHECKOUT / "dbcalm.py")


def test_it_runs_through_a_link(built: Path, tmp_path: Path) -> None:
    link = tmp_path / "dbcalm"
    link.symlink_to(built / "dbcalm")
    done = subprocess.run([link, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("dbcalm ")


@pytest.mark.slow
def test_another_folder_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    epoch = str(int((built / "dbcalm").stat().st_mtime))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, elsewhere / name)
    # The environment is a copy, to save the time of installing: where it lies and when it was made are not the same.
    shutil.copytree(CHECKOUT / "build/binaries/venv", elsewhere / "build/binaries/venv", symlinks=True)
    environment = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": epoch}
    subprocess.run([elsewhere / "packaging/binaries"], env=environment, check=True, capture_output=True)
    again = elsewhere / "dist/production"
    assert files(again) == files(built)
    for name in files(built):
        first, second = built / name, again / name
        assert first.stat().st_mode == second.stat().st_mode
        assert first.is_dir() or first.read_bytes() == second.read_bytes(), name
        assert int(second.stat().st_mtime) == int(epoch)
