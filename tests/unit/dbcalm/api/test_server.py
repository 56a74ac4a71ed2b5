"""``dbcalm server`` as a process: TLS, limits on a connection, its start and its end."""

import contextlib
import http.client
import json
import os
import pwd
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_database
from dbcalm_cmd.wire import Command, decode, encode
from dbcalm_mariadb_cmd.command import requests as commands
from tests.support.dbcalm_fakes import FakeMysqlService
from tests.support.patience import PATIENCE, eventually

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[4]


class FakeSocket:
    """The in-memory mysql service on a Unix socket, for as long as a test runs."""

    def __init__(self, path: Path, service: FakeMysqlService) -> None:
        self._service = service
        self._commands = {
            kind.wire_name: kind
            for kind in vars(commands).values()
            if isinstance(kind, type) and issubclass(kind, Command) and kind is not Command
        }
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            line = connection.makefile("rb").readline()
            if not line:
                return  # The caller was ended before it had asked.
            request: Any = decode(line)
            kind = self._commands[request["cmd"]]
            kind.from_args(request["args"])
            answer = getattr(self._service, kind.wire_name)(**request["args"])
            connection.sendall(encode({"code": answer.code, "status": answer.status, **answer.data}))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Installation:
    """A configuration in a folder of its own, and the server that runs with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "state").mkdir(mode=0o700)
        (folder / "jwt.key").write_text("f" * 64)
        (folder / "jwt.key").chmod(0o600)
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(folder / "cert.pem", append=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.configure()
        self.process: subprocess.Popen[str] | None = None

    def configure(self, **more: object) -> None:
        values = {
            "api_host": "127.0.0.1",
            "api_port": self.port,
            "ssl_cert": self.folder / "cert.pem",
            "ssl_key": self.folder / "key.pem",
            "jwt_secret_key_file": self.folder / "jwt.key",
            "database_file": self.folder / "state" / "db.sqlite3",
            "cmd_socket": self.folder / "cmd.sock",
            "mariadb_cmd_socket": self.folder / "mysql.sock",
            "dbcalm_user": pwd.getpwuid(os.getuid()).pw_name,
            **more,
        }
        (self.folder / "config.yml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))

    def start(self, *, wait: bool = True, program: str = "", **environment: str) -> None:
        """Start the server, or a program in its place."""
        self.process = subprocess.Popen(
            [sys.executable, *(("-c", program) if program else ("dbcalm.py", "server"))],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"], "DBCALM_CONFIG": str(self.folder / "config.yml"), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        if wait:
            eventually(self._connects, "the start of the server")

    def _connects(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.communicate()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        assert self.process is not None
        _out, error = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, error

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        return self.context().wrap_socket(plain, server_hostname="localhost")

    def http(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context(), timeout=PATIENCE)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = self.http()
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        return answer.status, json.loads(found) if found else None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server for the tests that do not stop it; user alice has the password ``secret``."""
    made = Installation(tmp_path_factory.mktemp("running"))
    made.start()
    run_cli(made, "users", "add", "alice", "--password-stdin", stdin="secret")
    yield made
    assert made.stop()[0] == 0


def run_cli(place: Installation, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "dbcalm.py", *arguments],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "DBCALM_CONFIG": str(place.folder / "config.yml")},
        input=stdin, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def token(place: Installation, password: str = "secret") -> dict[str, str]:
    _status, answer = place.ask("POST", "/auth/authorize", {"username": "alice", "password": password})
    _status, answer = place.ask(
        "POST", "/auth/token", {"grant_type": "authorization_code", "code": answer["code"]}
    )
    return {"Authorization": f"Bearer {answer['access_token']}"}


def test_a_person_signs_in_and_what_the_command_line_does_acts_at_once(running: Installation) -> None:
    first = token(running)
    assert running.ask("GET", "/backups", **first)[0] == 200
    run_cli(running, "users", "update-password", "alice", "--password-stdin", stdin="other")
    assert running.ask("GET", "/backups", **first)[0] == 401
    second = token(running, "other")
    run_cli(running, "users", "delete", "alice", "--yes")
    assert running.ask("GET", "/backups", **second)[0] == 401
    run_cli(running, "users", "add", "alice", "--password-stdin", stdin="secret")
    assert running.ask("GET", "/backups", **second)[0] == 401


