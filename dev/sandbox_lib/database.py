"""A MariaDB of our own: its data directory, its socket, no network, nothing of the host's configuration."""

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.sandbox_lib.accounts import Account
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.installation import make_folder, write_new
from dev.sandbox_lib.processes import ENVIRONMENT, Process, last_line, start, wait_ready

PLUGINS = Path(__file__).resolve().parents[2] / "build" / "plugins"
"""The server's plugins, where `make test` could fetch them."""

_START_SECONDS = 300.0
_STOP_SECONDS = 300.0
"""Safety nets: a host with much to do takes its time."""


@dataclass(frozen=True)
class Database:
    """A private server. ``home`` has its socket, its option file and its temporary files, ``data`` the data.

    Only ``account`` and root can enter ``home``, and so log in as the server's root, who has no password.
    """

    home: Path
    data: Path
    log: Path
    pid_file: Path
    account: Account

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return self.home / "mariadbd.sock"

    @property
    def process(self) -> Process | None:
        """The server's process, if it is running."""
        process = Process.read(self.pid_file)
        return process if process and process.is_running() else None

    def make_home(self) -> None:
        """Make the folders and the option file; nothing runs yet."""
        make_folder(self.home, self.account, 0o750)
        make_folder(self.home / "tmp", self.account, 0o700)
        make_folder(self.data, self.account, 0o700)
        options = f"""\
[mariadbd]
datadir={self.data}
socket={self.socket}
pid_file={self.home}/mariadbd.pid
tmpdir={self.home}/tmp
skip_networking
log_bin=binlog
server_id=1
innodb_buffer_pool_size=64M
"""
        write_new(self._options, options, self.account, self.account, 0o640)

    def add_options(self, *lines: str) -> None:
        """Give the server more options, from its next start on."""
        with self._options.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def plugin_options(self, *names: str) -> list[str]:
        """Return the options that load some of the server's plugins, from where the server can read them."""
        folder = PLUGINS
        if not self.account.may_enter(folder):
            # A checkout in a home that its owner alone can enter.
            folder = self.home / "plugins"
            if not folder.exists():
                shutil.copytree(PLUGINS, folder)
        return [f"plugin_dir={folder}", *(f"plugin_load_add={name}.so" for name in names)]

    def initialise(self) -> None:
        """Fill the empty data directory with the system tables."""
        # Forced: the name of the host need not be known to anybody. Not synced: a directory that the power was lost
        # over is made again, and to wait for the disk took six times as long as the work.
        options = [f"--defaults-file={self._options}", "--auth-root-authentication-method=normal", "--force"]
        options.append("--loose-debug-no-sync")
        made = subprocess.run(
            [*self.account.drop(), "mariadb-install-db", *options, "--skip-test-db", "--skip-name-resolve"],
            cwd="/",
            env=ENVIRONMENT,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if made.returncode:
            self.log.write_text(made.stdout)
            raise SandboxError(f"mariadb-install-db failed: {last_line(self.log)}")

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers."""
        if self.process:
            return
        if not (self.data / "mysql").is_dir():
            raise SandboxError(f"{self.data} has no database: restore one into it first")
        process = start(["mariadbd", f"--defaults-file={self._options}"], self.account, {}, self.log)
        process.write(self.pid_file)
        wait_ready("mariadbd", process, self.log, self.answers, _START_SECONDS)

    def stop(self) -> None:
        """Shut the server down, and wait until it has."""
        process = self.process
        if process and not process.end(signal.SIGTERM, _STOP_SECONDS):
            raise SandboxError(f"mariadbd did not stop within {_STOP_SECONDS:.0f} s; see {self.log}")

    def wipe(self) -> None:
        """Empty the data directory, which stays itself; raise SandboxError while the server runs."""
        if self.process:
            raise SandboxError("mariadbd is running: stop-db comes first")
        for entry in self.data.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def answers(self) -> bool:
        """Tell whether the server takes statements."""
        return self._client("SELECT 1").returncode == 0

    def sql(self, statements: str) -> str:
        """Run statements as the server's root; return the rows as lines of tab-separated fields, without a heading."""
        done = self._client(statements)
        if done.returncode:
            raise SandboxError(f"the database refuses: {done.stderr.strip()}")
        return done.stdout.removesuffix("\n")

    def _client(self, statements: str) -> "subprocess.CompletedProcess[str]":
        options = [
            "--no-defaults",
            f"--socket={self.socket}",
            "--user=root",
            "--default-character-set=utf8mb4",
            "--batch",
            "--skip-column-names",
        ]
        return subprocess.run(
            ["mariadb", *options],
            input=statements,
            env=ENVIRONMENT,
            check=False,
            capture_output=True,
            text=True,
        )

    @property
    def _options(self) -> Path:
        return self.home / "my.cnf"
