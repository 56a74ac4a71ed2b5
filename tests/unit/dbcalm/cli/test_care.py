"""Clean-up, holds, the trash, logs and the status on the command line: real processes, the real root service, and a
mysql service in memory."""

import json
import os
import pwd
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService
from tests.support.dbcalm_root import RootProcess
from tests.support.patience import PATIENCE, eventually
from tests.unit.dbcalm.api.test_server import FakeSocket
from tests.unit.dbcalm.cli.test_jobs import job_of, made, on_a_terminal, unreachable
from tests.unit.dbcalm.cli.test_main import CHECKOUT, ME, Cli, refused

pytestmark = pytest.mark.slow


@pytest.fixture
def dbcalm(tmp_path: Path) -> Cli:
    (tmp_path / "state").mkdir(mode=0o700)
    config = tmp_path / "config.yml"
    config.write_text(
        f"database_file: {tmp_path}/state/db.sqlite3\nmariadb_cmd_socket: {tmp_path}/mysql.sock\n"
        f"cmd_socket: {tmp_path}/cmd.sock\ndbcalm_user: {ME}\napi_host: 127.0.0.1\napi_port: 1\nkeep_last: 1\n"
    )
    return Cli(config)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeMysqlService]:
    fake = FakeMysqlService()
    listener = FakeSocket(tmp_path / "mysql.sock", fake)
    yield fake
    listener.close()


@pytest.fixture
def root_service(dbcalm: Cli) -> Iterator[None]:
    """The real one, with a cron file of its own."""
    process = RootProcess(dbcalm.config.parent)
    process.start()
    yield
    process.kill()


@pytest.fixture
def two(dbcalm: Cli, service: FakeMysqlService) -> FakeMysqlService:
    """An old chain of two, and a new one."""
    made(dbcalm, service, "full", "--id", "a")
    made(dbcalm, service, "incremental", "--id", "b")
    made(dbcalm, service, "full", "--id", "c")
    for id in ("a", "b"):
        service.on_disk[id]["end_time"] = "2026-01-01T03:00:00.000000Z"
    return service


def output(dbcalm: Cli, *arguments: str) -> str:
    """Return what a command printed, which must succeed in silence."""
    done = dbcalm(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


# Clean-up


def test_a_clean_up_tells_what_it_deletes(dbcalm: Cli, two: FakeMysqlService) -> None:
    line = output(dbcalm, "cleanup")
    assert line == f"clean-up: 2 backups, job {job_of(line)}\n"
    assert two.asked_for("cleanup_backups") == [(job_of(line), ["b", "a"], None)]
    assert sorted(two.trash) == ["a", "b"]
    assert output(dbcalm, "cleanup").startswith("clean-up: 0 backups, job ")


def test_a_clean_up_as_json_is_what_the_api_gives(dbcalm: Cli, two: FakeMysqlService) -> None:
    two.clock_doubt = "the clock went back"
    started = json.loads(output(dbcalm, "cleanup", "--json"))
    assert (
        started.items() >= {"type": "cleanup_backups", "deleting": [], "note": "the clock went back"}.items()
    )
    assert output(dbcalm, "cleanup").endswith("; the clock went back\n")


def test_a_dry_run_deletes_nothing_and_says_why(dbcalm: Cli, two: FakeMysqlService) -> None:
    done = dbcalm("cleanup", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "2 backups would be deleted\n")
    head, first, second = done.stdout.splitlines()
    assert head.split() == ["CHAIN", "BACKUPS", "SIZE", "NEWEST", "VERDICT"]
    assert re.match(
        r"a +2 +2\.0 kB +2026-01-01 03:00 UTC +goes: its newest backup b has expired: keep_last chose", first
    )
    assert re.match(
        r"c +1 +1\.0 kB .* stays: c is among the newest 1; one of the newest 1 whole chains$", second
    )
    assert two.asked_for("cleanup_backups") == []
    two.clock_doubt = "the clock went back"
    found = json.loads(output(dbcalm, "cleanup", "--dry-run", "--json"))
    assert found["blocked"] == "the clock went back"
    assert [(one["chain"], bool(one["kept"])) for one in found["chains"]] == [("a", False), ("c", True)]


def test_a_clean_up_that_cannot_be_is_one_line(dbcalm: Cli, two: FakeMysqlService) -> None:
    refused(dbcalm("cleanup", "--schedule-id", "7"), "there is no schedule 7")
    refused(dbcalm("cleanup", "--dry-run", "--schedule-id", "7"), "there is no schedule 7")
    assert dbcalm("cleanup", "--schedule-id", "0").returncode == 2
    unreachable(dbcalm)
    refused(dbcalm("cleanup"), "dbcalm-mariadb-cmd does not answer")


# A job that is in the way


class EndsSoon(threading.Thread):
    """Ends a job of the service a moment after it has kept somebody from a command."""

    def __init__(self, service: FakeMysqlService, job_id: str, command: str) -> None:
        super().__init__()
        self.has_ended = False
        self._service, self._job, self._command = service, job_id, command
        self._asked = len(service.asked_for(command))
        self.start()

    def run(self) -> None:
        eventually(lambda: len(self._service.asked_for(self._command)) > self._asked)
        time.sleep(0.5)
        self.has_ended = True
        self._service.refusal = None
        self._service.finish(self._job)


def busy(service: FakeMysqlService, job_id: str) -> None:
    """Refuse whatever comes because of this job."""
    service.refusal = Answer(409, f"job {job_id} is running (backup); wait for its end", {"job_id": job_id})


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("backup", "incremental", "--schedule-id", "2"), "incremental_backup"),
        (("cleanup",), "cleanup_backups"),
    ],
)
def test_what_cron_starts_waits_for_the_job_in_its_way(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...], command: str
) -> None:
    made(dbcalm, service, "full", "--id", "one")
    running = job_of(output(dbcalm, "backup", "full"))
    busy(service, running)
    other = EndsSoon(service, running, command)
    line = output(dbcalm, *arguments)
    assert other.has_ended
    assert job_of(line) != running


