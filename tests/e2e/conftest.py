"""One machine for all tests here; they run only where they are asked for: ``make e2e``."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib.api import Api
from tests.e2e import packages
from tests.e2e.machine import TOOLS, Machine, install, make, set_up


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies here, and leave it out unless the command line names the mark."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.e2e)
    if "e2e" not in config.option.markexpr:
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if item not in here]


@pytest.fixture(scope="session")
def story() -> dict[str, str]:
    """What was said while the machine was set up, by what was done."""
    return {}


@pytest.fixture(scope="session")
def machine(story: dict[str, str]) -> Iterator[Machine]:
    """A booted Debian with MariaDB, in which the package of this commit was installed and set up."""
    assert os.getuid() == 0, "only root can boot a container"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    assert not missing, (
        f"missing: {', '.join(missing)}; on Debian: apt-get install debootstrap systemd-container"
    )
    folder = Path(tempfile.mkdtemp(prefix="dbcalm-e2e-", dir="/var/tmp"))
    made = make(folder)
    try:
        made.boot()
        began = time.monotonic()
        story["install"] = install(made, packages.of_checkout())
        story["setup"] = set_up(made)
        story["seconds"] = str(time.monotonic() - began)
        yield made
    finally:
        made.end()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def api(machine: Machine) -> Api:
    """A client of the machine's API with every right."""
    return machine.api()
