"""What ``dbcalm`` reads from its configuration, and what its log shows."""

import logging
import stat
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from dbcalm import config
from dbcalm.config import Settings
from dbcalm.errors import InvalidConfig
from dbcalm.logger import audit, audited, log, masked, start_logging
from dbcalm_mariadb_cmd.config.keys import DEFAULT_CONFIG, KEYS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yml"


def test_an_empty_file_gives_the_defaults_of_the_contract(file: Path) -> None:
    file.touch()
    settings = config.load(file)
    assert (settings.api_host, settings.api_port, settings.jwt_algorithm) == ("0.0.0.0", 8335, "HS256")
    assert settings.database_file == Path("/var/lib/dbcalm/db.sqlite3")


def test_settings_name_only_keys_that_exist() -> None:
    assert {field.name for field in fields(Settings)} <= set(KEYS)


def test_the_file_is_named_by_the_environment() -> None:
    assert config.config_path({}) == config.config_path({"DBCALM_CONFIG": ""}) == DEFAULT_CONFIG
    assert config.config_path({"DBCALM_CONFIG": "/x/y.yml"}) == Path("/x/y.yml")


def test_all_mistakes_are_told_together_with_file_and_key(file: Path) -> None:
    file.write_text("api_port: 0\nlog_level: loud\ncolour: red\nbackup_dir: here\n")
    with pytest.raises(InvalidConfig) as refused:
        config.load(file)
    assert len(refused.value.mistakes) == 4
    for word in (str(file), "api_port must be", "log_level must be debug", "'colour'", "backup_dir must be"):
        assert word in str(refused.value)


def settings_with(file: Path, text: str) -> Settings:
    file.write_text(text)
    return config.load(file)


def test_the_key_stands_in_the_configuration_or_in_a_file(file: Path, tmp_path: Path) -> None:
    key = tmp_path / "jwt.key"
    key.write_text("f" * 64 + "\n")
    key.chmod(0o640)
    assert config.signing_key(settings_with(file, f"jwt_secret_key_file: {key}")) == b"f" * 64
    both = settings_with(file, f"jwt_secret_key: {'s' * 32}\njwt_secret_key_file: {key}")
    assert config.signing_key(both) == b"s" * 32
    [warning] = config.warnings(both)
    assert "jwt_secret_key_file" in warning


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (None, 0o600, "cannot read"),
        (b"short", 0o600, "at least 32 bytes"),
        (b"f" * 31 + b"\n\n", 0o600, "at least 32 bytes"),
        (b"f" * 64, 0o604, "can be read by everybody"),
        (b"-----BEGIN PRIVATE KEY-----" + b"f" * 64, 0o600, "not a key pair"),
    ],
)
def test_a_key_that_cannot_be_used_is_one_clear_line(
    file: Path, tmp_path: Path, content: bytes | None, mode: int, problem: str
) -> None:
    key = tmp_path / "jwt.key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    with pytest.raises(InvalidConfig, match=problem) as refused:
        config.signing_key(settings_with(file, f"jwt_secret_key_file: {key}"))
    assert str(key) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "ffff" not in str(refused.value)


def test_any_origin_is_warned_of(file: Path) -> None:
    assert config.warnings(settings_with(file, "cors_origins: ['*']"))
    assert not config.warnings(settings_with(file, "cors_origins: ['https://ui.example.org']"))


TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        (f"the token {TOKEN} was refused", TOKEN),
        ("Authorization: Bearer abc/def+ghi==", "abc/def"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("password=hunter2", "hunter2"),
        ("{'password': 'hunter2', 'x': 1}", "hunter2"),
        ('{"client_secret": "hunter2"}', "hunter2"),
        ("jwt_secret: hunter2", "hunter2"),
        ("code=b2a9o0Zt2mV4yHq1c8w6d3fXkq5s7uJr", "b2a9o0Zt"),
        ('"access_token":"hunter2"', "hunter2"),
        ("DB_PASSWORD=hunter2 mysql", "hunter2"),
    ],
)
def test_secrets_are_masked(line: str, secret: str) -> None:
    assert secret not in masked(line)


@pytest.mark.parametrize(
    "line", ["return code: 1", "code=404", "change the password of user 'alice': done", "basic"]
)
def test_what_is_no_secret_is_left(line: str) -> None:
    assert masked(line) == line


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:], root.level = before, level


@pytest.mark.usefixtures("_own_logging")
def test_the_log_goes_to_standard_error_and_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dbcalm.log"
    start_logging("info", file)
    log.info("said")
    log.debug("not said")
    logging.getLogger("library").info("not said either")
    error = capfd.readouterr().err
    assert error.endswith("INFO dbcalm: said\n")
    assert error[:2] == "20"
    assert file.read_text() == error


@pytest.mark.usefixtures("_own_logging")
def test_journald_gets_priorities(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    start_logging("debug")
    log.warning("careful")
    log.debug("details")
    assert capfd.readouterr().err == "<4>careful\n<7>details\n"


@pytest.mark.usefixtures("_own_logging")
def test_nobody_can_forge_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    start_logging("info")
    log.info("user %s", "x\n2026-01-01 INFO dbcalm.audit: root: did it\x1b[2J\u2028")
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("_own_logging")
def test_tracebacks_are_masked_too(capfd: pytest.CaptureFixture[str]) -> None:
    start_logging("info")
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        log.exception("failed")
    error = capfd.readouterr().err
    assert "ValueError" in error
    assert "hunter2" not in error


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("level", ["debug", "error"])
def test_what_was_done_is_logged_at_every_level(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    start_logging(level)
    audit("alice", "delete backup x", "done")
    assert "alice: delete backup x: done" in capfd.readouterr().err


@pytest.mark.usefixtures("_own_logging")
def test_a_terminal_is_not_filled_with_what_was_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dbcalm.log"
    start_logging("info", file, terminal=True)
    with audited("root", "add user 'alice'"):
        pass
    log.warning("careful")
    assert capfd.readouterr().err.count("\n") == 1
    assert "root: add user 'alice': done" in file.read_text()


@pytest.mark.usefixtures("_own_logging")
def test_a_log_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        start_logging("info", tmp_path / "missing" / "dbcalm.log")


@pytest.mark.usefixtures("_own_logging")
def test_the_log_file_is_not_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "dbcalm.log"
    start_logging("info", file)
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0


@pytest.mark.usefixtures("_own_logging")
def test_a_log_file_can_be_rotated(tmp_path: Path) -> None:
    file = tmp_path / "dbcalm.log"
    start_logging("info", file)
    log.info("before")
    file.rename(tmp_path / "dbcalm.log.1")
    log.info("after")
    assert "before" in (tmp_path / "dbcalm.log.1").read_text()
    assert "before" not in file.read_text()
    assert "after" in file.read_text()
