"""The three services of an installation: started as their users, asked whether they answer, ended."""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from dev.sandbox_lib.accounts import Account, Accounts
from dev.sandbox_lib.api import is_healthy
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.installation import Layout
from dev.sandbox_lib.processes import ENVIRONMENT, Process, start, wait_ready
from dev.sandbox_lib.programs import launcher

API, MYSQL_SERVICE, ROOT_SERVICE = "dbcalm", "dbcalm-mariadb-cmd", "dbcalm-cmd"
SERVICES = (ROOT_SERVICE, MYSQL_SERVICE, API)
"""In the order in which they are started."""

_START_SECONDS = 300.0
_STOP_SECONDS = 120.0
"""Safety nets: a host with much to do takes its time."""
_BACKLOG = 128


@dataclass(frozen=True)
class Services:
    """The services of one installation. ``pids`` has their pid files; without ``logs`` they share our terminal."""

    layout: Layout
    who: Accounts
    pids: Path
    logs: Path | None

    def start(self, name: str) -> None:
        """Start a service unless it runs, and wait until it answers."""
        if self.process(name):
            return
        account, arguments, address = self._plan(name)
        command = [*launcher(self.layout.programs, name), *arguments]
        listener = self._listen(address) if address and not self.who.are_one else None
        try:
            process = start(command, account, self._environment, self._log(name), listener)
        finally:
            if listener:
                listener.close()
        process.write(self._pid_file(name))
        wait_ready(name, process, self._log(name), self._probe(address), _START_SECONDS)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM, seconds: float = _STOP_SECONDS) -> None:
        """End a service, if it runs, with a signal; raise SandboxError if that took too long."""
        process = self.process(name)
        if process and not process.end(number, seconds):
            raise SandboxError(f"{name} did not end within {seconds:.0f} s of {number.name}")

    def process(self, name: str) -> Process | None:
        """Return the process of a service, if it is running."""
        process = Process.read(self._pid_file(name))
        return process if process and process.is_running() else None

    def cli(self, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run ``dbcalm`` as its user with this text on standard input; return how it ended."""
        return subprocess.run(
            [*self.who.api.drop(), *launcher(self.layout.programs, API), *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            cwd="/",
            env={**ENVIRONMENT, **self._environment},
            check=False,
            capture_output=True,
            text=True,
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {"DBCALM_CONFIG": str(self.layout.config)}

    def _plan(self, name: str) -> tuple[Account, list[str], Path | None]:
        """Return a service's user, its arguments and its socket."""
        return {
            API: (self.who.api, ["server"], None),
            MYSQL_SERVICE: (self.who.database, [], self.layout.mariadb_cmd_socket),
            ROOT_SERVICE: (self.who.root, [], self.layout.cmd_socket),
        }[name]

    def _listen(self, path: Path) -> socket.socket:
        """Bind a service's socket for it, as systemd does: for root and the group of the API alone."""
        if _answers(path):
            raise SandboxError(f"another service already listens on {path}")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        os.chown(path, 0, self.who.api.gid)
        path.chmod(0o660)
        listener.listen(_BACKLOG)
        return listener

    def _probe(self, address: Path | None) -> Callable[[], bool]:
        if address:
            return lambda: _answers(address)
        return lambda: is_healthy(f"https://127.0.0.1:{api_port(self.layout)}", self.layout.authority)

    def _pid_file(self, name: str) -> Path:
        return self.pids / name

    def _log(self, name: str) -> Path | None:
        return self.logs / f"{name}.log" if self.logs else None


def api_port(layout: Layout) -> int:
    """Return the port that an installation's configuration names."""
    return int(yaml.safe_load(layout.config.read_text()).get("api_port", 8335))


def free_port() -> int:
    """Return a loopback port that nobody uses, below those that the kernel gives to outgoing connections: it is still
    free when a service is restarted on it."""
    first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(first_of_kernel, 20_000))
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Tell whether a loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _answers(path: Path) -> bool:
    """Tell whether a service says anything at all to an empty request."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(_START_SECONDS)
        try:
            caller.connect(str(path))
            caller.sendall(b"{}\n")
            return bool(caller.recv(1))
        except OSError:
            return False
