"""``dbcalm setup`` as root on a host of its own: a private MariaDB, the three services as their users, a real cron."""

import contextlib
import errno
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev import private_cron
from dev.private_cron import PrivateCron
from dev.sandbox_lib import Sandbox
from dev.sandbox_lib.api import Api
from dev.sandbox_lib.processes import ENVIRONMENT, all_processes, command_line
from dev.sandbox_lib.programs import launcher
from dev.sandbox_lib.services import API, MYSQL_SERVICE, ROOT_SERVICE
from tests.integration.conftest import states
from tests.support.able import mounted, traced
from tests.support.patience import PATIENCE, eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(private_cron.why_not()), reason=private_cron.why_not() or "cron can be run"),
]

USER = "'dbcalm_backup'@'localhost'"
PASSWORD = "a long and private sentence"

Done = subprocess.CompletedProcess[str]


class Host:
    """A sandbox as a host on which nothing is set up yet: no account, no option file, no user, no backup."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.credentials = sandbox.layout.credentials
        self.socket = str(sandbox.database.socket)

    def make_bare(self) -> None:
        """Bring it back to where nothing is set up."""
        for name in (ROOT_SERVICE, MYSQL_SERVICE, API):
            if self.sandbox.process(name) is not None:
                self.sandbox.services.end(name)
        state = self.sandbox.layout.state
        copies = state.with_name(f"{state.name}-copies")
        for folder in (state, copies, self.sandbox.layout.jobs, self.sandbox.layout.backups):
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.sandbox.layout.cron_file.unlink(missing_ok=True)
        self.credentials.unlink(missing_ok=True)
        self.sandbox.start_db()
        self.sandbox.sql(f"DROP USER IF EXISTS {USER}")
        for name in (ROOT_SERVICE, MYSQL_SERVICE, API):
            self.sandbox.restart(name)

    @property
    def command(self) -> list[str]:
        return [*launcher(self.sandbox.layout.programs, API), "setup"]

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "DBCALM_CONFIG": str(self.sandbox.layout.config)}

    def run(self, *options: str, text: str = "", as_user: bool = False) -> Done:
        """Run it as root, or as dbcalm, without a terminal."""
        who = self.sandbox.who.api.drop() if as_user else []
        done = subprocess.run(
            [*who, *self.command, *options],
            cwd="/", env=self.environment, input=text, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        assert self.password() not in done.stdout + done.stderr
        return done

    def whole(self, *options: str) -> Done:
        """Run it with all that a bare host needs."""
        return self.run(
            "--yes", "--database-socket", self.socket, "--user", "alice", "--password-stdin", *options,
            text=f"{PASSWORD}\n",
        )  # fmt: skip

    def password(self) -> str:
        """Return the password of the option file; something that stands nowhere where there is none."""
        if not self.credentials.exists():
            return "no password"
        return self.credentials.read_text().partition("password=")[2].splitlines()[0]

    def write_credentials(self, password: str, user: str = "dbcalm_backup") -> None:
        self.credentials.write_text(
            f"[client-dbcalm]\nuser={user}\npassword={password}\nhost=localhost\nsocket={self.socket}\n"
        )
        shutil.chown(self.credentials, "root", "mysql")
        self.credentials.chmod(0o640)

    def facts(self, *words: str) -> Any:
        """Return what a command of dbcalm says as JSON."""
        done = self.sandbox.cli(*words, "--json")
        return json.loads(done.stdout)

    def grants(self) -> list[str]:
        return self.sandbox.sql(f"SHOW GRANTS FOR {USER}").splitlines()

    def state(self) -> object:
        """Return all that a second run must leave alone."""
        users = self.facts("users", "list")
        schedules = self.facts("schedules", "list")["items"]
        kept = [
            {name: row[name] for name in row if not name.startswith(("next", "last"))} for row in schedules
        ]
        etc, cron = self.sandbox.layout.etc, self.sandbox.layout.cron_file
        backups = states(self.sandbox.layout.backups)
        return self.grants(), users, kept, states(etc), cron.stat().st_mtime_ns, backups


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    sandbox = Sandbox.up(tmp_path_factory.mktemp("setup") / "sandbox")
    sandbox.sql("CREATE DATABASE shop; CREATE TABLE shop.t SELECT seq AS id FROM shop.seq_1_to_1000")
    sandbox.sql("ALTER USER root@localhost IDENTIFIED VIA unix_socket")
    home = tmp_path_factory.mktemp("cron")
    try:
        with PrivateCron(sandbox.layout.cron_file.parent, home):
            yield Host(sandbox)
    finally:
        sandbox.down()


@pytest.fixture
def host(made: Host) -> Host:
    made.make_bare()
    return made


def marks(done: Done) -> dict[str, list[str]]:
    """Return the lines of each mark."""
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if told := re.match(r"(ok|done|note|WRONG) +(.*)", line):
            found.setdefault(told[1], []).append(" ".join(told[2].split()))
    return found


def wrong(done: Done) -> str:
    """Return the problems of a run that must have some, and end with 1 and one line."""
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    assert done.stderr.startswith("dbcalm: ")
    return "\n".join(marks(done).get("WRONG", []))


def test_options_alone_take_a_bare_host_to_its_first_backup(host: Host) -> None:
    done = host.whole()
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.splitlines()[-1] == "all is well"
    assert "WRONG" not in done.stdout
    status = host.credentials.stat()
    assert (status.st_uid, status.st_gid) == (0, host.sandbox.who.database.gid)
    assert status.st_mode & 0o7777 == 0o640
    [grant] = host.grants()
    assert grant.startswith(
        "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO `dbcalm_backup`@`localhost`"
    )
    [backup] = host.facts("backups", "list")["items"]
    assert (backup["type"], backup["form"]) == ("full", "zstd")
    assert f"{backup['id']} is whole" in done.stdout
    assert {
        row["backup_type"]: (row["frequency"], row["hour"])
        for row in host.facts("schedules", "list")["items"]
    } == {
        "full": ("weekly", 2),
        "incremental": ("daily", 3),
        "verify": ("weekly", 4),
    }
    assert host.sandbox.layout.cron_file.read_text().count("--schedule-id") == 3
    assert host.facts("status")["ok"] is True
    # The catalogue is dbcalm's alone.
    owners = {path.stat().st_uid for path in host.sandbox.layout.state.iterdir()}
    assert owners == {host.sandbox.who.api.uid}


def test_the_user_that_was_added_can_log_in(host: Host) -> None:
    done = host.whole("--no-backup", "--schedule", "none")
    assert wrong(done) == "status there is no full backup: make one with: dbcalm backup full"
    assert [user["username"] for user in host.facts("users", "list")] == ["alice"]
    facts = host.sandbox.facts
    for password, status in ((PASSWORD, 200), (f"{PASSWORD}!", 401)):
        login = {"username": "alice", "password": password}
        reply = Api(facts.url, Path(facts.ca), "", "")._send("POST", "/auth/authorize", login)
        assert reply.status == status, reply


def test_a_second_run_changes_nothing(host: Host) -> None:
    assert host.whole().returncode == 0
    before = host.state()
    for options in ((), ("--schedule", "daily-full"), ("--create-backup-user",)):
        done = host.whole(*options)
        assert (done.returncode, "done" in marks(done)) == (0, False), done
        told = marks(done)["ok"]
        assert sum("already there" in line for line in told) == 3
        assert host.state() == before


def test_check_makes_nothing_and_tells_what_is_missing(host: Host) -> None:
    done = host.run("--check")
    assert "database credentials file not found" in wrong(done)
    assert set(marks(done)) == {"ok", "WRONG"}
    assert not host.credentials.exists()
    assert host.facts("users", "list") == []
    host.whole()
    done = host.run("--check")
    assert (done.returncode, set(marks(done))) == (0, {"ok"}), done


def test_secrets_are_in_no_argument_no_output_and_no_log(host: Host) -> None:
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.update(" ".join(command_line(one.pid)) for one in all_processes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = host.whole()
    finally:
        stop.set()
        watcher.join()
    assert done.returncode == 0
    assert any("dbcalm.py setup" in words for words in seen)
    logs = "".join(
        path.read_text(errors="replace") for path in host.sandbox.layout.log.rglob("*") if path.is_file()
    )
    for secret in (host.password(), PASSWORD):
        assert len(secret) > 20
        assert not [words for words in seen if secret in words]
        assert secret not in done.stdout + done.stderr + logs


def test_no_program_is_ever_started_with_a_secret(host: Host, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    options = ["--yes", "--database-socket", host.socket, "--user", "alice", "--password-stdin"]
    done = subprocess.run(
        [*traced("-s", "4096", "-e", "trace=execve", "-o", str(trace)), *host.command, *options],
        cwd="/", env=host.environment, input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    started = trace.read_text()
    assert "created 'dbcalm_backup'" in done.stdout, done
    assert '"--user=root"' in started
    assert host.password() not in started
    assert PASSWORD not in started


class TestTheAccount:
    def test_is_made_with_the_password_that_the_file_has(self, host: Host) -> None:
        host.write_credentials("of-the-package-1")
        before = states(host.sandbox.layout.etc)
        done = host.run("--yes")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert marks(done)["done"][0] == f"backup user created {USER} in the database"
        assert states(host.sandbox.layout.etc) == before

    def test_gets_the_password_of_the_file_where_it_has_another(self, host: Host) -> None:
        host.sandbox.sql(f"CREATE USER {USER} IDENTIFIED BY 'forgotten'")
        host.write_credentials("of-the-package-2")
        shown = host.run("--yes").stdout
        assert f"ALTER USER {USER}" in shown
        assert f"changed {USER} in the database" in shown

    @pytest.mark.parametrize("kept_out", ["ACCOUNT LOCK", "PASSWORD EXPIRE", "IDENTIFIED VIA unix_socket"])
    def test_is_let_in_again_whatever_kept_it_out(self, host: Host, kept_out: str) -> None:
        host.write_credentials("of-the-package-4")
        host.sandbox.sql(f"CREATE USER {USER} IDENTIFIED BY 'of-the-package-4'; ALTER USER {USER} {kept_out}")
        done = host.run("--yes")
        assert (done.returncode, len(host.facts("backups", "list")["items"])) == (0, 1), done
        assert f"changed {USER} in the database" in done.stdout

    def test_gets_only_the_grants_where_these_are_missing(self, host: Host) -> None:
        host.write_credentials("of-the-package-3")
        host.sandbox.sql(f"CREATE USER {USER} IDENTIFIED BY 'of-the-package-3'")
        done = host.run("--yes")
        assert done.returncode == 0, done
        assert "ALTER USER" not in done.stdout
        assert len(host.grants()) == 1

    def test_of_somebody_else_is_not_changed(self, host: Host) -> None:
        host.sandbox.sql("CREATE OR REPLACE USER 'app'@'localhost' IDENTIFIED BY 'theirs'")
        before = host.sandbox.sql("SHOW CREATE USER 'app'@'localhost'")
        host.write_credentials("a-guess", user="app")
        assert "has a user 'app'@'localhost' already" in wrong(host.run("--yes", "--create-backup-user"))
        assert host.sandbox.sql("SHOW CREATE USER 'app'@'localhost'") == before

    def test_is_shown_and_not_made_where_that_is_not_wished(self, host: Host) -> None:
        done = host.whole("--no-create-backup-user")
        assert "refuses the user" in wrong(done)
        assert f"CREATE USER IF NOT EXISTS {USER}" in done.stdout
        assert host.sandbox.sql("SELECT COUNT(*) FROM mysql.user WHERE User = 'dbcalm_backup'") == "0"
        statements = "".join(
            f"{line.strip()}\n" for line in done.stdout.splitlines() if line.startswith("  ")
        )
        host.sandbox.sql(statements.replace(f"the password in {host.credentials}", host.password()))
        assert host.run("--yes").returncode == 0

    def test_is_explained_to_who_is_not_root(self, host: Host) -> None:
        done = host.run("--yes", as_user=True)
        assert "credentials file not found" in wrong(done)
        assert "to be done by root with: dbcalm setup" in done.stdout
        assert f"GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO {USER};" in done.stdout
        assert not host.credentials.exists()

    def test_is_not_made_by_a_file_that_dbcalm_can_write(self, host: Host) -> None:
        host.write_credentials("planted")
        os.chown(host.credentials, host.sandbox.who.api.uid, host.sandbox.who.database.gid)
        assert "must be owned by root" in wrong(host.run("--yes"))
        assert host.sandbox.sql("SELECT COUNT(*) FROM mysql.user WHERE User = 'dbcalm_backup'") == "0"

    def test_is_not_made_by_a_client_that_mysql_can_change(self, host: Host) -> None:
        planted = host.sandbox.database.home / "client"
        owned = host.sandbox.root / "owned"
        planted.write_text(f"#!/bin/sh\ntouch {owned}\n")
        planted.chmod(0o755)
        config = host.sandbox.layout.config
        original = config.read_text()
        config.write_text(f'{original}client_bin: "{planted}"\n')
        try:
            assert "must be owned by root" in wrong(host.whole())
        finally:
            config.write_text(original)
            planted.unlink()
        assert not owned.exists()
        assert not host.credentials.exists()


class TestWhatIsWrong:
    def test_another_user_is_told_who_may(self, host: Host) -> None:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *host.command, "--yes"],
            cwd="/", env=host.environment, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        assert "sudo dbcalm setup" in done.stderr

    def test_a_database_that_is_down(self, host: Host) -> None:
        host.write_credentials("any")
        host.sandbox.stop_db()
        assert "database server is not running" in wrong(host.run("--yes"))
        host.credentials.unlink()
        assert "Can't connect" in wrong(host.whole())
        assert not host.credentials.exists()

    def test_an_option_file_that_mysql_cannot_read(self, host: Host) -> None:
        host.write_credentials("any")
        host.credentials.chmod(0o600)
        told = wrong(host.run("--yes"))
        assert f"let mysql read it: chgrp mysql {host.credentials} && chmod 640 {host.credentials}" in told

    def test_a_client_that_is_missing(self, host: Host) -> None:
        config = host.sandbox.layout.config
        original = config.read_text()
        config.write_text(f'{original}client_bin: "/usr/bin/no-such-client"\n')
        try:
            host.sandbox.restart(MYSQL_SERVICE)
            assert "/usr/bin/no-such-client is not a program" in wrong(host.whole())
        finally:
            config.write_text(original)

    def test_a_service_that_is_down(self, host: Host) -> None:
        host.sandbox.kill(MYSQL_SERVICE)
        assert "systemctl status dbcalm-mariadb-cmd" in wrong(host.whole())
        assert not host.credentials.exists()
        host.sandbox.restart(MYSQL_SERVICE)
        host.sandbox.kill(ROOT_SERVICE)
        told = wrong(host.whole())
        assert "dbcalm-cmd does not answer; see: systemctl status dbcalm-cmd" in told
        assert "nothing was saved" in told
        host.sandbox.restart(ROOT_SERVICE)
        assert host.whole().returncode == 0

    def test_a_configuration_with_mistakes(self, host: Host) -> None:
        config = host.sandbox.layout.config
        original = config.read_text()
        config.write_text("api_port: none\ncolour: red\n")
        try:
            done = host.whole()
        finally:
            config.write_text(original)
        assert (done.returncode, len(marks(done)["WRONG"])) == (1, 2), done
        assert not host.credentials.exists()

    def test_an_empty_password(self, host: Host) -> None:
        done = host.run(
            "--yes", "--database-socket", host.socket, "--user", "bob", "--password-stdin", text="\n"
        )
        assert "password must have 1 to" in wrong(done)
        assert host.facts("users", "list") == []

    def test_folders_that_are_read_only_or_open(self, host: Host) -> None:
        backups = host.sandbox.layout.backups
        backups.chmod(0o707)
        assert f"everybody can enter {backups}; change that with: chmod o= {backups}" in wrong(host.whole())
        backups.chmod(0o500)
        assert f"user mysql cannot write in {backups}" in wrong(host.whole())
        backups.chmod(0o700)
        assert host.whole().returncode == 0

    def test_a_disk_that_is_too_small(self, host: Host, tmp_path: Path) -> None:
        backups = host.sandbox.layout.backups
        with mounted(backups, "-t", "tmpfs", "-o", "size=20m,mode=0700", "tmpfs"):
            try:
                shutil.chown(backups, "mysql", "mysql")
                host.sandbox.restart(MYSQL_SERVICE)
                done = host.whole()
                assert "too little space: the next full backup needs about" in wrong(done)
                assert host.facts("backups", "list")["items"] == []
            finally:
                host.sandbox.kill(MYSQL_SERVICE)

    @pytest.mark.parametrize(
        "options",
        [
            ("--at", "25:00"),
            ("--schedule", "hourly"),
            ("--password-stdin",),
            ("--fly",),
            ("surplus",),
        ],
    )
    def test_wrong_usage_is_2_and_does_nothing(self, host: Host, options: tuple[str, ...]) -> None:
        assert host.run("--yes", *options).returncode == 2
        assert not host.credentials.exists()

    def test_a_question_without_a_terminal_is_wrong_usage(self, host: Host) -> None:
        host.write_credentials("of-the-package-4")
        done = host.run()
        assert done.returncode == 2, done
        assert "--create-backup-user must be given where there is no terminal" in " ".join(
            done.stderr.split()
        )


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, host: Host, *options: str) -> None:
        self.shown = ""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.execve(host.command[0], [*host.command, *options], host.environment)

    def answer(self, prompt: str, typed: str) -> None:
        """Wait for a prompt, and type an answer."""
        assert self._read_until(lambda: self.shown.endswith(prompt)), self.shown
        self.shown += "<"
        os.write(self._terminal, typed.encode())

    def end(self) -> int:
        """Wait for its end; return the exit status."""
        self._read_until(lambda: False)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read_until(self, seen: Any) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not seen():
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.shown
            try:
                more = os.read(self._terminal, 1)
            except OSError as error:
                assert error.errno == errno.EIO
                return False
            self.shown += more.decode("utf-8", "replace")
        return True


class TestOnATerminal:
    def test_it_asks_for_everything(self, host: Host) -> None:
        terminal = Terminal(host, "--database-socket", host.socket)
        terminal.answer(f"Create {USER}? [Y/n]: ", "y\n")
        terminal.answer("empty for none: ", "carol\n")
        terminal.answer("Password: ", f"{PASSWORD}\n")
        terminal.answer("confirmation: ", f"{PASSWORD}\n")
        terminal.answer("[weekly-full-daily-incremental]: ", "sometimes\n")
        terminal.answer("[weekly-full-daily-incremental]: ", "daily-full\n")
        terminal.answer("[02:30]: ", "four\n")
        terminal.answer("[02:30]: ", "04:05\n")
        terminal.answer("Make a first full backup now? [Y/n]: ", "\n")
        assert terminal.end() == 0, terminal.shown
        assert PASSWORD not in terminal.shown
        assert host.password() not in terminal.shown
        assert [user["username"] for user in host.facts("users", "list")] == ["carol"]
        proof, schedule = host.facts("schedules", "list")["items"]
        assert (proof["backup_type"], proof["hour"]) == ("verify", 5)
        assert (schedule["frequency"], schedule["hour"], schedule["minute"]) == ("daily", 4, 5)
        assert len(host.facts("backups", "list")["items"]) == 1

    def test_no_means_no(self, host: Host) -> None:
        terminal = Terminal(host, "--database-socket", host.socket)
        terminal.answer(f"Create {USER}? [Y/n]: ", "n\n")
        terminal.answer("empty for none: ", "\n")
        assert terminal.end() == 1
        assert f"GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO {USER};" in terminal.shown
        assert host.sandbox.sql("SELECT COUNT(*) FROM mysql.user WHERE User = 'dbcalm_backup'") == "0"

    def test_the_end_of_the_input_is_one_line(self, host: Host) -> None:
        terminal = Terminal(host, "--database-socket", host.socket)
        terminal.answer(f"Create {USER}? [Y/n]: ", "\x04")
        assert terminal.end() == 1
        assert "Traceback" not in terminal.shown
        assert "Aborted" in terminal.shown.splitlines()[-1]


def test_killed_at_any_time_it_ends_well_when_it_is_run_again(host: Host) -> None:
    for number, delay in enumerate((0.3, 0.45, 0.6, 0.75, 0.9, 1.05, 1.3, 1.6)):
        if number:
            host.make_bare()
        options = ["--yes", "--database-socket", host.socket, "--user", "alice", "--password-stdin"]
        process = subprocess.Popen(
            [*host.command, *options],
            cwd="/", env=host.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(f"{PASSWORD}\n")
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = host.whole()
        assert done.returncode == 0, (delay, done)
        assert len(host.facts("backups", "list")["items"]) == 1
        assert len(host.facts("schedules", "list")["items"]) == 3
        assert [path.name for path in host.credentials.parent.glob(".*")] == []
        eventually(lambda: host.facts("status")["running"] is None)
