"""Backups, restores and processes on the command line: real processes, over a socket to a service in memory."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm.cli.common import waiting
from dbcalm.cli.common.output import printable
from dbcalm.domain.rules.turns import turn_of
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import Unavailable
from dbcalm_cmd_client import Answer
from dbcalm_mariadb_cmd.command.amounts import size
from tests.support.dbcalm_fakes import FakeMysqlService, manifest
from tests.support.patience import PATIENCE
from tests.unit.dbcalm.api.test_server import FakeSocket
from tests.unit.dbcalm.cli.test_main import CHECKOUT, ME, Cli, loaded_by, refused

pytestmark = pytest.mark.slow

RUNNING = "0" * 32
BUSY = Answer(409, f"job {RUNNING} is running (backup); wait for its end", {"job_id": RUNNING})

COPYING = {
    "phase": "copying", "bytes_done": 420, "bytes_total": 1000,
    "percent": 42, "bytes_per_second": 100, "seconds_left": 6,
}  # fmt: skip


@pytest.fixture
def dbcalm(tmp_path: Path) -> Cli:
    (tmp_path / "state").mkdir(mode=0o700)
    config = tmp_path / "config.yml"
    config.write_text(
        f"database_file: {tmp_path}/state/db.sqlite3\n"
        f"cmd_socket: {tmp_path}/cmd.sock\nmariadb_cmd_socket: {tmp_path}/mysql.sock\ndbcalm_user: {ME}\n"
    )
    return Cli(config)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeMysqlService]:
    fake = FakeMysqlService()
    socket = FakeSocket(tmp_path / "mysql.sock", fake)
    yield fake
    socket.close()


def job_of(line: str) -> str:
    found = re.search(r"job ([0-9a-f]{32})", line)
    assert found, line
    return found[1]


def unreachable(dbcalm: Cli) -> None:
    """Take the service's socket away."""
    dbcalm.config.with_name("mysql.sock").unlink()


def made(dbcalm: Cli, service: FakeMysqlService, *arguments: str) -> str:
    """Make a backup that succeeds; return its job's id."""
    done = dbcalm("backup", *arguments)
    assert done.returncode == 0, done.stderr
    job_id = job_of(done.stdout)
    service.finish(job_id)
    return job_id


