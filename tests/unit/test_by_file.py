"""What a run of all tests shows while it goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

CHECKOUT = Path(__file__).parents[2]
FILES = {
    "test_good.py": "import pytest\ndef test_one(): pass\n@pytest.mark.skip\ndef test_two(): pass\n",
    "test_bad.py": "def test_three():\n    assert 1 == 2\ndef test_four(): pass\n",
}


@pytest.mark.parametrize("processes", ["0", "2"])
def test_it_names_files_failures_and_the_time_left(tmp_path: Path, processes: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    words = ["-p", "tests.support.by_file", "-p", "no:cacheprovider", "-n", processes, "--dist=loadfile"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, f"--rootdir={tmp_path}", tmp_path],
        cwd=tmp_path, env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    lines = [line for line in done.stdout.splitlines() if " left] " in line]
    told = sorted(line.partition("] ")[2].partition(" in ")[0] for line in lines if " passed" in line)
    assert told == ["test_bad.py: 1 failed, 1 passed", "test_good.py: 1 passed, 1 skipped"]
    [failure] = [line for line in lines if "FAILED" in line]
    assert "test_bad.py::test_three" in failure
    assert "test_bad.py:2: assert 1 == 2" in failure
