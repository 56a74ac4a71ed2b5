"""``dbcalm schedules``: real processes, a real catalogue and a real root service."""

import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm.api.schemas.schedules import ScheduleRequest
from dbcalm.cli.commands.host import schedules
from dbcalm.domain.model import times
from dbcalm.domain.services.schedules import RETENTION_UNITS
from dbcalm_cmd import command
from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService
from tests.support.dbcalm_root import RootProcess
from tests.unit.dbcalm.api.test_server import FakeSocket
from tests.unit.dbcalm.cli.test_jobs import job_of, on_a_terminal
from tests.unit.dbcalm.cli.test_main import ME, Cli, Done, loaded_by, refused

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dbcalm-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def root(folder: Path) -> Iterator[RootProcess]:
    process = RootProcess(folder)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def dbcalm(folder: Path, root: RootProcess) -> Cli:
    (folder / "state").mkdir(mode=0o700)
    config = folder / "config.yml"
    config.write_text(
        f"database_file: {folder}/state/db.sqlite3\ncmd_socket: {folder}/cmd.sock\n"
        f"mariadb_cmd_socket: {folder}/mysql.sock\ndbcalm_user: {ME}\n"
    )
    return Cli(config)


@pytest.fixture
def service(folder: Path) -> Iterator[FakeMysqlService]:
    fake = FakeMysqlService()
    socket = FakeSocket(folder / "mysql.sock", fake)
    yield fake
    socket.close()


def did(done: Done, said: str) -> None:
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert re.fullmatch(said, done.stderr.strip()), done.stderr


def shown(dbcalm: Cli, id: int) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(dbcalm("schedules", "show", str(id), "--json").stdout)
    return item


RUNS = r"; runs next at 20\d\d-\d\d-\d\d \d\d:\d\d UTC"


def test_a_schedule_from_its_birth_to_its_end(
    dbcalm: Cli, root: RootProcess, service: FakeMysqlService
) -> None:
    did(
        dbcalm("schedules", "add", "full", "--frequency", "daily", "--hour", "3", "--minute", "0"),
        "schedule 1 was added: full, daily at 03:00" + RUNS,
    )
    did(
        dbcalm("schedules", "add", "incremental", "--frequency", "interval", "--interval-value", "15",
               "--interval-unit", "minutes", "--retention-value", "2", "--retention-unit", "weeks"),
        "schedule 2 was added: incremental, every 15 minutes" + RUNS,
    )  # fmt: skip
    assert root.ids() == [1, 2]
    did(dbcalm("schedules", "disable", "2"), "schedule 2 was disabled: incremental, every 15 minutes")
    assert root.ids() == [1]
    did(dbcalm("schedules", "enable", "2"), "schedule 2 was enabled: incremental, every 15 minutes" + RUNS)
    did(
        dbcalm(
            "schedules", "update", "1", "--hour", "4", "--retention-value", "1", "--retention-unit", "days"
        ),
        "schedule 1 was changed: full, daily at 04:00" + RUNS,
    )
    assert "0 4 * * * " in root.cron.read_text()
    item = shown(dbcalm, 1)
    assert (item["hour"], item["minute"], item["retention_value"], item["retention_unit"]) == (
        4,
        0,
        1,
        "days",
    )
    did(dbcalm("schedules", "delete", "2", "--yes"), "schedule 2 was deleted")
    did(
        dbcalm("schedules", "update", "1", "--no-retention", "--disabled"),
        "schedule 1 was changed: full, daily at 04:00",
    )
    item = shown(dbcalm, 1)
    assert (item["retention_value"], item["retention_unit"], item["enabled"]) == (None, None, False)
    did(
        dbcalm("schedules", "update", "1", "--type", "full", "--frequency", "weekly", "--day-of-week", "0"),
        "schedule 1 was changed: full, Sundays at 04:00",
    )
    did(dbcalm("schedules", "delete", "1", "--yes"), "schedule 1 was deleted")
    assert root.ids() == []


