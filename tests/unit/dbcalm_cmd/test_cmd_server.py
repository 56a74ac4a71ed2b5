"""The skeleton that both services share: callers, slow and hostile ones too, signals, systemd."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dbcalm_cmd.wire import MAX_FRAME, UNKNOWN_COMMAND, encode
from tests.support.patience import PATIENCE, eventually

pytestmark = pytest.mark.slow

SYSTEM_PYTHON = "/usr/bin/python3"
"""Readable by every user, as the tests' own one need not be."""

Start = Callable[..., Any]

as_root = pytest.mark.skipif(
    os.getuid() != 0 or not Path(SYSTEM_PYTHON).exists(), reason="only root can become another user"
)


def error_of(answer: bytes) -> str:
    """Return the sentence of an answer that refuses a frame."""
    decoded = json.loads(answer)
    assert decoded["code"] == 400
    return str(decoded["status"])


def call_as(user: str, path: Path) -> str:
    """Send an unknown command as this user; return what came back, or ``closed``."""
    program = (
        "import socket, sys; c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1])\n"
        'try: c.sendall(b\'{"cmd":"?","args":{}}\\n\'); print(c.recv(1000).decode() or "closed")\n'
        'except ConnectionError: print("closed")\n'
    )
    account = pwd.getpwnam(user)
    done = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-S", "-c", program, str(path)],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


# Who may call


@as_root
def test_only_root_and_the_configured_user_are_served_whatever_the_mode_bits(root_service: Start) -> None:
    service = root_service(dbcalm_user="daemon")
    assert oct(service.path.stat().st_mode)[-4:] == "0660"
    assert service.path.stat().st_gid == pwd.getpwnam("daemon").pw_gid
    assert "PermissionError" in call_as("nobody", service.path)
    service.path.chmod(0o666)
    assert call_as("nobody", service.path) == "closed"
    assert "uid 65534 may not call this service" in service.log
    assert json.loads(call_as("daemon", service.path)) == UNKNOWN_COMMAND
    assert service.ask("?") == UNKNOWN_COMMAND


def test_a_wrong_uid_is_closed_unread_even_ours(echo: Start) -> None:
    service = echo(uids=(12345,))
    with service.connect() as connection:  # Closed at once: nothing is waited for.
        assert connection.recv(100) == b""
    assert service.send(encode({"cmd": "echo", "args": {"text": 1}})) == b""
    assert f"uid {os.getuid()} may not call this service" in service.log


@as_root
def test_a_service_that_cannot_give_its_socket_to_the_group_opens_it_and_asks_the_kernel(
    folder: Path, run: Start
) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from pathlib import Path; from dbcalm_cmd import process\n"
        "from dbcalm_cmd.wire import Command\n"
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "listener = process.listening_socket(Path(sys.argv[1]), 'daemon')\n"
        "process.Server(listener, {}, process.allowed_uids('daemon')).run()\n"
    )
    folder.chmod(0o777)
    service = run(folder / "own.sock", sys.executable, "-c", program, folder / "own.sock")
    service.wait_until(service.listens)
    assert oct(service.path.stat().st_mode)[-4:] == "0666"
    assert call_as("nobody", service.path) == "closed"
    assert json.loads(call_as("daemon", service.path)) == UNKNOWN_COMMAND


# What a caller sends


def test_one_line_is_answered_by_one_line(echo: Start) -> None:
    service = echo()
    assert service.ask("echo", text="é\n") == {"code": 200, "status": "ok", "text": "é\n"}


def test_an_unknown_command_gets_the_constant_answer(echo: Start) -> None:
    service = echo()
    for name in ("nothing", "Echo", "echo ", "__init__", "", "x" * 100_000, None, 5, ["echo"], {"echo": 1}):
        assert service.ask(name, text=1) == {"code": 404, "status": "unknown command"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello\n", "the frame is not one JSON object"),
        (b"\n", "the frame is not one JSON object"),
        (b"GET / HTTP/1.1\r\n\r\n", "a connection carries one line"),
        (b"{}\n", "a request has the keys cmd and args, and no others"),
        (b'{"cmd":"echo"}\n', "a request has the keys cmd and args, and no others"),
        (b'{"cmd":"echo","args":{},"id":1}\n', "a request has the keys cmd and args, and no others"),
        (b'{"cmd":"echo","args":null}\n', "args must be an object"),
        (b'{"cmd":"echo","args":{}}\n', "argument text is missing"),
        (b'{"cmd":"echo","args":{"text":1,"more":2}}\n', "unknown argument 'more'; echo takes text"),
        (b'{"cmd":"echo","args":{"text":1}}\n{}\n', "a connection carries one line"),
        (b"[" * (MAX_FRAME - 1) + b"\n", "the frame is not one JSON object"),
        (b"x" * (10 << 20), f"a frame holds {MAX_FRAME} bytes"),
        (b"\n" * (10 << 20), "a connection carries one line"),
    ],
    ids=lambda value: ascii(value[:24]) if isinstance(value, bytes) else "",
)
def test_what_is_no_request_is_refused_with_one_line(echo: Start, line: bytes, reason: str) -> None:
    service = echo()
    answer = service.send(line)
    assert answer.count(b"\n") == 1
    assert error_of(answer) == reason
    assert service.ask("echo", text=1)["code"] == 200