@pytest.mark.parametrize("type", ["full", "incremental"])
def test_what_kept_a_scheduled_backup_from_starting_is_told(
    dbcalm: Cli, two: FakeMysqlService, root_service: None, type: str
) -> None:
    for kind in ("full", "incremental"):
        assert dbcalm("schedules", "add", kind, "--frequency", "hourly", "--minute", "0").returncode == 0
    unreachable(dbcalm)
    number = {"full": "1", "incremental": "2"}[type]
    refused(dbcalm("backup", type, "--schedule-id", number), "dbcalm-mariadb-cmd does not answer")
    told = json.loads(dbcalm("schedules", "show", number, "--json").stdout)
    assert told["last_error"].startswith("the service dbcalm-mariadb-cmd does not answer")


def test_it_waits_no_longer_than_it_may(dbcalm: Cli, service: FakeMysqlService) -> None:
    with dbcalm.config.open("a") as config:
        config.write("schedule_patience: 1s\n")
    running = job_of(output(dbcalm, "backup", "full"))
    busy(service, running)
    refused(dbcalm("backup", "full", "--schedule-id", "2"), f"job {running} is running", 75)
    refused(dbcalm("cleanup"), f"job {running} is running", 75)


def test_runs_of_one_schedule_do_not_pile_up(dbcalm: Cli, service: FakeMysqlService) -> None:
    running = job_of(output(dbcalm, "backup", "full"))
    busy(service, running)
    waiting = subprocess.Popen(
        [sys.executable, "dbcalm.py", "backup", "full", "--schedule-id", "2"],
        cwd=CHECKOUT, env=dbcalm.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    eventually(lambda: len(service.asked_for("full_backup")) == 2)
    refused(dbcalm("backup", "full", "--schedule-id", "2"), "schedule 2 waits for another job already", 75)
    service.refusal = None
    service.finish(running)
    assert job_of(waiting.communicate(timeout=PATIENCE)[0]) != running
    assert waiting.returncode == 0


def test_whoever_sits_at_a_terminal_is_answered_at_once(dbcalm: Cli, two: FakeMysqlService) -> None:
    running = job_of(output(dbcalm, "backup", "full"))
    busy(two, running)
    code, shown = on_a_terminal(dbcalm, "cleanup", react=lambda _shown, _terminal: True)
    assert code == 75
    assert f"job {running} is running" in shown


# Holds and the trash


def test_a_backup_is_held_and_released(dbcalm: Cli, two: FakeMysqlService) -> None:
    held = dbcalm("backups", "hold", "a", "--reason", "audit", "--until", "2100-01-01T12:00")
    assert (held.returncode, held.stdout) == (0, "")
    assert held.stderr == "backup a is held until 2100-01-01 12:00 UTC\n"
    assert "stays: a is held: audit, until 2100-01-01 12:00 UTC" in dbcalm("cleanup", "--dry-run").stdout
    assert json.loads(output(dbcalm, "backups", "show", "a", "--json"))["hold"]["reason"] == "audit"
    assert dbcalm("backups", "release", "a").stderr == "backup a is not held any more\n"
    assert dbcalm("backups", "hold", "a", "--reason", "x").stderr == "backup a is held\n"


def test_a_hold_that_cannot_be_is_one_line(dbcalm: Cli, two: FakeMysqlService) -> None:
    refused(dbcalm("backups", "hold", "none", "--reason", "x"), "no backup none")
    refused(dbcalm("backups", "hold", "a", "--reason", " "), "reason must be")
    refused(dbcalm("backups", "hold", "a", "--reason", "x", "--until", "soon"), "until must be a time")
    assert dbcalm("backups", "hold", "a").returncode == 2


def test_a_deleted_backup_is_listed_and_comes_back(dbcalm: Cli, two: FakeMysqlService) -> None:
    assert dbcalm("backups", "delete", "c", "--yes").returncode == 0
    assert [one["id"] for one in json.loads(output(dbcalm, "backups", "list", "--deleted", "--json"))] == [
        "c"
    ]
    head, line = output(dbcalm, "backups", "list", "--deleted").splitlines()
    assert head.split()[-2:] == ["DELETED_AT", "PURGE_AT"]
    assert line.startswith("c ")
    assert dbcalm("backups", "undelete", "c").stderr == "backup c is back\n"
    assert "c" in two.on_disk
    refused(dbcalm("backups", "undelete", "c"), "no deleted backup c")


def test_a_log_is_printed_without_what_moves_the_cursor(dbcalm: Cli, service: FakeMysqlService) -> None:
    job_id = made(dbcalm, service, "full")
    service.logs[job_id] = "[00] started\n[00] \x1b[2Jcompleted OK!\n"
    assert output(dbcalm, "processes", "log", job_id) == "[00] started\n[00]  [2Jcompleted OK!\n"
    refused(dbcalm("processes", "log", "0" * 32), "no log of job")
    refused(dbcalm("processes", "log", "x; y"), "no job 'x; y'")


# Whether all is well


def test_all_is_well_is_0(dbcalm: Cli, two: FakeMysqlService, root_service: None) -> None:
    with listening(dbcalm, tls=True):
        assert_all_is_well(dbcalm, two)


def test_another_program_on_the_port_is_not_the_api(
    dbcalm: Cli, two: FakeMysqlService, root_service: None
) -> None:
    with listening(dbcalm, tls=False):
        done = dbcalm("status")
    assert done.returncode == 1
    assert "dbcalm-api DOES NOT ANSWER" in done.stdout


@contextmanager
def listening(dbcalm: Cli, *, tls: bool) -> Iterator[None]:
    """Let something answer on the API's port for the block: a server of TLS, or of a protocol of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):  # It was closed.
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    if tls:
                        context.wrap_socket(connection, server_side=True).close()
                    else:
                        connection.sendall(b"220 another program\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        dbcalm.config.write_text(dbcalm.config.read_text().replace("api_port: 1\n", f"api_port: {port}\n"))
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def assert_all_is_well(dbcalm: Cli, two: FakeMysqlService) -> None:
    made(dbcalm, two, "full", "--id", "new")
    schedule = dbcalm("schedules", "add", "full", "--frequency", "daily", "--hour", "3", "--minute", "0")
    assert schedule.returncode == 0, schedule.stderr
    lines = output(dbcalm, "status").splitlines()
    assert lines[0] == "all is well"
    told = {line.split()[0]: line for line in lines[1:]}
    assert set(told) >= {"services", "database", "full", "incremental", "restore", "schedules", "space"}
    assert "DOES NOT" not in told["services"]
    assert "new, " in told["full"]
    assert "1 enabled, the next at 20" in told["schedules"]
    assert json.loads(output(dbcalm, "status", "--json"))["ok"] is True


def test_what_needs_attention_is_1_and_comes_first(dbcalm: Cli, two: FakeMysqlService) -> None:
    two.chain_problem = "backup c is damaged: ibdata1 is missing"
    done = dbcalm("status")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "3 things need attention:"
    assert lines[1] == "  ! the newest backup cannot be restored: backup c is damaged: ibdata1 is missing"
    assert lines[2].startswith("  ! the service dbcalm-cmd does not answer")
    assert lines[3].startswith("  ! the API does not answer")
    assert "\x1b" not in done.stdout
    found = dbcalm("status", "--json")
    assert (found.returncode, json.loads(found.stdout)["services"]["dbcalm-api"]) == (1, False)


def test_status_works_while_everything_is_down(dbcalm: Cli) -> None:
    done = dbcalm("status")
    assert (done.returncode, done.stderr) == (1, "")
    assert "dbcalm-mariadb-cmd does not answer" in done.stdout.splitlines()[1]


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(
    dbcalm: Cli,
    two: FakeMysqlService,
    variables: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = {"TERM": "xterm", **variables}
    environment = {**dbcalm.environment, **terminal}
    monkeypatch.setattr(Cli, "environment", property(lambda _self: environment))
    command = " ".join(f"{name}={value}" for name, value in terminal.items())
    done = subprocess.run(
        ["script", "-qec", f"env {command} {sys.executable} dbcalm.py status", "/dev/null"],
        cwd=CHECKOUT, env={**environment, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ("\x1b[31m" in done.stdout) is coloured, done.stdout


# Root's own checkout

AS_WHOM = """
import json, os, sys
before = set()
become = os.setuid
def setuid(uid):
    become(uid)
    before.update(sys.modules)
os.setuid = setuid
from dbcalm.cli.main import main
try:
    main()
except SystemExit:
    pass
known = sys.stdlib_module_names
late = sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in known)
print(json.dumps({"became": bool(before), "late": late}), file=sys.stderr)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    "arguments",
    [
        "users list", "clients list", "clients add x", "backups list", "backups show a", "backups list --deleted",
        "backups hold a --reason x", "backup full", "backup incremental --schedule-id 1", "restores list",
        "restore a --target folder", "processes list", "schedules list", "schedules show 1", "status", "status --json",
        "schedules add full --frequency daily --hour 3 --minute 0", "cleanup", "cleanup --dry-run", "config check",
        "setup --check", "setup --yes", "setup --yes --user a --password-stdin --no-backup", "verify a",
        "replaced list", "restores folders", "catalogue rebuild", "backups delete a --yes", "users delete a --yes",
    ],
)  # fmt: skip
def test_nothing_is_loaded_once_root_has_become_another_user(
    dbcalm: Cli, two: FakeMysqlService, arguments: str
) -> None:
    """Who cannot enter the folder that root has put the program into finds no module there any more."""
    nobody = pwd.getpwnam("nobody")
    dbcalm.config.write_text(dbcalm.config.read_text().replace(f"dbcalm_user: {ME}", "dbcalm_user: nobody"))
    folder = dbcalm.config.parent
    for path in (folder / "state", *(folder / "state").iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for path in (folder, *list(folder.parents)[:-2]):
        path.chmod(path.stat().st_mode | 0o005)
    (folder / "mysql.sock").chmod(0o666)
    done = subprocess.run(
        [sys.executable, "-c", AS_WHOM, *arguments.split()],
        cwd=CHECKOUT, env=dbcalm.environment, capture_output=True, text=True, timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert json.loads(done.stderr.splitlines()[-1]) == {"became": True, "late": []}, done
