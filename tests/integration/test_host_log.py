"""What the host's log is told: a line for each job that ended, and one for each that was refused, with its priority."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.sandbox_lib.processes import ENVIRONMENT, all_processes, command_line
from dev.sandbox_lib.services import API, MYSQL_SERVICE
from tests.integration.conftest import Rig
from tests.support.able import own_view
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

_VIEW = (
    "for each in null urandom; do touch dev/$each && mount --bind /dev/$each dev/$each || exit 1; done"
    ' && mount --bind dev /dev && exec "$@"'
)
"""A /dev of its own, with a log that we listen on."""


def told(rig: Rig, job_id: str) -> str:
    """Return the one line of the mysql service's log about a job, from its level on."""
    lines: list[str] = []

    def is_told() -> bool:
        log = (rig.sandbox.layout.log / f"{MYSQL_SERVICE}.log").read_text()
        lines[:] = [line.split(" ", 1)[1] for line in log.splitlines() if f"job {job_id}" in line]
        return bool(lines)

    eventually(is_told)
    [line] = lines
    return line


def last_told(rig: Rig) -> str:
    """Return the last line of the mysql service's log, from its level on."""
    lines = (rig.sandbox.layout.log / f"{MYSQL_SERVICE}.log").read_text().splitlines()
    return lines[-1].split(" ", 1)[1]


def test_the_end_of_a_backup(plain: Rig) -> None:
    done = plain.backup(id="told-full", schedule_id=77)
    assert told(plain, done["pid"]) == f"info: job {done['pid']}: full backup told-full, schedule 77: success"
    done = plain.backup(id="told-next", type="incremental", from_backup_id="told-full")
    assert told(plain, done["pid"]) == f"info: job {done['pid']}: incremental backup told-next: success"


def test_the_end_of_what_failed(plain: Rig) -> None:
    """A verification that finds a flipped bit, as a schedule would make it."""
    plain.backup(id="told-damaged", form="folder")
    with (plain.backups / "told-damaged" / "ibdata1").open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))
    ended = plain.end(plain.start("/backups/told-damaged/verify", {"level": 1}))
    line = told(plain, ended["pid"])
    job = f"error: job {ended['pid']}: verification of told-damaged, level 1: failed (suspect): "
    assert line == job + str(ended["error"])
    ended = plain.end(plain.start("/restore", {"id": "told-damaged", "target": "folder"}))
    line = told(plain, ended["pid"])
    assert line.startswith(f"error: job {ended['pid']}: restore of told-damaged to /")
    assert line.endswith(f": failed (error): {ended['error']}")


def test_the_end_of_what_was_cancelled_is_no_error(plain: Rig) -> None:
    with plain.configured(MYSQL_SERVICE, copy_throttle=1):
        accepted = plain.start("/backups", {"type": "full"})
        assert plain.api.request("DELETE", f"/processes/{accepted['pid']}").status == 202
        ended = plain.end(accepted)
    assert ended["reason"] == "cancelled"
    assert told(plain, ended["pid"]) == (
        f"warning: job {ended['pid']}: full backup {ended['resource_id']}: failed (cancelled): "
        "the job was cancelled"
    )


@pytest.mark.parametrize("service_too", [False, True])
def test_the_end_of_what_was_interrupted_is_told_by_whoever_settles_it(plain: Rig, service_too: bool) -> None:
    """The latter is settled by a later start of the service."""
    with plain.configured(MYSQL_SERVICE, copy_throttle=1):
        accepted = plain.start("/backups", {"type": "full", "schedule_id": 78})
        if service_too:
            plain.sandbox.kill(MYSQL_SERVICE)
        home = str(plain.sandbox.root)
        for process in all_processes():
            words = " ".join(command_line(process.pid))
            if home in words and "dbcalm_mariadb_cmd.supervisor.runner" in words:
                os.kill(process.pid, signal.SIGKILL)
        if service_too:
            plain.sandbox.restart(MYSQL_SERVICE)
        ended = plain.end(accepted)
    assert ended["reason"] == "interrupted"
    assert told(plain, ended["pid"]) == (
        f"error: job {ended['pid']}: full backup {ended['resource_id']}, schedule 78: failed (interrupted): "
        f"{ended['error']}"
    )


