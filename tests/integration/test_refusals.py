"""Wrong input: one clear line each, and nothing lost."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.conftest import Rig, states
from tests.support.able import mounted
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.integration

FULL = {"type": "full"}
NO_CREDENTIALS = "credentials file not found or missing [client-dbcalm] section"


@pytest.fixture(autouse=True)
def nothing_is_lost(rig: Rig) -> Iterator[None]:
    """Every backup is after the test what it was before, and nothing half-made is left."""
    before = {folder.name: states(folder) for folder in rig.backups.iterdir() if folder.name[0] not in ".r"}
    yield
    after = {folder.name: states(folder) for folder in rig.backups.iterdir()}
    assert {name: after.get(name) for name in before} == before
    assert rig.leftovers() == []


@pytest.fixture(scope="module")
def base(shared_rig: Rig) -> str:
    return str(shared_rig.backup(id="refusals-base")["resource_id"])


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """Let a file have another content for a while."""
    original = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(original)


def test_without_a_credentials_file(rig: Rig, base: str) -> None:
    path = rig.sandbox.layout.credentials
    moved = path.rename(path.with_suffix(".away"))
    try:
        status, line = rig.refused("POST", "/backups", FULL)
        assert (status, line.startswith(NO_CREDENTIALS)) == (503, True)
        status, line = rig.refused("POST", "/restore", {"id": base, "target": "folder"})
        assert (status, line.startswith(NO_CREDENTIALS)) == (503, True)
    finally:
        moved.rename(path)


def test_without_our_section_in_it(rig: Rig) -> None:
    with changed(rig.sandbox.layout.credentials, "[client]\nuser=root\n"):
        status, line = rig.refused("POST", "/backups", FULL)
    assert (status, line.startswith(NO_CREDENTIALS)) == (503, True)


def test_with_a_wrong_password(rig: Rig) -> None:
    credentials = rig.sandbox.layout.credentials
    with changed(credentials, credentials.read_text().replace("password=", "password=not")):
        status, line = rig.refused("POST", "/backups", FULL)
    assert status == 503
    assert "Access denied" in line


def test_while_the_server_is_down(rig: Rig) -> None:
    rig.sandbox.stop_db()
    assert rig.refused("POST", "/backups", FULL) == (503, "server is not running")


@pytest.mark.parametrize("grant", ["RELOAD", "PROCESS", "BINLOG MONITOR"])
def test_a_missing_grant_is_named_with_the_statement_to_type(rig: Rig, grant: str) -> None:
    rig.sandbox.sql(f"REVOKE {grant} ON *.* FROM dbcalm_backup@localhost")
    status, line = rig.refused("POST", "/backups", FULL)
    assert status == 503
    assert f"GRANT {grant} ON *.* TO `dbcalm_backup`@`localhost`;" in line
    rig.sandbox.sql(line.partition("type: ")[2])
    assert rig.backup()["status"] == "success"


@pytest.mark.parametrize("statement", ["BACKUP STAGE START", "LOCK TABLES shop.log WRITE"])
def test_while_another_backup_or_a_locked_table_is_in_the_way(rig: Rig, statement: str) -> None:
    holder = subprocess.Popen(
        ["mariadb", f"--socket={rig.sandbox.database.socket}", "--user=root"],
        stdin=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin
    holder.stdin.write(f"{statement}; SELECT SLEEP(30);\n")
    holder.stdin.flush()
    try:
        while "SLEEP" not in rig.sandbox.sql("SHOW PROCESSLIST"):
            pass
        status, line = rig.refused("POST", "/backups", FULL)
        assert status == 409
        assert "backup lock" in line
        assert "another backup" in line
        assert "a session with LOCK TABLES" in line
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()


@pytest.mark.parametrize(
    "name", ["../up", "/etc", "a/b", "a\\b", "日本", "-", "", ".", "a\0b", "restores", "latest"]
)
def test_an_id_that_is_no_name(rig: Rig, name: str) -> None:
    assert rig.refused("POST", "/backups", {"type": "full", "id": name})[0] == 422


def test_an_id_that_is_taken_by_a_folder_that_is_not_ours(rig: Rig) -> None:
    folder = rig.backups / "not-ours"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    try:
        assert rig.refused("POST", "/backups", {"type": "full", "id": "not-ours"})[0] == 409
        assert rig.refused("DELETE", "/backups/not-ours")[0] in (404, 409)
        assert rig.refused("POST", "/restore", {"id": "not-ours", "target": "folder"})[0] in (404, 409)
        assert (folder / "precious").read_text() == "precious"
    finally:
        shutil.rmtree(folder)


def test_an_id_that_is_taken_by_a_backup(rig: Rig, base: str) -> None:
    assert rig.refused("POST", "/backups", {"type": "full", "id": base})[0] == 409


def test_an_unknown_base(rig: Rig) -> None:
    status, line = rig.refused("POST", "/backups", {"type": "incremental", "from_backup_id": "nowhere"})
    assert status == 404
    assert "nowhere" in line


@contextmanager
def chain(rig: Rig, form: str = "zstd") -> Iterator[tuple[str, str]]:
    """Make a chain of two for a test to damage, the full one in this form, and take it away again."""
    full = rig.backup(form=form)["resource_id"]
    top = rig.backup(type="incremental", from_backup_id=full)["resource_id"]
    try:
        yield full, top
    finally:
        for name in (top, full):
            shutil.rmtree(rig.backups / name, ignore_errors=True)
            rig.api.request("DELETE", f"/backups/{name}")


def test_a_base_whose_folder_was_deleted(rig: Rig) -> None:
    with chain(rig) as (full, top):
        shutil.rmtree(rig.backups / full)
        status, line = rig.refused("POST", "/backups", {"type": "incremental", "from_backup_id": top})
        assert (status, full in line) == (404, True)
        status, line = rig.refused("POST", "/restore", {"id": top, "target": "folder"})
        assert (status, full in line) == (404, True)
        newest = rig.start("/backups", {"type": "incremental"})
        assert (newest["type"], full in newest["note"]) == ("full", True)
        rig.end(newest)


def flip(path: Path) -> None:
    """Turn one bit of a file, and leave its size and its mtime."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("folder", "ibdata1"),
        ("folder", "shop/log.MAD"),
        ("folder", "xtrabackup_checkpoints"),
        ("folder", "dbcalm-files.json"),
        ("zstd", "backup.xbstream.zst"),
        ("zstd", "dbcalm-lsn/xtrabackup_checkpoints"),
        ("gzip", "backup.xbstream.gz"),
        ("gzip", "dbcalm-files.json"),
    ],
)
def test_a_base_whose_checksums_differ(rig: Rig, form: str, name: str) -> None:
    with chain(rig, form) as (full, top):
        flip(rig.backups / full / name)
        status, line = rig.refused("POST", "/backups", {"type": "incremental", "from_backup_id": top})
        assert (status, full in line, name in line) == (409, True, True)
        newest = rig.start("/backups", {"type": "incremental"})
        assert (newest["type"], full in newest["note"]) == ("full", True)
        rig.end(newest)
        reply = rig.api.request("POST", "/restore", {"id": top, "target": "folder"})
        assert reply.status in (202, 409)
        assert reply.status == 409 or rig.end(reply.body)["status"] == "failed"