def test_a_refusal_never_grows_with_what_it_refuses(echo: Start) -> None:
    service = echo()
    line = '{"cmd":"echo","args":{"' + "é" * 500_000 + '":1}}\n'
    answer = service.send(line.encode())
    assert error_of(answer).startswith("unknown argument 'éé")
    assert len(answer) < 10_000
    assert "Traceback" not in service.log


def test_an_end_without_a_newline_is_answered_at_once(echo: Start) -> None:
    service = echo()
    assert (
        error_of(service.send(b'{"cmd":"echo","args":{"text":1}}', end=True))
        == "the line ended without a newline"
    )
    assert error_of(service.send(b"", end=True)) == "the line ended without a newline"


def test_half_a_line_and_silence_ends_at_the_deadline(echo: Start) -> None:
    service = echo(0.3)
    began = time.monotonic()
    assert error_of(service.send(b'{"cmd":"echo"')) == "no whole line came within 0.3 s"
    assert time.monotonic() - began > 0.25


def test_the_deadline_is_for_the_whole_line_not_for_each_byte(echo: Start) -> None:
    service = echo(0.3)
    with service.connect() as connection:
        connection.setblocking(False)

        def answer() -> bytes:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                connection.send(b" ")
            with contextlib.suppress(BlockingIOError):
                return connection.recv(1000)
            return b""

        assert error_of(eventually(answer)) == "no whole line came within 0.3 s"


def test_a_line_that_comes_byte_by_byte_in_time_is_answered(echo: Start) -> None:
    service = echo()
    with service.connect() as connection:
        for byte in encode({"cmd": "echo", "args": {"text": 1}}):
            connection.send(bytes([byte]))
        assert json.loads(connection.recv(1000)) == {"code": 200, "status": "ok", "text": 1}


def test_silent_callers_do_not_lock_out_others(echo: Start) -> None:
    service = echo(0.3)
    silent = [service.connect() for _ in range(200)]
    eventually(lambda: service.ask("echo", text=1)["code"] == 200)
    for connection in silent:
        connection.close()


def test_a_service_that_runs_out_of_descriptors_recovers(echo: Start) -> None:
    service = echo(0.3)
    subprocess.run(["prlimit", f"--pid={service.process.pid}", "--nofile=16"], check=True)
    silent = [service.connect() for _ in range(60)]
    service.wait_until(lambda: "cannot accept a caller: " in service.log)
    eventually(lambda: service.ask("echo", text=1)["code"] == 200)
    for connection in silent:
        connection.close()


def test_callers_that_leave_before_the_answer_do_no_harm(echo: Start) -> None:
    service = echo()
    for _ in range(100):
        with service.connect() as connection:
            connection.sendall(encode({"cmd": "echo", "args": {"text": "x" * 100_000}}))
    assert service.ask("echo", text=1)["code"] == 200
    assert "Traceback" not in service.log


# What a handler does


def test_a_handler_that_fails_is_told_to_the_log_and_not_to_the_caller(echo: Start) -> None:
    service = echo()
    answer = service.ask("fail", message="secret\n<0>2026 error: forged")
    assert answer == {"code": 500, "status": "fail failed; the service's log says why"}
    assert service.log.endswith(" error: fail failed: RuntimeError: secret <0>2026 error: forged\n")
    assert service.log.count("\n") == 1
    assert service.ask("echo", text=1)["code"] == 200


@pytest.mark.parametrize("kind", ["nan", "object", "long"])
def test_an_answer_that_no_line_can_hold_is_a_failure_of_the_handler(echo: Start, kind: str) -> None:
    service = echo()
    assert service.ask("unsendable", kind=kind)["code"] == 500
    assert "error: unsendable failed: " in service.log
    assert "Traceback" not in service.log


# Many callers


def test_two_hundred_parallel_commands_are_all_answered_each_with_its_own(echo: Start) -> None:
    service = echo()
    together = threading.Barrier(200)

    def ask(number: int) -> object:
        together.wait()
        return service.ask("echo", text=number)["text"]

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(ask, range(200))) == list(range(200))


