"""``make demo``: a real MariaDB is backed up, changed, backed up incrementally, destroyed and brought back.

All of it goes through the HTTPS API of a private installation, which is removed at the end whatever happens.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.demo_lib.data import CHANGE, LOAD, checksums, require_equal, settle
from dev.demo_lib.screen import Screen
from dev.sandbox_lib import Sandbox, SandboxError
from dev.sandbox_lib.database import Database


class Demo:
    """The steps, in a sandbox."""

    def __init__(self, sandbox: Sandbox, screen: Screen) -> None:
        self._sandbox = sandbox
        self._screen = screen
        self._api = sandbox.api

    def run(self) -> None:
        """Do all steps; raise SandboxError at the first that goes wrong."""
        with self._screen.step("load sample data") as size:
            self._sandbox.sql(LOAD)
            settle(self._sandbox.database)
            size.append(_size_of_tables(self._sandbox.database.data))
        self._backup("full")
        with self._screen.step("change, add and drop data"):
            self._sandbox.sql(CHANGE)
        last = self._backup("incremental")
        with self._screen.step("take the checksum of every table"):
            expected = checksums(self._sandbox.database)
        self._restore_to_folder(last, expected)
        self._restore_to_database(last, expected, "restore to the database")
        self._restore_to_database(last, expected, "the same restore once more")
        self._screen.table()
        self._screen.say(f"All {len(expected)} tables came back equal, three times.")

    def _backup(self, kind: str) -> str:
        """Make a backup; return its id."""
        with self._screen.step(f"{kind} backup") as size:
            backup_id = str(self._job("/backups", {"type": kind})["resource_id"])
            backup = self._api.call("GET", f"/backups/{backup_id}")
            if backup["type"] != kind:
                raise SandboxError(f"{backup_id} should be an {kind} backup and is a {backup['type']} one")
            size.append(backup["size"])
        return backup_id

    def _restore_to_folder(self, backup_id: str, expected: dict[str, str]) -> None:
        with self._screen.step("restore to a folder") as size:
            self._job("/restore", {"id": backup_id, "target": "folder"})
            newest = self._api.call("GET", "/restores?order=start_time|desc&per_page=1")["items"][0]
            folder = Path(newest["target_path"])
            size.append(_size(folder))
        with self._screen.step("start a server on that folder, compare"):
            root = self._sandbox.root
            server = Database(
                root / "proof",
                folder,
                root / "log" / "proof.log",
                root / "pids" / "proof",
                self._sandbox.who.database,
            )
            server.make_home()
            server.start()
            require_equal(expected, checksums(server))
            server.stop()

    def _restore_to_database(self, backup_id: str, expected: dict[str, str], name: str) -> None:
        with self._screen.step("stop the server, wipe its data"):
            self._sandbox.stop_db()
            self._sandbox.wipe_db()
        with self._screen.step(name) as size:
            self._job("/restore", {"id": backup_id, "target": "database"})
            size.append(_size(self._sandbox.database.data))
        with self._screen.step("start the server, compare"):
            self._sandbox.start_db()
            require_equal(expected, checksums(self._sandbox.database))

    def _job(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start a job and follow it to its end; return its last Status, or raise SandboxError with its error."""
        accepted = self._api.call("POST", path, body)
        status = self._api.wait(accepted["link"], self._screen.progress)
        if status["status"] != "success":
            process = self._api.call("GET", f"/processes?query=command_id|{accepted['pid']}")["items"][0]
            raise SandboxError(f"it failed: {process['error']}")
        return status


def main() -> int:
    """Run the demo; return 0, or 1 with one line on standard error, or 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    screen = Screen()
    try:
        with _sandbox(screen) as sandbox:
            Demo(sandbox, screen).run()
    except (SandboxError, OSError) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything was removed", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _sandbox(screen: Screen) -> Iterator[Sandbox]:
    """Give a sandbox in a fresh folder, and remove it whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="dbcalm-demo-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with screen.step("make a private installation"):
            sandbox = Sandbox.up(folder)
    except BaseException:
        if folder.exists():
            folder.rmdir()
        raise
    who = sandbox.who
    users = [f"{who.api.name} (API)", f"{who.database.name} (backups)", f"{who.root.name} (cron)"]
    screen.say(
        f"    not root: all programs run as {who.root.name}"
        if who.are_one
        else f"    the services run as {', '.join(users)}"
    )
    try:
        yield sandbox
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sandbox.down()


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum((Path(parent) / name).stat().st_size for parent, _, names in os.walk(folder) for name in names)


def _size_of_tables(data: Path) -> int:
    """Return the bytes of the files in the schemas of a data directory, without the server's logs."""
    return sum(_size(schema) for schema in data.iterdir() if schema.is_dir())


if __name__ == "__main__":
    sys.exit(main())