@pytest.mark.parametrize(
    ("form", "name"),
    [("folder", "shop/log.MAD"), ("zstd", "backup.xbstream.zst"), ("gzip", "backup.xbstream.gz")],
)
def test_a_flipped_bit_fails_a_restore_and_names_the_file(rig: Rig, base: str, form: str, name: str) -> None:
    with chain(rig, form) as (full, top):
        flip(rig.backups / full / name)
        ended = rig.end(rig.start("/restore", {"id": top, "target": "folder"}))
        assert ended["status"] == "failed"
        assert f"backup {full} is damaged" in ended["error"]
        assert name in ended["error"]
        rig.empty_database()
        ended = rig.end(rig.start("/restore", {"id": top, "target": "database"}))
        assert ended["status"] == "failed"
        assert list(rig.data.iterdir()) == []
    rig.restore(base, "database")


def test_restore_onto_a_running_server(rig: Rig, base: str) -> None:
    status, line = rig.refused("POST", "/restore", {"id": base, "target": "database"})
    server = rig.sandbox.process("mariadbd")
    assert server is not None
    assert (status, line.partition(" (")[0]) == (503, f"server is not stopped: process {server.pid}")
    assert line.endswith(f" works in {rig.data}; type: kill {server.pid}")


@pytest.mark.parametrize("name", ["mariadbd.pid", ".hidden", "somebodys/"])
def test_restore_onto_a_directory_that_is_not_empty(rig: Rig, base: str, name: str) -> None:
    rig.empty_database()
    thing = rig.data / name
    thing.mkdir() if name.endswith("/") else thing.touch()
    status, line = rig.refused("POST", "/restore", {"id": base, "target": "database"})
    assert (status, line.startswith("data directory is not empty")) == (503, True)
    assert [path.name for path in rig.data.iterdir()] == [name.rstrip("/")]
    thing.rmdir() if name.endswith("/") else thing.unlink()
    rig.restore(base, "database")


