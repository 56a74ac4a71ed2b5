"""What a fallen program could do next, tried from inside a unit's sandbox, as its user.

Run in place of the unit's program, with the standard library alone: ``drill.py PIDS``, a JSON object of process numbers
by the name of their owner. Prints a JSON object: what was tried, and whether it worked.
"""

import ctypes
import json
import mmap
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH, _NEW_USER = 16, 0x10000000
_STATE = {"dbcalm": "/var/lib/dbcalm", "mysql": "/var/lib/dbcalm-mariadb-cmd", "root": "/etc/cron.d"}
_READ = {
    "the passwords of the host": "/etc/shadow",
    "root's home": str(Path("~root", ".bashrc").expanduser()),
    "the database's files": "/var/lib/mysql/ibdata1",
    "the database's credentials": "/etc/dbcalm/credentials.cnf",
    "the key that signs tokens": "/etc/dbcalm/jwt.key",
    "the key of the certificate": "/etc/dbcalm/ssl/private-key.pem",
    "the catalogue": "/var/lib/dbcalm/db.sqlite3",
    "the journal of jobs": "/var/lib/dbcalm-mariadb-cmd/lock",
    "another user's process": "/proc/1/status",
}
_WRITE = (
    "/usr", "/etc", "/etc/dbcalm", "/etc/cron.d", "/var/lib", "/var/lib/dbcalm", "/var/lib/dbcalm-mariadb-cmd",
    "/var/lib/mysql", "/var/backups/dbcalm", "/var/log", "/run/dbcalm",
)  # fmt: skip
_CONNECT = {
    "the root service's socket": "/run/dbcalm/cmd.sock",
    "the mysql service's socket": "/run/dbcalm/mariadb-cmd.sock",
    "the database": "/run/mysqld/mysqld.sock",
    "systemd": "/run/systemd/private",
    "the system bus": "/run/dbus/system_bus_socket",
}


def attempts(user: str, pids: dict[str, int]) -> dict[str, Callable[[], object]]:
    """Return what is tried; what raises OSError or returns a false value has not worked."""
    state = _STATE[user]
    tried: dict[str, Callable[[], object]] = {}
    for what, path in _READ.items():
        tried[f"read {what}"] = lambda path=path: Path(path).read_bytes() or True  # type: ignore[misc]
    tried["list the backups"] = lambda: os.listdir("/var/backups/dbcalm")
    for folder in _WRITE:
        tried[f"write in {folder}"] = lambda folder=folder: _write(folder)  # type: ignore[misc]
    tried["write a kernel setting"] = lambda: Path("/proc/sys/vm/drop_caches").write_text("0")
    for name, folder in {"/tmp": "/tmp", "/dev/shm": "/dev/shm", "what it writes to": state}.items():
        tried[f"run a file from {name}"] = lambda folder=folder: _execute(folder)  # type: ignore[misc]
    tried["run a program of the system"] = lambda: subprocess.run(["/bin/true"]).returncode == 0
    tried["make memory that can be written and run"] = lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC
    )
    tried["give a file the set-user bit"] = lambda: _set_user_bit(state)
    tried["trace a process"] = _trace
    tried["make a namespace"] = lambda: _call(_LIBC.unshare, _NEW_USER)
    tried["mount"] = lambda: _call(_LIBC.mount, b"none", b"/tmp", b"tmpfs", 0, None)
    tried["become another user"] = lambda: os.setuid(65534)
    for family in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_PACKET", "AF_NETLINK"):
        tried[f"open a socket of {family}"] = lambda family=family: _open(family)  # type: ignore[misc]
    for what, path in _CONNECT.items():
        tried[f"connect to {what}"] = lambda path=path: _connect(path)  # type: ignore[misc]
    for owner, pid in pids.items():
        tried[f"signal a process of {owner}"] = lambda pid=pid: os.kill(pid, 0) is None  # type: ignore[misc]
        through = Path("/proc", str(pid), "root", "etc/passwd")
        tried[f"see the files that a process of {owner} sees"] = through.read_bytes
    tried["see the database server"] = _sees_server
    return tried


def _write(folder: str) -> bool:
    path = Path(folder, ".drill")
    path.write_text("x")
    path.unlink()
    return True


def _execute(folder: str) -> bool:
    path = Path(folder, ".drill")
    shutil.copyfile("/bin/true", path)
    try:
        path.chmod(0o700)
        return subprocess.run([path]).returncode == 0
    finally:
        path.unlink()


def _set_user_bit(folder: str) -> bool:
    path = Path(folder, ".drill")
    path.write_text("x")
    try:
        path.chmod(0o4755)
        return True
    finally:
        path.unlink()


def _trace() -> bool:
    child = subprocess.Popen(["/bin/sleep", "5"])
    try:
        return _call(_LIBC.ptrace, _PTRACE_ATTACH, child.pid, None, None)
    finally:
        child.kill()


def _call(function: Callable[..., int], *arguments: object) -> bool:
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


def _open(family: str) -> bool:
    kind = socket.SOCK_STREAM if family in ("AF_UNIX", "AF_INET", "AF_INET6") else socket.SOCK_RAW
    socket.socket(getattr(socket, family), kind).close()
    return True


def _connect(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
    return True


def _sees_server() -> bool:
    names = (path / "comm" for path in Path("/proc").iterdir() if path.name.isdigit())
    return any(name.exists() and name.read_text().strip() == "mariadbd" for name in names)


def main() -> None:
    """Try everything."""
    results = {}
    for what, attempt in attempts(pwd.getpwuid(os.getuid()).pw_name, json.loads(sys.argv[1])).items():
        try:
            results[what] = bool(attempt())
        except OSError as error:
            results[what] = False
            print(f"{what}: {error}", file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
