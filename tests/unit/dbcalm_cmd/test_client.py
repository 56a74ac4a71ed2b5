"""The clients' transport, against a service that is there, is not there, or misbehaves."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dbcalm_cmd.command import CronSchedule
from dbcalm_cmd.wire import MAX_FRAME, Command, InvalidCommand, WireError
from dbcalm_cmd_client import Answer, CmdClient, ServiceUnreachable, call
from dbcalm_mariadb_cmd_client import MariadbCmdClient
from tests.support.patience import FOR_EVER, PATIENCE


@dataclass(frozen=True)
class Echo(Command):
    text: object


Script = Callable[[socket.socket], None]


@pytest.fixture
def server(folder: Path) -> Iterator[Callable[[Script], Path]]:
    """Serve one caller on a real socket with this script; return the socket's path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s.sock"))
    threads = []

    def serve(script: Script) -> Path:
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            # The client may give up.
            with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                script(connection)

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return folder / "s.sock"

    yield serve
    for thread in threads:
        thread.join()
    listener.close()


def unreachable(path: Path, timeout: float = PATIENCE) -> str:
    """Return the sentence of the refusal that a call must end with."""
    with pytest.raises(ServiceUnreachable) as caught:
        call(path, Echo("x"), timeout)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"the service at {path} ")


def test_an_answer_is_its_code_its_sentence_and_the_rest(echo: Callable[..., Any]) -> None:
    assert call(echo().path, Echo({"a": [1, None]}), PATIENCE) == Answer(
        200, "ok", {"text": {"a": [1, None]}}
    )


def test_a_refusal_by_the_service_is_an_answer(echo: Callable[..., Any]) -> None:
    @dataclass(frozen=True)
    class Unheard(Command):
        pass

    assert call(echo().path, Unheard(), PATIENCE) == Answer(404, "unknown command", {})


def test_no_socket(folder: Path) -> None:
    assert unreachable(folder / "none") == "does not answer: [Errno 2] No such file or directory"


def test_a_socket_that_nobody_serves(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s.sock"))
    assert unreachable(folder / "s.sock") == "does not answer: [Errno 111] Connection refused"


def test_a_path_that_no_socket_can_have(folder: Path) -> None:
    assert unreachable(folder / ("x" * 200)) == "does not answer: AF_UNIX path too long"


def test_a_service_that_refuses_our_uid(echo: Callable[..., Any]) -> None:
    assert unreachable(echo(uids=(12345,)).path).startswith("does not answer: ")


def test_a_service_that_hangs_up(server: Callable[[Script], Path]) -> None:
    path = server(lambda connection: connection.recv(1000) and None)
    assert unreachable(path) == "does not answer: the connection was closed before the answer"


def test_a_service_that_hangs_up_in_the_middle(server: Callable[[Script], Path]) -> None:
    path = server(lambda connection: connection.recv(1000) and connection.sendall(b'{"code":200,"sta'))
    assert unreachable(path) == "does not answer: the connection was closed before the answer"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello\n", "does not answer: the frame is not one JSON object"),
        (b"\xff\xfe\n", "does not answer: the frame is not one JSON object"),
        (b'{"code":200,"status":"ok"}\n{}\n', "does not answer: the frame is not one JSON object"),
        (b'{"code":200,"status":"ok","code":500}\n', "does not answer: the frame is not one JSON object"),
        (b"[" * 1000 + b"\n", "does not answer: the frame is not one JSON object"),
        (b'{"a":[[[[[[[[]]]]]]]]}\n', "does not answer: the frame is nested deeper than 8"),
        (b"x" * (2 * MAX_FRAME), f"does not answer: the answer is longer than {MAX_FRAME} bytes"),
        (b"{}\n", "gave an answer without code and status"),
        (b'{"code":200}\n', "gave an answer without code and status"),
        (b'{"code":"200","status":"ok"}\n', "gave an answer without code and status"),
        (b'{"code":true,"status":"ok"}\n', "gave an answer without code and status"),
        (b'{"code":200,"status":null}\n', "gave an answer without code and status"),
    ],
    ids=lambda value: ascii(value[:20]) if isinstance(value, bytes) else "",
)
def test_a_service_that_answers_nonsense(server: Callable[[Script], Path], line: bytes, reason: str) -> None:
    path = server(lambda connection: connection.recv(1000) and connection.sendall(line))
    assert unreachable(path) == reason


def test_a_service_that_is_silent_is_given_up_in_time(server: Callable[[Script], Path]) -> None:
    over = threading.Event()
    path = server(lambda _: over.wait(FOR_EVER) and None)
    began = time.monotonic()
    assert unreachable(path, 0.2) == "does not answer: timed out"
    assert time.monotonic() - began > 0.15
    over.set()


