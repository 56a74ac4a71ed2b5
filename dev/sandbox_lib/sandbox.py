"""A private installation in one folder: a MariaDB, the three services, their users, certificate and secrets.

Any number can live side by side: no port, path or name is fixed. What the programs use lies below a root that their
users can enter. Mostly that is the folder itself; where they cannot enter it (a folder in root's home, or one that
pytest made), it is a fresh one below /var/tmp, and the folder holds links into it.
"""

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dev.sandbox_lib import installation, programs
from dev.sandbox_lib.accounts import Account, Accounts, accounts
from dev.sandbox_lib.api import Api
from dev.sandbox_lib.database import Database
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.installation import Layout
from dev.sandbox_lib.processes import Process, all_processes, command_line, wait_until
from dev.sandbox_lib.services import API, SERVICES, Services, api_port, free_port, is_free

DATABASE = "mariadbd"
PROGRAMS = (DATABASE, *SERVICES)
"""The names of what runs, in the order in which it is started."""

_MARKER = ".dbcalm-sandbox"
_FACTS = "sandbox.json"
_ENTRIES = (
    "backups", "cron", "data", "etc", "jobs", "log", "mariadb", "pids", "programs", "run", "state",
)  # fmt: skip
_CONFIGURABLE = re.compile(r"[A-Za-z0-9_./+@-]+")
_LONGEST_SOCKET = 107
_GONE_SECONDS = 120.0
"""A safety net: what was killed is gone as soon as the host comes to it."""
_OF_MARIADB = {"mariadbd", "mariadb-backup", "mariabackup", "mariadb-install-db"}


@dataclass(frozen=True)
class Facts:
    """What ``sandbox.json`` says. ``pids`` has None for a program that was stopped or killed."""

    url: str
    ca: str
    username: str
    password: str
    client_id: str
    client_secret: str
    config: str
    backup_dir: str
    data_dir: str
    mariadb_socket: str
    mariadb_cmd_sock: str
    cmd_sock: str
    cron_file: str
    pids: dict[str, int | None] = field(default_factory=dict)


