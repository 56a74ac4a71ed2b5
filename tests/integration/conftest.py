"""One sandbox for all tests here: a real MariaDB, the three services under their users, the API over TLS.

A test that fails leaves the others a sandbox that is right: every ``Rig`` is healed after it.
"""

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import pytest

from dbcalm_mariadb_cmd.store.manifest import MANIFEST, sealed, unsealed
from dev.demo_lib.data import checksums
from dev.sandbox_lib import Sandbox, SandboxError
from dev.sandbox_lib.database import Database
from dev.sandbox_lib.processes import all_processes, command_line
from dev.sandbox_lib.services import SERVICES
from tests.support.patience import FOR_EVER, PATIENCE, eventually

SCHEMA = """
CREATE DATABASE scratch; USE scratch;
CREATE DATABASE shop;
CREATE TABLE shop.orders (id INT PRIMARY KEY, body VARCHAR(200) NOT NULL, KEY (body)) ENGINE=InnoDB;
INSERT INTO shop.orders SELECT seq, CONCAT(SHA1(seq), REPEAT('x', seq % 100)) FROM seq_1_to_20000;
CREATE TABLE shop.log (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=Aria;
INSERT INTO shop.log SELECT seq, MD5(seq) FROM seq_1_to_5000;
CREATE DATABASE `empty one`;
CREATE TABLE shop.`odd/näme #1` (id INT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE shop.packed (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=InnoDB ROW_FORMAT=COMPRESSED;
INSERT INTO shop.packed SELECT seq, SHA1(seq) FROM seq_1_to_2000;
"""

SMALL_SHOP = (
    "CREATE DATABASE shop; USE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, body VARCHAR(600));"
    "INSERT INTO shop.orders SELECT seq, SHA2(seq, 512) FROM seq_1_to_5000;"
    "CREATE TABLE shop.log (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=Aria;"
    "INSERT INTO shop.log SELECT seq, MD5(seq) FROM seq_1_to_500"
)
"""For a module whose database is restored again and again."""

KEPT_FOR_A_DAY = {
    "backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0, "enabled": False,
    "retention_value": 1, "retention_unit": "days",
}  # fmt: skip
"""A schedule that only says how long to keep what it made: cron never hears of it."""


_STATEMENTS: dict[Path, str] = {}
"""What the database of each sandbox was told at first, by the sandbox's root."""