def test_a_service_that_answers_too_late_is_given_up(server: Callable[[Script], Path]) -> None:
    given_up = threading.Event()

    def late(connection: socket.socket) -> None:
        given_up.wait(FOR_EVER)
        connection.sendall(b'{"code":200,"status":"ok"}\n')

    assert unreachable(server(late), 0.1) == "does not answer: timed out"
    given_up.set()


def test_a_service_that_answers_byte_by_byte_is_given_up_in_time(folder: Path) -> None:
    # A process of its own: beside the client in one interpreter it would have pauses that end the call.
    program = (
        "import socket, sys\nc, _ = socket.socket(fileno=int(sys.argv[1])).accept()\nwhile True: c.send(b' ')"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s.sock"))
        listener.listen()
        command = [sys.executable, "-c", program, str(listener.fileno())]
        with subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL) as trickle:
            assert unreachable(folder / "s.sock", 0.3) == "does not answer: timed out"
            trickle.wait(PATIENCE)  # Its end shows that the client has hung up.


def test_a_service_that_does_not_read_is_given_up_in_time(server: Callable[[Script], Path]) -> None:
    over = threading.Event()
    path = server(lambda _: over.wait(FOR_EVER) and None)
    with pytest.raises(ServiceUnreachable, match="timed out"):
        call(path, Echo("x" * 1_000_000), 0.2)
    over.set()


def test_a_full_queue_of_callers_is_given_up_in_time(folder: Path) -> None:
    path = folder / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            assert unreachable(path, 0.2) in (
                "does not answer: timed out",
                "does not answer: [Errno 11] Resource temporarily unavailable",
            )


def test_a_service_that_is_killed_while_it_works(echo: Callable[..., Any]) -> None:
    service = echo()

    @dataclass(frozen=True)
    class Wait(Command):
        seconds: float

    kill = threading.Thread(
        target=lambda: (service.wait_until(lambda: "waiting" in service.log), service.process.kill())
    )
    kill.start()
    with pytest.raises(ServiceUnreachable, match="the connection was closed before the answer"):
        call(service.path, Wait(FOR_EVER), PATIENCE)
    kill.join()


def test_a_command_that_does_not_fit_is_refused_before_it_is_sent(folder: Path) -> None:
    with pytest.raises(WireError, match=f"bytes, and a frame holds {MAX_FRAME}$"):
        call(folder / "none", Echo("x" * MAX_FRAME), 5)


