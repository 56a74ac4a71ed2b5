"""Debian's own cron in a private view of the file system: it loads one folder of ours, and the host never hears of it.

It sees that folder as /etc/cron.d, no other table, and a spool, a /run and a system log of its own. What its table
says is really run, as the user that the table names. Needs root and the right to mount.
"""

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.processes import wait_until

_LOADED = "@reboot jobs"
"""What cron says when it has read every table."""

_COMPLAINTS = ("rror", "ERROR", "WRONG ", "INSECURE ", "HARD LINKS", "NOT A REGULAR")

_START_SECONDS = 120.0
_STOP_SECONDS = 120.0
_LONGEST_MESSAGE = 8192
_END = b""
"""An empty message of ours ends the thread that listens."""

# Empty files hide the host's own table and cron's memory that the host was booted; /dev has what programs cannot do
# without, and the socket of the log.
_PRIVATE = (
    "mount --bind {tables} /etc/cron.d && mount --bind spool /var/spool/cron && mount --bind run /run"
    " && {{ [ ! -e /etc/crontab ] || mount --bind crontab /etc/crontab; }}"
    " && for each in null urandom; do mount --bind /dev/$each dev/$each || exit 1; done"
    " && mount --bind dev /dev && exec cron -f"
)


def why_not() -> str:
    """Return why cron cannot be run here, or "" if nothing is known against it."""
    if os.getuid() != 0:
        return "cron can be run in a view of its own by root alone"
    return "" if shutil.which("cron") else "cron is not installed"


class PrivateCron:
    """A cron that runs while a ``with`` block does. ``tables`` is its /etc/cron.d, ``home`` an empty folder for what
    it needs beside. ``said`` has all that it logged; raise SandboxError if it does not start."""

    def __init__(self, tables: Path, home: Path) -> None:
        self.said: list[str] = []
        self._tables = tables
        self._home = home

    def __enter__(self) -> Self:
        self._make_home()
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(self._home / "dev/log"))
        (self._home / "dev/log").chmod(0o666)
        script = _PRIVATE.format(tables=self._tables)
        with (self._home / "errors").open("wb") as errors:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script],
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        if not wait_until(lambda: self._process.poll() is not None or self.has_said(_LOADED), _START_SECONDS):
            self.__exit__(None, None, None)
            raise SandboxError("cron did not load its tables in time")
        if self._process.returncode is not None:
            self.__exit__(None, None, None)
            raise SandboxError(f"cron cannot be run privately: {(self._home / 'errors').read_text().strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.sendto(_END, str(self._home / "dev/log"))
        self._listener.join()
        self._log.close()

    def has_said(self, words: str) -> bool:
        """Tell whether any of its messages has these words."""
        return any(words in message for message in self.said)

    @property
    def complaints(self) -> list[str]:
        """What it logged about errors, and about tables that it does not take."""
        return [message for message in self.said if any(words in message for words in _COMPLAINTS)]

    def _make_home(self) -> None:
        for name in ("dev", "spool", "run"):
            (self._home / name).mkdir()
        for name in ("crontab", "run/crond.reboot", "dev/null", "dev/urandom"):
            (self._home / name).touch()

    def _listen(self) -> None:
        # A thread, because a log that nobody reads would stop cron after a few messages.
        while message := self._log.recv(_LONGEST_MESSAGE):
            self.said.append(message.decode("utf-8", "replace"))