def test_ten_thousand_commands_are_all_answered_and_leave_nothing_behind(
    root_service: Start, folder: Path
) -> None:
    # The cron file lies in memory where there is such a folder: the disk's fsync is not what is measured.
    cron = Path("/dev/shm" if Path("/dev/shm").is_dir() else folder) / f"{folder.name}-cron"
    service = root_service(cron_file=str(cron))
    schedule = {"id": 1, "backup_type": "full", "frequency": "hourly"}
    lines = [  # in turns, so that each is written
        encode({"cmd": "update_cron_schedules", "args": {"schedules": [{**schedule, "minute": minute}]}})
        for minute in (5, 6)
    ]

    def call(times: int) -> tuple[int, int, int]:
        for number in range(times):
            answer = service.send(lines[number % 2])
            assert answer == b'{"code":200,"status":"ok","schedules":1,"changed":true}\n'
        service.wait_until(lambda: service.figure("Threads") == 1)
        return service.figure("Threads"), service.descriptors(), service.figure("VmRSS")

    try:
        threads, descriptors, memory = call(1_000)
        threads_after, descriptors_after, memory_after = call(9_000)
    finally:
        cron.unlink()
    assert (threads_after, descriptors_after) == (threads, descriptors)
    assert memory_after - memory < 1024  # kB
    assert memory_after < 20 * 1024


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_service_at_once_with_status_0(root_service: Start, number: int) -> None:
    service = root_service()
    service.wait_until(service.heeds_signals)
    service.process.send_signal(number)
    assert service.process.wait(PATIENCE) == 0
    assert service.log == ""


def test_a_call_under_way_is_answered_before_the_end(echo: Start) -> None:
    service = echo()
    with service.connect() as connection:
        connection.sendall(encode({"cmd": "wait", "args": {"seconds": 0.5}}))
        service.wait_until(lambda: "waiting" in service.log)
        service.process.terminate()
        assert json.loads(connection.recv(1000)) == {"code": 200, "status": "ok"}
    assert service.process.wait(PATIENCE) == 0


def test_a_stalled_caller_does_not_hold_up_the_end(echo: Start) -> None:
    service = echo(0.3)
    with service.connect() as connection:
        connection.sendall(b'{"cmd":')
        assert service.stop() == 0


def test_a_full_house_does_not_hold_up_the_end(echo: Start) -> None:
    service = echo(0.5)
    silent = [service.connect() for _ in range(100)]
    assert service.stop() == 0
    for connection in silent:
        connection.close()


# systemd

HAND_OVER = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ.update(LISTEN_PID=str(os.getpid() + int(sys.argv[2])), LISTEN_FDS=sys.argv[3])\n"
    "os.execv(sys.argv[4], sys.argv[4:])\n"
)
"""What systemd does: descriptor 3 is a listening socket, and the environment says so."""


