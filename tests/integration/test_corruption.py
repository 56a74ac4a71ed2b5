"""Damage to stored backups, whatever and wherever: all of it is found, and where there is none, none is found."""

import contextlib
import errno
import os
import random
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.builder.layout import Places
from dbcalm_mariadb_cmd.errors import BackupFault
from dbcalm_mariadb_cmd.jobs.order import VerifyJob
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import FILES, INSTRUCTIONS, MANIFEST, PROOF
from dbcalm_mariadb_cmd.verify import run as verify
from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with
from tests.integration.test_verify import flip, in_a_page, recompute

pytestmark = pytest.mark.integration

CORRUPTIONS, CLEAN = 200, 50
FORMS = ("folder", "zstd", "gzip")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with sandbox_with(tmp_path_factory.mktemp("corruption") / "sandbox", SMALL_SHOP) as sandbox:
        yield Rig(sandbox)


@pytest.fixture(scope="module")
def chains(own: Rig) -> list[list[str]]:
    """Fifty backups in ten chains, each stored in any form."""
    chance = random.Random("chains")
    names = []
    for number in range(CLEAN // 5):
        points = own.points(f"chain-{number}", chance.choices(FORMS, k=5))
        names.append(list(points))
    return names


class Judge:
    """Verifies as the service's runner does, in this process: a verdict takes a moment."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        (folder / "jobs").mkdir()
        self.journal = Journal(folder / "journal")
        self.output = Output(folder / "output.log")
        self.restores = folder / "restores"
        self.restores.mkdir()
        self.places = Places(
            engine_name="mariadb", tool=shutil.which("mariadb-backup") or "", client="", credentials="",
            backup_dir=str(rig.backups), data_dir=str(rig.data), restore_dir=str(self.restores),
            job_dir=str(folder), zstd=shutil.which("zstd") or "", gzip=shutil.which("gzip") or "",
            unstream=shutil.which("mbstream") or "",
        )  # fmt: skip

    def fault(self, chain: list[str], level: int = 1) -> BackupFault | None:
        """Return what is wrong with a chain, and take away what was noted of that, also of what builds on it."""
        job = VerifyJob(
            job_id=uuid.uuid4().hex, places=self.places, restore_id="x", seq=0, chain=tuple(chain),
            target="folder", target_path=str(self.restores / "x-restored-now"), level=level,
            innochecksum=shutil.which("innochecksum") or "",
        )  # fmt: skip
        self.places.job(job.job_id).mkdir()
        lock = os.open(self.restores.parent / "lock", os.O_RDWR | os.O_CREAT)
        try:
            verify.verify(job, self.output, lock, self.journal)
        except BackupFault as found:
            return found
        finally:
            os.close(lock)
            assert list(self.restores.iterdir()) == []
            for noted in self.rig.backups.glob(f"*/{PROOF}"):
                noted.unlink()
        return None


@pytest.fixture
def judge(own: Rig, tmp_path: Path) -> Iterator[Judge]:
    judge = Judge(own, tmp_path)
    yield judge
    judge.output.finish()


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def some_file(folder: Path, chance: random.Random) -> Path:
    """Return any file, of the data, the manifest or what lies beside, each kind often enough."""
    if chance.random() < 0.25:
        return folder / chance.choice([MANIFEST, FILES, INSTRUCTIONS])
    return chance.choice(files_of(folder))


@contextlib.contextmanager
def a_flipped_bit(folder: Path, chance: random.Random) -> Iterator[str]:
    path = some_file(folder, chance)
    at = chance.randrange(path.stat().st_size)
    flip(path, at)
    yield f"{path.name}: bit at {at}"
    flip(path, at)


@contextlib.contextmanager
def a_truncated_file(folder: Path, chance: random.Random) -> Iterator[str]:
    path = some_file(folder, chance)
    content = path.read_bytes()
    os.truncate(path, chance.randrange(len(content)))
    yield f"{path.name}: cut"
    path.write_bytes(content)


@contextlib.contextmanager
def a_missing_file(folder: Path, chance: random.Random) -> Iterator[str]:
    path = some_file(folder, chance)
    aside = folder.parent / f".{uuid.uuid4().hex}"
    path.rename(aside)
    yield f"{path.name}: gone"
    aside.rename(path)


@contextlib.contextmanager
def two_swapped_files(folder: Path, chance: random.Random) -> Iterator[str]:
    while True:
        one, other = chance.sample(files_of(folder), 2)
        if one.read_bytes() != other.read_bytes():
            break
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    yield f"{one.name} and {other.name}: swapped"
    one.write_bytes(contents[0])
    other.write_bytes(contents[1])


@contextlib.contextmanager
def an_extra_file(folder: Path, chance: random.Random) -> Iterator[str]:
    where = chance.choice([folder, *(path for path in folder.rglob("*") if path.is_dir())])
    path = where / chance.choice(["more.ibd", "ibdata2", ".hidden", "db.opt.bak"])
    path.write_bytes(chance.randbytes(chance.randrange(100)))
    yield f"{path.name}: added"
    path.unlink()


DAMAGES: list[Callable[[Path, random.Random], contextlib.AbstractContextManager[str]]] = [
    a_flipped_bit, a_truncated_file, a_missing_file, two_swapped_files, an_extra_file,
]  # fmt: skip


def test_no_clean_chain_is_taken_for_damaged(own: Rig, chains: list[list[str]], judge: Judge) -> None:
    ends = [chain[: number + 1] for chain in chains for number in range(len(chain))]
    assert len(ends) == CLEAN
    assert [chain for chain in ends if judge.fault(chain)] == []
    for chain in random.Random(1).sample(ends, 5):
        assert judge.fault(chain, level=2) is None


def test_every_corruption_is_found_by_reading(own: Rig, chains: list[list[str]], judge: Judge) -> None:
    chance = random.Random("corruption")
    missed = []
    for number in range(CORRUPTIONS):
        chain = chance.choice(chains)
        end = chance.randrange(1, len(chain) + 1)
        hit = chance.choice(chain[:end])
        with DAMAGES[number % len(DAMAGES)](own.backups / hit, chance) as what:
            fault = judge.fault(chain[:end])
            if fault is None or fault.level != 1:
                missed.append(f"{hit}: {what}")
    assert missed == []
    for chain in chains:  # All is as it was.
        assert judge.fault(chain) is None


def test_damage_that_the_checksums_were_made_to_fit_is_found_by_bringing_back(own: Rig, judge: Judge) -> None:
    """Pages in use of any tablespace, and the packed streams."""
    chance = random.Random("recomputed")
    own.sandbox.stop_db()  # Else the redo log may still have the page.
    own.sandbox.start_db()
    for form, count in (("folder", 12), ("zstd", 4), ("gzip", 4)):
        own.backup(id=f"fitted-{form}", form=form)
        folder = own.backups / f"fitted-{form}"
        before = {name: (folder / name).read_bytes() for name in (MANIFEST, FILES)}
        for _ in range(count):
            if form == "folder":
                path = chance.choice(
                    [path for path in folder.rglob("*.ibd") if path.stat().st_size > 7 * 16384]
                )
                at = in_a_page(path, chance)
            else:
                [path] = folder.glob("backup.xbstream.*")
                at = chance.randrange(100, path.stat().st_size - 100)
            flip(path, at)
            recompute(own, folder.name, str(path.relative_to(folder)))
            assert judge.fault([folder.name]) is None
            found = judge.fault([folder.name], level=2)
            assert found is not None, f"{path}: {at}"
            assert found.level == 2
            flip(path, at)
            for name, content in before.items():
                (folder / name).write_bytes(content)
        assert judge.fault([folder.name], level=2) is None


def test_a_chain_under_load_comes_back_at_each_of_its_points_twice(own: Rig) -> None:
    """A full backup and six incrementals while rows are written all the time: what stands still is as it was at that
    moment, and what is written is a consistent state of that moment."""
    own.sandbox.sql(
        "CREATE TABLE shop.busy (id INT PRIMARY KEY AUTO_INCREMENT, body VARCHAR(200)) ENGINE=InnoDB"
    )
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            own.sandbox.sql("INSERT INTO shop.busy (body) SELECT SHA2(RAND(), 512) FROM shop.seq_1_to_50")

    def count() -> int:
        return int(own.sandbox.sql("SELECT COUNT(*) FROM shop.busy"))

    def at_rest(tables: dict[str, str]) -> dict[str, str]:
        return {name: sum for name, sum in tables.items() if "busy" not in name}

    writer = threading.Thread(target=write)
    writer.start()
    points: dict[str, tuple[dict[str, str], int, int]] = {}
    base: dict[str, Any] = {"type": "full"}
    try:
        for number in range(7):
            own.change()
            before = count()
            id = str(own.backup(id=f"load-{number}", form=FORMS[number % 3], **base)["resource_id"])
            points[id] = (at_rest(own.tables()), before, count())
            base = {"type": "incremental", "from_backup_id": id}
    finally:
        over.set()
        writer.join()
    for _ in range(2):
        for id, (expected, least, most) in points.items():
            assert at_rest(own.tables_of(own.restore(id, "folder"))) == expected
            own.put_back(id)
            assert at_rest(own.tables()) == expected
            assert least <= count() <= most
            assert count() % 50 == 0  # A statement is there whole or not at all.
            assert own.sandbox.sql("CHECK TABLE shop.busy").split()[-1] == "OK"


@pytest.mark.parametrize("level", [1, 2])
def test_a_disk_that_does_not_give_the_bytes_is_a_fault_and_a_full_one_is_none(
    own: Rig, judge: Judge, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """No disk here fails when it is asked to, so the kernel's answer is made up."""
    id = str(own.backup(form="folder")["resource_id"])

    def failing(number: int) -> Callable[..., None]:
        def read(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number), "ibdata1")

        return read

    monkeypatch.setattr(verify, "read_tree", failing(errno.EIO))
    monkeypatch.setattr(restore, "copy_tree", failing(errno.EIO))
    found = judge.fault([id], level)
    assert found is not None
    assert (found.level, str(found)) == (
        1,
        f"backup {id} cannot be read from the disk: ibdata1: Input/output error",
    )
    monkeypatch.setattr(verify, "read_tree", failing(errno.ENOSPC))
    monkeypatch.setattr(restore, "copy_tree", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        judge.fault([id], level)