def test_a_wrong_call_is_refused_before_anything_is_connected(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s.sock"))
        listener.listen()
        listener.settimeout(0.05)
        mariadb, cron = MariadbCmdClient(folder / "s.sock"), CmdClient(folder / "s.sock")
        job = "f" * 32
        calls: list[Callable[[], object]] = [
            lambda: mariadb.full_backup("no", None, None),
            lambda: mariadb.full_backup(job, "../x", None),
            lambda: mariadb.full_backup(job, None, 0),
            lambda: mariadb.full_backup(job, None, None, None, 1),  # type: ignore[arg-type]  # wrong on purpose
            lambda: mariadb.incremental_backup(job, None, "", True, None),
            lambda: mariadb.incremental_backup(job, None, "a", 1, None),  # type: ignore[arg-type]  # wrong on purpose
            lambda: mariadb.restore_backup(job, "a", "/var/lib/mysql"),
            lambda: mariadb.adopt_backup(job, "../a"),
            lambda: mariadb.verify_backup(job, "a", 0),
            lambda: mariadb.verify_backup(job, "a", 4),
            lambda: mariadb.delete_backup(".."),
            lambda: mariadb.read_events("", -1, 0),
            lambda: mariadb.undelete_backup(".."),
            lambda: mariadb.hold_backup("a", "\n", None),
            lambda: mariadb.hold_backup("a", "r", "tomorrow"),
            lambda: mariadb.release_backup(""),
            lambda: mariadb.cleanup_backups(job, ("a", "a"), None),
            lambda: mariadb.list_backups("/"),
            lambda: mariadb.job_log(job, -1),
            lambda: mariadb.job_progress(job + "0"),
            lambda: cron.update_cron_schedules([{"id": 1}]),  # type: ignore[list-item]  # wrong on purpose
            lambda: cron.update_cron_schedules([CronSchedule(True, "full", "hourly", minute=1)]),
            lambda: cron.check_cron_schedules([{"id": 1}]),  # type: ignore[list-item]  # wrong on purpose
        ]
        for wrong in calls:
            with pytest.raises(InvalidCommand):
                wrong()
        with pytest.raises(TimeoutError):
            listener.accept()


def test_each_method_sends_the_command_of_its_name(folder: Path) -> None:
    job = "f" * 32
    path = folder / "s.sock"
    cron, mariadb = CmdClient(path), MariadbCmdClient(path)
    base = {"from_backup_id": "a", "or_full": False}
    incremental = {"job_id": job, "id": None, **base, "schedule_id": 7, "form": "gzip"}
    expected: list[tuple[Callable[[], Answer], str, dict[str, Any]]] = [
        (
            lambda: mariadb.full_backup(job, "a", 7, synthetic=True),
            "full_backup",
            {"job_id": job, "id": "a", "schedule_id": 7, "form": None, "synthetic": True},
        ),
        (
            lambda: mariadb.incremental_backup(job, None, "a", False, 7, "gzip"),
            "incremental_backup",
            incremental,
        ),
        (
            lambda: mariadb.restore_backup(job, "a", "database", True),
            "restore_backup",
            {"job_id": job, "id": "a", "target": "database", "replace": True, "identity": None},
        ),
        (lambda: mariadb.delete_backup("a"), "delete_backup", {"id": "a"}),
        (
            lambda: mariadb.read_events("j", 5, 0.5),
            "read_events",
            {"journal": "j", "offset": 5, "wait": 0.5},
        ),
        (lambda: mariadb.undelete_backup("a"), "undelete_backup", {"id": "a", "deleted_at": None}),
        (
            lambda: mariadb.hold_backup("a", "r", None),
            "hold_backup",
            {"id": "a", "reason": "r", "until": None},
        ),
        (lambda: mariadb.release_backup("a"), "release_backup", {"id": "a"}),
        (
            lambda: mariadb.cleanup_backups(job, ("a",), 7),
            "cleanup_backups",
            {"job_id": job, "ids": ["a"], "schedule_id": 7},
        ),
        (lambda: mariadb.list_backups("a"), "list_backups", {"after": "a", "examine": False}),
        (lambda: mariadb.list_backups("", True), "list_backups", {"after": "", "examine": True}),
        (lambda: mariadb.look_at_backups("a", 2.5), "look_at_backups", {"after": "a", "within": 2.5}),
        (mariadb.list_trash, "list_trash", {}),
        (lambda: mariadb.job_log(job, 5), "job_log", {"job_id": job, "offset": 5}),
        (lambda: mariadb.cancel_job(job), "cancel_job", {"job_id": job}),
        (lambda: mariadb.acknowledge_job(job), "acknowledge_job", {"job_id": job}),
        (lambda: mariadb.job_progress(job), "job_progress", {"job_id": job}),
        (mariadb.check, "check", {}),
        (lambda: cron.update_cron_schedules([]), "update_cron_schedules", {"schedules": []}),
        (lambda: cron.check_cron_schedules([]), "check_cron_schedules", {"schedules": []}),
        (lambda: mariadb.bring_back(job, "a"), "bring_back", {"job_id": job, "id": "a"}),
        (
            lambda: mariadb.verify_backup(job, "a", 3, 7),
            "verify_backup",
            {"job_id": job, "id": "a", "level": 3, "schedule_id": 7, "identity": None},
        ),
        (lambda: mariadb.adopt_backup(job, "a"), "adopt_backup", {"job_id": job, "id": "a"}),
        (mariadb.list_adoptable, "list_adoptable", {}),
        (mariadb.list_replaced, "list_replaced", {}),
        (mariadb.list_restored, "list_restored", {}),
        (lambda: mariadb.remove_restored("a-restored-1"), "remove_restored", {"id": "a-restored-1"}),
        (lambda: mariadb.remove_replaced("a-restored-1"), "remove_replaced", {"id": "a-restored-1"}),
        (mariadb.database_wanted, "database_wanted", {}),
        (
            lambda: mariadb.report_database(job, "0" * 16, "failed", "no"),
            "report_database",
            {"job_id": job, "want": "0" * 16, "state": "failed", "problem": "no"},
        ),
        (cron.stop_database, "stop_database", {}),
        (cron.start_database, "start_database", {}),
        (cron.query_database, "query_database", {}),
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        received: list[object] = []

        def answer_each() -> None:
            for _ in expected:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    received.append(json.loads(lines.readline()))
                    connection.sendall(b'{"code":202,"status":"accepted","n":1}\n')

        thread = threading.Thread(target=answer_each)
        thread.start()
        for method, _, _ in expected:
            assert method() == Answer(202, "accepted", {"n": 1})
        thread.join()
    assert received == [{"cmd": name, "args": args} for _, name, args in expected]
    assert {name for _, name, _ in expected} == {
        name for client in (CmdClient, MariadbCmdClient) for name in vars(client) if not name.startswith("_")
    }


def test_the_clients_work_without_the_services_being_loaded() -> None:
    program = "import sys, dbcalm_cmd_client; print('dbcalm_cmd.process' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "False\n"
