"""How .venv is made: from pins with hashes that no machine's registry has got into, and never over somebody's link."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_files_name_no_registry(name: str) -> None:
    lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "://" in line or line.startswith("-")] == []


def test_the_program_that_makes_venv_is_pinned_with_hashes() -> None:
    text = (CHECKOUT / "requirements-dev.txt").read_text(encoding="utf-8")
    assert re.search(r"^uv==[0-9.]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)


def test_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    shutil.copy(CHECKOUT / "dev/prepare", tmp_path / "dev")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / ".venv").symlink_to(theirs)
    # Newer than whatever is there, as after a change of the lock file.
    (tmp_path / "requirements-dev.txt").write_text("nothing-like-it==1.0\n")
    done = subprocess.run(
        [tmp_path / "dev/prepare", "venv"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(theirs.iterdir()) == []
    assert (tmp_path / ".venv").is_symlink()
