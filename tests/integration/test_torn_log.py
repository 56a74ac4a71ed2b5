"""A bit of a backup's redo log that was flipped before its checksums were taken: the tool takes it for the end."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import SCHEMA, Rig, sandbox_with
from tests.integration.test_adopt import by_hand
from tests.integration.test_verify import flip, proof, verified

pytestmark = pytest.mark.integration

_HEADER = 12288
"""Bytes before the first record of the log, in the format of 10.8 and later."""

_SHARES = (0.2, *random.Random(18).sample([0.01, 0.1, 0.35, 0.5, 0.65, 0.8, 0.95], k=3), 1.0)
"""Where the bit is flipped, as a share of the log. The last is in the last record."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with sandbox_with(tmp_path_factory.mktemp("torn") / "sandbox", SCHEMA) as sandbox:
        yield Rig(sandbox)


@pytest.fixture(scope="module")
def full(own: Rig) -> Path:
    """A full backup with some log, made by hand and kept where none is looked for."""
    for _ in range(3):
        own.change()
    return by_hand(own, "kept").rename(own.backups.parent / "kept")


def by_hands(own: Rig, name: str) -> list[Path]:
    """Make a full backup and an incremental by hand, which are not adopted yet."""
    own.change()
    full = by_hand(own, f"{name}-full")
    own.change()
    return [full, by_hand(own, f"{name}-inc", full.name)]


def adopted(own: Rig, *folders: Path) -> None:
    for folder in folders:
        done = own.sandbox.cli("backups", "adopt", str(folder))
        assert done.returncode == 0, done.stderr


def torn(folder: Path, share: float) -> None:
    log = folder / "ib_logfile0"
    size = log.stat().st_size
    flip(log, min(size - 2, _HEADER + 200 + int(share * (size - _HEADER - 200))))


@pytest.mark.parametrize("share", _SHARES)
def test_a_torn_log_is_found_wherever_the_bit_is(own: Rig, full: Path, share: float) -> None:
    name = f"torn-{_SHARES.index(share)}"
    folder = own.backups / name
    subprocess.run(["cp", "-a", full, folder], check=True)
    torn(folder, share)
    adopted(own, folder)
    assert verified(own, name, 1)["status"] == "success"  # The checksums are of what is there.
    for level in (2, 3):
        status = verified(own, name, level)
        assert (status["status"], status["reason"]) == ("failed", "suspect")
        assert (
            f"backup {name} lacks its last changes: its redo log (ib_logfile0) is damaged" in status["error"]
        )
    assert proof(own, name)[1] is not None
    ended = own.end(own.start("/restore", {"id": name, "target": "folder"}))
    assert ended["status"] == "failed"
    assert f"backup {name} lacks its last changes" in ended["error"]
    assert "dbcalm backup full" in ended["error"]
    assert own.leftovers() == []


@pytest.mark.parametrize("victim", [0, 1], ids=["full", "incremental"])
def test_it_is_the_fault_of_the_link_that_has_it(own: Rig, victim: int) -> None:
    chain = by_hands(own, f"victim-{victim}")
    torn(chain[victim], 0.5)
    adopted(own, *chain)
    status = verified(own, chain[1].name, 2)
    assert (status["status"], status["reason"]) == ("failed", "suspect")
    assert f"backup {chain[victim].name} lacks its last changes" in status["error"]
    assert [proof(own, link.name)[1] is not None for link in chain] == [victim == 0, True]


def test_whole_ones_raise_no_alarm(own: Rig) -> None:
    chain = by_hands(own, "good")
    adopted(own, *chain)
    assert verified(own, chain[1].name, 3)["status"] == "success"
    for form in ("folder", "zstd"):
        ids = own.chain(
            *(f"{form}-{number}" for number in range(5)), form=form
        )  # Links without a write among them.
        assert verified(own, ids[-1], 3)["status"] == "success"
        rolled_up = str(own.backup(type="full", synthetic=True, form=form)["resource_id"])
        own.change()
        assert verified(own, rolled_up, 3)["status"] == "success"
        again = str(own.backup(type="incremental", form=form)["resource_id"])
        assert verified(own, again, 3)["status"] == "success"
