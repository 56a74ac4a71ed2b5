"""The programs as built do their work: log in, back up, restore, keep schedules, end when they are told to."""

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dev.sandbox_lib.processes import all_processes, command_line
from dev.sandbox_lib.services import API, MYSQL_SERVICE, ROOT_SERVICE, SERVICES
from tests.integration.conftest import Rig
from tests.support.patience import PATIENCE, eventually

pytestmark = pytest.mark.binaries

_DAILY = ("--frequency", "daily", "--hour", "3", "--minute", "15")


def run(rig: Rig, *arguments: str) -> str:
    """Return what a command printed, which must succeed and be silent on standard error."""
    done = rig.sandbox.cli(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def get(rig: Rig, path: str) -> tuple[int, str, bytes]:
    """Return the status, the type and the content of a page."""
    facts = rig.sandbox.facts
    context = ssl.create_default_context(cafile=facts.ca)
    connection = http.client.HTTPSConnection(urlsplit(facts.url).netloc, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()
    finally:
        connection.close()


def of(pid: int, what: str) -> str:
    """Return a file of /proc/PID, empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{what}").read_text("utf-8", "replace")
    except OSError:
        return ""


@contextmanager
def watched(rig: Rig) -> Iterator[dict[str, tuple[str, str]]]:
    """Collect what runs meanwhile for the mysql service: by name, its last environment and memory map."""
    seen: dict[str, tuple[str, str]] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.001):
            for process in all_processes():
                words = command_line(process.pid)
                if any(str(rig.sandbox.root) in word for word in words):
                    name = Path(words[0]).name + (" run" if words[1:2] == ["run"] else "")
                    environment, maps = of(process.pid, "environ"), of(process.pid, "maps")
                    if environment and "libc.so" in maps:
                        seen[name] = environment, maps

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_the_services_are_the_programs_as_built(rig: Rig) -> None:
    for name in SERVICES:
        process = rig.sandbox.process(name)
        assert process is not None
        assert os.readlink(f"/proc/{process.pid}/exe") == str(rig.sandbox.layout.programs / name)


def test_who_logs_in_can_back_up_and_restore(rig: Rig) -> None:
    first = rig.tables()
    rig.backup(id="built-full")
    rig.change()
    second = rig.tables()
    rig.backup(id="built-incremental", type="incremental", from_backup_id="built-full")
    assert first != second
    assert rig.tables_of(rig.restore("built-full", "folder")) == first
    assert rig.tables_of(rig.restore("built-incremental", "folder")) == second
    assert rig.leftovers() == []


def test_a_job_is_cancelled(rig: Rig) -> None:
    with rig.configured("dbcalm-mariadb-cmd", copy_throttle=1):
        accepted = rig.start("/backups", {"type": "full"})
        assert rig.api.request("DELETE", f"/processes/{accepted['pid']}").status == 202
        assert rig.end(accepted)["reason"] == "cancelled"
    assert rig.leftovers() == []


def test_a_wrong_password_is_refused(rig: Rig) -> None:
    wrong = {"username": rig.sandbox.facts.username, "password": "wrong"}
    assert rig.refused("POST", "/auth/authorize", wrong)[0] == 401


def test_a_client_logs_in_too(rig: Rig) -> None:
    assert rig.sandbox.api.call("GET", "/backups")["items"] is not None


def test_children_run_with_the_libraries_of_the_system(rig: Rig) -> None:
    with watched(rig) as seen:
        rig.backup(id="watched")
    assert {"mariadb-backup", f"{MYSQL_SERVICE} run", MYSQL_SERVICE} <= set(seen)
    service, _ = seen[MYSQL_SERVICE]
    assert "LD_LIBRARY_PATH=" in service  # else there is nothing to lose
    for name in set(seen) & {"mariadb-backup", "mariadb", "mysqldump"}:
        environment, maps = seen[name]
        assert {word.partition("=")[0] for word in environment.split("\0") if word} == {"PATH", "LC_ALL"}
        assert "_internal" not in maps, name


def test_root_has_loaded_no_library_of_the_others(rig: Rig) -> None:
    process = rig.sandbox.process(ROOT_SERVICE)
    assert process is not None
    bundled = rig.sandbox.layout.programs / "_internal"
    mapped = {Path(line.split()[-1]) for line in of(process.pid, "maps").splitlines() if "/" in line}
    used = {path.relative_to(bundled) for path in mapped if path.is_relative_to(bundled)}
    assert any(path.name.startswith("libpython3") for path in used)
    libraries = {path.name.partition(".")[0] for path in used if path.parent.name != "lib-dynload"}
    assert libraries <= {"libpython3", "libz"}


def test_commands_work_beside_the_services(rig: Rig) -> None:
    assert "admin" in run(rig, "users", "list")
    run(rig, "backup", "full", "--id", "by-command", "--wait")
    assert "dbcalm-cmd answers, dbcalm-mariadb-cmd answers" in run(rig, "status")
    assert "by-command" in run(rig, "backups", "list")


def test_the_line_that_cron_gets_makes_the_backup(rig: Rig) -> None:
    made = json.loads(run(rig, "schedules", "add", "full", *_DAILY, "--json"))
    cron_file = rig.sandbox.layout.cron_file
    [line] = [line for line in cron_file.read_text().splitlines() if "backup full" in line]
    command = f"{rig.sandbox.layout.programs}/dbcalm backup full --schedule-id {made['id']}"
    assert line.split(maxsplit=5)[5] == f"{rig.sandbox.who.api.name} {command}"
    as_cron = [*rig.sandbox.who.api.drop(), "sh", "-c", command]
    environment = {"PATH": "/usr/bin:/bin", "DBCALM_CONFIG": str(rig.sandbox.layout.config)}
    subprocess.run(as_cron, env=environment, cwd="/", check=True, timeout=PATIENCE)
    mine = f"/backups?query=schedule_id|{made['id']}"
    eventually(lambda: rig.api.call("GET", mine)["items"], "the backup")
    assert rig.sandbox.cli("schedules", "delete", str(made["id"]), "--yes").returncode == 0
    assert "backup full" not in cron_file.read_text()


def test_the_page_of_the_api_is_whole(rig: Rig) -> None:
    assert get(rig, "/docs")[:2] == (200, "text/html")
    static = Path(__file__).parents[2] / "dbcalm/api/static"
    shipped = [path for path in static.rglob("*") if path.is_file()]
    assert shipped
    for path in shipped:
        status, _, content = get(rig, f"/docs/static/{path.relative_to(static)}")
        assert (status, content) == (200, path.read_bytes())
    status, _, description = get(rig, "/openapi.json")
    assert status == 200
    assert "/backups" in json.loads(description)["paths"]


@pytest.mark.parametrize("name", SERVICES[::-1])
def test_sigterm_ends_a_program_with_success(rig: Rig, name: str) -> None:
    process = rig.sandbox.process(name)
    assert process is not None
    os.kill(process.pid, signal.SIGTERM)
    ended: list[int] = []

    def has_ended() -> bool:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        if pid:
            ended.append(os.waitstatus_to_exitcode(status))
        return bool(pid)

    eventually(has_ended, "the end")
    assert ended == [0]
    rig.sandbox.restart(name)
    assert rig.sandbox.process(name) is not None


def test_a_backup_outlives_the_service_that_started_it(rig: Rig) -> None:
    accepted = rig.start("/backups", {"type": "full", "id": "outlives"})
    rig.sandbox.restart(MYSQL_SERVICE)
    rig.sandbox.restart(API)
    assert rig.end(accepted)["status"] == "success"


@contextmanager
def other_programs(rig: Rig) -> Iterator[None]:
    """Put what is no program of ours in the place of every file of the programs, as an upgrade to other ones does."""
    programs = rig.sandbox.layout.programs
    kept = programs.with_name("kept")
    programs.rename(kept)
    try:
        programs.mkdir()
        for path in sorted(kept.rglob("*")):
            target = programs / path.relative_to(kept)
            if path.is_dir():
                target.mkdir()
            else:
                target.write_bytes(b"other" * 1000)
        yield
    finally:
        shutil.rmtree(programs)
        kept.rename(programs)


def tool(rig: Rig) -> int | None:
    """Return the pid of this sandbox's backup tool, if it runs."""
    for process in all_processes():
        words = command_line(process.pid)
        if Path(words[0]).name == "mariadb-backup" and str(rig.sandbox.root) in " ".join(words):
            return process.pid
    return None


@pytest.mark.parametrize("ends", ["success", "failed"])
def test_a_job_goes_on_while_other_programs_are_installed(rig: Rig, ends: str) -> None:
    with ExitStack() as others:
        with rig.held_up() as running:
            pid = eventually(lambda: tool(rig), "the start of the backup tool")
            others.enter_context(other_programs(rig))
            if ends != "success":
                os.kill(pid, signal.SIGKILL)
        ended = rig.end(running)
    assert ended["status"] == ends, ended
    assert rig.leftovers() == []