class Waiting:
    """A command that waits for its job; its first line was read."""

    def __init__(self, dbcalm: Cli, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "dbcalm.py", *arguments, "--wait"],
            cwd=CHECKOUT,
            env=dbcalm.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        self.stdout = self.process.stdout
        self.line = self.stdout.readline()
        self.job_id = job_of(self.line)

    def ended(self) -> subprocess.CompletedProcess[str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess([], self.process.returncode, out, err)


def on_a_terminal(dbcalm: Cli, *arguments: str, react: Callable[[str, int], bool]) -> tuple[int, str]:
    """Run on a terminal, giving ``react`` all that was shown, and the terminal, until it says that it is done."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(CHECKOUT)
        environment = {**dbcalm.environment, "TERM": "xterm"}
        os.execve(sys.executable, [sys.executable, "dbcalm.py", *arguments], environment)
    shown, done = "", False
    try:
        while more := os.read(terminal, 1024):
            shown += more.decode()
            done = done or react(shown, terminal)
    except OSError:  # The other side is closed.
        pass
    _pid, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


def test_a_backup_is_accepted_and_its_process_stored(dbcalm: Cli, service: FakeMysqlService) -> None:
    done = dbcalm("backup", "full", "--id", "Before Upgrade", "--schedule-id", "7", "--form", "folder")
    assert (done.returncode, done.stderr) == (0, "")
    job_id = job_of(done.stdout)
    assert done.stdout == f"backup before-upgrade: full, job {job_id}\n"
    assert service.asked_for("full_backup") == [(job_id, "before-upgrade", 7, "folder", False)]
    unreachable(dbcalm)
    [process] = json.loads(dbcalm("processes", "list", "--json").stdout)["items"]
    assert (process["command_id"], process["status"]) == (job_id, "running")


def test_a_few_letters_of_an_id_are_enough_but_not_to_delete_unasked(
    dbcalm: Cli, service: FakeMysqlService
) -> None:
    for id in ("monday", "tuesday"):
        made(dbcalm, service, "full", "--id", id)
    assert json.loads(dbcalm("backups", "show", "mon", "--json").stdout)["id"] == "monday"
    assert json.loads(dbcalm("backups", "show", "latest", "--json").stdout)["id"] == "tuesday"
    done = dbcalm("restore", "latest", "--target", "folder")
    assert done.stdout.startswith("restore of tuesday: to ")
    service.finish(job_of(done.stdout))
    done = dbcalm("processes", "show", "latest", "--json")
    assert json.loads(done.stdout)["type"] == "restore"
    whole = "with --yes the whole id is needed: dbcalm backups delete monday --yes"
    refused(dbcalm("backups", "delete", "mon", "--yes"), whole)
    code, shown = on_a_terminal(
        dbcalm,
        "backups",
        "delete",
        "mon",
        react=lambda shown, terminal: "]: " in shown and bool(os.write(terminal, b"n\n")),
    )
    assert "Delete full backup monday of " in shown
    assert code == 1


@pytest.mark.parametrize("command", [("backup", "full"), ("backup", "incremental"), ("verify",)])
def test_cron_starts_it_and_it_only_does_what_is_due(
    dbcalm: Cli, service: FakeMysqlService, tmp_path: Path, command: tuple[str, ...]
) -> None:
    made(dbcalm, service, "full", "--id", "one")
    asked, turn = len(service.calls), turn_of(time.time(), 300)
    (tmp_path / "state" / "schedule-7.turn").write_text(f"300 {turn + 1}\n")
    done = dbcalm(*command, "--schedule-id", "7", "--if-due", "300")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "schedule 7 is not due: it runs every 300 minutes\n"
    assert len(service.calls) == asked
    (tmp_path / "state" / "schedule-7.turn").write_text(f"300 {turn - 1}\n")
    done = dbcalm(*command, "--schedule-id", "7", "--if-due", "300")
    assert done.returncode == 0, done
    service.finish(job_of(done.stdout))
    assert dbcalm(*command, "--schedule-id", "7").returncode == 0  # A person is asked nothing.


def test_an_incremental_builds_on_what_only_the_journal_knows(dbcalm: Cli, service: FakeMysqlService) -> None:
    refused(dbcalm("backup", "incremental"), "make a full backup first")
    made(dbcalm, service, "full", "--id", "one")
    job_id = made(dbcalm, service, "incremental")
    assert service.asked_for("incremental_backup")[-1] == (job_id, None, "one", True, None, None)
    job_id = made(dbcalm, service, "incremental", "--from", "one", "--id", "three", "--schedule-id", "2")
    assert service.asked_for("incremental_backup")[-1] == (job_id, "three", "one", False, 2, None)


def test_a_full_that_stands_in_says_why(dbcalm: Cli, service: FakeMysqlService) -> None:
    note = "a full backup is made instead: of a reason"
    service.refusal = Answer(
        202, "accepted", {"id": "x", "type": "full", "from_backup_id": None, "note": note}
    )
    done = dbcalm("backup", "incremental", "--from", "one")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stdout.startswith("backup x: full, job ")
    assert done.stdout.endswith(f"; {note}\n")


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"percent": 30}, "copying 42% 420 B of 1.0 kB, 100 B/s, 6 s left"),
        (
            {"percent": 99, "phase": "syncing", "bytes_done": 1000},
            "syncing 1.0 kB of 1.0 kB, 100 B/s, 6 s left",
        ),
        ({"percent": 7, "phase": "", "bytes_done": 0}, "starting 7%, 100 B/s, 6 s left"),
        ({"percent": None, "bytes_total": 0}, "copying 420 B, 100 B/s, 6 s left"),
    ],
)
def test_the_percentage_beside_bytes_is_that_of_these_bytes(told: dict[str, object], shown: str) -> None:
    assert waiting.sentence({**COPYING, **told}) == shown


def test_waiting_ends_with_the_backup(dbcalm: Cli, service: FakeMysqlService) -> None:
    waits = Waiting(dbcalm, "backup", "full", "--id", "one")
    service.progress[waits.job_id] = COPYING
    assert waits.stdout.readline() == "copying 42% 420 B of 1.0 kB, 100 B/s, 6 s left\n"
    service.finish(waits.job_id)
    done = waits.ended()
    assert (done.returncode, done.stdout, done.stderr) == (0, "backup one is whole, 1.0 kB\n", "")


@pytest.mark.parametrize(
    ("end", "word"),
    [
        ({"reason": "error", "return_code": 1, "error": "the disk\nis full"}, "the disk is full"),
        ({"reason": "interrupted", "return_code": None, "error": None}, "interrupted"),
    ],
)
@pytest.mark.parametrize("arguments", [("backup", "full"), ("restore", "one", "--target", "folder")])
def test_a_job_that_fails_is_one_line(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...], end: dict[str, Any], word: str
) -> None:
    made(dbcalm, service, "full", "--id", "one")
    waits = Waiting(dbcalm, *arguments)
    service.finish(waits.job_id, "failed", **end)
    done = waits.ended()
    refused(done, word)
    assert done.stdout == ""


def test_a_service_that_is_silent_for_long_is_told(
    services: Services, mysql: FakeMysqlService, root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = services.backups.create(root, "full")
    mysql.down = True
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(Unavailable, match=f"processes show {job.job_id}"):
        waiting.wait(services, job.job_id, "it")


def test_ctrl_c_detaches(dbcalm: Cli, service: FakeMysqlService) -> None:
    waits = Waiting(dbcalm, "backup", "full", "--id", "one")
    waits.process.send_signal(signal.SIGINT)
    done = waits.ended()
    assert done.returncode == 130
    assert f"job {waits.job_id} goes on; follow it with: dbcalm processes show {waits.job_id}" in done.stderr
    service.finish(waits.job_id)
    assert json.loads(dbcalm("processes", "show", waits.job_id, "--json").stdout)["status"] == "success"


def test_a_terminal_has_a_live_line(dbcalm: Cli, service: FakeMysqlService) -> None:
    def react(shown: str, terminal: int) -> bool:
        if "copying 42%" in shown:
            service.finish(job_of(shown))
            return True
        if "\n" in shown:
            service.progress[job_of(shown)] = {
                "phase": "copying",
                "bytes_done": 42,
                "bytes_total": 100,
                "percent": 42,
            }
        return False

    # What is shown once is shown again: the terminal is read until the progress stands there.
    code, shown = on_a_terminal(dbcalm, "backup", "full", "--id", "one", "--wait", react=react)
    assert code == 0, shown
    assert "\r\x1b[Kcopying 42% 42 B of 100 B" in shown
    assert shown.endswith("\r\x1b[Kbackup one is whole, 1.0 kB\r\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup", "full"),
        ("backup", "full", "--wait"),
        ("restore", "one", "--target", "folder"),
        ("backups", "delete", "one", "--yes"),
    ],
)
def test_only_a_job_that_runs_is_75(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...]
) -> None:
    made(dbcalm, service, "full", "--id", "one")
    service.refusal = BUSY
    refused(dbcalm(*arguments), f"job {RUNNING} is running", 75)
    for answer in (
        Answer(409, "a backup named one exists already", {}),
        Answer(503, "server is not running", {}),
        Answer(404, "there is no backup 'one'", {}),
        Answer(507, "the disk is too full", {}),
    ):
        service.refusal = answer
        if answer.code != 404 or arguments[0] != "backups":  # A backup that is gone already is deleted.
            refused(dbcalm(*arguments), answer.status)


def test_without_the_service_jobs_are_refused_and_lists_are_old(
    dbcalm: Cli, service: FakeMysqlService
) -> None:
    job_id = made(dbcalm, service, "full", "--id", "one")
    assert "one" in dbcalm("backups", "list").stdout
    unreachable(dbcalm)
    for arguments in (
        ("backup", "full"),
        ("backup", "incremental", "--wait"),
        ("restore", "one", "--target", "folder"),
        ("backups", "delete", "one", "--yes"),
    ):
        refused(dbcalm(*arguments), "dbcalm-mariadb-cmd does not answer")
    for arguments in (
        ("backups", "list"),
        ("backups", "show", "one"),
        ("processes", "show", job_id, "--json"),
    ):
        done = dbcalm(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (0, 1)
        assert "out of date" in done.stderr
        assert "one" in done.stdout
    refused(dbcalm("backups", "show", "two"), "there is no backup 'two'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup",),
        ("backup", "fast"),
        ("backup", "full", "--from", "one"),
        ("backup", "full", "--schedule-id", "0"),
        ("backup", "full", "--schedule-id", str(2**63)),
        ("backup", "full", "--if-due", "45"),
        ("backup", "full", "--schedule-id", "1", "--if-due", "0"),
        ("verify", "--if-due", "45"),
        ("backups", "list", "--page", "0"),
        ("backups", "list", "--per-page", "1001"),
        ("backups", "show"),
        ("backups", "delete", "one"),
        ("restore", "one"),
        ("restore", "one", "--target", "moon"),
        ("processes", "show"),
    ],
)
def test_wrong_usage_is_2(dbcalm: Cli, arguments: tuple[str, ...]) -> None:
    done = dbcalm(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("backup", "full", "--id", "restores"), "reserved"),
        (("backup", "full", "--id", "../x"), "id must be"),
        (("backup", "incremental", "--from", "../x"), "there is no backup"),
        (("backups", "show", "../x"), "there is no backup"),
        (("backups", "delete", "x", "--yes"), "there is no backup"),
        (("backups", "list", "--query", "colour|red"), "unknown field"),
        (("backups", "list", "--order", "size|asc"), "valid are"),
        (("restore", "../x", "--target", "folder"), "there is no backup"),
        (("restore", "x", "--target", "database"), "there is no backup 'x'"),
        (("processes", "show", "x"), "there is no job"),
    ],
)
def test_wrong_input_is_one_line(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...], word: str
) -> None:
    refused(dbcalm(*arguments), word)


def test_backups_are_listed_and_shown(dbcalm: Cli, service: FakeMysqlService) -> None:
    made(dbcalm, service, "full", "--id", "one")
    made(dbcalm, service, "incremental", "--id", "two")
    head, two, one = dbcalm("backups", "list").stdout.splitlines()
    assert head.split() == [
        "ID",
        "TYPE",
        "FROM_BACKUP_ID",
        "START_TIME",
        "END_TIME",
        "SIZE",
        "FORM",
        "PROVEN",
        "HELD",
    ]
    assert two.split()[:3] == ["two", "incremental", "one"]
    assert one.split()[:3] == ["one", "full", "-"]
    assert one.split()[-5:] == ["1.0", "kB", "folder", "whole", "-"]
    page = json.loads(dbcalm("backups", "list", "--json", "--per-page", "1", "--page", "2").stdout)
    assert page["pagination"] == {"total": 2, "page": 2, "per_page": 1, "total_pages": 2}
    assert page["items"] == [json.loads(dbcalm("backups", "show", "one", "--json").stdout)]
    done = dbcalm("backups", "list", "--per-page", "1", "--order", "id|asc")
    assert done.stdout.splitlines()[1].startswith("one ")
    assert done.stderr == "page 1 of 2, 2 in all\n"
    found = json.loads(dbcalm("backups", "list", "--json", "--query", "from_backup_id|one").stdout)
    assert [item["id"] for item in found["items"]] == ["two"]
    shown = dict(line.split(": ", 1) for line in dbcalm("backups", "show", "two").stdout.splitlines())
    assert {name: value.strip() for name, value in shown.items()}.items() >= {
        "id": "two", "from_backup_id": "one", "size": "1.0 kB", "note": "-",
    }.items()  # fmt: skip


def test_what_is_held_and_what_is_encrypted_is_seen_in_the_list(
    dbcalm: Cli, service: FakeMysqlService
) -> None:
    for number, (id, more) in enumerate(
        {
            "plain": {},
            "sealed": {"form": "zstd", "recipients": ["age1" + "q" * 58]},
            "held": {"hold": {"reason": "audit", "until": None, "since": "2026-01-01T00:00:00.000000Z"}},
            "held-until": {
                "hold": {
                    "reason": "audit",
                    "until": "2999-12-31T12:00:00.000000Z",
                    "since": "2026-01-01T00:00:00.000000Z",
                }
            },
        }.items(),
        1,
    ):
        service.on_disk[id] = manifest(id, number, **more)
    assert dbcalm("catalogue", "rebuild").returncode == 0
    lines = {line.split()[0]: line for line in dbcalm("backups", "list").stdout.splitlines()[1:]}
    assert lines["plain"].split()[-3:] == ["folder", "whole", "-"]
    assert lines["sealed"].split()[-4:] == ["zstd,", "encrypted", "whole", "-"]
    assert lines["held"].endswith(" for good")
    assert lines["held-until"].endswith(" until 2999-12-31 12:00 UTC")
    assert "for good" in dbcalm("backups", "show", "held").stdout


def test_delete_asks_on_a_terminal(dbcalm: Cli, service: FakeMysqlService) -> None:
    made(dbcalm, service, "full", "--id", "one")

    def typing(word: bytes) -> Callable[[str, int], bool]:
        return lambda shown, terminal: "]: " in shown and bool(os.write(terminal, word))

    code, shown = on_a_terminal(dbcalm, "backups", "delete", "one", react=typing(b"n\n"))
    assert code == 1
    assert "Delete full backup one of 20" in shown
    assert list(service.on_disk) == ["one"]
    code, shown = on_a_terminal(dbcalm, "backups", "delete", "one", react=typing(b"y\n"))
    assert (code, service.on_disk) == (0, {}), shown
    refused(dbcalm("backups", "delete", "one", "--yes"), "there is no backup 'one'")


def test_a_restore_says_where_the_data_will_be(dbcalm: Cli, service: FakeMysqlService) -> None:
    made(dbcalm, service, "full", "--id", "one")
    waits = Waiting(dbcalm, "restore", "one", "--target", "database")
    assert waits.line == f"restore of one: to /var/lib/mysql, job {waits.job_id}\n"
    service.finish(waits.job_id)
    done = waits.ended()
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "backup one is restored in /var/lib/mysql\n",
        "",
    )
    [restore] = json.loads(dbcalm("restores", "list", "--json").stdout)["items"]
    assert (restore["backup_id"], restore["target"], restore["status"]) == ("one", "database", "success")
    assert dbcalm("restores", "list").stdout.splitlines()[1].split()[1:4] == [
        "one",
        "database",
        "/var/lib/mysql",
    ]


def test_a_job_is_cancelled(dbcalm: Cli, service: FakeMysqlService) -> None:
    job_id = job_of(dbcalm("backup", "full", "--id", "one").stdout)
    done = dbcalm("processes", "cancel", job_id)
    assert (done.returncode, done.stderr) == (0, f"job {job_id} was cancelled\n")
    again = dbcalm("processes", "cancel", job_id)
    assert (again.returncode, again.stderr) == (1, f"dbcalm: job {job_id} has ended: failed\n")
    missing = dbcalm("processes", "cancel", "none")
    assert (missing.returncode, missing.stderr) == (1, "dbcalm: there is no job 'none'\n")


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ({"status": "success"}, "its work was done"),
        ({"status": "failed", "reason": "error", "error": "disk full"}, "disk full"),
    ],
)
def test_a_job_that_ended_otherwise_was_not_cancelled(
    dbcalm: Cli, service: FakeMysqlService, monkeypatch: pytest.MonkeyPatch, end: dict[str, Any], how: str
) -> None:
    job_id = job_of(dbcalm("backup", "full", "--id", "one").stdout)

    def too_late(job_id: str) -> Answer:
        service.finish(job_id, **end)
        return Answer(202, "accepted", {})

    monkeypatch.setattr(service, "cancel_job", too_late)
    done = dbcalm("processes", "cancel", job_id)
    assert (done.returncode, done.stderr) == (
        1,
        f"dbcalm: job {job_id} ended before it could be cancelled: {how}\n",
    )


def test_processes_are_listed_and_shown(dbcalm: Cli, service: FakeMysqlService) -> None:
    job_id = job_of(dbcalm("backup", "full", "--id", "one").stdout)
    service.progress[job_id] = {"phase": "copying", "bytes_done": 1_200_000_000, "bytes_total": 0}
    shown = dbcalm("processes", "show", job_id).stdout
    assert "progress:    copying 1.2 GB\n" in shown
    process = json.loads(dbcalm("processes", "show", job_id, "--json").stdout)
    assert process["progress"]["bytes_done"] == 1_200_000_000
    service.finish(job_id, output="first\n\x1b[31mlast")
    [listed] = json.loads(dbcalm("processes", "list", "--json").stdout)["items"]
    assert json.loads(dbcalm("processes", "show", job_id, "--json").stdout) == {**listed, "progress": None}
    shown = dbcalm("processes", "show", job_id).stdout
    assert "first\n" + " " * 13 + " [31mlast\n" in shown
    assert dbcalm("processes", "list").stdout.splitlines()[1].split()[:4] == [
        job_id,
        "backup",
        "one",
        "success",
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (10**19, "10000.0 PB"),
    ],
)
def test_sizes_are_readable(count: int, shown: str) -> None:
    assert size(count) == shown


def test_what_is_printed_moves_no_cursor() -> None:
    assert printable("a\x1b[2Jb\rc") == "a [2Jb c"


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting._plain() as tell:
        for phase in ("copying", "copying", "checksumming"):
            tell(
                {
                    **COPYING,
                    **dict.fromkeys(("percent", "bytes_per_second", "seconds_left")),
                    "phase": phase,
                    "bytes_done": 0,
                }
            )
    assert capsys.readouterr().out == "copying\n"


@pytest.mark.parametrize("arguments", [("backup", "full"), ("backups", "list"), ("processes", "list")])
def test_commands_start_without_what_only_the_server_needs(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...]
) -> None:
    loaded = loaded_by(dbcalm, *arguments)
    assert "dbcalm_mariadb_cmd_client" in loaded
    assert not loaded & {"fastapi", "starlette", "uvicorn", "jose", "passlib", "bcrypt"}
