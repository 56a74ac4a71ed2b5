"""A Debian of its own, booted in a container, with MariaDB in it; SUITE in the environment says which.

The base is made once by debootstrap and kept in ``CACHE``; each machine is a copy of it that is thrown away.
"""

import ctypes
import hashlib
import inspect
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.sandbox_lib.api import Api

CHECKOUT = Path(__file__).parents[2]
CACHE = Path("/var/tmp/dbcalm-e2e-cache")
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter")

SUITE = os.environ.get("SUITE") or "bookworm"
PASSWORD = "correct horse battery staple"

_MIRROR = "http://deb.debian.org/debian"
_FIRST = "systemd,systemd-sysv,dbus,cron,procps,openssl,python3,ca-certificates,zstd"
_SECOND = ("mariadb-server", "mariadb-backup", "logrotate", "age")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
_NEW_NETWORK = 0x40000000
_BOOT_SECONDS = 120.0

MADE = """\
root:root 755 /etc/dbcalm
root:root 644 /etc/dbcalm/cmd.toml
root:root 644 /etc/dbcalm/config.yml
root:mysql 640 /etc/dbcalm/credentials.cnf
root:dbcalm 640 /etc/dbcalm/jwt.key
root:root 755 /etc/dbcalm/ssl
root:root 644 /etc/dbcalm/ssl/ca.pem
root:root 644 /etc/dbcalm/ssl/fullchain-cert.pem
root:dbcalm 640 /etc/dbcalm/ssl/private-key.pem
root:root 644 /etc/cron.d/dbcalm
root:root 755 /run/dbcalm
root:dbcalm 660 /run/dbcalm/cmd.sock
root:dbcalm 660 /run/dbcalm/mariadb-cmd.sock
dbcalm:dbcalm 700 /var/lib/dbcalm
dbcalm:dbcalm 700 /var/lib/dbcalm-copies
dbcalm:dbcalm 600 /var/lib/dbcalm/db.sqlite3
dbcalm:dbcalm 750 /var/log/dbcalm
mysql:mysql 700 /var/lib/dbcalm-mariadb-cmd
mysql:mysql 600 /var/lib/dbcalm-mariadb-cmd/journal
mysql:mysql 700 /var/backups/dbcalm"""
"""Everything that is made on the host, with its owner and mode, and what belongs to a service below what is its own."""


