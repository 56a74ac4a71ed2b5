"""The real root service beside a test."""

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.patience import eventually

CHECKOUT = Path(__file__).parents[2]


class RootProcess:
    """The root service as a process, run by whoever runs the tests, with its files in a folder of its own. No test
    stops the database of the host: a program can stand in systemctl's place."""

    def __init__(self, folder: Path, systemctl: Path = Path("/bin/false")) -> None:
        self.socket, self.cron = folder / "cmd.sock", folder / "cron"
        self._configuration = folder / "config.yml"
        me = pwd.getpwuid(os.getuid()).pw_name
        (folder / "cmd.toml").write_text(
            f'socket = "{self.socket}"\ncron_file = "{self.cron}"\ndbcalm_user = "{me}"\n'
            f'systemctl = "{systemctl}"\n'
        )
        (folder / "cmd.toml").chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHECKOUT / "dbcalm-cmd.py")],
            env={"PATH": os.environ["PATH"], "DBCALM_CONFIG": str(self._configuration)},
            stderr=subprocess.DEVNULL,
        )
        eventually(self._listens, "the start of the root service")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ids(self) -> list[int]:
        lines = [line for line in self.cron.read_text().splitlines() if "--schedule-id" in line]
        return sorted(int(line.rsplit(" ", 1)[1]) for line in lines)
