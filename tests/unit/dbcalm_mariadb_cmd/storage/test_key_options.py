"""Passwords that no backup has are found again in the server's option files, or where somebody has written them."""

import json
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import secrets
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.storage.key_options import BY_HAND, NOTED, note_source, put_before

NAME = "file_key_management_filekey"
CONFIG = f"[mysqld]\ninnodb_page_size=16384\n{NAME}=Very Secret\n".encode()


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    """The command to prepare a backup whose password was left out."""
    data = tmp_path / "data"
    data.mkdir()
    (data / secrets.CONFIG).write_bytes(secrets.without(CONFIG)[0])
    return ["tool", f"--defaults-file={data / secrets.CONFIG}", "--prepare"]


def server_has(tmp_path: Path, *lines: str) -> None:
    """Let the server's option file have these lines, and be noted."""
    file = tmp_path / "my.cnf"
    file.write_text("[client]\nuser=x\n[mariadbd]\n" + "".join(f"{line}\n" for line in lines))
    (tmp_path / NOTED).write_text(json.dumps([f"--defaults-file={file}"]))


def given(argv: list[str], tmp_path: Path) -> str:
    """Return the options that the tool gets, which are gone behind it."""
    with put_before(argv, tmp_path, tmp_path) as command:
        fresh = Path(command[1].removeprefix("--defaults-file="))
        assert fresh.stat().st_mode & 0o077 == 0
        text = fresh.read_bytes().decode("latin-1")
    assert not fresh.exists()
    return text


@pytest.mark.parametrize("name", [NAME, "file-key-management-filekey", "loose_file-key-management_filekey"])
@pytest.mark.parametrize("value", ["Very Secret", "FILE:/etc/key", "a=b"])
def test_it_is_found_in_the_server_s_option_files(
    argv: list[str], tmp_path: Path, name: str, value: str
) -> None:
    server_has(tmp_path, "port=1", f"{name} = {value}", "loose-file-key-management-filename=/keys")
    text = given(argv, tmp_path)
    assert text.endswith(f"[mysqld]\n{NAME}={value}\n")
    assert "innodb_page_size=16384" in text


def test_what_is_written_by_hand_counts_first(argv: list[str], tmp_path: Path) -> None:
    server_has(tmp_path, f"{NAME}=of another server")
    (tmp_path / BY_HAND).write_text(f"{NAME}=by hand\n")
    assert given(argv, tmp_path).endswith(f"\n{NAME}=by hand\n")


@pytest.mark.parametrize("noted", [None, "[]", "no JSON", '["--defaults-file=/nowhere/my.cnf"]', "{}"])
def test_what_is_found_nowhere_is_asked_for(argv: list[str], tmp_path: Path, noted: str | None) -> None:
    if noted is not None:
        (tmp_path / NOTED).write_text(noted)
    with (
        pytest.raises(JobFailed, match=f"{NAME} is in no backup, and not found .* into {tmp_path / BY_HAND}"),
        put_before(argv, tmp_path, tmp_path),
    ):
        pass


def test_options_that_lack_nothing_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[mysqld]\ninnodb_page_size=16384\n")
    argv = ["tool", f"--defaults-file={tmp_path / 'my.cnf'}", "--prepare"]
    with put_before(argv, tmp_path, tmp_path) as command:
        assert command == argv


def test_nothing_is_noted_where_nothing_was_left_out(tmp_path: Path) -> None:
    note_source({}, tmp_path, tmp_path)
    assert not (tmp_path / NOTED).exists()
    note_source({NAME: "Very Secret"}, tmp_path, tmp_path)
    assert json.loads((tmp_path / NOTED).read_text()) == []  # No server works there.
