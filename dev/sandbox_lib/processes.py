"""Starting daemons, knowing them again, ending them.

A process is known by its pid and its start time, so that a pid that the kernel has given to somebody else is never
taken for ours. The pid file holds both: ``<pid> <start time in clock ticks>``.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dev.sandbox_lib.accounts import Account
from dev.sandbox_lib.errors import SandboxError

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""What every program gets to see, beside what it is given on purpose."""

_PAUSE = 0.02
_HANDED_OVER = 3


@dataclass(frozen=True)
class Process:
    """A process that was started; ``started`` is its start time in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def read(cls, pid_file: Path) -> "Process | None":
        """Return the process of a pid file, running or not; None if there is no such file."""
        try:
            pid, started = pid_file.read_text().split()
            return cls(int(pid), int(started))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, pid_file: Path) -> None:
        """Keep the process in a pid file."""
        pid_file.write_text(f"{self.pid} {self.started}\n")

    def is_running(self) -> bool:
        """Tell whether this very process lives; one that has ended and was not waited for does not."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        state, started = _state(self.pid)
        return state not in "ZX" and started == self.started

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Send a signal and wait; tell whether the process was gone within the time."""
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
        return wait_until(lambda: not self.is_running(), seconds)


def start(
    command: list[str],
    account: Account,
    environment: dict[str, str],
    log: Path | None,
    listener: socket.socket | None = None,
) -> Process:
    """Start a daemon as a user, in a session of its own, with a minimal environment; return it at once.

    Its standard error goes to ``log``, or to ours if that is None. A listening socket is handed over as systemd does
    it: as descriptor 3, with LISTEN_FDS, and LISTEN_PID, which only the new process itself can know.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    ]
    if log is not None:
        actions.append((os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640))
    actions.append((os.POSIX_SPAWN_DUP2, 2, 1))
    script = 'cd /; umask 027; exec "$@"'
    if listener is not None:
        actions.append((os.POSIX_SPAWN_DUP2, listener.fileno(), _HANDED_OVER))
        script = "export LISTEN_FDS=1 LISTEN_PID=$$; " + script
    words = [*account.drop(), "/bin/sh", "-c", script, "sh", *command]
    pid = os.posix_spawnp(words[0], words, {**ENVIRONMENT, **environment}, file_actions=actions, setsid=True)
    return Process(pid, _state(pid)[1])


def command_line(pid: int) -> list[str]:
    """Return the words that a process was started with; one empty word if it is gone or not ours to see."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return [""]


def all_processes() -> Iterator[Process]:
    """Yield what runs on this host."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state, started = _state(int(entry.name))
            if state not in "ZX":
                yield Process(int(entry.name), started)


def wait_until(happened: Callable[[], bool], seconds: float) -> bool:
    """Ask until it is so, for at most this long; tell whether it was."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def wait_ready(
    name: str, process: Process, log: Path | None, ready: Callable[[], bool], seconds: float
) -> None:
    """Wait until a program answers; raise SandboxError with the last line of its log if it ends or takes longer."""
    if wait_until(lambda: not process.is_running() or ready(), seconds) and process.is_running():
        return
    how = "does not answer" if process.is_running() else "ended at its start"
    raise SandboxError(f"{name} {how}: {last_line(log)}")


def last_line(log: Path | None) -> str:
    """Return the last line of a log, if possible the last one that speaks of an error."""
    if log is None or not log.exists():
        return "see its messages above"
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines[-30:] if "error" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1]


def _state(pid: int) -> tuple[str, int]:
    """Return a process's state letter and start time; X and 0 if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return fields[0], int(fields[19])
