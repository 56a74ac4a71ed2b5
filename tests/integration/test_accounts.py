"""The users that a sandbox makes on a fresh host, where tests run in several processes at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.able import own_view
from tests.support.patience import PATIENCE

CHECKOUT = Path(__file__).parents[2]
FILES = ("passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf")

pytestmark = pytest.mark.integration


def fresh_etc(folder: Path) -> Path:
    """Return a folder with what useradd reads, as on a host where nothing of ours or of MariaDB was ever installed."""
    folder.mkdir()
    for name in FILES:
        shutil.copy(Path("/etc") / name, folder)
        text = (folder / name).read_text(encoding="utf-8")
        lines = [
            line for line in text.splitlines(keepends=True) if not line.startswith(("dbcalm:", "mysql:"))
        ]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def test_processes_that_need_the_same_users_at_once_all_get_them(tmp_path: Path) -> None:
    # In one write each: print sends the end of its line by another, where Python does not buffer.
    program = "import os; from dev.sandbox_lib.accounts import accounts;"
    program += 'os.write(1, b"%d\\n" % accounts().database.uid)'
    ask = f"{sys.executable} -c '{program}'"
    script = f"mount --bind {fresh_etc(tmp_path / 'etc')} /etc; " + f"{ask} & " * 6 + "wait"
    done = subprocess.run(
        [*own_view(), script],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    assert len(done.stdout.split()) == 6
    assert len(set(done.stdout.split())) == 1