@pytest.fixture
def handed_over(folder: Path, run: Start, configure: Start, root_command: list[str]) -> Any:
    """Start dbcalm-cmd with a socket that the test has bound: ``handed_over(off=0, count=1)``."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "systemd.sock"))
    listener.listen()
    descriptor = os.dup(listener.fileno())
    os.set_inheritable(descriptor, True)

    def start(off: int = 0, count: int = 1) -> Any:
        words = [sys.executable, "-c", HAND_OVER, descriptor, off, count, *root_command]
        return run(folder / "systemd.sock", *words, env=configure(), pass_fds=[descriptor])

    yield start
    os.close(descriptor)
    listener.close()


def test_a_socket_from_systemd_is_served_and_no_other_is_made(handed_over: Start, folder: Path) -> None:
    service = handed_over()
    assert service.ask("?") == UNKNOWN_COMMAND
    assert not (folder / "cmd.sock").exists()
    assert service.stop() == 0


def test_a_socket_from_systemd_outlives_the_service(handed_over: Start) -> None:
    first = handed_over()
    assert first.ask("?") == UNKNOWN_COMMAND
    assert first.stop() == 0
    with first.connect() as early:  # systemd keeps the socket open, so callers wait instead of failing
        early.sendall(encode({"cmd": "?", "args": {}}))
        second = handed_over()
        assert json.loads(early.recv(1000)) == UNKNOWN_COMMAND
    assert second.ask("?") == UNKNOWN_COMMAND
    assert second.log == ""


@pytest.mark.parametrize(("off", "count"), [(1, 1), (0, 0), (0, 2)])
def test_a_socket_that_is_meant_for_another_process_is_left_alone(
    handed_over: Start, folder: Path, off: int, count: int
) -> None:
    service = handed_over(off, count)
    service.path = folder / "cmd.sock"
    service.wait_until(service.listens)
    assert service.ask("?") == UNKNOWN_COMMAND


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_of_readiness_and_of_the_end(
    folder: Path, run: Start, configure: Start, root_command: list[str], abstract: bool
) -> None:
    address = f"@{folder}/notify" if abstract else f"{folder}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address.replace("@", "\0", 1) if abstract else address)
        systemd.settimeout(PATIENCE)
        service = run(folder / "cmd.sock", *root_command, env={**configure(), "NOTIFY_SOCKET": address})
        assert systemd.recv(100) == b"READY=1"
        assert service.ask("?") == UNKNOWN_COMMAND  # Ready means that it answers.
        assert service.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_the_watchdog_hears_of_a_service_that_can_take_a_call(folder: Path, echo: Start) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{folder}/notify")
        systemd.settimeout(PATIENCE)
        service = echo(env={"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "400000"})
        heard = [systemd.recv(100) for _ in range(4)]
        assert heard == [b"READY=1", *[b"WATCHDOG=1"] * 3]
        with ThreadPoolExecutor(64) as callers:
            for _ in range(64):
                callers.submit(service.ask, "hold", file=f"{folder}/go")
            service.wait_until(lambda: service.log.count("waiting") == 64)
            systemd.settimeout(1)
            with pytest.raises(TimeoutError):
                while True:
                    systemd.recv(100)  # What was said before all calls hung.
            systemd.settimeout(PATIENCE)
            (folder / "go").touch()
            assert systemd.recv(100) == b"WATCHDOG=1"


def test_the_log_has_priorities_where_journald_reads_it(
    folder: Path, run: Start, configure: Start, root_command: list[str]
) -> None:
    service = run(folder / "cmd.sock", *root_command, env={**configure(), "JOURNAL_STREAM": "8:1"})
    service.wait_until(service.listens)
    assert service.ask("update_cron_schedules", schedules=[])["code"] == 200
    assert service.log == f"<6>{folder}/cron now holds 0 schedules\n"


# Sockets of its own


def test_a_socket_that_a_killed_service_left_is_replaced(root_service: Start) -> None:
    first = root_service()
    first.process.kill()
    first.process.wait()
    assert first.path.is_socket()
    assert root_service().ask("?") == UNKNOWN_COMMAND


def test_a_socket_that_is_served_is_not_taken_away(
    root_service: Start, configure: Start, root_command: list[str]
) -> None:
    service = root_service()
    second = subprocess.run(root_command, env=configure(), capture_output=True, text=True, timeout=PATIENCE)
    reason = f"cannot listen on {service.path}: another service already listens there"
    assert (second.returncode, second.stdout, second.stderr) == (1, "", f"dbcalm-cmd: {reason}\n")
    assert service.ask("?") == UNKNOWN_COMMAND


def test_a_file_that_is_no_socket_is_never_removed(
    folder: Path, configure: Start, root_command: list[str]
) -> None:
    precious = folder / "precious"
    precious.write_text("data")
    done = subprocess.run(
        root_command, env=configure(socket=str(precious)), capture_output=True, text=True, timeout=PATIENCE
    )
    reason = f"cannot listen on {precious}: a file that is no socket is in its place"
    assert (done.returncode, done.stderr) == (1, f"dbcalm-cmd: {reason}\n")
    assert precious.read_text() == "data"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing/cmd.sock", "No such file or directory"), ("x" * 150, "AF_UNIX path too long")],
)
def test_a_socket_that_cannot_be_bound_is_named(
    folder: Path, configure: Start, root_command: list[str], path: str, reason: str
) -> None:
    done = subprocess.run(
        root_command,
        env=configure(socket=f"{folder}/{path}"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (1, f"dbcalm-cmd: cannot listen on {folder}/{path}: {reason}\n")


def test_a_user_that_does_not_exist_is_named(configure: Start, root_command: list[str]) -> None:
    done = subprocess.run(
        root_command,
        env=configure(dbcalm_user="nobody-of-that-name"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    reason = "dbcalm_user is 'nobody-of-that-name', and the host has no such user"
    assert (done.returncode, done.stderr) == (1, f"dbcalm-cmd: {reason}\n")


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_socat_can_talk_to_it(echo: Start) -> None:
    service = echo()
    done = subprocess.run(
        ["socat", "-", f"UNIX-CONNECT:{service.path}"],
        input=b'{"cmd": "echo", "args": {"text": 1}}\n',
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.stdout == b'{"code":200,"status":"ok","text":1}\n'