class Rig:
    """A sandbox with what tests do to it again and again."""

    alive: ClassVar["WeakSet[Rig]"] = WeakSet()

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.api = sandbox.api
        self.backups = Path(sandbox.facts.backup_dir).resolve()
        self.data = Path(sandbox.facts.data_dir).resolve()
        self._numbers = itertools.count(1)
        Rig.alive.add(self)

    def backup(self, **order: Any) -> dict[str, Any]:
        """Make a backup and return its last Status, which must be success."""
        status = self.end(self.start("/backups", {"type": "full", **order}))
        assert status["status"] == "success", status
        return status

    def chain(self, *names: str, **order: Any) -> list[str]:
        """Make a full backup and incrementals on it under these ids, with changes in between; return the ids."""
        for base, name in zip((None, *names), names, strict=False):
            self.change()
            built = {"type": "incremental", "from_backup_id": base} if base else {}
            self.backup(id=name, **built, **order)
        return list(names)

    def points(self, name: str, forms: Iterable[str]) -> dict[str, dict[str, str]]:
        """Make a full backup and incrementals on it in these forms, with changes before each; return the checksums of
        the tables as they are at each backup."""
        points: dict[str, dict[str, str]] = {}
        base = None
        for number, form in enumerate(forms):
            self.change()
            order = {"type": "incremental", "from_backup_id": base} if base else {"type": "full"}
            base = str(self.backup(id=f"{name}-{number}", form=form, **order)["resource_id"])
            points[base] = self.tables()
        return points

    def restore(self, backup_id: str, target: str) -> Path:
        """Restore a backup, which must succeed; return where it is now."""
        status = self.end(self.start("/restore", {"id": backup_id, "target": target}))
        assert status["status"] == "success", status
        newest = self.api.call("GET", f"/restores?query=backup_id|{backup_id}&order=start_time|desc")[
            "items"
        ][0]
        return Path(newest["target_path"])

    def start(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        """Start a job; return the Status of the 202."""
        reply = self.api.request("POST", path, order)
        assert reply.status == 202, reply
        return dict(reply.body)

    def end(self, accepted: dict[str, Any]) -> dict[str, Any]:
        """Wait for a job's end and return its last Status."""
        return self.api.wait(accepted["link"], seconds=PATIENCE)

    @contextmanager
    def held_up(self, **order: Any) -> Iterator[dict[str, Any]]:
        """Start a full backup that cannot end before the block does: it waits for a statement that writes into a table
        whose engine has no transactions."""
        self.sandbox.sql("CREATE TABLE shop.written (id INT, body INT) ENGINE=MyISAM")
        with subprocess.Popen(
            ["mariadb", "--no-defaults", f"--socket={self.sandbox.database.socket}", "--user=root", "--unbuffered",
             "--batch", "--skip-column-names"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as holder:  # fmt: skip
            assert holder.stdin
            assert holder.stdout
            holder.stdin.write(
                f"SELECT CONNECTION_ID(); INSERT INTO shop.written SELECT 0, SLEEP({FOR_EVER});\n"
            )
            holder.stdin.flush()
            number = int(holder.stdout.readline())
            runs = f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number} AND info LIKE 'INSERT%'"
            eventually(lambda: self.sandbox.sql(runs) == "1", "the statement")
            try:
                yield self.start("/backups", {"type": "full", **order})
            finally:
                self.sandbox.sql(f"KILL {number}")
                holder.stdin.close()
                self.sandbox.sql("DROP TABLE shop.written")

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Send what must be refused; return the status and the one line of it."""
        reply = self.api.request(method, path, body)
        assert reply.status >= 400, reply
        detail = reply.body["detail"]
        assert isinstance(detail, str)
        assert detail
        assert "\n" not in detail
        assert "Traceback" not in detail
        return reply.status, detail

    def change(self) -> None:
        """Change some of everything: rows, tables, schemas."""
        number = next(self._numbers)
        self.sandbox.sql(
            f"UPDATE shop.orders SET body = SHA2(id * {number}, 512) WHERE id % 11 = {number % 11};"
            f"INSERT INTO shop.log VALUES ({100_000 + number}, 'change {number}');"
            f"CREATE TABLE shop.made_{number} (id INT PRIMARY KEY) SELECT seq AS id FROM shop.seq_1_to_500;"
            f"DROP TABLE IF EXISTS shop.made_{max(number - 2, 0)};"
        )

    def put_back(self, backup_id: str) -> None:
        """Stop and wipe the database, restore this backup into it, and start it."""
        self.empty_database()
        self.restore(backup_id, "database")
        self.sandbox.start_db()

    def empty_database(self) -> None:
        """Stop the database and wipe its data directory."""
        self.sandbox.stop_db()
        self.sandbox.wipe_db()

    def tables(self) -> dict[str, str]:
        """Return the checksum of every table of the running database."""
        return checksums(self.sandbox.database)

    def tables_of(self, folder: Path, *options: str) -> dict[str, str]:
        """Return the checksum of every table in a restored folder, from a private server with these options."""
        root, name = self.sandbox.root, f"proof-{next(self._numbers)}"
        who = self.sandbox.who.database
        server = Database(root / name, folder, root / "log" / f"{name}.log", root / "pids" / name, who)
        server.make_home()
        server.add_options(*options)
        server.start()
        try:
            return checksums(server)
        finally:
            server.stop()

    def on_disk(self) -> set[str]:
        """Return the ids of the backups that lie in the folder of backups."""
        return {path.parent.name for path in self.backups.glob(f"*/{MANIFEST}")}

    def listed(self) -> list[str]:
        """Return the ids of all backups that the API lists, the newest first."""
        return [str(one["id"]) for one in self.api.call("GET", "/backups?per_page=1000")["items"]]

    def deleted(self) -> list[str]:
        """Return the ids of what can be undeleted, the last deleted first."""
        return [str(one["id"]) for one in self.api.call("GET", "/trash")["items"]]

    def rewrite(self, backup_id: str, **facts: object) -> None:
        """Give facts of a stored backup's manifest other values, as only root could."""
        path = self.backups / backup_id / MANIFEST
        owner = path.stat()
        fresh = path.with_suffix(".rewritten")
        fresh.write_bytes(sealed({**unsealed(path.read_bytes()), **facts}))
        os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.chmod(owner.st_mode)
        fresh.replace(path)

    @contextmanager
    def configured(self, *programs: str, **keys: object) -> Iterator[None]:
        """Let the configuration say something else as well for a while, and restart the programs that read it."""
        config = self.sandbox.layout.config
        original = config.read_text()
        config.write_text(
            original + "".join(f"{name}: {json.dumps(value)}\n" for name, value in keys.items())
        )
        try:
            for name in programs:
                self.sandbox.restart(name)
            yield
        finally:
            config.write_text(original)
            for name in programs:
                self.sandbox.restart(name)

    def stored(self, backup_id: str) -> dict[str, tuple[int, int, int]]:
        """Return the state of every file of a stored backup."""
        return states(self.backups / backup_id)

    def leftovers(self) -> list[Path]:
        """Return everything that a job should have removed."""
        half_removed = (self.backups / ".trash").glob("purging.*")
        half_restored = (self.backups / "restores").glob(".*")
        return [*(self.backups / ".work").iterdir(), *half_removed, *half_restored]

    def kept_anywhere(self, secret: str) -> list[str]:
        """Return the files of this installation that have this text in them: state, journal, orders, logs, backups, and
        the database's."""
        root = self.sandbox.root
        kept = [root / "jobs", root / "log", root / "state", self.backups, self.data]
        found = subprocess.run(
            ["grep", "--recursive", "--files-with-matches", secret, *map(str, kept)],
            capture_output=True,
            text=True,
        )
        assert found.returncode in (0, 1), found.stderr
        return found.stdout.splitlines()

    def everything_runs(self) -> None:
        """Start whatever a test has left down."""
        for name in SERVICES:
            if self.sandbox.process(name) is None:
                self.sandbox.restart(name)
        if (self.data / "mysql").is_dir():
            self.sandbox.start_db()

    def heal(self) -> None:
        """Put right what a test that failed may have left: programs that stand still or are down, jobs that go on, a
        database that is gone or does not start."""
        for process in all_processes():
            if str(self.sandbox.root) in " ".join(command_line(process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)
        try:
            self.everything_runs()
        except SandboxError:
            self.sandbox.renew_db()
        for job in self._running():
            self.api.request("DELETE", f"/processes/{job}")
        eventually(lambda: not self._running(), "the end of what a failed test had begun")
        if self.sandbox.database.process is None:
            self.sandbox.renew_db()
        if "shop" not in self.sandbox.sql("SHOW DATABASES").splitlines():
            self.sandbox.sql(_STATEMENTS.get(self.sandbox.root, ""))

    def _running(self) -> list[str]:
        found = self.api.call("GET", "/processes?query=status|running")["items"]
        return [str(one["command_id"]) for one in found]


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a test has failed."""
    report = yield
    item.stash[_FAILED] = report.failed or item.stash.get(_FAILED, False)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Heal all sandboxes after a test that has failed, for the tests that come."""
    yield
    if nextitem is not None and item.stash.get(_FAILED, False):
        for rig in list(Rig.alive):
            # What cannot be put right fails the next test, which says so.
            with suppress(SandboxError, AssertionError, OSError):
                rig.heal()


def states(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return the size and times of change of every file below a folder. Nobody writes without moving the ctime."""
    found = {path: path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {
        str(path.relative_to(folder)): (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path, status in found.items()
    }


@pytest.fixture
def keys(rig: Rig) -> Iterator[tuple[str, str, Path]]:
    """Give an identity, its public key, and a file of it that user mysql can read."""
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    [identity] = [line for line in made.splitlines() if not line.startswith("#")]
    public = subprocess.run(
        ["age-keygen", "-y"], input=made, capture_output=True, text=True, check=True
    ).stdout
    file = rig.sandbox.layout.credentials.with_name("keys.txt")
    file.write_text(made)
    owner = rig.sandbox.layout.credentials.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
    file.chmod(0o640)
    yield identity, public.strip(), file
    file.unlink()


@contextmanager
def sandbox_with(folder: Path, statements: str) -> Iterator[Sandbox]:
    """Give an installation whose database has been told these statements."""
    sandbox = Sandbox.up(folder)
    try:
        sandbox.sql(statements)
        _STATEMENTS[sandbox.root] = statements
        yield sandbox
    finally:
        sandbox.down()


@pytest.fixture(scope="session")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    statements = SCHEMA
    with sandbox_with(tmp_path_factory.mktemp("sandbox"), statements) as sandbox:
        yield Rig(sandbox)


@pytest.fixture(scope="session")
def shared_plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    table = "(id INT PRIMARY KEY, body VARCHAR(200))"
    statements = f"CREATE DATABASE shop; CREATE TABLE shop.orders {table}; CREATE TABLE shop.log {table}"
    with sandbox_with(tmp_path_factory.mktemp("plain") / "sandbox", statements) as sandbox:
        yield Rig(sandbox)


@pytest.fixture
def plain(shared_plain: Rig) -> Iterator[Rig]:
    """Give a sandbox whose whole stock of backups is the test's to decide on, with hardly any data."""
    yield shared_plain
    shared_plain.everything_runs()


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    yield shared_rig
    shared_rig.everything_runs()


@pytest.fixture
def as_root() -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: it mounts a file system or runs programs as other users")