def test_a_refusal_is_told_by_the_service_and_by_the_api(plain: Rig) -> None:
    plain.sandbox.stop_db()
    try:
        assert plain.refused("POST", "/backups", {"type": "full", "schedule_id": 79})[0] == 503
    finally:
        plain.sandbox.start_db()
    assert last_told(plain) == "warning: full backup, schedule 79: refused: server is not running"
    log = (plain.sandbox.layout.log / f"{API}.log").read_text().splitlines()
    [line] = [line for line in log if "for schedule 79" in line]
    assert re.search(r" WARNING .*make full backup for schedule 79: refused: server is not running$", line)


@contextmanager
def host_log(folder: Path) -> Iterator[socket.socket]:
    """Give a socket that takes the place of /dev/log for who runs in the view."""
    (folder / "dev").mkdir()
    folder.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(folder / "dev" / "log"))
        (folder / "dev" / "log").chmod(0o666)
        log.setblocking(False)
        yield log


def heard(log: socket.socket) -> list[tuple[int, str]]:
    """Return the priority and the words of each message, without its time and the process's number."""
    messages: list[tuple[int, str]] = []
    while True:
        try:
            text = log.recv(8192).decode().rstrip("\0")
        except BlockingIOError:
            return messages
        found = re.fullmatch(r"<(\d+)>\w+ +\d+ [\d:]+ (\w+)\[\d+\]: (.*)", text)
        assert found is not None, text
        assert found[2] == "dbcalm"
        messages.append((int(found[1]) % 8, found[3]))


def in_a_view(rig: Rig, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``dbcalm`` as cron does, and as root, where the log of the host is ours."""
    return subprocess.run(
        [*own_view(), _VIEW, "sh", *str(rig.sandbox.layout.launch).split(), *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "DBCALM_CONFIG": str(rig.sandbox.layout.config)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[socket.socket]:
    own_view()
    with host_log(tmp_path) as listening:
        yield listening


def test_what_cron_was_refused_is_in_the_log_of_the_host(
    plain: Rig, tmp_path: Path, log: socket.socket
) -> None:
    plain.sandbox.stop_db()
    try:
        refused = in_a_view(plain, tmp_path, "backup", "full", "--schedule-id", "80")
    finally:
        plain.sandbox.start_db()
    assert (refused.returncode, refused.stderr) == (1, "dbcalm: server is not running\n")
    [(priority, words)] = heard(log)
    assert (priority, words.split(": ", 1)[1]) == (
        4,
        "make full backup for schedule 80: refused: server is not running",
    )


def test_what_cron_began_is_in_the_log_of_the_host(plain: Rig, tmp_path: Path, log: socket.socket) -> None:
    begun = in_a_view(plain, tmp_path, "backup", "full", "--schedule-id", "81", "--wait")
    assert (begun.returncode, begun.stderr) == (0, "")
    [(priority, words)] = heard(log)
    assert priority == 6
    found = re.search(r": make full backup for schedule 81: began, job (\w{32})$", words)
    assert found is not None
    assert told(plain, found[1]).endswith(", schedule 81: success")


@pytest.mark.parametrize("command", [("backup", "full", "--schedule-id", "82"), ("cleanup",)])
def test_what_keeps_cron_from_asking_at_all_is_in_the_log_of_the_host(
    plain: Rig, tmp_path: Path, log: socket.socket, command: tuple[str, ...]
) -> None:
    """A mistake in the configuration, of which crond's line says nothing, and the mysql service that is down."""
    with plain.sandbox.layout.config.open("r+") as file:
        whole = file.read()
        file.write("\nno_such_key: 1\n")
        file.flush()
        assert in_a_view(plain, tmp_path, *command).returncode == 1
        file.seek(0)
        file.write(whole)
        file.truncate()
    [(priority, words)] = heard(log)
    assert priority == 4
    assert words.startswith(f"dbcalm: {' '.join(command)}: refused: ")
    assert "no_such_key" in words
    plain.sandbox.kill(MYSQL_SERVICE)
    try:
        assert in_a_view(plain, tmp_path, *command).returncode == 1
    finally:
        plain.sandbox.restart(MYSQL_SERVICE)
    [(priority, words)] = heard(log)
    assert priority == 4
    assert "refused: the service dbcalm-mariadb-cmd does not answer" in words
