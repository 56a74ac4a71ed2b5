"""Real services for the tests: processes of their own, with sockets in a folder of their own."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.patience import FOR_EVER, PATIENCE, eventually

CHECKOUT = Path(__file__).parents[3]
ECHO = Path(__file__).parents[3] / "tests/support/echo_service.py"


class Service:
    """A running service. ``log`` is its standard error so far."""

    def __init__(self, path: Path, log_file: Path, process: subprocess.Popen[bytes]) -> None:
        self.path = path
        self.process = process
        self._log_file = log_file

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    def connect(self) -> socket.socket:
        """Return a connection to the service."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        return connection

    def listens(self) -> bool:
        """Tell whether the service can be connected to."""
        try:
            self.connect().close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def heeds_signals(self) -> bool:
        """Tell whether it has its handlers of signals: its socket is there a moment before."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        return all(caught >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))

    def send(self, line: bytes, *, end: bool = False) -> bytes:
        """Send these bytes on a connection, and with ``end`` close our side; return all that comes back."""
        with self.connect() as connection:
            try:
                connection.sendall(line)
                if end:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # It answered before it had read all.
            return receive(connection)

    def ask(self, cmd: object, **args: object) -> dict[str, object]:
        """Send a command as one line of JSON; return the one line that comes back."""
        answer = self.send(json.dumps({"cmd": cmd, "args": args}).encode() + b"\n")
        assert answer.endswith(b"\n")
        assert answer.count(b"\n") == 1
        return dict(json.loads(answer))

    def figure(self, name: str) -> int:
        """Return a number of the process's status, such as ``Threads`` or ``VmRSS`` in kB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])

    def descriptors(self) -> int:
        """Return how many descriptors the process has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as this holds; fail if it takes too long, or if the service ends first."""

        def looked() -> bool:
            assert self.process.poll() is None, f"the service ended: {self.log}"
            return holds()

        eventually(looked)

    def stop(self) -> int:
        """Tell the service to stop; return its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


def receive(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass  # It closed without reading all that was sent.
    return received


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets and which every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="dbcalm-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Service]]:
    """Start a program that listens on a socket: ``run(path, *argv, **options of Popen)``. It is killed at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(path: Path, *argv: object, **options: object) -> Service:
        log_file = folder / f"log-{len(processes)}"
        with log_file.open("wb") as log:
            command = [str(word) for word in argv]
            process = subprocess.Popen(command, stderr=log, **options)  # type: ignore[call-overload]
        processes.append(process)
        return Service(path, log_file, process)

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def echo(folder: Path, run: Callable[..., Service]) -> Callable[..., Service]:
    """Start the echo service: ``echo(seconds=FOR_EVER, uids=[own])``; so long a caller has for its line."""

    def start(
        seconds: float = FOR_EVER, uids: tuple[int, ...] = (os.getuid(),), **options: object
    ) -> Service:
        path = folder / "echo.sock"
        service = run(path, sys.executable, ECHO, path, seconds, *uids, **options)
        service.wait_until(service.listens)
        return service

    return start


@pytest.fixture
def root_command() -> list[str]:
    """How the root service is started."""
    return [sys.executable, str(CHECKOUT / "dbcalm-cmd.py")]


@pytest.fixture
def configure(folder: Path) -> Callable[..., dict[str, str]]:
    """Write ``cmd.toml`` with these keys beside those that keep the service in its folder; return the environment."""

    def write(**keys: str) -> dict[str, str]:
        own_user = pwd.getpwuid(os.getuid()).pw_name
        keys = {
            "socket": f"{folder}/cmd.sock",
            "cron_file": f"{folder}/cron",
            "dbcalm_user": own_user,
            "database_unit": "",  # No test stops the database of the host.
            **keys,
        }
        path = folder / "cmd.toml"
        path.write_text("".join(f'{key} = "{value}"\n' for key, value in keys.items()))
        path.chmod(0o600)
        inherited = {
            key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")
        }
        return {**inherited, "DBCALM_CONFIG": f"{folder}/config.yml"}

    return write


@pytest.fixture
def root_service(
    folder: Path,
    run: Callable[..., Service],
    configure: Callable[..., dict[str, str]],
    root_command: list[str],
) -> Callable[..., Service]:
    """Start dbcalm-cmd as whoever runs the tests: ``root_service(**keys of cmd.toml)``."""

    def start(**keys: str) -> Service:
        service = run(folder / "cmd.sock", *root_command, env=configure(**keys))
        service.wait_until(service.listens)
        return service

    return start