def test_restore_of_an_unknown_backup(rig: Rig) -> None:
    assert rig.refused("POST", "/restore", {"id": "nowhere", "target": "folder"})[0] == 404


@pytest.mark.usefixtures("as_root")
def test_a_disk_that_is_too_full(rig: Rig) -> None:
    """Put the backup folder on a file system of 24 MB for a while: refused when it is seen before, failed and cleaned
    up when the copy itself fills it."""
    config = rig.sandbox.layout.config
    small = rig.sandbox.root / "small"
    small.mkdir()
    with mounted(small, "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs"):
        backups = small / "backups"
        backups.mkdir(mode=0o700)
        os.chown(backups, rig.data.stat().st_uid, rig.data.stat().st_gid)
        try:
            with changed(config, config.read_text().replace(f"{rig.sandbox.layout.backups}", str(backups))):
                rig.sandbox.restart("dbcalm-mariadb-cmd")
                status, line = rig.refused("POST", "/backups", FULL)
                assert status == 507
                assert "MB" in line
                assert sorted(path.name for path in backups.iterdir()) == [".trash", ".work", "restores"]
        finally:
            rig.sandbox.restart("dbcalm-mariadb-cmd")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/backups?query=colour|blue", "colour"),
        ("/backups?query=id|like|x", "like"),
        ("/backups?query=id", "id"),
        ("/backups?query=start_time|gt|yesterday", "start_time"),
        ("/backups?order=size|asc", "size"),
        ("/backups?order=id|up", "up"),
    ],
)
def test_a_query_that_is_none(rig: Rig, path: str, word: str) -> None:
    status, line = rig.refused("GET", path)
    assert status == 400
    assert word in line


@pytest.mark.parametrize(
    "path", ["/backups?page=0", "/backups?per_page=0", "/backups?per_page=1001", "/backups?page=x"]
)
def test_a_page_that_is_none(rig: Rig, path: str) -> None:
    assert rig.refused("GET", path)[0] in (400, 422)


