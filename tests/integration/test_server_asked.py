"""What a server's settings and states do to what is asked of it: no fact is made of half an answer, and each silence
has its own sentence."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.server import facts as server
from dbcalm_mariadb_cmd.adapter.server import holders
from dbcalm_mariadb_cmd.adapter.server.holders import holder
from dbcalm_mariadb_cmd.builder.argv import ENGINES, Binlog
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.preflight import checks as preflight
from dev.sandbox_lib.database import Database
from tests.integration.conftest import Rig, sandbox_with

FULL = {"type": "full"}
USER = "dbcalm_backup@localhost"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    statements = "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)"
    with sandbox_with(tmp_path_factory.mktemp("asked") / "sandbox", statements) as sandbox:
        yield Rig(sandbox)


def facts(rig: Rig, base: Binlog | None = None) -> server.ServerFacts:
    """Ask the server as a backup does before it is made."""
    engine = ENGINES["mariadb"]
    client = Path("/usr/bin/mariadb")
    return server.read_facts(engine, client, rig.sandbox.layout.credentials, base, rig.data)


def refusal(rig: Rig) -> str:
    with pytest.raises(Refused) as refused:
        facts(rig)
    assert refused.value.code == 503
    return str(refused.value)


@contextmanager
def having(rig: Rig, name: str, value: str) -> Iterator[None]:
    """Give a global variable of the server another value for a while."""
    before = rig.sandbox.sql(f"SELECT @@GLOBAL.{name}")
    rig.sandbox.sql(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        back = before if before.replace(".", "").isdigit() else f"'{before}'"
        rig.sandbox.sql(f"SET GLOBAL {name} = {back}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sql_mode", "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ORACLE'"), ("autocommit", "0"), ("tx_read_only", "1"),
        ("sql_safe_updates", "1"), ("max_statement_time", "0.000001"), ("lock_wait_timeout", "1"),
        ("max_error_count", "0"), ("character_set_server", "utf16"), ("max_allowed_packet", "1024"),
        ("completion_type", "2"), ("lc_messages", "'de_DE'"), ("group_concat_max_len", "4"), ("read_only", "1"),
        ("wait_timeout", "1"), ("default_storage_engine", "'MEMORY'"), ("big_tables", "1"),
    ],
)  # fmt: skip
def test_a_setting_changes_no_answer(rig: Rig, name: str, value: str) -> None:
    plain = facts(rig)
    with having(rig, name, value):
        found = facts(rig)
    assert (found.origin, found.binlogs, found.lsn >= plain.lsn) == (plain.origin, plain.binlogs, True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("sql_select_limit", "1", "sql_select_limit is 1; type as the database's root: SET GLOBAL"),
        ("sql_select_limit", "0", "sql_select_limit is 0; type as the database's root: SET GLOBAL"),
        ("max_join_size", "1", "MAX_JOIN_SIZE"),
        ("init_connect", "'SELECT * FROM nosuch.t'", "init_connect command failed"),
    ],
)
def test_a_setting_that_the_tool_cannot_work_with_is_named(
    rig: Rig, name: str, value: str, told: str
) -> None:
    with having(rig, name, value):
        assert told in refusal(rig)
    facts(rig)


@pytest.mark.parametrize(
    ("done", "undone", "told"),
    [
        ("ACCOUNT LOCK", "ACCOUNT UNLOCK", "is locked: run: dbcalm setup"),
        ("PASSWORD EXPIRE", "IDENTIFIED BY '{password}' PASSWORD EXPIRE NEVER", "has expired: run: dbcalm setup"),
        ("IDENTIFIED BY 'another'", "IDENTIFIED BY '{password}'", "Access denied"),
        ("WITH MAX_QUERIES_PER_HOUR 2", "WITH MAX_QUERIES_PER_HOUR 0", "may ask no more"),
    ],
)  # fmt: skip
def test_an_account_that_is_not_let_in(rig: Rig, done: str, undone: str, told: str) -> None:
    lines = rig.sandbox.layout.credentials.read_text().splitlines()
    [password] = [line.partition("=")[2] for line in lines if line.startswith("password")]
    rig.sandbox.sql(f"ALTER USER {USER} {done}")
    try:
        assert told in refusal(rig)
    finally:
        rig.sandbox.sql(f"ALTER USER {USER} {undone.format(password=password)}")
    facts(rig)


def test_all_connections_are_taken(rig: Rig) -> None:
    socket = rig.sandbox.database.socket
    with having(rig, "max_connections", "10"):
        words = ["mariadb", "--no-defaults", "-uroot", f"--socket={socket}", "--unbuffered", "-N"]
        taken = [
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(11)
        ]
        try:
            for client in taken:
                assert client.stdin is not None
                assert client.stdout is not None
                client.stdin.write(b"SELECT 1;\n")
                client.stdin.flush()
                client.stdout.readline()
            assert "too many connections" in refusal(rig)
            assert rig.refused("POST", "/backups", FULL)[0] == 503
        finally:
            for client in taken:
                client.communicate()
        _until(lambda: rig.sandbox.database.answers())


def _until(holds: object) -> None:
    give_up = time.monotonic() + 60
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < give_up
        time.sleep(0.05)


class TestTheBinaryLog:
    @pytest.mark.parametrize(
        "base",
        [Binlog("binlog.999999", 4, "0-1-1"), Binlog("nosuch.000001", 4, ""), Binlog("binlog.000001", 1 << 40, "")],
    )  # fmt: skip
    def test_a_place_that_it_does_not_have_is_no_error(self, rig: Rig, base: Binlog) -> None:
        assert facts(rig, base).gtid_at_base in (None, "")

    def test_a_file_that_somebody_removed_is_no_error(self, rig: Rig) -> None:
        first = facts(rig).binlogs or {}
        rig.sandbox.sql("FLUSH LOGS")
        name = min(first)
        (rig.data / name).rename(rig.data.parent / name)
        try:
            found = facts(rig, Binlog(name, 300, "0-1-1"))
            assert (found.gtid_at_base, name in (found.binlogs or {})) == (None, True)
        finally:
            (rig.data.parent / name).rename(rig.data / name)

    def test_switched_off_after_a_backup_keeps_none_from_being_made(self, rig: Rig) -> None:
        options = rig.sandbox.database.home / "my.cnf"
        before = options.read_text()
        rig.backup(id="with-binlog")
        rig.sandbox.stop_db()
        options.write_text(before.replace("log_bin=binlog\n", ""))
        rig.sandbox.start_db()
        try:
            assert facts(rig).binlogs is None
            rig.backup(id="incremental-without", type="incremental", from_backup_id="with-binlog")
            rig.backup(id="full-without")
        finally:
            rig.sandbox.stop_db()
            options.write_text(before)
            rig.sandbox.start_db()
        rig.backup(id="on-again", type="incremental", from_backup_id="full-without")

    def test_begun_anew_keeps_none_from_being_made(self, rig: Rig) -> None:
        rig.backup(id="before-reset")
        rig.sandbox.sql("FLUSH LOGS; RESET MASTER")
        rig.backup(id="after-reset", type="incremental", from_backup_id="before-reset")
        rig.backup(id="full-after-reset")


@contextmanager
def by_root(rig: Rig, home: Path, data: Path, *words: str) -> Iterator[int]:
    """Run a server on this data as root begins one: it becomes mysql then, and the kernel shows nobody else where it
    works. Nobody can reach it."""
    options = home / "my.cnf"
    text = f"[mariadbd]\ndatadir={data}\nsocket={home}/s\nskip_networking\ninnodb_buffer_pool_size=16M\n"
    options.write_text(f"{text}pid_file={home}/pid\nlog_error={home}/log\n")
    os.chown(options, 0, 0)
    options.chmod(0o644)
    with subprocess.Popen(
        ["/usr/sbin/mariadbd", f"--defaults-file={options}", "--user=mysql", *words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _until(lambda: process.poll() is not None or holders._lock_in(str(data)) == process.pid)
            assert process.poll() is None
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def second(rig: Rig, as_root: None) -> tuple[Database, Path]:
    """The data of another server of this host, and a folder for its socket."""
    home = rig.sandbox.root / "second"
    other = Database(home, home / "data", home / "log", home / "pid", rig.sandbox.who.database)
    if not other.data.exists():
        other.make_home()
        other.initialise()
    return other, home


class TestAnotherServerOfTheHost:
    def asked(self, rig: Rig, data: Path) -> str:
        """Return what user mysql is told of a directory."""
        code = (
            "import sys; from pathlib import Path; from dbcalm_mariadb_cmd.adapter.server.holders import holder;"
            "print(holder(Path(sys.argv[1])))"
        )
        checkout = Path(preflight.__file__).parents[2]
        account = rig.sandbox.who.database
        python = str(rig.sandbox.root / "programs" / "venv" / "bin" / "python")
        done = subprocess.run(
            [*account.drop(), python, "-c", code, str(data)],
            cwd=rig.sandbox.root / "programs",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (done.stderr, checkout)
        return done.stdout.strip()

    def test_is_in_nobodys_way(self, rig: Rig, second: tuple[Database, Path]) -> None:
        other, home = second
        rig.backup(id="beside-another")
        with by_root(rig, home, other.data) as pid:
            rig.empty_database()
            assert f"process {pid} " in self.asked(rig, other.data)
            assert self.asked(rig, rig.data) == "None"
            rig.restore("beside-another", "database")
        rig.sandbox.start_db()

    def test_that_cannot_be_told_from_ours_is_named(self, rig: Rig, second: tuple[Database, Path]) -> None:
        other, home = second
        rig.backup(id="in-doubt")
        with by_root(rig, home, other.data) as pid:
            (home / "my.cnf").chmod(0o600)
            rig.empty_database()
            status, line = rig.refused("POST", "/restore", {"id": "in-doubt", "target": "database"})
            assert status == 503
            assert line.startswith(f"server is not stopped: process {pid} (/usr/sbin/mariadbd ")
            assert "may work in" in line
            assert "--datadir=" in line
        rig.restore("in-doubt", "database")
        rig.sandbox.start_db()

    @pytest.mark.parametrize("how", ["runs", "is stopped by a signal", "has lost its files"])
    def test_is_found_in_its_own_directory(self, rig: Rig, second: tuple[Database, Path], how: str) -> None:
        other, home = second
        with by_root(rig, home, other.data) as pid:
            if how == "is stopped by a signal":
                os.kill(pid, signal.SIGSTOP)
            if how == "has lost its files":
                other.data.rename(home / "moved")
                other.data.mkdir(0o700)
            try:
                assert f"process {pid} " in self.asked(rig, other.data)
                assert holder(other.data) is not None or how == "has lost its files"
            finally:
                if how == "has lost its files":
                    other.data.rmdir()
                    (home / "moved").rename(other.data)
