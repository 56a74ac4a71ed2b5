"""A built program loads all that it has before a job begins, so that its files may be replaced meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

CHECKOUT = Path(__file__).parents[4]
_SCRIPT = """
import inspect, sys  # pkgutil wants inspect, which is no longer found below
import dbcalm_mariadb_cmd.adapter.frozen as frozen
folder, is_frozen = sys.argv[1:]
sys.path[:] = [folder]
if is_frozen == "yes":
    sys.frozen = True
frozen.load_all()
print(*sorted(name for name in sys.modules if name.startswith("of_a_test")))
"""


@pytest.mark.parametrize(
    ("is_frozen", "loaded"),
    [("yes", "of_a_test of_a_test.deep of_a_test.deep.deeper of_a_test_2"), ("no", "")],
)
def test_every_module_is_loaded_that_can_be(tmp_path: Path, is_frozen: str, loaded: str) -> None:
    for name, text in {
        "of_a_test/__init__.py": "",
        "of_a_test/deep/__init__.py": "",
        "of_a_test/deep/deeper.py": "",
        "of_a_test_2.py": "",
        "of_a_test_for_another_system.py": "import msvcrt",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path), is_frozen]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.strip() == loaded