class Machine:
    """One container. ``run`` runs a command in it as its root."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._log = folder / "console.log"
        self._container: subprocess.Popen[bytes] | None = None
        self._first = 0

    def boot(self) -> None:
        """Start it, and wait until all that it starts by itself has started."""
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"]
        # The capability that MariaDB's unit has on a host, which keeps its process from being looked into.
        options = ["--capability=CAP_IPC_LOCK", "--console=pipe", f"--directory={self.root}"]
        with self._log.open("ab") as log:
            self._container = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(self._find_first, _BOOT_SECONDS)
        wait_for(self._has_booted, _BOOT_SECONDS)

    def power_off(self) -> None:
        """Stop it as its administrator would."""
        self.try_to("systemctl poweroff")
        assert self._container is not None
        self._container.wait(90)
        self._container = None

    def cut_power(self) -> None:
        """End it at once, as a power cut does; what it had not written to the device may be there all the same."""
        assert self._container is not None
        os.kill(self._first, signal.SIGKILL)
        self._container.wait(30)
        self._container = None

    def end(self) -> None:
        """End it, however it is."""
        if self._container is not None:
            self._container.terminate()
            try:
                self._container.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._container.pid, signal.SIGKILL)
                self._container.wait()
            self._container = None

    def try_to(
        self, command: str, text: str = "", seconds: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell's command line; return how it ended."""
        return subprocess.run(
            ["nsenter", f"--target={self._first}", "--all", "--", "/bin/sh", "-c", command],
            env={**_ENVIRONMENT, "LC_ALL": "C.UTF-8", "HOME": "/root"},
            input=text, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def run(self, command: str, text: str = "", seconds: float = 120) -> str:
        """Run a shell's command line, which must succeed; return what it said."""
        done = self.try_to(command, text, seconds)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        said = self.run(f"systemctl show {unit} --property={','.join(names)}")
        return dict(line.split("=", 1) for line in said.splitlines())

    def main_process(self, unit: str) -> int:
        """Return the number that a unit's main process has inside; 0 while there is none."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def is_active(self, *units: str) -> bool:
        """Tell whether all of these units are active."""
        return self.try_to(f"systemctl is-active {' '.join(units)}").returncode == 0

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file into it."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def api(self) -> Api:
        """Return a client of its API with every right."""
        made = json.loads(self.run("dbcalm clients add e2e --json"))
        authority = self.root / "etc/dbcalm/ssl/ca.pem"
        return _ApiInside(self, "https://localhost:8335", authority, made["id"], made["secret"])

    @contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread open its sockets inside."""
        ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        theirs = os.open(f"/proc/{self._first}/ns/net", os.O_RDONLY)
        try:
            _enter(theirs)
            try:
                yield
            finally:
                _enter(ours)
        finally:
            os.close(ours)
            os.close(theirs)

    def _find_first(self) -> bool:
        """Find the first process of the container: the only one below nspawn that is number 1 in a namespace."""
        assert self._container is not None
        assert self._container.poll() is None, self._log.read_text(errors="replace")
        for child in _children(self._container.pid):
            numbers = [line for line in _status(child) if line.startswith("NSpid:")]
            if numbers and numbers[0].split()[-1] == "1" and len(numbers[0].split()) > 2:
                self._first = child
                return True
        return False

    def _has_booted(self) -> bool:
        return self.try_to("systemctl is-system-running").stdout.strip() in ("running", "degraded")


class _ApiInside(Api):
    """The API's client, whose connections begin inside a machine."""

    def __init__(self, machine: Machine, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._machine = machine

    def _send(self, method: str, path: str, body: object) -> Any:
        with self._machine.network():
            return super()._send(method, path, body)


def make(folder: Path) -> Machine:
    """Return a machine with MariaDB and nothing of DBCalm, which is not booted yet."""
    machine = Machine(folder)
    subprocess.run(["cp", "--archive", "--reflink=auto", base(), machine.root], check=True)
    return machine


def install(machine: Machine, package: Path) -> str:
    """Install a package, or the newer one, as an administrator does who keeps his own settings where a new version has
    others; return what that said."""
    shutil.copy(package, machine.root / "srv" / package.name)
    options = "--yes --no-install-recommends --option Dpkg::Options::=--force-confold"
    return machine.run(f"apt-get install {options} /srv/{package.name} 2>&1", seconds=180)


def set_up(machine: Machine) -> str:
    """Take the rest of the way to a first backup, with one command; return what that said."""
    machine.write("srv/password", f"{PASSWORD}\n", 0o600)
    return machine.run(
        "dbcalm setup --yes --create-backup-user --user admin --password-stdin --schedule none --backup "
        "< /srv/password 2>&1"
    )


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return the first true value of the condition; fail if it has none in this time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{inspect.getsource(condition).strip()} stays false"
        time.sleep(0.1)
    return value


def base() -> Path:
    """Return the folder with the system that machines are copied from, made if it is not there."""
    recipe = repr((SUITE, _MIRROR, _FIRST, _SECOND))
    made = CACHE / f"{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not made.exists():
        CACHE.mkdir(mode=0o700, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="making-", dir=CACHE))
        try:
            _make_base(folder / "root")
            if not made.exists():  # Another run may have been quicker.
                (folder / "root").rename(made)
        finally:
            shutil.rmtree(folder)
    return made


def _make_base(root: Path) -> None:
    def inside(command: str) -> None:
        subprocess.run(
            ["chroot", root, "/bin/sh", "-c", command], env=_ENVIRONMENT, check=True, stdout=log, stderr=log
        )

    log_file = root.parent / "log"
    with log_file.open("wb") as log:
        try:
            options = ["--variant=minbase", f"--include={_FIRST}", SUITE]
            subprocess.run(["debootstrap", *options, root, _MIRROR], check=True, stdout=log, stderr=log)
            policy = root / "usr/sbin/policy-rc.d"  # Nothing is started while it is no running system.
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
            inside(f"apt-get install --yes --no-install-recommends {shlex.join(_SECOND)} && apt-get clean")
            policy.unlink()
            inside(
                "systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer systemd-networkd-wait-online.service"
            )
        except subprocess.CalledProcessError as error:
            raise AssertionError(log_file.read_text(errors="replace")[-2000:]) from error


def _children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _status(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _enter(network: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(network, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
