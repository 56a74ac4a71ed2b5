"""RESTORE.md: followed to the letter, it brings a chain back without DBCalm."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Rig

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("as_root")]

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("forms", [("folder",), ("zstd", "zstd"), ("folder", "gzip", "folder")])
def test_a_chain_comes_back_by_its_own_page(rig: Rig, tmp_path: Path, forms: tuple[str, ...]) -> None:
    points = rig.points(f"page-{'-'.join(forms)}", forms)
    newest = list(points)[-1]
    stored = {name: rig.stored(name) for name in points}
    rig.change()
    said = follow(rig, newest, tmp_path)
    assert rig.tables() == points[newest]
    assert [f"{name} is whole" in said for name in points] == [True] * len(points)
    assert said.count("completed OK!") == len(points)
    assert {name: rig.stored(name) for name in points} == stored
    assert not [path for path in rig.data.iterdir() if path.name.startswith(("dbcalm-", "RESTORE"))]


def test_an_encrypted_backup_comes_back_with_its_key(
    rig: Rig, tmp_path: Path, keys: tuple[str, str, Path]
) -> None:
    _, public, file = keys
    with rig.configured("dbcalm-mariadb-cmd", encryption_recipients=[public]):
        rig.backup(id="page-sealed", form="zstd")
    expected = rig.tables()
    rig.change()
    said = follow(rig, "page-sealed", tmp_path, IDENTITY=str(file))
    assert rig.tables() == expected
    assert "page-sealed is whole" in said


def test_the_page_tells_a_changed_byte(rig: Rig, tmp_path: Path) -> None:
    rig.backup(id="page-changed", form="folder")
    damaged = rig.backups / "page-changed" / "ibdata1"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    blocks = blocks_of(rig, "page-changed")
    said = run("\n".join(blocks[:2]), tmp_path, {}, check=False)
    assert "ibdata1: FAILED" in said
    assert "page-changed is whole" not in said


def blocks_of(rig: Rig, backup_id: str) -> list[str]:
    """Return the shell blocks of a backup's page, in order."""
    page = (rig.backups / backup_id / "RESTORE.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def follow(rig: Rig, backup_id: str, folder: Path, **changed: str) -> str:
    """Do what the page says, with nothing changed but these variables; return what the commands said. The sandbox's
    database takes the place of the unit."""
    unit = folder / "bin" / "systemctl"
    unit.parent.mkdir()
    unit.write_text(
        f"#!/bin/sh\n[ $2 = mariadb ] && exec {sys.executable} -m dev.sandbox_lib $1-db {rig.sandbox.folder}\n"
    )
    unit.chmod(0o755)
    page = "\n".join(blocks_of(rig, backup_id))
    for name, value in changed.items():
        page, count = re.subn(rf"^{name}=.*$", f"{name}={value}", page, flags=re.MULTILINE)
        assert count == 1
    try:
        return run(f"set -e\n{page}", folder, {"PATH": f"{unit.parent}:{os.environ['PATH']}"})
    finally:
        for beside in rig.data.parent.glob(f"{rig.data.name}.*"):
            shutil.rmtree(beside)


def run(script: str, folder: Path, environment: dict[str, str], *, check: bool = True) -> str:
    """Run a script; return all that it said."""
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 or not check, ran.stdout[-3000:]
    return ran.stdout
