"""Every failure of the tool that DBCalm explains, caused here, and told by what the tool itself prints then."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.builder.tool_errors import FAILURES
from dbcalm_mariadb_cmd.errors import JobFailed
from dev.sandbox_lib import Sandbox
from dev.sandbox_lib.database import PLUGINS
from dev.sandbox_lib.processes import all_processes, command_line
from tests.integration.conftest import Rig, sandbox_with
from tests.support.able import mounted
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

_TABLES = "CREATE DATABASE many; " + "".join(
    f"CREATE TABLE many.t{n} (a INT) ENGINE=InnoDB; " for n in range(60)
)
_ROWS = (
    "CREATE DATABASE shop; USE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, body VARCHAR(500));"
    "INSERT INTO shop.orders SELECT seq, REPEAT('x', 400) FROM seq_1_to_20000;"
    "CREATE USER weak@localhost; CREATE USER locked@localhost IDENTIFIED BY 'right';"
)


class Bench:
    """The tool, run as user mysql against a server of its own; what it prints is what the services see."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.database = sandbox.database
        self.root = sandbox.root / "failures"
        self.root.mkdir()
        shutil.chown(self.root, sandbox.who.database.uid, sandbox.who.database.gid)
        self.root.chmod(0o755)

    def argv(self, *words: str, user: str = "root") -> list[str]:
        server = [f"--socket={self.database.socket}", f"--user={user}", f"--datadir={self.database.data}"]
        return ["mariadb-backup", "--no-defaults", "--backup", *server, *words]

    def run(self, argv: list[str], before: tuple[str, ...] = ()) -> "JobFailed | None":
        """Run it to its end; return how the service judges that."""
        as_mysql = self.sandbox.who.database.drop()
        done = subprocess.run([*as_mysql, *before, *argv], stdin=subprocess.DEVNULL, capture_output=True)
        return self.judged(done.returncode, done.stderr)

    def judged(self, return_code: int, stderr: bytes) -> JobFailed | None:
        output = tool.Output(self.root / "output.log")
        for line in stderr.splitlines(keepends=True):
            output.add(line)
        output.finish()
        last = next(line for line in reversed(output.tail().splitlines()) if line.strip())
        try:
            tool.judge(return_code, last, output.tail())
        except JobFailed as failure:
            return failure
        return None

    def paused(self, target: str, meanwhile: Callable[[], object]) -> JobFailed | None:
        """Do something while the tool stands still in the middle of its copying."""
        argv = self.argv(f"--target-dir={self.root / target}", "--throttle=50")
        with subprocess.Popen([*self.sandbox.who.database.drop(), *argv], stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            said = [next(line for line in process.stderr if b"Copying" in line)]
            os.kill(process.pid, signal.SIGSTOP)
            meanwhile()
            os.kill(process.pid, signal.SIGCONT)
            said += process.stderr.readlines()
        return self.judged(process.returncode, b"".join(said))

    def copy(self, name: str, as_name: str) -> Path:
        target = self.root / as_name
        subprocess.run(["cp", "--archive", str(self.root / name), str(target)], check=True)
        return target

    def prepare(self, folder: Path, *words: str, before: tuple[str, ...] = ()) -> JobFailed | None:
        return self.run(
            ["mariadb-backup", "--no-defaults", "--prepare", f"--target-dir={folder}", *words], before
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A server, and a chain of it: full, inc1, inc2."""
    with sandbox_with(tmp_path_factory.mktemp("failures") / "sandbox", _TABLES + _ROWS) as sandbox:
        bench = Bench(sandbox)
        for name, base in (("full", None), ("inc1", "full"), ("inc2", "inc1")):
            words = [f"--incremental-basedir={bench.root / base}"] if base else []
            assert bench.run(bench.argv(f"--target-dir={bench.root / name}", *words)) is None
            sandbox.sql(f"UPDATE shop.orders SET body = REPEAT('{name[-1]}', 300) WHERE id % 5 = 0")
            sandbox.stop_db()  # A checkpoint, so that the next one begins elsewhere.
            sandbox.start_db()
        yield bench


def login(bench: Bench) -> JobFailed | None:
    return bench.run(bench.argv("--password=wrong", f"--target-dir={bench.root / 'a'}", user="locked"))


def privilege(bench: Bench) -> JobFailed | None:
    return bench.run(bench.argv(f"--target-dir={bench.root / 'b'}", user="weak"))


def no_server(bench: Bench) -> JobFailed | None:
    words = ["--socket=/nonexistent/socket", f"--target-dir={bench.root / 'c'}"]
    return bench.run(["mariadb-backup", "--no-defaults", "--backup", "--user=root", *words])


def not_readable(bench: Bench) -> JobFailed | None:
    closed = bench.database.data / "shop" / "orders.ibd"
    closed.chmod(0)
    try:
        return bench.run(bench.argv(f"--target-dir={bench.root / 'd'}"))
    finally:
        closed.chmod(0o660)


def not_empty(bench: Bench) -> JobFailed | None:
    return bench.run(bench.argv(f"--target-dir={bench.root / 'full'}"))


def open_files(bench: Bench) -> JobFailed | None:
    return bench.run(bench.argv(f"--target-dir={bench.root / 'e'}"), ("prlimit", "--nofile=40:40"))


def memory(bench: Bench) -> JobFailed | None:
    folder = bench.copy("full", "f")
    return bench.prepare(folder, "--use-memory=4G", before=("prlimit", "--as=400000000"))


def disk_full(bench: Bench) -> JobFailed | None:
    small = bench.root / "small"
    small.mkdir()
    with mounted(small, "-t", "tmpfs", "-o", "size=6m,mode=777", "tmpfs"):
        return bench.run(bench.argv(f"--target-dir={small / 'b'}"))


def not_prepared(bench: Bench) -> JobFailed | None:
    return bench.prepare(bench.copy("full", "g"), f"--incremental-dir={bench.copy('inc1', 'g1')}")


def wrong_base(bench: Bench) -> JobFailed | None:
    folder = bench.copy("full", "h")
    assert bench.prepare(folder) is None
    return bench.prepare(folder, f"--incremental-dir={bench.copy('inc2', 'h2')}")


def no_metadata(bench: Bench) -> JobFailed | None:
    folder = bench.copy("full", "i")
    (folder / "xtrabackup_checkpoints").unlink()
    return bench.prepare(folder)


def _log(bench: Bench, name: str, harm: Callable[[bytes], bytes], of: str = "full") -> JobFailed | None:
    path = bench.copy(of, name) / "ib_logfile0"
    owner, content = path.stat(), path.read_bytes()
    path.write_bytes(harm(content))
    os.chown(path, owner.st_uid, owner.st_gid)
    return bench.prepare(path.parent)


def no_log(bench: Bench) -> JobFailed | None:
    return _log(bench, "j", lambda content: bytes(512) + content[512:])


def a_short_log(bench: Bench) -> JobFailed | None:
    return _log(bench, "k", lambda content: content[:5000])


def a_log_of_noise(bench: Bench) -> JobFailed | None:
    return _log(bench, "l", lambda content: os.urandom(len(content)))


def a_log_with_a_flipped_bit(bench: Bench) -> JobFailed | None:
    """In its first record. Further on the tool takes the damage for the end of the log, and only our checksums tell."""
    # Of a backup that has some log: of an idle server there may be next to none.
    assert bench.paused("busy", lambda: bench.sandbox.sql("UPDATE shop.orders SET body = SHA1(id)")) is None

    def flip(content: bytes) -> bytes:
        first, end_of_checkpoint = (int.from_bytes(content[at : at + 8], "big") for at in (8, 4096 + 8))
        at = 12288 + end_of_checkpoint - first
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return _log(bench, "m", flip, "busy")


def damaged_data(bench: Bench) -> JobFailed | None:
    path = bench.copy("full", "n") / "ibdata1"
    owner = path.stat()
    path.write_bytes(os.urandom(owner.st_size))
    os.chown(path, owner.st_uid, owner.st_gid)
    return bench.prepare(path.parent)


def option(bench: Bench) -> JobFailed | None:
    return bench.run(["mariadb-backup", "--no-defaults", "--backup", "--frobnicate"])


def log_overrun(bench: Bench) -> JobFailed | None:
    def write() -> None:
        for letter in "ab":
            bench.sandbox.sql(f"UPDATE shop.orders SET body = REPEAT('{letter}', 450)")

    bench.sandbox.sql("SET GLOBAL innodb_log_file_size = 16777216")
    return bench.paused("o", write)


def server_gone(bench: Bench) -> JobFailed | None:
    def kill() -> None:
        process = bench.database.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        eventually(lambda: not process.is_running())

    try:
        return bench.paused("p", kill)
    finally:
        bench.sandbox.start_db()


def other_undo(bench: Bench) -> JobFailed | None:
    assert bench.run(bench.argv(f"--target-dir={bench.root / 'undo'}")) is None
    bench.sandbox.sql("SET GLOBAL innodb_fast_shutdown = 0")  # Else the number cannot be changed.
    bench.sandbox.add_options("innodb_undo_tablespaces=3")
    base = f"--incremental-basedir={bench.root / 'undo'}"
    return bench.run(bench.argv(f"--target-dir={bench.root / 'undo1'}", base))


def server_page(bench: Bench) -> JobFailed | None:
    bench.sandbox.stop_db()
    path = bench.database.data / "shop" / "orders.ibd"
    with path.open("r+b") as file:
        for page in range(5, 40):
            file.seek(page * 16384 + 5000)
            file.write(b"!")
    bench.sandbox.start_db()
    failure = bench.run(bench.argv(f"--target-dir={bench.root / 'q'}"))
    # What the tool prints of the page is not kept: it is the administrator's data.
    assert "; hex" not in (bench.root / "output.log").read_text(errors="replace")
    assert "len 16384 [...]" in (bench.root / "output.log").read_text(errors="replace")
    return failure


@contextmanager
def encrypting(bench: Bench) -> Iterator[Path]:
    """Let the server encrypt its log for a while, with the keys of the file that this yields."""
    if not PLUGINS.is_dir():
        pytest.skip("the server's plugins are not here")
    keys, options = bench.root / "keys.txt", bench.database.home / "my.cnf"
    keys.write_text(f"1;{os.urandom(32).hex()}\n")
    shutil.chown(keys, bench.sandbox.who.database.uid)
    before = options.read_text()
    plugin = bench.database.plugin_options("file_key_management")
    bench.sandbox.stop_db()
    try:
        bench.sandbox.add_options(*plugin, f"file_key_management_filename={keys}", "innodb_encrypt_log=ON")
        bench.sandbox.start_db()
        yield keys
    finally:
        keys.rename(bench.root / "keys.was") if keys.exists() else None
        (bench.root / "keys.was").rename(keys)
        bench.sandbox.stop_db()
        options.write_text(before)
        bench.sandbox.add_options(*plugin, f"file_key_management_filename={keys}")
        bench.sandbox.start_db()  # It decrypts its log.
        bench.sandbox.stop_db()
        options.write_text(before)
        bench.sandbox.start_db()


def a_key_file_that_is_gone(bench: Bench) -> JobFailed | None:
    with encrypting(bench) as keys:
        keys.rename(bench.root / "keys.was")
        failed = bench.run(bench.argv(f"--target-dir={bench.root / 'k'}"))
        assert str(keys) in str(failed).partition("(the backup tool")[0]
        assert "No such file or directory" in str(failed)
    return failed


def a_key_file_of_noise(bench: Bench) -> JobFailed | None:
    with encrypting(bench) as keys:
        keys.rename(bench.root / "keys.was")
        keys.write_text("noise\n")
        keys.chmod(0o644)
        failed = bench.run(bench.argv(f"--target-dir={bench.root / 'kn'}"))
        keys.unlink()
        assert f"Syntax error at {keys}" in str(failed)
    return failed


def _encrypted(bench: Bench, name: str, plugins: str) -> JobFailed | None:
    """Prepare a backup of a server that encrypts, with its plugins elsewhere."""
    with encrypting(bench):
        target = bench.root / name
        assert bench.run(bench.argv(f"--target-dir={target}")) is None
        options = target / "backup-my.cnf"
        lines = options.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(("plugin_", "file_key_"))]
        options.write_text("".join(kept) + plugins)
        return bench.run(
            ["mariadb-backup", f"--defaults-file={options}", "--prepare", f"--target-dir={target}"]
        )


def a_plugin_that_is_gone(bench: Bench) -> JobFailed | None:
    return _encrypted(
        bench, "kp", "plugin_dir=/nonexistent\nplugin_load=file_key_management=file_key_management\n"
    )


def no_keys(bench: Bench) -> JobFailed | None:
    return _encrypted(bench, "kk", "")


CAUSES: list[tuple[str, Callable[[Bench], JobFailed | None]]] = [
    ("login", login),
    ("key-file", a_key_file_that_is_gone),
    ("key-file", a_key_file_of_noise),
    ("key-plugin", a_plugin_that_is_gone),
    ("keys", no_keys),
    ("privilege", privilege),
    ("no-server", no_server),
    ("not-readable", not_readable),
    ("not-empty", not_empty),
    ("open-files", open_files),
    ("memory", memory),
    ("disk-full", disk_full),
    ("not-prepared", not_prepared),
    ("wrong-base", wrong_base),
    ("no-metadata", no_metadata),
    ("no-log", no_log),
    ("no-log", a_short_log),
    ("no-log", a_log_of_noise),
    ("no-log", a_log_with_a_flipped_bit),
    ("damaged-data", damaged_data),
    ("option", option),
    ("log-overrun", log_overrun),
    ("server-gone", server_gone),
    ("other-undo", other_undo),
    ("server-page", server_page),
]


@pytest.mark.parametrize(("name", "cause"), CAUSES, ids=[cause.__name__ for _, cause in CAUSES])
@pytest.mark.usefixtures("as_root")
def test_a_failure_is_explained(bench: Bench, name: str, cause: Callable[[Bench], JobFailed | None]) -> None:
    failed = cause(bench)
    assert failed is not None
    assert failed.failure is not None, str(failed)
    assert failed.failure.name == name, str(failed)
    told = str(failed)
    assert told.startswith(f"{failed.failure.happened}: {failed.failure.advice} (the backup tool ")
    assert "\n" not in told


def test_every_entry_has_its_cause() -> None:
    assert {name for name, _ in CAUSES} == {failure.name for failure in FAILURES}


def _stop_the_tool(rig: Rig, log: Path) -> int:
    """Stop the backup tool of this sandbox in the middle of its copying; return its process id."""
    eventually(lambda: log.exists() and b"Streaming" in log.read_bytes())
    for process in all_processes():
        words = command_line(process.pid)
        if words and words[0].endswith("mariadb-backup") and str(rig.sandbox.root) in " ".join(words):
            os.kill(process.pid, signal.SIGSTOP)
            return process.pid
    raise AssertionError("the tool has ended already")


def test_what_passes_by_itself_is_tried_once_more(rig: Rig) -> None:
    """The redo log is overrun while the tool stands still; the second attempt makes the backup."""
    rig.sandbox.sql("SET GLOBAL innodb_log_file_size = 16777216")
    rig.sandbox.sql("CREATE OR REPLACE TABLE shop.busy (id INT PRIMARY KEY, body VARCHAR(500))")
    rig.sandbox.sql("INSERT INTO shop.busy SELECT seq, REPEAT('x', 450) FROM shop.seq_1_to_20000")
    with rig.configured("dbcalm-mariadb-cmd", copy_throttle=50):
        accepted = rig.start("/backups", {"type": "full", "id": "overrun", "form": "zstd"})
        log = rig.sandbox.root / "jobs" / "jobs" / accepted["pid"] / "output.log"
        pid = _stop_the_tool(rig, log)
        try:
            for letter in "ab":
                rig.sandbox.sql(f"UPDATE shop.busy SET body = REPEAT('{letter}', 450)")
        finally:
            os.kill(pid, signal.SIGCONT)
        status = rig.end(accepted)
    assert (status["status"], status["error"]) == ("success", None)
    assert "faster than it could be copied; it is tried once more" in log.read_text(errors="replace")
    rig.sandbox.sql("DROP TABLE shop.busy")
    assert rig.leftovers() == []