def test_schedules_are_listed(dbcalm: Cli, service: FakeMysqlService) -> None:
    assert dbcalm("schedules", "list").stdout.split() == [
        "ID", "WHAT", "WHEN", "KEEP", "NEXT_RUN", "LAST_RUN", "LAST_STATUS"
    ]  # fmt: skip
    made = json.loads(
        dbcalm("schedules", "add", "full", "--frequency", "weekly", "--day-of-week", "0", "--hour", "4", "--minute",
               "30", "--retention-value", "14", "--retention-unit", "days", "--json").stdout
    )  # fmt: skip
    dbcalm("schedules", "add", "full", "--frequency", "hourly", "--minute", "5", "--disabled")
    _head, second, first = dbcalm("schedules", "list").stdout.splitlines()
    assert re.split(r"  +", first) == [
        "1", "full", "Sundays at 04:30", "14 days", times.short(made["next_run"]), "-", "-",
    ]  # fmt: skip
    assert re.split(r"  +", second) == ["2", "full", "hourly at :05", "-", "disabled", "-", "-"]
    page = json.loads(dbcalm("schedules", "list", "--json", "--query", "enabled|true").stdout)
    assert page["items"] == [made]
    done = dbcalm("schedules", "list", "--per-page", "1", "--order", "id|asc")
    assert done.stdout.splitlines()[1].startswith("1 ")
    assert done.stderr == "page 1 of 2, 2 in all\n"
    text = dbcalm("schedules", "show", "1").stdout
    assert "backup_type:     full\n" in text
    assert "overdue:         False\n" in text


def test_a_run_and_a_refusal_are_seen(dbcalm: Cli, service: FakeMysqlService, folder: Path) -> None:
    dbcalm(
        "schedules",
        "add",
        "full",
        "--frequency",
        "interval",
        "--interval-value",
        "1",
        "--interval-unit",
        "minutes",
    )
    job_id = job_of(dbcalm("backup", "full", "--schedule-id", "1").stdout)
    assert shown(dbcalm, 1)["last_status"] == "running"
    service.finish(job_id)
    item = shown(dbcalm, 1)
    assert (item["last_status"], item["last_error"], item["overdue"]) == ("success", None, False)
    service.refusal = Answer(503, "server is not running", {})
    refused(dbcalm("backup", "full", "--schedule-id", "1"), "server is not running")
    item = shown(dbcalm, 1)
    assert (item["last_status"], item["last_error"]) == ("success", "server is not running")
    long_ago = "2026-01-01T00:00:00.000000Z"
    with sqlite(folder) as connection:
        connection.execute("UPDATE schedules SET updated_at = ?", (long_ago,))
        connection.execute("UPDATE processes SET start_time = ?", (long_ago,))
    assert dbcalm("schedules", "list").stdout.splitlines()[1].endswith("  success, OVERDUE")
    with sqlite(folder) as connection:
        connection.execute("UPDATE processes SET schedule_id = NULL")
    assert dbcalm("schedules", "list").stdout.splitlines()[1].endswith("  never ran, OVERDUE")