def test_a_body_of_ten_megabytes(rig: Rig) -> None:
    facts = rig.sandbox.facts
    context = ssl.create_default_context(cafile=facts.ca)
    connection = http.client.HTTPSConnection(urlsplit(facts.url).netloc, timeout=PATIENCE, context=context)
    body = json.dumps({"type": "full", "id": "x" * 10_000_000})
    try:
        connection.request("POST", "/auth/token", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert isinstance(json.loads(answer.read())["detail"], str)
    finally:
        connection.close()
    assert rig.api.request("GET", "/backups").status == 200


def say(path: str, sent: bytes, seconds: float = PATIENCE) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(sent)
        return connection.recv(65536)


@pytest.mark.parametrize("which", ["cmd_sock", "mariadb_cmd_sock"])
def test_garbage_silence_and_half_a_line_on_a_socket(rig: Rig, which: str) -> None:
    path: str = getattr(rig.sandbox.facts, which)
    for sent in (
        b"garbage\n",
        b"\xff\xfe\n",
        b"{}\n",
        b'{"cmd":"rm","args":{}}\n',
        b'{"cmd":[],"args":{}}\n',
    ):
        answer = json.loads(say(path, sent))
        assert answer["code"] in (400, 404), sent
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as half:
        for connection in (silent, half):
            connection.settimeout(PATIENCE)
            connection.connect(path)
        half.sendall(b'{"cmd":')
        assert json.loads(say(path, b"garbage\n"))["code"] == 400  # The others are served meanwhile.
        for connection in (silent, half):
            assert json.loads(connection.recv(65536))["code"] == 400


def test_bad_tokens_are_401_and_say_how_to_log_in(rig: Rig) -> None:
    facts = rig.sandbox.facts
    context = ssl.create_default_context(cafile=facts.ca)
    for headers in ({}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic eDp5"}):
        connection = http.client.HTTPSConnection(
            urlsplit(facts.url).netloc, timeout=PATIENCE, context=context
        )
        connection.request("GET", "/backups", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
        connection.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("api_port: many\nbackup_dir: here\n", ["api_port", "backup_dir", "absolute path"]),
        ("colour: blue\n", ["colour"]),
        ("api_port: 1\napi_port: 2\n", ["api_port", "twice"]),
        ("a: [\n", ["YAML"]),
    ],
)
@pytest.mark.parametrize("program", ["dbcalm.py server", "dbcalm-mariadb-cmd.py"])
def test_a_wrong_configuration_stops_a_program_with_one_line(
    rig: Rig, tmp_path: Path, text: str, words: list[str], program: str
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(text)
    name, *arguments = program.split()
    programs = rig.sandbox.layout.programs
    ran = subprocess.run(
        [programs / "venv" / "bin" / "python", programs / name, *arguments],
        env={"DBCALM_CONFIG": str(config), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 1
    assert len(ran.stderr.strip().splitlines()) == 1
    for word in [str(config), *words]:
        assert word in ran.stderr


def test_a_base_is_kept_while_what_builds_on_it_is_away(rig: Rig) -> None:
    with chain(rig) as (full, top):
        away = (rig.backups / top).rename(rig.sandbox.root / "away")
        status, line = rig.refused("DELETE", f"/backups/{full}")
        assert (status, top in line) == (409, True)
        away.rename(rig.backups / top)


def test_a_backup_that_takes_the_name_of_one_that_was_taken_away_is_shown_as_itself(rig: Rig) -> None:
    with chain(rig) as (_, top):
        shutil.rmtree(rig.backups / top)
        rig.backup(id=top)
        shown = rig.api.call("GET", f"/backups/{top}")
        assert (shown["type"], shown["from_backup_id"]) == ("full", None)


def test_more_tables_than_the_service_may_open(rig: Rig) -> None:
    """The tool opens them all: it would fail in the middle, by the kernel's word."""
    again = (
        "import sys; from pathlib import Path; from dev.sandbox_lib import Sandbox; "
        "Sandbox(Path(sys.argv[1])).restart('dbcalm-mariadb-cmd')"
    )
    command = [sys.executable, "-c", again, str(rig.sandbox.folder)]
    subprocess.run(["prlimit", "--nofile=200:200", *command], check=True)
    try:
        status, line = rig.refused("POST", "/backups", FULL)
        assert (status, "this service may open 200; set LimitNOFILE=" in line) == (503, True)
        told = rig.api.call("GET", "/ready")["database"]
        assert (told["ok"], told["message"]) == (False, line)
    finally:
        rig.sandbox.restart("dbcalm-mariadb-cmd")
    assert rig.backup()["status"] == "success"
