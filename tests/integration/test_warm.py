"""The warm copy: made in idle time, brought up to date, taken only where it is just what a restore would make."""

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.storage.standby import WARM
from dev.sandbox_lib.processes import all_processes, command_line, wait_until
from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

_MYSQL_SERVICE = "dbcalm-mariadb-cmd"
_TAKEN = "the warm copy is taken"


class Warmed(Rig):
    """A sandbox of its own whose service looks after the warm copy every few seconds."""

    @property
    def warm(self) -> Path:
        return self.data / WARM

    def is_warm(self, backup_id: str) -> bool:
        return bool(self.api.call("GET", "/ready")["warm"]["backup_id"] == backup_id)

    def until_warm(self, backup_id: str) -> None:
        eventually(lambda: self.is_warm(backup_id))

    def replace(self, backup_id: str) -> bool:
        """Restore a backup over the running database; return whether the warm copy was taken for it."""
        accepted = self.start("/restore", {"id": backup_id, "target": "database", "replace": True})
        status = self.end(accepted)
        assert status["status"] == "success", status
        return self.took(accepted)

    def took(self, accepted: dict[str, object]) -> bool:
        return _TAKEN in self.log(str(accepted["pid"]))

    def makers(self) -> list[int]:
        home = str(self.sandbox.root)
        words = {process.pid: " ".join(command_line(process.pid)) for process in all_processes()}
        return [
            pid
            for pid, line in words.items()
            if "dbcalm_mariadb_cmd.supervisor.standby_worker" in line and home in line
        ]

    def steps(self) -> int:
        """Return how many links the last making of the warm copy has prepared."""
        return self.log("warm").count("completed OK!")

    def log(self, job_id: str) -> str:
        return (Path(self.sandbox.layout.jobs) / "jobs" / job_id / "output.log").read_text()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warmed]:
    with sandbox_with(tmp_path_factory.mktemp("warm") / "sandbox", SMALL_SHOP) as sandbox:
        rig = Warmed(sandbox)
        with rig.configured(_MYSQL_SERVICE, warm_restore=True, trash_delay=0, keep_replaced=0):
            yield rig


@pytest.fixture
def rig(own: Warmed) -> Iterator[Warmed]:
    yield own
    own.everything_runs()


def test_it_is_made_brought_up_to_date_and_taken_once(rig: Warmed) -> None:
    rig.chain("full", "first")
    rig.until_warm("first")
    assert rig.steps() == 2
    rig.change()
    rig.backup(id="second", type="incremental", from_backup_id="first", form="folder")
    expected = rig.tables()
    rig.until_warm("second")
    assert rig.steps() == 1, "only what came last is applied"
    stored = {name: rig.stored(name) for name in ("full", "first", "second")}
    rig.change()
    assert rig.replace("second")
    assert rig.tables() == expected
    assert {name: rig.stored(name) for name in stored} == stored
    rig.until_warm("second")  # It was used up, and is made again.
    assert rig.replace("second")
    assert rig.tables() == expected
    rig.until_warm("second")
    # It is neither a backup nor in one.
    rig.backup(id="beside", type="full", form="folder")
    assert not [path for path in (rig.backups / "beside").rglob("*") if "#sql" in path.name]
    assert rig.sandbox.sql("SHOW DATABASES LIKE '%warm%'") == ""


def test_into_an_empty_data_directory(rig: Warmed) -> None:
    rig.backup(id="empty-full")
    expected = rig.tables()
    rig.until_warm("empty-full")
    kept = rig.sandbox.root / "kept-warm"
    rig.sandbox.stop_db()
    rig.warm.rename(kept)  # What an administrator leaves out when the rest is wiped.
    rig.sandbox.wipe_db()
    kept.rename(rig.warm)
    accepted = rig.start("/restore", {"id": "empty-full", "target": "database"})
    assert rig.end(accepted)["status"] == "success"
    assert rig.took(accepted)
    assert not list(rig.data.glob("#sql-dbcalm-*"))
    rig.sandbox.start_db()
    assert rig.tables() == expected


def _append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"\0")


def _flip(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(10_000)
        byte = opened.read(1)
        opened.seek(10_000)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(0, 0))


def _add(file: Path) -> None:
    (file.parent / "stray.ibd").write_bytes(b"x")


TOUCHES = [_append, _flip, Path.unlink, _add]