class Sandbox:
    """One sandbox that exists, whole or half made. Every method raises SandboxError with one line if it cannot."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.root = _read_root(self.folder)
        self.layout = Layout.below(self.root)
        self.who = accounts()
        self.database = _database(self.root, self.who.database)
        self.services = Services(self.layout, self.who, self.root / "pids", self.root / "log")

    @classmethod
    def up(cls, folder: Path, built: Path | None = None) -> "Sandbox":
        """Make a sandbox in a new or empty folder and start it, or start what is down in one that is there.

        A new one runs the checkout's code, or the programs of a folder that ``make binaries`` has built.
        """
        folder = Path(os.path.abspath(folder))
        if (folder / _FACTS).exists():
            sandbox = cls(folder)
            sandbox._start(PROGRAMS)
            return sandbox
        _claim(folder, accounts())
        sandbox = cls(folder)
        try:
            sandbox._make(built)
        except BaseException:
            sandbox.down()
            raise
        return sandbox

    def down(self) -> None:
        """End all that runs in the sandbox, a running backup too, and remove it."""
        for name in SERVICES:
            if process := self.services.process(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: not any(map(self.services.process, SERVICES)), 5.0)
        self._kill_all()
        _remove(self.root)
        _remove(self.folder)

    def stop_db(self) -> None:
        """Shut the database server down."""
        self.database.stop()
        self._write_pids()

    def start_db(self) -> None:
        """Start the database server on whatever is in the data directory."""
        self._start([DATABASE])

    def wipe_db(self) -> None:
        """Empty the data directory of the stopped server."""
        self.database.wipe()

    def add_options(self, *lines: str) -> None:
        """Give the database server more options in its option file, and start it anew."""
        self.database.add_options(*lines)
        self.restart(DATABASE)

    def renew_db(self, *options: str) -> None:
        """Make a new, empty database server, which has these options from its beginning, and the backup account."""
        self.stop_db()
        self.wipe_db()
        self.database.add_options(*options)
        self.database.initialise()
        self.start_db()
        self.database.sql(installation.account_sql(self.layout))

    def kill(self, program: str) -> None:
        """Kill a program with SIGKILL, and wait until it is gone."""
        process = self.process(program)
        if process is None:
            raise SandboxError(f"{program} is not running")
        process.end(signal.SIGKILL, _GONE_SECONDS)
        self._write_pids()

    def restart(self, program: str) -> None:
        """End a program, if it runs, with SIGTERM, and start it; a service starts with the checkout's present code, or
        as it was built."""
        if program == DATABASE:
            self.database.stop()
        else:
            self.services.end(program)
            programs.refresh(self.layout.programs)
        self._start([program])

    def process(self, program: str) -> Process | None:
        """Return the process of a program, if it is running."""
        return self.database.process if program == DATABASE else self.services.process(program)

    def sql(self, statements: str) -> str:
        """Run statements as the database's root; return the rows as lines of tab-separated fields."""
        return self.database.sql(statements)

    def cli(self, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run ``dbcalm`` with these arguments, as its user; ``text`` is its standard input."""
        return self.services.cli(*arguments, text=text)

    @property
    def facts(self) -> Facts:
        """What ``sandbox.json`` says now."""
        return Facts(**json.loads((self.folder / _FACTS).read_text()))

    @property
    def api(self) -> Api:
        """A client of the API with all rights."""
        facts = self.facts
        return Api(facts.url, Path(facts.ca), facts.client_id, facts.client_secret)

    def _make(self, built: Path | None) -> None:
        for name, mode in (("log", 0o755), ("pids", 0o755)):
            installation.make_folder(self.root / name, self.who.root, mode)
        installation.make_folders(self.layout, self.who)
        programs.install(self.layout.programs, built)
        installation.make_keys(self.layout, self.who)
        installation.write_credentials(self.layout, self.who, self.database.socket)
        self._write_configuration()
        self.database.make_home()
        self.database.initialise()
        self.database.start()
        self.database.sql(installation.account_sql(self.layout))
        password = secrets.token_urlsafe(16)
        self._dbcalm("users", "add", "admin", "--password-stdin", text=f"{password}\n")
        client = json.loads(self._dbcalm("clients", "add", "sandbox", "--scope", "*", "--json"))
        for name in SERVICES[:-1]:
            self.services.start(name)
        port = self._start_api()
        self._write_facts(self._facts(port, password, client))

    def _write_configuration(self) -> None:
        python, checkout = f"{programs.CHECKOUT}/.venv/bin/python", str(programs.CHECKOUT)
        call = shlex.join([python, "-m", "dev.sandbox_lib.systemctl", str(self.folder)])
        text = f'#!/bin/sh\nPYTHONPATH={shlex.quote(checkout)} exec {call} "$@"\n'
        systemctl = self.layout.etc / "systemctl"
        installation.write_new(systemctl, text, self.who.root, self.who.root, 0o755)
        installation.write_configuration(self.layout, self.who, free_port(), systemctl)

    def _start_api(self) -> int:
        """Start the API, on another port if somebody took the chosen one meanwhile; return the port."""
        while True:
            port = api_port(self.layout)
            try:
                self.services.start(API)
            except SandboxError:
                if self.services.process(API) or is_free(port):
                    raise  # It is not that somebody else has the port.
                self.layout.config.unlink()
                self._write_configuration()
            else:
                return port

    def _start(self, names: Iterable[str]) -> None:
        for name in names:
            self.database.start() if name == DATABASE else self.services.start(name)
        self._write_pids()

    def _dbcalm(self, *arguments: str, text: str | None = None) -> str:
        done = self.cli(*arguments, text=text)
        if done.returncode:
            raise SandboxError(
                f"dbcalm {' '.join(arguments)} failed: {done.stderr.strip().splitlines()[-1:]}"
            )
        return done.stdout

    def _facts(self, port: int, password: str, client: dict[str, str]) -> Facts:
        seen = Layout.below(self.folder)
        return Facts(
            url=f"https://127.0.0.1:{port}",
            ca=str(seen.authority),
            username="admin",
            password=password,
            client_id=client["id"],
            client_secret=client["secret"],
            config=str(seen.config),
            backup_dir=str(seen.backups),
            data_dir=str(seen.data),
            mariadb_socket=str(_database(self.folder, self.who.database).socket),
            mariadb_cmd_sock=str(seen.mariadb_cmd_socket),
            cmd_sock=str(seen.cmd_socket),
            cron_file=str(seen.cron_file),
            pids=self._pids(),
        )

    def _pids(self) -> dict[str, int | None]:
        return {name: process.pid if (process := self.process(name)) else None for name in PROGRAMS}

    def _write_pids(self) -> None:
        self._write_facts(Facts(**{**asdict(self.facts), "pids": self._pids()}))

    def _write_facts(self, facts: Facts) -> None:
        beside = self.folder / f"{_FACTS}.new"
        beside.unlink(missing_ok=True)
        installation.write_new(
            beside, json.dumps(asdict(facts), indent=2) + "\n", self.who.root, self.who.root, 0o600
        )
        beside.rename(self.folder / _FACTS)

    def _kill_all(self) -> None:
        """Kill every process of the sandbox, and those that it starts meanwhile."""

        def none_left() -> bool:
            ours = [process for process in all_processes() if self._owns(command_line(process.pid))]
            for process in ours:
                process.end(signal.SIGKILL, 0.0)
            return not ours

        if not wait_until(none_left, _GONE_SECONDS):
            raise SandboxError(f"a process of {self.folder} cannot be killed")

    def _owns(self, words: list[str]) -> bool:
        """Tell whether these words started our copy of a program, or one of MariaDB's with a path of ours."""
        if words[0].startswith(f"{self.layout.programs}/"):
            return True
        return Path(words[0]).name in _OF_MARIADB and any(f"{self.root}/" in word for word in words)


def _database(root: Path, account: Account) -> Database:
    return Database(
        root / "mariadb", root / "data", root / "log" / "mariadbd.log", root / "pids" / DATABASE, account
    )


def _read_root(folder: Path) -> Path:
    """Return the root of a sandbox; raise SandboxError if the folder, or what it names as its root, is none."""
    try:
        root = Path((folder / _MARKER).read_text().strip())
        if root.exists() and not folder.samefile((root / _MARKER).read_text().strip()):
            raise SandboxError(f"{root} belongs to another sandbox than {folder}")
    except FileNotFoundError:
        raise SandboxError(f"{folder} is not a sandbox") from None
    return root


def _remove(folder: Path) -> None:
    """Remove a sandbox's folder, if it is there; its marker goes last, so that a removal cut short can be repeated."""
    if not folder.exists():
        return
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARKER:
            entry.unlink()
    shutil.rmtree(folder)


def _claim(folder: Path, who: Accounts) -> None:
    """Make a folder a sandbox to be, with its root; raise SandboxError if it is in use or cannot be one."""
    if (folder / _MARKER).exists():
        raise SandboxError(f"{folder} is a sandbox that was not finished: dev/sandbox down {folder}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SandboxError(f"{folder} exists and is not an empty folder")
    longest = _database(folder, who.database).socket, Layout.below(folder).mariadb_cmd_socket
    if any(len(os.fsencode(path)) > _LONGEST_SOCKET for path in longest):
        raise SandboxError(
            f"{folder} is too long a path: the sockets in it must fit into {_LONGEST_SOCKET} bytes"
        )
    programs.make_readable_parents(folder / _MARKER)
    root = folder if _is_usable(folder, who) else _make_root()
    (folder / _MARKER).write_text(f"{root}\n")
    if root != folder:
        (root / _MARKER).write_text(f"{folder}\n")
        for name in _ENTRIES:
            (folder / name).symlink_to(root / name)


def _is_usable(folder: Path, who: Accounts) -> bool:
    """Tell whether a folder can be the root: its users can enter it, and its path can stand in a configuration."""
    can_enter = all(account.may_enter(folder) for account in (who.api, who.database))
    return can_enter and _CONFIGURABLE.fullmatch(str(folder)) is not None


def _make_root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="dbcalm-sandbox-", dir="/var/tmp"))
    root.chmod(0o755)
    return root
