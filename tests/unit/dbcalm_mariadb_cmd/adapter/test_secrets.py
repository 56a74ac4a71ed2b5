"""What counts as a password of the server's key management, and that it is left out."""

import os
import struct
import threading
import zlib
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import secrets
from dbcalm_mariadb_cmd.adapter.xbstream import NoStream, Relay

CONFIG = (
    b"[mysqld]\ninnodb_page_size=16384\nplugin_load=file_key_management=file_key_management\n"
    b"file_key_management_filekey=Very Secret\nfile_key_management_filename=/keys.enc\n"
)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"[00] :  '--file_key_management_filekey=Very-Secret'\n", b"[00] :  '--file_key_management_filekey=[...]\n"),
        (b"--hashicorp_key_management_token=s.123", b"--hashicorp_key_management_token=[...]"),
        (b"x_key_management_password = a b\n", b"x_key_management_password = [...]\n"),
        (b"'--file_key_management_filekey=FILE:/etc/key'\n", b"'--file_key_management_filekey=FILE:/etc/key'\n"),
        (b"Access denied for user 'b' (using password: YES)\n", b"Access denied for user 'b' (using password: YES)\n"),
        (b"innodb_page_size=16384\n", b"innodb_page_size=16384\n"),
    ],
)  # fmt: skip
def test_a_line_of_a_log_is_told_without_it(line: bytes, told: bytes) -> None:
    assert secrets.redacted(line) == told


def test_options_are_as_long_as_before_without_it() -> None:
    kept, found = secrets.without(CONFIG)
    assert len(kept) == len(CONFIG)
    assert b"Secret" not in kept
    assert kept.replace(b"#file_key_management_filekey           ", b"") == CONFIG.replace(
        b"file_key_management_filekey=Very Secret", b""
    )
    assert found == {"file_key_management_filekey": "Very Secret"}
    assert secrets.without(kept) == (kept, {})


def test_an_option_that_names_a_file_is_no_secret() -> None:
    config = CONFIG.replace(b"Very Secret", b"FILE:/etc/key")
    assert secrets.without(config) == (config, {"file_key_management_filekey": "FILE:/etc/key"})


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("file_key_management_filekey", "x", True),
        ("file_key_management_filekey", "", False),
        ("hashicorp_key_management_token", "s.1", True),
        ("report_password", "x", False),
        ("strict_password_validation", "ON", False),
        ("file_key_management_filename", "/keys", False),
    ],
)
def test_which_variables_of_a_server_are_secret(name: str, value: str, is_one: bool) -> None:
    assert secrets.are_in({name: value}) is is_one


def test_a_folder_loses_it_and_what_it_was_is_told(tmp_path: Path) -> None:
    assert secrets.keep_out(tmp_path) == {}
    (tmp_path / secrets.CONFIG).write_bytes(CONFIG)
    assert secrets.keep_out(tmp_path) == {"file_key_management_filekey": "Very Secret"}
    left = (tmp_path / secrets.CONFIG).read_bytes()
    assert left == secrets.without(CONFIG)[0]
    assert secrets.left_out_of(left) == ["file_key_management_filekey"]


def chunk(kind: bytes, name: bytes, data: bytes = b"", more: bytes = b"") -> bytes:
    head = b"XBSTCK01" + b"\0" + kind + struct.pack("<I", len(name)) + name + more
    return head + struct.pack("<QQI", len(data), 0, zlib.crc32(data)) + data if kind == b"P" else head


def relayed(stream: bytes) -> bytes:
    """Send a stream through two pipes with the password left out between them."""
    (coming, fill), (drain, going) = os.pipe(), os.pipe()
    found: list[bytes] = []
    failures: list[BaseException] = []

    def write() -> None:
        with open(fill, "wb") as file:
            file.write(stream)

    def relay() -> None:
        try:
            Relay(coming, going, secrets.CONFIG, lambda data: secrets.without(data)[0]).run(
                lambda _count: None
            )
        except NoStream as failure:
            failures.append(failure)
            os.close(coming)
        finally:
            os.close(going)

    threads = [threading.Thread(target=work) for work in (write, relay)]
    for thread in threads:
        thread.start()
    with open(drain, "rb") as file:
        found.append(file.read())
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    os.close(coming)
    return found[0]


def test_a_stream_passes_unchanged_but_for_the_options() -> None:
    big = os.urandom(3_000_000)
    before = (
        chunk(b"P", b"shop/t.ibd", big)
        + chunk(b"E", b"shop/t.ibd")
        + chunk(b"N", b"a.ibd", more=b"\5\0\0\0b.ibd")
    )
    after = chunk(b"E", b"backup-my.cnf") + chunk(b"P", b"x", b"XBSTCK01") + chunk(b"E", b"x")
    kept = secrets.without(CONFIG)[0]
    sent = before + chunk(b"P", b"backup-my.cnf", CONFIG) + after
    assert relayed(sent) == before + chunk(b"P", b"backup-my.cnf", kept) + after


def test_what_is_no_such_stream_is_not_let_through() -> None:
    with pytest.raises(NoStream):
        relayed(b"something else altogether")
