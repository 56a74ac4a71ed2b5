"""Damaged and invented frames, at the table of every command and at a running service: each is answered, none harms."""

import json
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dbcalm_cmd import command as orders
from dbcalm_cmd.command import (
    CheckCronSchedules,
    QueryDatabase,
    StartDatabase,
    StopDatabase,
    UpdateCronSchedules,
)
from dbcalm_cmd.process import Server
from dbcalm_cmd.wire import Command, WireError, decode
from dbcalm_mariadb_cmd.command import requests as mariadb

pytestmark = pytest.mark.slow

JOB = "0123456789abcdef" * 2
SCHEDULES = [{"id": 1, "backup_type": "full", "frequency": "hourly", "minute": 5}]
REQUESTS: dict[type[Command], dict[str, Any]] = {
    UpdateCronSchedules: {"schedules": SCHEDULES},
    CheckCronSchedules: {"schedules": SCHEDULES},
    StopDatabase: {},
    StartDatabase: {},
    QueryDatabase: {},
    mariadb.FullBackup: {
        "job_id": JOB,
        "id": "monday",
        "schedule_id": 3,
        "form": "zstd",
        "synthetic": True,
    },
    mariadb.IncrementalBackup: {
        "job_id": JOB,
        "id": None,
        "from_backup_id": "monday",
        "or_full": True,
        "schedule_id": None,
        "form": None,
    },
    mariadb.RestoreBackup: {
        "job_id": JOB,
        "id": "monday",
        "target": "database",
        "replace": True,
        "identity": None,
    },
    mariadb.AdoptBackup: {"job_id": JOB, "id": "monday"},
    mariadb.ListAdoptable: {},
    mariadb.VerifyBackup: {
        "job_id": JOB,
        "id": "monday",
        "level": 3,
        "schedule_id": None,
        "identity": None,
    },
    mariadb.BringBack: {"job_id": JOB, "id": "monday-restored-2026-01-31-09-00-00"},
    mariadb.ListReplaced: {},
    mariadb.ListRestored: {},
    mariadb.RemoveRestored: {"id": "a-restored-1"},
    mariadb.RemoveReplaced: {"id": "a-restored-1"},
    mariadb.DatabaseWanted: {},
    mariadb.ReportDatabase: {"job_id": JOB, "want": JOB[:16], "state": "failed", "problem": "it did not"},
    mariadb.DeleteBackup: {"id": "monday"},
    mariadb.UndeleteBackup: {"id": "monday", "deleted_at": None},
    mariadb.HoldBackup: {"id": "monday", "reason": "audit", "until": "2030-01-31T03:00:00.000000Z"},
    mariadb.ReleaseBackup: {"id": "monday"},
    mariadb.CleanupBackups: {"job_id": JOB, "ids": ["monday", "tuesday"], "schedule_id": None},
    mariadb.ReadEvents: {"journal": "", "offset": 0, "wait": 0.5},
    mariadb.ListBackups: {"after": "", "examine": True},
    mariadb.LookAtBackups: {"after": "", "within": 3.0},
    mariadb.ListTrash: {},
    mariadb.CancelJob: {"job_id": JOB},
    mariadb.AcknowledgeJob: {"job_id": JOB},
    mariadb.JobProgress: {"job_id": JOB},
    mariadb.JobLog: {"job_id": JOB, "offset": 0},
    mariadb.Check: {},
}
"""A good request for each command of both services."""

ODD = [
    None, True, False, 0, -1, 1.5, 1e308, 2**63, 10**4000, "", "x", "\ud800", "\0", "../../etc", "a" * 5000, "\u0663",
    "3\n", [], {}, [[]], {"a": []}, [None] * 50, {"id": 1}, {"cmd": "check", "args": {}}, [[[[[[[[[1]]]]]]]]],
]  # fmt: skip
TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"NaN", b"Infinity", b"-", b"1e999",
    b"null", b"\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b" ", b"9" * 5000, b"[" * 2000, b'{"a":' * 500,
]  # fmt: skip


def frames(count: int, seed: int) -> Iterator[bytes]:
    """Yield frames: good requests with odd values in odd places, and half of them with damaged bytes as well."""
    chance = random.Random(seed)
    templates = [(command.wire_name, args) for command, args in REQUESTS.items()]
    for number in range(count):
        name, args = chance.choice(templates)
        args = dict(args)
        for _ in range(chance.randrange(3)):
            key = chance.choice([*args, "extra", "schedules", "id", "__class__", "self", "\ud800"])
            args[key] = chance.choice(ODD)
        request: dict[str, Any] = {"cmd": name, "args": args}
        if chance.random() < 0.1:
            request[chance.choice(["cmd", "args", "id", ""])] = chance.choice(ODD)
        line = bytearray(
            json.dumps(request, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
        )
        if number % 2:
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(line))
                line[at : at + chance.randrange(4)] = chance.choice(
                    [chance.choice(TOKENS), chance.randbytes(2)]
                )
        yield bytes(line).replace(b"\n", b" ") + b"\n"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with every command of both services, which answers 200 to each that is well-formed."""
    handlers: dict[type[Command], Callable[..., dict[str, object]]]
    handlers = {command: lambda _: {"code": 200, "status": "ok"} for command in REQUESTS}
    with socket.socket(socket.AF_UNIX) as listener:
        yield Server(listener, handlers, {os.getuid()})


def test_every_command_has_a_template() -> None:
    commands = {
        command for table in (orders, mariadb) for command in vars(table).values() if is_command(command)
    }
    assert commands == set(REQUESTS)


def is_command(value: object) -> bool:
    """Tell whether this is a command that can be sent."""
    return (
        isinstance(value, type)
        and issubclass(value, Command)
        and not value.__name__.startswith("_")
        and value is not Command
    )


def test_every_template_is_a_good_request(server: Server) -> None:
    for command, args in REQUESTS.items():
        assert json.loads(server._dispatch({"cmd": command.wire_name, "args": args}))["code"] == 200


def test_a_hundred_thousand_frames_are_answered_or_refused_as_the_protocol_says(server: Server) -> None:
    outcomes: Counter[int] = Counter()
    for line in frames(100_000, seed=11):
        try:
            answer = server._dispatch(decode(line))
        except WireError as error:
            assert str(error)
            outcomes[400] += 1
        else:
            outcomes[json.loads(answer)["code"]] += 1
    assert set(outcomes) == {200, 400, 404}
    assert outcomes[200] > 10_000
    assert outcomes[400] > 30_000


def test_thousands_of_frames_over_a_real_socket_each_get_one_line(
    root_service: Callable[..., Any], folder: Any
) -> None:
    service = root_service()
    codes: Counter[int] = Counter()
    for line in frames(4_000, seed=5):
        answer = service.send(line)
        assert answer.endswith(b"\n")
        assert answer.count(b"\n") == 1
        codes[json.loads(answer)["code"]] += 1
    assert set(codes) == {
        200,
        400,
        404,
        503,
    }  # The last where the database is asked for, as no unit is named.
    assert "Traceback" not in service.log
    assert "error" not in service.log
    service.wait_until(lambda: service.figure("Threads") == 1)
    assert service.stop() == 0
