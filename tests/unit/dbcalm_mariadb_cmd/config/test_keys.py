"""``config.yml``: its keys, their defaults, and one line that names file, key and what is allowed for what is wrong."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dbcalm_mariadb_cmd.config.assertions import Assertion
from dbcalm_mariadb_cmd.config.keys import KEYS, ConfigError, load
from dbcalm_mariadb_cmd.config.settings import Settings
from tests.support.patience import PATIENCE

CHECKOUT = Path(__file__).parents[4]


@dataclass(frozen=True)
class All:
    """A program that reads every key."""

    db_type: str
    backup_dir: Path
    data_dir: Path
    backup_bin: Path | None
    client_bin: Path | None
    backup_credentials_file: Path
    restore_dir: Path | None
    stored_form: str
    compression_level: int
    compression_threads: int
    encryption_recipients: tuple[str, ...]
    encryption_identity_file: Path | None
    parallel: int
    copy_throttle: int
    cpu_niceness: int
    io_priority: str
    prepare_memory: int
    verify_assertions: tuple[Assertion, ...]
    min_full_chains: int
    min_age: timedelta
    trash_delay: timedelta
    keep_replaced: timedelta
    warm_restore: bool
    max_chain_length: int
    full_every: timedelta
    keep_last: int
    keep_daily: int
    keep_weekly: int
    keep_monthly: int
    keep_yearly: int
    schedule_patience: timedelta
    job_dir: Path
    api_host: str
    api_port: int
    ssl_cert: Path
    ssl_key: Path
    log_file: Path | None
    log_level: str
    jwt_secret_key: str
    jwt_secret_key_file: Path
    jwt_algorithm: str
    cors_origins: tuple[str, ...]
    database_file: Path
    cmd_socket: Path
    mariadb_cmd_socket: Path
    dbcalm_user: str


@dataclass(frozen=True)
class Little:
    """A program that reads two keys."""

    api_port: int
    backup_dir: Path


Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write ``config.yml`` and return its path."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.yml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="dbcalm-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def mistakes(path: Path, settings: type[Any] = All) -> list[str]:
    """Return the mistakes that loading this file reports; fail if the message is not one line that names the file."""
    with pytest.raises(ConfigError) as caught:
        load(settings, path)
    assert str(caught.value) == f"{path}: " + "; ".join(caught.value.mistakes)
    assert "\n" not in str(caught.value)
    return caught.value.mistakes


def test_every_key_is_known_here() -> None:
    assert {field.name for field in fields(All)} == set(KEYS)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "{}\n"])
def test_an_empty_file_gives_the_documented_defaults(write: Write, text: str) -> None:
    assert load(All, write(text)) == All(
        db_type="mariadb",
        backup_dir=Path("/var/backups/dbcalm"),
        data_dir=Path("/var/lib/mysql"),
        backup_bin=None,
        client_bin=None,
        backup_credentials_file=Path("/etc/dbcalm/credentials.cnf"),
        restore_dir=None,
        stored_form="auto",
        compression_level=1,
        compression_threads=0,
        encryption_recipients=(),
        encryption_identity_file=None,
        parallel=0,
        copy_throttle=0,
        cpu_niceness=0,
        io_priority="normal",
        prepare_memory=256 << 20,
        verify_assertions=(),
        min_full_chains=1,
        min_age=timedelta(0),
        trash_delay=timedelta(days=1),
        keep_replaced=timedelta(days=1),
        warm_restore=False,
        max_chain_length=0,
        full_every=timedelta(0),
        keep_last=0,
        keep_daily=0,
        keep_weekly=0,
        keep_monthly=0,
        keep_yearly=0,
        schedule_patience=timedelta(hours=1),
        job_dir=Path("/var/lib/dbcalm-mariadb-cmd"),
        api_host="0.0.0.0",
        api_port=8335,
        ssl_cert=Path("/etc/dbcalm/ssl/fullchain-cert.pem"),
        ssl_key=Path("/etc/dbcalm/ssl/private-key.pem"),
        log_file=None,
        log_level="info",
        jwt_secret_key="",
        jwt_secret_key_file=Path("/etc/dbcalm/jwt.key"),
        jwt_algorithm="HS256",
        cors_origins=(),
        database_file=Path("/var/lib/dbcalm/db.sqlite3"),
        cmd_socket=Path("/var/run/dbcalm/cmd.sock"),
        mariadb_cmd_socket=Path("/var/run/dbcalm/mariadb-cmd.sock"),
        dbcalm_user="dbcalm",
    )


def test_the_default_is_shown_as_it_would_stand_in_the_file(write: Write) -> None:
    for name, key in KEYS.items():
        default = load(All, write(""))
        written = write(f"{name}: {key.default!r}\n")
        assert getattr(load(All, written), name) == getattr(default, name)


GOOD: dict[str, list[tuple[str, object]]] = {
    "db_type": [("mysql", "mysql"), ("'mariadb'", "mariadb")],
    "api_host": [("127.0.0.1", "127.0.0.1"), ("'::1'", "::1"), ("db-1.example.org", "db-1.example.org")],
    "api_port": [("1", 1), ("65535", 65535)],
    "log_level": [("debug", "debug"), ("error", "error")],
    "jwt_secret_key": [("''", ""), ("x" * 32, "x" * 32), ("'" + "é " * 20 + "'", "é " * 20)],
    "jwt_algorithm": [("HS384", "HS384"), ("HS512", "HS512")],
    "cors_origins": [
        ("[]", ()),
        ("['*']", ("*",)),
        (
            "[https://ui.example.org, 'http://localhost:3000']",
            ("https://ui.example.org", "http://localhost:3000"),
        ),
    ],
    "dbcalm_user": [("root", "root"), ("_a-b_9", "_a-b_9")],
    "min_full_chains": [("1", 1), ("10000", 10_000)],
}
_DURATIONS = [
    ("0", timedelta(0)),
    ("0s", timedelta(0)),
    ("90s", timedelta(seconds=90)),
    ("5m", timedelta(minutes=5)),
    ("36h", timedelta(hours=36)),
    ("'7d'", timedelta(days=7)),
    ("999999w", timedelta(weeks=999_999)),
]
_NO_DURATION = [
    "5", "-1", "-1d", "1.5h", "1h30m", "1 h", "1H", "d", "''", "true", "[1d]", "{d: 1}", "1d\u00e9", "1000000d",
    "\u0663d", '"1d\\n"', "1y", "0.0", "false", "",
]  # fmt: skip
_NO_COUNT = ["-1", "10001", "1.0", "'1'", "true", "[1]", "x", ""]
_NO_PATH = [
    "relative",
    "./a",
    "~/a",
    "5",
    "true",
    "[/a]",
    "{a: /b}",
    '"/a\\nb"',
    '"/a\\0b"',
    "2026-01-01",
    "1.5",
    "/a/../b",
    "/..",
]
BAD: dict[str, list[str]] = {
    "db_type": ["postgres", "MariaDB", "''", "", "5", "true", "[mariadb]", "{a: b}"],
    "api_host": ["''", "'a b'", "http://a", "'a/b'", "5", "true", "[a]", '"a\\n"', "é", ""],
    "api_port": ["0", "65536", "-1", "'8335'", "8335.0", "true", "[8335]", "", "1e3", "0x1_0000", "٣"],
    "log_level": ["INFO", "trace", "5", "true", "''", ""],
    "jwt_secret_key": ["short", "x" * 31, "5" * 40, "true", "[a]", f'"{"x" * 40}\\n"', ""],
    "jwt_algorithm": ["none", "None", "RS256", "hs256", "HS256 HS384", "[HS256]", "''", ""],
    "cors_origins": ["'*'", "https://a", "{a: b}", "[a]", "['https://a/path']", "['https://a,https://b']",
                     "[5]", "['https://a b']", "[['*']]", "['']", "[null]", "['**']", '["https://a\\n"]',
                     "['ftp://a']", "", "5"],
    "dbcalm_user": ["''", "Root", "0", "5", "'a b'", "a:b", '"a\\n"', "é", "a" * 33, "[a]", "true", ""],
}  # fmt: skip
BAD["min_full_chains"] = ["0", *_NO_COUNT]
for _name, _key in KEYS.items():
    if _key.allowed.startswith("a number with"):
        GOOD[_name], BAD[_name] = list(_DURATIONS), list(_NO_DURATION)
    if _key.allowed.startswith("an integer from 0"):
        GOOD[_name], BAD[_name] = [("0", 0), ("1", 1), ("10000", 10_000)], list(_NO_COUNT)
    if _key.allowed.startswith("an absolute path"):
        GOOD[_name] = [("/a/b c", Path("/a/b c")), ("'/a..b/'", Path("/a..b"))]
        BAD[_name] = list(_NO_PATH)
        if "or empty" in _key.allowed:
            GOOD[_name] += [("''", None), ("", None)]
        else:
            BAD[_name] += ["''", ""]

_NO_WORD = ["''", "", "5", "true", "[low]", "{a: b}"]
GOOD["stored_form"] = [(word, word) for word in ("auto", "folder", "zstd", "gzip")]
BAD["stored_form"] = ["Zstd", "zip", "'zstd '", "zstd -19", *_NO_WORD]
GOOD["warm_restore"] = [("true", True), ("false", False)]
BAD["warm_restore"] = ["1", "0", "'true'", "maybe", "''", "", "[true]", "{a: true}"]
GOOD["io_priority"] = [(word, word) for word in ("normal", "low", "idle")]
BAD["io_priority"] = ["Low", "realtime", "7", *_NO_WORD]
GOOD["prepare_memory"] = [("0", 0), ("1M", 1 << 20), ("'512M'", 512 << 20), ("999999G", 999_999 << 30)]
BAD["prepare_memory"] = [
    "512",
    "-1",
    "0M",
    "1K",
    "1T",
    "1 G",
    "1.5G",
    "1g",
    "1000000M",
    "true",
    "''",
    "[1M]",
    '"1M\\n"',
]
_SQL = "sql: SELECT COUNT(*) FROM shop.orders"
GOOD["verify_assertions"] = [
    ("[]", ()),
    (f"[{{{_SQL}, at_least: 1000}}]", (Assertion("SELECT COUNT(*) FROM shop.orders", "at_least", "1000"),)),
    ("[{sql: select 1.5, at_most: 1.5}]", (Assertion("select 1.5", "at_most", "1.5"),)),
    ("[{newer_than: 2h, sql: WITH a AS (SELECT 1) SELECT 1}]",
     (Assertion("WITH a AS (SELECT 1) SELECT 1", "newer_than", "7200"),)),
    ("[{sql: SELECT 1, equals: 1}, {sql: SELECT 'a', equals: a}]",
     (Assertion("SELECT 1", "equals", "1"), Assertion("SELECT 'a'", "equals", "a"))),
]  # fmt: skip
BAD["verify_assertions"] = [
    "SELECT 1", "[SELECT 1]", "[{sql: SELECT 1}]", "[{at_least: 1}]", "[{sql: DROP TABLE a, equals: 1}]",
    "[{sql: SELECT 1; DROP TABLE a, equals: 1}]", "[{sql: SELECT 1, equals: true}]", "[{sql: SELECT 1, at_least: a}]",
    "[{sql: SELECT 1, at_least: true}]", "[{sql: SELECT 1, newer_than: 2}]", "[{sql: SELECT 1, equals: 1, at_most: 2}]",
    "[{sql: SELECT 1, is: 1}]", '[{sql: "SELECT 1\\n\\\\! id", equals: 1}]', "[{sql: 5, equals: 1}]", "{}", "5",
    "[{sql: [SELECT 1], equals: 1}]",
]  # fmt: skip
_KEYS = [
    "age1qc4wcr5ec5dtu469mucg2gg4ap4m206y63mj698tu573k5pdm5cqc4g47f",
    "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg",
]
GOOD["encryption_recipients"] = [
    ("[]", ()),
    (f"[{_KEYS[0]}]", (_KEYS[0],)),
    (f"[{', '.join(_KEYS)}]", tuple(_KEYS)),
]
BAD["encryption_recipients"] = [
    _KEYS[0], "", "5", "''", "['']", "[age1]", "[5]", f"[{_KEYS[0]}, {_KEYS[0]}]", f"[{_KEYS[0][:-1]}q]",
    f"[{_KEYS[0].upper()}]", f"[{_KEYS[0]}x]", f"['{_KEYS[0]} ']", f"['--{_KEYS[0]}']", f"[[{_KEYS[0]}]]",
    "[AGE-SECRET-KEY-177GGVS95DFGKX4YEUU9FRL73K6HKDDYJ72ZFEEGWF656YWNT8DGSSXE7QJ]", "[ssh-ed25519 AAAA]",
]  # fmt: skip
for _name, _low, _high in (
    ("compression_level", 1, 19),
    ("compression_threads", 0, 64),
    ("parallel", 0, 64),
    ("copy_throttle", 0, 1_000_000),
    ("cpu_niceness", 0, 19),
):
    GOOD[_name] = [(str(value), value) for value in (_low, _low + 1, _high)]
    BAD[_name] = [str(_low - 1), str(_high + 1), "1.0", "'1'", "true", "[1]", "x", ""]


@pytest.mark.parametrize("name", KEYS)
def test_a_key_takes_what_it_is_for(write: Write, name: str) -> None:
    for text, value in GOOD[name]:
        assert getattr(load(All, write(f"{name}: {text}\n")), name) == value


@pytest.mark.parametrize("name", KEYS)
def test_a_key_refuses_all_else_and_says_what_is_allowed(write: Write, name: str) -> None:
    for text in BAD[name]:
        assert mistakes(write(f"{name}: {text}\n")) == [f"{name} must be {KEYS[name].allowed}"], text


def test_an_unknown_key_is_named_with_those_that_exist(write: Write) -> None:
    known = ", ".join(KEYS)
    for name in ("folder", "5", "true", "null", "''", "é"):
        (mistake,) = mistakes(write(f"{name}: /a\n"))
        assert mistake.startswith("unknown key ")
        assert mistake.endswith(f"; known keys: {known}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("backupdir", "backup_dir"),
        ("Backup_dir", "backup_dir"),
        ("keep_week", "keep_weekly"),
        ("ssl_certs", "ssl_cert"),
        ("jwt-secret-key", "jwt_secret_key"),
    ],
)
def test_an_unknown_key_is_told_which_was_meant(write: Write, written: str, meant: str) -> None:
    assert mistakes(write(f"{written}: /a\n")) == [f"unknown key '{written}'; did you mean {meant}?"]


def test_all_mistakes_are_told_together_in_one_line(write: Write) -> None:
    path = write("api_port: 0\nbackup_dir: here\nnothing: 1\nlog_level: loud\ndb_type: mysql\nmore: 2\n")
    told = mistakes(path)
    assert len(told) == 5
    for beginning in (
        "api_port must",
        "backup_dir must",
        "log_level must",
        "unknown key 'nothing'",
        "unknown key 'more'",
    ):
        assert any(mistake.startswith(beginning) for mistake in told)


def test_a_program_gets_its_keys_only_and_a_mistake_in_another_s_key_still_counts(write: Write) -> None:
    assert load(Little, write("api_port: 99\nlog_level: debug\n")) == Little(99, Path("/var/backups/dbcalm"))
    assert mistakes(write("log_level: loud\n"), Little) == ["log_level must be debug, info, warning or error"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("api_port: 1\napi_port: 2\n", 2),
        ("api_port: 1\nlog_level: info\n'api_port': 1\n", 3),
        ("{api_port: 1, api_port: 1}\n", 1),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_line(write: Write, text: str, line: int) -> None:
    assert mistakes(write(text)) == [f"is not valid YAML: line {line}: key 'api_port' stands twice"]


@pytest.mark.parametrize(
    "text", ["- api_port: 1\n", "api_port\n", "5\n", "true\n", "[]\n", "'x'\n", "2026-01-01\n"]
)
def test_what_is_no_mapping_is_refused(write: Write, text: str) -> None:
    assert mistakes(write(text)) == ["must be a mapping of keys to values"]


@pytest.mark.parametrize(
    "text",
    [
        "api_port: [\n",
        "api_port: 1\n  log_level: info\n",
        "\tapi_port: 1\n",
        "api_port: 'x\n",
        "a: b: c\n",
        "*x\n",
        "a: &x [*x\n",
        "api_port: !!python/object/apply:os.system [id]\n",
        "api_port: !!python/name:os.system\n",
        "!!python/object:object {}\n",
        "api_port: !secret 1\n",
        "? [a]\n: 1\n",
        "? {a: 1}\n: 1\n",
        "a: 1\n---\nb: 2\n",
        "api_port: \x01\n",
        b"api_port: \xff\n",
        b"\x00\n",
        "backup_dir: 2026-99-99\n",
        "api_port: !!int x\n",
        "api_port: !!float x\n",
        "api_port: " + "9" * 5000 + "\n",
        "[" * 3000 + "\n",
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_what_is_no_yaml_is_refused_in_one_line_and_nothing_is_run(write: Write, text: str | bytes) -> None:
    (mistake,) = mistakes(write(text))
    assert mistake.startswith("is not valid YAML: ")
    assert len(mistake) > len("is not valid YAML: ")


def test_a_missing_file_is_named_with_the_way_to_name_another(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none.yml") == ["the file does not exist; DBCALM_CONFIG names another one"]


def test_a_folder_in_its_place_cannot_be_read(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == ["cannot be read: Is a directory"]


def test_a_path_through_a_file_cannot_be_read(write: Write) -> None:
    assert mistakes(write("") / "config.yml") == ["cannot be read: Not a directory"]


def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    path = folder / "config.yml"
    path.write_text("")
    path.chmod(0)
    environment = {**os.environ, "DBCALM_CONFIG": str(path)}
    program = (
        f"import os, sys; sys.path[:0] = {sys.path!r}; from pathlib import Path\n"
        "from dbcalm_mariadb_cmd.config.keys import ConfigError, load\n"
        "from dbcalm_mariadb_cmd.config.settings import Settings\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: load(Settings, Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, cwd="/", check=False
    )
    assert done.stdout == f"{path}: cannot be read: Permission denied\n", done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "the file does not exist; DBCALM_CONFIG names another one"),
        ("api_port: 0\nnothing: 1\n", "unknown key 'nothing'; known keys: "),
        ("api_port: [\n", "is not valid YAML: "),
        ("- 1\n", "must be a mapping of keys to values"),
    ],
)
def test_a_wrong_file_stops_the_service_with_one_line(
    tmp_path: Path, write: Write, text: str | None, reason: str
) -> None:
    path = tmp_path / "config.yml" if text is None else write(text)
    environment = {**os.environ, "DBCALM_CONFIG": str(path)}
    done = subprocess.run(
        [sys.executable, CHECKOUT / "dbcalm-mariadb-cmd.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dbcalm-mariadb-cmd: {path}: {reason}")
    assert done.stderr.count("\n") == 1


def test_the_mysql_service_never_sees_the_keys_of_the_api() -> None:
    names = {field.name for field in fields(Settings)}
    assert not {name for name in names if name.startswith(("jwt", "ssl", "api"))}
    assert "database_file" not in names
    assert names <= set(KEYS)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("data_dir: /srv\nbackup_dir: /srv\n", "backup_dir"),
        ("data_dir: /srv\nbackup_dir: /srv/backups\n", "backup_dir"),
        ("data_dir: /srv/mysql\nbackup_dir: /srv\n", "backup_dir"),
        ("data_dir: /srv\nrestore_dir: /srv/x\n", "restore_dir"),
        ("data_dir: /srv\njob_dir: /\n", "job_dir"),
    ],
)
def test_no_folder_of_ours_lies_in_the_data_directory_or_around_it(write: Write, text: str, key: str) -> None:
    (mistake,) = mistakes(write(text))
    assert mistake.startswith(f"{key} must be a folder outside data_dir (/srv")


def test_a_folder_beside_the_data_directory_may_begin_like_it(write: Write) -> None:
    load(Settings, write("data_dir: /srv/mysql\nbackup_dir: /srv/mysql-backups\n"))