@pytest.mark.parametrize("touch", TOUCHES, ids=lambda touch: touch.__name__)
def test_one_that_was_touched_is_not_believed(rig: Warmed, touch: object) -> None:
    name = f"touched-{TOUCHES.index(touch)}"
    rig.backup(id=name)
    expected = rig.tables()
    rig.until_warm(name)
    assert callable(touch)
    touch(rig.warm / "data" / "shop" / "orders.ibd")
    assert not rig.replace(name)
    assert rig.tables() == expected


def test_one_of_other_backups_is_not_taken(rig: Warmed) -> None:
    rig.backup(id="older")
    older = rig.tables()
    rig.change()
    rig.backup(id="newer")
    rig.until_warm("newer")
    assert not rig.replace("older")
    assert rig.tables() == older
    # A backup that was made again under the same name is another one.
    rig.backup(id="reused")
    rig.until_warm("reused")
    with _stopped_service(rig):
        facts = (rig.warm / "dbcalm-warm.json").read_text()
        rewritten = facts.replace('"files_sha256": ["', '"files_sha256": ["0')
        (rig.warm / "dbcalm-warm.json").write_text(rewritten)
    assert not rig.replace("reused")


@contextlib.contextmanager
def _stopped_service(rig: Warmed) -> Iterator[None]:
    rig.sandbox.kill(_MYSQL_SERVICE)
    try:
        yield
    finally:
        rig.sandbox.restart(_MYSQL_SERVICE)


def test_whatever_happens_a_restore_is_right(rig: Warmed) -> None:
    """Backups, restores of any of them, touched files and killed makers, in an order drawn by chance."""
    chance = random.Random(5)
    points: dict[str, dict[str, str]] = {}
    for number in range(14):
        what = chance.choice(["backup", "backup", "kill", "touch", "restore", "restore newest"])
        if what == "backup" or not points:
            rig.change()
            type = "full" if not points or chance.random() < 0.4 else "incremental"
            made = rig.backup(id=f"any-{number}", type=type, form=chance.choice(["zstd", "folder"]))
            points[str(made["resource_id"])] = rig.tables()
        elif what == "kill":
            if wait_until(lambda: rig.makers() != [], 4):
                for pid in rig.makers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        elif what == "touch":
            with contextlib.suppress(FileNotFoundError):
                _flip(rig.warm / "data" / "shop" / "orders.ibd")
        else:
            newest = list(points)[-1]
            if what == "restore newest":
                wait_until(
                    lambda newest=newest: rig.is_warm(newest), 8
                )  # Which it may never be, as it was touched.
            wanted = newest if what == "restore newest" else chance.choice(list(points))
            rig.replace(wanted)
            assert rig.tables() == points[wanted], (number, what, wanted)
    rig.backup(id="any-last")
    rig.until_warm("any-last")
    assert rig.replace("any-last")
    eventually(lambda: rig.makers() == [])


def test_it_goes_when_it_is_switched_off(rig: Warmed) -> None:
    newest = str(rig.backup()["resource_id"])
    rig.until_warm(newest)
    config = rig.sandbox.layout.config
    written = config.read_text()
    try:
        config.write_text(written.replace("warm_restore: true", "warm_restore: false"))
        rig.sandbox.restart(_MYSQL_SERVICE)
        eventually(lambda: not rig.warm.exists())
        assert rig.api.call("GET", "/ready")["warm"] is None
    finally:
        config.write_text(written)
        rig.sandbox.restart(_MYSQL_SERVICE)
    rig.until_warm(newest)


def test_an_encrypted_one_says_why_it_cannot_be_had(rig: Warmed, keys: tuple[str, str, Path]) -> None:
    _, public, file = keys
    with rig.configured(_MYSQL_SERVICE, encryption_recipients=[public]):
        newest = str(rig.backup()["resource_id"])
        eventually(lambda: rig.api.call("GET", "/ready")["warm"]["problem"])
        ready = rig.api.call("GET", "/ready")
        assert ready["warm"]["problem"].startswith(f"backup {newest} is encrypted to {public}")
        assert [line for line in ready["attention"] if line.startswith("warm_restore is on")]
        with rig.configured(_MYSQL_SERVICE, encryption_identity_file=str(file)):
            rig.until_warm(newest)
            expected = rig.tables()
            assert rig.replace(newest)
            assert rig.tables() == expected