def sqlite(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "state" / "db.sqlite3")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("show", "9"), "there is no schedule 9"),
        (("update", "9", "--hour", "1"), "there is no schedule 9"),
        (("enable", "9"), "there is no schedule 9"),
        (("disable", "9"), "there is no schedule 9"),
        (("delete", "9", "--yes"), "there is no schedule 9"),
        (("add", "incremental", "--frequency", "hourly", "--minute", "0"), "add or enable a full one first"),
        (("add", "full", "--frequency", "daily", "--hour", "1"), "needs --minute too"),
        (("add", "full", "--frequency", "weekly", "--hour", "1", "--minute", "1"), "needs --day-of-week too"),
        (("add", "full", "--frequency", "interval", "--interval-value", "60", "--interval-unit", "minutes"),
         "must be an integer from 1 to 59"),
        (("add", "full", "--frequency", "hourly", "--minute", "1", "--retention-value", "1"),
         "retention_unit is needed"),
        (("list", "--query", "retention_value|1"), "valid are id, backup_type"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...], word: str
) -> None:
    refused(dbcalm("schedules", *arguments), word)


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", "full"),
        ("add", "differential", "--frequency", "hourly"),
        ("add", "full", "--frequency", "yearly"),
        ("add", "full", "--frequency", "hourly", "--minute", "60"),
        ("add", "full", "--frequency", "hourly", "--minute", "x"),
        ("add", "full", "--frequency", "monthly", "--day-of-month", "29"),
        ("update", "1", "--no-retention", "--retention-value", "1"),
        ("update", "x"),
        ("delete",),
        ("delete", "1"),  # There is no terminal to ask on.
        ("enable", "0"),
        ("fly",),
    ],
)
def test_wrong_usage_is_2(dbcalm: Cli, arguments: tuple[str, ...]) -> None:
    done = dbcalm("schedules", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_root_service_nothing_is_saved(
    dbcalm: Cli, root: RootProcess, service: FakeMysqlService
) -> None:
    dbcalm("schedules", "add", "full", "--frequency", "hourly", "--minute", "1")
    root.kill()
    for arguments in (
        ("add", "full", "--frequency", "hourly", "--minute", "1"),
        ("update", "1", "--minute", "2"),
        ("disable", "1"),
        ("delete", "1", "--yes"),
    ):
        refused(dbcalm("schedules", *arguments), "the service dbcalm-cmd does not answer; nothing was saved")
    page = json.loads(dbcalm("schedules", "list", "--json").stdout)
    assert [(item["id"], item["minute"], item["enabled"]) for item in page["items"]] == [(1, 1, True)]
    assert root.ids() == [1]


def test_delete_asks_on_a_terminal(dbcalm: Cli, root: RootProcess, service: FakeMysqlService) -> None:
    dbcalm("schedules", "add", "full", "--frequency", "hourly", "--minute", "1")

    def typing(word: bytes) -> Callable[[str, int], bool]:
        return lambda shown, terminal: "]: " in shown and bool(os.write(terminal, word))

    code, text = on_a_terminal(dbcalm, "schedules", "delete", "1", react=typing(b"n\n"))
    assert (code, root.ids()) == (1, [1])
    assert "Delete schedule 1 (full, hourly at :01)?" in text
    code, text = on_a_terminal(dbcalm, "schedules", "delete", "1", react=typing(b"y\n"))
    assert (code, root.ids()) == (0, []), text


@pytest.mark.parametrize("arguments", [("--help",), ("users", "list"), ("clients", "list")])
def test_what_knows_no_schedules_loads_nothing_for_them(
    dbcalm: Cli, service: FakeMysqlService, arguments: tuple[str, ...]
) -> None:
    assert "cronsim" not in loaded_by(dbcalm, *arguments)


def test_a_list_of_schedules_loads_no_framework(dbcalm: Cli, service: FakeMysqlService) -> None:
    dbcalm("schedules", "add", "full", "--frequency", "hourly", "--minute", "1")
    loaded = loaded_by(dbcalm, "schedules", "list")
    assert loaded >= {"cronsim", "zoneinfo"}
    assert not loaded & {"fastapi", "starlette", "uvicorn", "jose", "passlib", "bcrypt"}


def test_the_words_of_a_schedule_are_the_same_everywhere() -> None:
    """In the root service, which has the last word, in requests, and on the command line."""
    described = ScheduleRequest.model_json_schema()["properties"]
    for words, field, shown in (
        (command.BACKUP_TYPES, "backup_type", schedules.Type),
        (command.FREQUENCIES, "frequency", schedules.Frequency),
        (command.INTERVAL_UNITS, "interval_unit", schedules.IntervalUnit),
        (RETENTION_UNITS, "retention_unit", schedules.RetentionUnit),
    ):
        kinds = described[field].get("anyOf", [described[field]])
        assert [kind["enum"] for kind in kinds if "enum" in kind] == [list(words)]
        assert tuple(shown) == tuple(words)
