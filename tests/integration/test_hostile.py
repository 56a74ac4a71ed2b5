"""What somebody has put among the backups, or what happened to the journal's bytes: it wedges nothing, and is told."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.store.manifest import MANIFEST, sealed, unsealed
from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with

pytestmark = pytest.mark.integration

API, MYSQL = "dbcalm", "dbcalm-mariadb-cmd"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with sandbox_with(tmp_path_factory.mktemp("hostile") / "sandbox", SMALL_SHOP) as sandbox:
        rig = Rig(sandbox)
        rig.backup(id="good", form="folder")
        yield rig


def told(rig: Rig) -> list[str]:
    """Return what needs attention."""
    return list(json.loads(rig.sandbox.cli("status", "--json").stdout)["attention"])


def goes_on(rig: Rig) -> None:
    """Make a backup, see it listed, and make the catalogue anew."""
    name = rig.backup()["resource_id"]
    assert {"good", name} <= set(rig.listed())
    assert rig.sandbox.cli("catalogue", "rebuild").returncode == 0
    assert {"good", name} <= set(rig.listed())


def test_a_file_whose_name_is_no_utf8_is_a_fault_like_any_other(own: Rig) -> None:
    stray = os.fsencode(own.backups / "good") + b"/caf\xe9.txt"
    Path(os.fsdecode(stray)).touch()
    try:
        end = own.end(own.start("/backups/good/verify", {"level": 2}))
        assert (end["status"], end["reason"]) == ("failed", "suspect")
        assert "caf\\xe9.txt" in end["error"]
        assert any("caf\\xe9.txt" in sentence for sentence in told(own))
        goes_on(own)
    finally:
        os.unlink(stray)
    assert own.end(own.start("/backups/good/verify", {"level": 1}))["status"] == "success"


def a_pipe(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)


def three_gigabytes(folder: Path) -> None:
    os.truncate(folder / MANIFEST, 3 << 30)


def forged(**facts: object) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        before = unsealed((folder / MANIFEST).read_bytes())
        (folder / MANIFEST).write_bytes(sealed({**before, "id": folder.name, **facts}))

    return forge


@pytest.mark.parametrize(
    "spoil",
    [a_pipe, three_gigabytes, forged(seq=2**70), forged(note="\udce9"), forged(end_time="never", size="x")],
    ids=["a pipe", "3 GB of nothing", "a huge number", "no UTF-8", "wrong types"],
)
def test_a_folder_that_is_no_backup_hides_no_other(own: Rig, spoil: Callable[[Path], None]) -> None:
    bad = own.backups / "bad"
    shutil.copytree(own.backups / "good", bad)
    spoil(bad)
    try:
        own.sandbox.restart(MYSQL)
        own.sandbox.restart(API)
        goes_on(own)
        assert any(
            f"{MANIFEST} cannot be read" in sentence and str(bad) in sentence for sentence in told(own)
        )
        assert "bad" not in own.listed()
    finally:
        shutil.rmtree(bad)
    assert not any("cannot be read" in sentence for sentence in told(own))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"id":"', b'"ie":"'), (b'"event":"ended"', b'"event":"endee"'), (b'"seq":1', b'"seq":9')],
    ids=["the first line", "an end", "a number"],
)
def test_one_flipped_bit_of_the_journal_is_told_and_keeps_nothing(own: Rig, old: bytes, new: bytes) -> None:
    journal = own.sandbox.layout.jobs / "journal"
    own.sandbox.services.end(API)
    own.sandbox.services.end(MYSQL)
    content = journal.read_bytes()
    line = content[: content.index(old)].count(b"\n") + 1
    journal.write_bytes(content.replace(old, new, 1))
    own.sandbox.restart(MYSQL)
    own.sandbox.restart(API)
    (sentence,) = [one for one in told(own) if "journal of jobs was damaged" in one]
    assert f"at line {line} and begun anew" in sentence
    goes_on(own)
    assert not own._running()
    Path(sentence.rpartition("remove ")[2]).unlink()
    assert not any("journal" in one for one in told(own))
