"""What the documentation shows is what happens: every command in it is run, in a sandbox of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib import Sandbox
from tests.docs.commands import Shell, matches, runnable
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.integration

_NEEDED = [program for program in ("curl", "jq") if shutil.which(program) is None]


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a folder that the examples take for the reader's home, and leave nothing of it running."""
    folder = Path(tempfile.mkdtemp(prefix="dbcalm-docs-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if (folder / "dbcalm-sandbox").exists():
            Sandbox(folder / "dbcalm-sandbox").down()
        shutil.rmtree(folder)


@pytest.mark.skipif(bool(_NEEDED), reason=f"the examples use {' and '.join(_NEEDED)}, which the host lacks")
def test_every_command_does_what_its_page_says(home: Path) -> None:
    shell = Shell(home)
    try:
        for command in runnable():
            status, output = shell.run(command.text, PATIENCE)
            where = f"{command.page.name}: $ {command.text}"
            assert status == 0, f"{where}\nended with {status}:\n{output}"
            assert matches(command.output, output), (
                f"{where}\nshows:\n{command.output}\n\nbut wrote:\n{output}"
            )
    finally:
        shell.close()
    assert list(home.iterdir()) == []