def test_only_tls_of_today_is_spoken(running: Installation) -> None:
    with running.connect() as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
    old = running.context()
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", running.port)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"200" not in plain.recv(1024)


def answer_to(place: Installation, request: bytes) -> bytes:
    with place.connect() as connection:
        connection.sendall(request)
        answer = connection.recv(4096)
        while not answer.endswith(b"}"):
            more = connection.recv(4096)
            assert more, answer
            answer += more
        return answer


def test_what_is_not_http_and_what_is_too_long_is_an_error_in_json(running: Installation) -> None:
    for request, statuses in (
        (b"hello\r\n\r\n", (400,)),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (400, 414)),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", (400, 431)),
    ):
        head, _, body = answer_to(running, request).partition(b"\r\n\r\n")
        assert int(head.split()[1]) in statuses
        assert b"application/json" in head
        assert json.loads(body)["detail"]


def test_ten_megabytes_are_refused_and_the_answer_is_read(running: Installation) -> None:
    connection = running.http()
    connection.request("POST", "/backups", b"x" * (10 << 20), token(running))
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["detail"]) == (413, "the body is larger than 64 KiB")
    connection.close()


def test_many_requests_on_one_connection(running: Installation) -> None:
    connection = running.http()
    headers = token(running)
    for _ in range(50):
        connection.request("GET", "/backups", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    connection.close()


SLOW_TO_SIGN_IN = """
import os, time
from pathlib import Path
from dbcalm.domain.services.access import auth
verify = auth.verify_password
folder = Path(os.environ["DBCALM_CONFIG"]).parent
def verify_slowly(*given):
    (folder / "asked").touch()
    while (folder / "hold").exists():
        time.sleep(0.01)
    return verify(*given)
auth.verify_password = verify_slowly
from dbcalm.cli.commands.host.server import run
run()
"""


def test_many_sign_ins_at_once_do_not_hold_up_the_rest(place: Installation) -> None:
    place.start(program=SLOW_TO_SIGN_IN)
    run_cli(place, "users", "add", "alice", "--password-stdin", stdin="secret")
    headers = token(place)
    (place.folder / "asked").unlink()
    (place.folder / "hold").touch()
    statuses: list[int] = []

    def sign_in() -> None:
        statuses.append(place.ask("POST", "/auth/authorize", {"username": "alice", "password": "secret"})[0])

    people = [threading.Thread(target=sign_in) for _ in range(8)]
    for person in people:
        person.start()
    eventually((place.folder / "asked").exists, "the first sign-in")
    assert place.ask("GET", "/backups", **headers)[0] == 200
    assert statuses == []
    (place.folder / "hold").unlink()
    for person in people:
        person.join()
    assert statuses == [200] * 8


def test_the_listener_does_not_tell_its_library(running: Installation) -> None:
    assert b"uvicorn" not in answer_to(running, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")


HUNG_UP = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)

IN_A_HURRY = """
from dbcalm.api import server
server.RECEIPT_SECONDS = 0.5
from dbcalm.cli.commands.host.server import run
run()
"""


def test_a_request_that_does_not_arrive_is_hung_up_on(place: Installation) -> None:
    place.start(program=IN_A_HURRY)
    for begun in (
        b"",
        b"GET /health HTTP/1.1\r\nHost:",
        b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    ):
        with place.connect() as connection, contextlib.suppress(*HUNG_UP):
            connection.sendall(begun)
            assert connection.recv(1024) == b""
    eventually(lambda: is_kept_between_requests(place), "a connection that is kept")


def is_kept_between_requests(place: Installation) -> bool:
    """Tell whether a connection outlives what a request has to arrive, between two of them; not, where this process was
    too slow with one."""
    with place.connect() as connection, contextlib.suppress(*HUNG_UP):
        for _ in range(2):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                if not (more := connection.recv(4096)):
                    return False
                answer += more
            assert b"200 OK" in answer
            time.sleep(0.7)
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        with contextlib.suppress(*HUNG_UP):
            assert connection.recv(1024) == b""
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_well(place: Installation, number: int) -> None:
    place.start()
    with place.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(4096)
        code, error = place.stop(number)
    assert code == 0
    assert "Traceback" not in error


def test_it_stops_while_it_waits_for_news(place: Installation) -> None:
    service = FakeMysqlService()
    fake = FakeSocket(place.folder / "mysql.sock", service)
    place.start()
    eventually(lambda: any(arguments[2] for arguments in service.asked_for("read_events")))
    code, error = place.stop()
    assert (code, error) == (0, error)
    assert "Traceback" not in error
    fake.close()


def test_it_catches_up_with_what_happened_while_it_was_down(place: Installation) -> None:
    service = FakeMysqlService()
    fake = FakeSocket(place.folder / "mysql.sock", service)
    service.full_backup("a" * 32, "one", None)
    service.finish("a" * 32)
    place.start()
    catalogue = Catalogue(open_database(place.folder / "state" / "db.sqlite3"))
    eventually(lambda: catalogue.backups.get("one"))
    assert place.stop()[0] == 0
    garbage = place.folder / "state" / "db.sqlite3"
    catalogue.close()
    garbage.write_bytes(b"garbage" * 1000)
    place.start()
    rebuilt = Catalogue(open_database(garbage))
    eventually(lambda: rebuilt.backups.get("one"))
    rebuilt.close()
    code, error = place.stop()
    assert code == 0
    assert "is kept as db.sqlite3.damaged-" in error
    fake.close()


def test_systemd_is_told(place: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(place.folder / "notify"))
        systemd.settimeout(PATIENCE)
        place.start(NOTIFY_SOCKET=str(place.folder / "notify"))
        assert systemd.recv(100) == b"READY=1"
        assert place.stop()[0] == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_the_watchdog_hears_of_a_loop_that_turns(place: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(place.folder / "notify"))
        systemd.settimeout(PATIENCE)
        place.start(NOTIFY_SOCKET=str(place.folder / "notify"), WATCHDOG_USEC="2000000")
        heard = [systemd.recv(100) for _ in range(3)]
        assert b"READY=1" in heard
        assert heard.count(b"WATCHDOG=1") == 2


def refused(place: Installation, *words: str) -> None:
    place.start(wait=False)
    code, error = place.ended()
    assert code == 1
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error


def test_a_port_that_is_taken(place: Installation) -> None:
    with socket.create_server(("127.0.0.1", place.port)):
        refused(place, "cannot listen on 127.0.0.1", str(place.port), "in use")


def test_an_address_that_is_not_ours(place: Installation) -> None:
    place.configure(api_host="192.0.2.1")
    refused(place, "cannot listen on 192.0.2.1")


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_certificate_or_key_that_is_missing(place: Installation, name: str) -> None:
    (place.folder / name).unlink()
    refused(place, "ssl_", "cannot read", name, "TLS is always on")


def test_a_key_that_is_not_of_its_certificate(place: Installation) -> None:
    place.authority.issue_cert("other").private_key_pem.write_to_path(place.folder / "key.pem")
    refused(place, "ssl_cert", "its own key")


def test_a_certificate_that_is_none(place: Installation) -> None:
    (place.folder / "cert.pem").write_text("certificate")
    refused(place, "ssl_cert")


def test_a_key_with_a_passphrase_is_not_asked_for_one(place: Installation) -> None:
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:x",
         "-out", place.folder / "key.pem"], check=True, capture_output=True,
    )  # fmt: skip
    refused(place, "passphrase")


def test_a_signing_key_that_is_too_short(place: Installation) -> None:
    (place.folder / "jwt.key").write_text("short")
    refused(place, "jwt_secret_key_file", "32 bytes")


def test_nothing_is_left_behind_by_a_start_that_was_refused(place: Installation) -> None:
    (place.folder / "jwt.key").unlink()
    refused(place, "jwt_secret_key_file")
    assert not list((place.folder / "state").iterdir())
