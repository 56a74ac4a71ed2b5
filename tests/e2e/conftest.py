"""One machine for all tests here; they run only where they are asked for: ``make e2e``."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib.api import Api
from tests.e2e.machine import TOOLS, Machine, make, set_up


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies here, and leave it out unless the command line names the mark."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.e2e)
    if "e2e" not in config.option.markexpr:
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if item not in here]


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A booted Debian with MariaDB, in which DBCalm was set up."""
    assert os.getuid() == 0, "only root can boot a container"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    assert not missing, (
        f"missing: {', '.join(missing)}; on Debian: apt-get install debootstrap systemd-container"
    )
    assert sys.version_info[:2] == (3, 11), "the machine's Python, 3.11, is given the libraries of this one"
    folder = Path(tempfile.mkdtemp(prefix="dbcalm-e2e-", dir="/var/tmp"))
    made = make(folder)
    try:
        made.boot()
        set_up(made)
        yield made
    finally:
        made.end()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def api(machine: Machine) -> Api:
    """A client of the machine's API with every right."""
    return machine.api()
