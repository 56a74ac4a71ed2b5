"""The database's one unit, which root stops, starts and asks about: root's own configuration names it, nobody else.

A unit that sockets start (Debian 12 has a mariadb.socket) is only stopped together with them: any client that connected
would start it again. Those that are enabled are started with it.
"""

import re
import subprocess

_SECONDS = 30.0
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_STATES = {"active": "running", "reloading": "running", "inactive": "stopped", "failed": "failed"}
_SHOWN = ("LoadState", "ActiveState", "SubState", "Result")
_SOCKET = re.compile(r"[A-Za-z0-9:_.@\\-]{1,240}\.socket")


class UnitError(Exception):
    """What was asked for cannot be done; the message says why."""


class DatabaseUnit:
    """A unit, and the program by which systemd is told."""

    def __init__(self, systemctl: str, unit: str) -> None:
        self._systemctl = systemctl
        self._unit = unit

    def state(self) -> dict[str, object]:
        """Return ``unit``, ``state`` (running, stopped, failed, pending) and ``detail`` for people. Raise UnitError."""
        facts = self._facts()
        state = _STATES.get(facts["ActiveState"], "pending") if facts["Job"] in ("", "0") else "pending"
        detail = f"{facts['ActiveState']} ({facts['SubState']}), result {facts['Result']}"
        return {"unit": self._unit, "state": state, "detail": detail}

    def stop(self) -> None:
        """Have it stopped, with the sockets that would start it; return at once. Raise UnitError."""
        self._facts()
        self._run("stop", "--no-block", *self._sockets(), self._unit)

    def start(self) -> None:
        """Have it started, with its sockets, also after it has failed too often; return at once. Raise UnitError."""
        if self._facts()["ActiveState"] == "failed":
            self._run("reset-failed", self._unit)
        enabled = [name for name in self._sockets() if self._show(name, "UnitFileState") == "enabled"]
        self._run("start", "--no-block", *enabled, self._unit)

    def _facts(self) -> dict[str, str]:
        if not self._unit:
            raise UnitError("no database_unit is named in cmd.toml, so nothing stops or starts the database")
        said = self._run("show", f"--property={','.join(_SHOWN)},Job", self._unit)
        facts = {"Job": "", **dict(line.partition("=")[::2] for line in said.splitlines())}
        if not facts.keys() >= set(_SHOWN):
            raise UnitError(f"systemctl show {self._unit} does not say how it is")
        if facts["LoadState"] != "loaded":
            raise UnitError(f"{self._unit}, which cmd.toml names as database_unit, is {facts['LoadState']}")
        return facts

    def _sockets(self) -> list[str]:
        return [name for name in self._show(self._unit, "TriggeredBy").split() if _SOCKET.fullmatch(name)]

    def _show(self, unit: str, name: str) -> str:
        return self._run("show", f"--property={name}", "--value", unit)

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._systemctl, "--no-ask-password", *arguments],
                env=_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnitError(f"{self._systemctl} {arguments[0]}: {error}") from error
        if done.returncode:
            ended = f"systemctl {arguments[0]} {self._unit} ended with {done.returncode}"
            raise UnitError(f"{ended}: {' '.join(done.stderr.split())[:300]}")
        return done.stdout.strip()
