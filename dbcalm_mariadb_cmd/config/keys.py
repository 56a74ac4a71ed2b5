"""Every key of ``config.yml``: its default, what is allowed, and what it is for.

Each program has a frozen settings class that names just the keys which it reads; ``load`` fills it from this one table.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER, FORMS
from dbcalm_mariadb_cmd.command.age_keys import RECIPIENT_FORM, is_recipient
from dbcalm_mariadb_cmd.config.assertions import (
    AT_LEAST,
    AT_MOST,
    EQUALS,
    EXPECTATIONS,
    NEWER_THAN,
    Assertion,
    is_question,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

DEFAULT_CONFIG = Path("/etc/dbcalm/config.yml")


class ConfigError(Exception):
    """A configuration that cannot be used. ``mistakes`` has one line for each; the message joins them."""

    def __init__(self, path: Path, mistakes: list[str]) -> None:
        self.path = path
        self.mistakes = mistakes
        super().__init__(f"{path}: " + "; ".join(mistakes))


@dataclass(frozen=True)
class Key:
    """One key: ``read`` turns the YAML value into ours or raises ValueError; ``allowed`` completes "must be …"."""

    default: object
    allowed: str
    about: str
    read: Callable[[object], object]


def _text(value: object) -> str:
    if not isinstance(value, str) or "\n" in value or "\0" in value:
        raise ValueError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _path(value: object) -> Path:
    if not _text(value).startswith("/") or ".." in _text(value).split("/"):
        raise ValueError
    return Path(_text(value))


def _path_or_empty(value: object) -> Path | None:
    return None if value in ("", None) else _path(value)


def _one_of(*words: str) -> Callable[[object], object]:
    def read(value: object) -> object:
        if value not in words:
            raise ValueError
        return value

    return read


def _port(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 65535:
        raise ValueError
    return value


def _address(value: object) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", _text(value)):
        raise ValueError
    return _text(value)


def _user(value: object) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", _text(value)):
        raise ValueError
    return _text(value)


def _key_text(value: object) -> str:
    if value != "" and len(_text(value)) < 32:
        raise ValueError
    return _text(value)


def _duration(value: object) -> timedelta:
    if type(value) is int and value == 0:
        return timedelta(0)
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", _text(value))
    if found is None:
        raise ValueError
    return int(found[1]) * _UNITS[found[2]]


def _count(low: int) -> Callable[[object], object]:
    return _number(low, _MOST)


def _number(low: int, high: int) -> Callable[[object], object]:
    def read(value: object) -> object:
        if type(value) is not int or not low <= value <= high:
            raise ValueError
        return value

    return read


def _memory(value: object) -> int:
    if type(value) is int and value == 0:
        return 0
    found = re.fullmatch(r"([1-9][0-9]{0,5})([MG])", _text(value))
    if found is None:
        raise ValueError
    return int(found[1]) << _SHIFTS[found[2]]


def _origins(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        re.fullmatch(r"\*|https?://[^\s/,]+", str(item)) for item in value
    ):
        raise ValueError
    return tuple(value)


def _recipients(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_RECIPIENTS or not all(map(is_recipient, value)):
        raise ValueError
    if len(set(value)) != len(value):
        raise ValueError
    return tuple(value)


def _assertions(value: object) -> tuple[Assertion, ...]:
    if not isinstance(value, list) or len(value) > _MOST_ASSERTIONS:
        raise ValueError
    return tuple(map(_assertion, value))


def _assertion(value: object) -> Assertion:
    if not isinstance(value, dict) or len(value) != 2 or not is_question(_text(value.get("sql"))):
        raise ValueError
    expectation, expected = next((name, value[name]) for name in value if name != "sql")
    if expectation == NEWER_THAN:
        expected = int(_duration(expected).total_seconds())
    elif expectation in (AT_LEAST, AT_MOST):
        if isinstance(expected, bool) or not isinstance(expected, (int, float)):
            raise ValueError
    elif expectation != EQUALS or isinstance(expected, bool) or not isinstance(expected, (int, str)):
        raise ValueError
    return Assertion(value["sql"], expectation, str(expected))


_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SHIFTS = {"M": 20, "G": 30}
_MOST = 10_000
_ALIKE = 0.75
"""How much a word must resemble another to be taken for it, written wrongly (difflib's ratio)."""
_MOST_RECIPIENTS = 20
_MOST_ASSERTIONS = 100
_DURATION = "a number with s, m, h, d or w (seconds, minutes, hours, days, weeks) such as 36h, or 0"
_COUNT = f"an integer from 0 to {_MOST}; 0 is none"
_FILE = "an absolute path without .."
_FILE_OR_EMPTY = "an absolute path without .., or empty"

KEYS: dict[str, Key] = {
    "db_type": Key("mariadb", "mariadb or mysql", "Which server is backed up, and so with which tool.",
                   _one_of("mariadb", "mysql")),
    "backup_dir": Key("/var/backups/dbcalm", _FILE, "Where backups live, one folder each; owned by mysql.", _path),
    "data_dir": Key("/var/lib/mysql", _FILE, "The server's data directory.", _path),
    "backup_bin": Key("", _FILE_OR_EMPTY, "The backup tool; empty: mariadb-backup, mariabackup or xtrabackup, "
                      "whichever is found.", _path_or_empty),
    "client_bin": Key("", _FILE_OR_EMPTY, "The database's command-line client; empty: mariadb or mysql, "
                      "whichever is found.", _path_or_empty),
    "backup_credentials_file": Key("/etc/dbcalm/credentials.cnf", _FILE, "Option file with the section "
                                   "[client-dbcalm]: user, password, host or socket.", _path),
    "restore_dir": Key("", _FILE_OR_EMPTY, "Where restores to a folder go; empty: restores/ in backup_dir.",
                       _path_or_empty),
    "stored_form": Key("auto", f"auto, {', '.join(FORMS[:-1])} or {FORMS[-1]}",
                       "How backups are stored: in a folder as the tool writes it, or packed into one file; auto: "
                       "zstd where that is installed, else folder.", _one_of("auto", *FORMS)),
    "compression_level": Key(1, "an integer from 1 to 19", "How hard zstd or gzip packs; gzip's hardest is 9.",
                             _number(1, 19)),
    "compression_threads": Key(0, "an integer from 0 to 64; 0 is one for each core", "So many threads of zstd.",
                               _number(0, 64)),
    "encryption_recipients": Key([], f"a list of up to {_MOST_RECIPIENTS} different public keys of age: "
                                 f"{RECIPIENT_FORM}", "Backups are encrypted to each of these keys.", _recipients),
    "encryption_identity_file": Key("", _FILE_OR_EMPTY, "File with the private keys that restores are decrypted with; "
                                    "empty: they come with the order.", _path_or_empty),
    "parallel": Key(0, "an integer from 0 to 64; 0 is one for each core, 4 at the most",
                    "So many threads of the backup tool copy.", _number(0, 64)),
    "copy_throttle": Key(0, "an integer from 0 to 1000000; 0 is no limit",
                         "The tool's own --throttle: of mariadb-backup, reads and writes a second; of xtrabackup, "
                         "chunks of 10 MB a second.", _number(0, 1_000_000)),
    "cpu_niceness": Key(0, "an integer from 0 to 19", "The niceness that a backup runs with; 19 yields to all.",
                        _number(0, 19)),
    "io_priority": Key("normal", "normal, low or idle", "How a backup's reads and writes stand against others; heeded "
                       "by the I/O schedulers bfq and mq-deadline.", _one_of("normal", "low", "idle")),
    "prepare_memory": Key("256M", "a number with M or G such as 512M, or 0 for the tool's own default",
                          "Memory for preparing a restore; more is quicker where much was written during a backup.",
                          _memory),
    "verify_assertions": Key([], f"a list of up to {_MOST_ASSERTIONS} mappings, each of sql (one SELECT without ; or "
                             f"backslash) and one of {', '.join(EXPECTATIONS)}",
                             "What a restored database must answer for a backup to be proven to run.", _assertions),
    "min_full_chains": Key(1, f"an integer from 1 to {_MOST}", "So many whole chains are never deleted, by nobody.",
                           _count(1)),
    "min_age": Key(0, _DURATION, "No backup younger than this is deleted, by nobody.", _duration),
    "trash_delay": Key("24h", _DURATION, "How long a deleted backup can be undeleted, before it is removed from disk.",
                       _duration),
    "keep_replaced": Key("24h", _DURATION, "How long the data that a restore replaced is kept in data_dir, and can be "
                         "brought back.", _duration),
    "warm_restore": Key(False, "true or false", "Keep the newest chain prepared in data_dir, so that a restore of it "
                        "into the database is a rename; takes as much space as the data.", _flag),
    "max_chain_length": Key(0, _COUNT, "An incremental that would make a chain longer than so many backups, its full "
                            "one counted, becomes a full one.", _count(0)),
    "full_every": Key(0, _DURATION, "An incremental whose chain began so long ago, or longer, becomes a full backup.",
                      _duration),
    "keep_last": Key(0, _COUNT, "Keep the newest so many backups.", _count(0)),
    "keep_daily": Key(0, _COUNT, "Keep the newest backup of each of the last so many days that have one.", _count(0)),
    "keep_weekly": Key(0, _COUNT, "The same for weeks, which begin on Monday.", _count(0)),
    "keep_monthly": Key(0, _COUNT, "The same for months.", _count(0)),
    "keep_yearly": Key(0, _COUNT, "The same for years.", _count(0)),
    "schedule_patience": Key("1h", _DURATION, "How long a scheduled backup waits for a job that excludes it.",
                             _duration),
    "job_dir": Key("/var/lib/dbcalm-mariadb-cmd", _FILE, "Journal, lock and logs of jobs; private to mysql.", _path),
    "api_host": Key("0.0.0.0", "a host name or an IP address", "The address that the API listens on.", _address),
    "api_port": Key(8335, "an integer from 1 to 65535", "The port that the API listens on.", _port),
    "ssl_cert": Key("/etc/dbcalm/ssl/fullchain-cert.pem", _FILE, "The API's certificate with its chain, PEM.", _path),
    "ssl_key": Key("/etc/dbcalm/ssl/private-key.pem", _FILE, "The certificate's private key, PEM.", _path),
    "log_file": Key("", _FILE_OR_EMPTY, "Also log to this file, such as /var/log/dbcalm/dbcalm.log; empty: only to "
                    "standard error, which systemd keeps.", _path_or_empty),
    "log_level": Key("info", "debug, info, warning or error", "What is logged.",
                     _one_of("debug", "info", "warning", "error")),
    "jwt_secret_key": Key("", "at least 32 characters, or empty", "The key that signs tokens. Better kept in "
                          "jwt_secret_key_file: this file is read by user mysql too.", _key_text),
    "jwt_secret_key_file": Key("/etc/dbcalm/jwt.key", _FILE, "File with the key that signs tokens, used while "
                               "jwt_secret_key is empty.", _path),
    "jwt_algorithm": Key("HS256", "HS256, HS384 or HS512", "How tokens are signed.",
                         _one_of("HS256", "HS384", "HS512")),
    "cors_origins": Key([], "a list of origins such as https://ui.example.org, or of \"*\"",
                        "Web pages of these origins may call the API.", _origins),
    "database_file": Key("/var/lib/dbcalm/db.sqlite3", _FILE, "The catalogue.", _path),
    "cmd_socket": Key("/var/run/dbcalm/cmd.sock", _FILE, "The root service's socket.", _path),
    "mariadb_cmd_socket": Key("/var/run/dbcalm/mariadb-cmd.sock", _FILE, "The mysql service's socket.", _path),
    "dbcalm_user": Key("dbcalm", "the name of a user", "The user that runs the API and may call the services.", _user),
}  # fmt: skip


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would silently let the last one win."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[object, object]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for position, key in enumerate(keys):
        if key in keys[:position]:
            line = node.value[position][0].start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: key {key!r} stands twice")
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(settings: type[T], path: Path) -> T:
    """Return a settings object whose fields are keys of the table, read from a YAML file or defaulted; raise
    ConfigError that lists every mistake in the file, also in keys of other programs."""
    values = _read(path)
    mistakes = [_unknown(key) for key in values if key not in KEYS]
    understood: dict[str, Any] = {}
    for name, key in KEYS.items():
        try:
            understood[name] = key.read(values.get(name, key.default))
        except (ValueError, TypeError):
            mistakes.append(f"{name} must be {key.allowed}")
    mistakes = mistakes or [*_overlaps(understood), *_contradictions(understood)]
    if mistakes:
        raise ConfigError(path, mistakes)
    return settings(**{field.name: understood[field.name] for field in fields(settings)})


def digest(settings: "DataclassInstance") -> str:
    """Return what tells settings from others: not by the words of a file, but by what they come to."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def loaded(settings: "DataclassInstance", path: Path) -> dict[str, object]:
    """Return what a program that has these settings tells of them: ``path``, their ``digest``, and what that would be
    were the file read now, ``on_disk``, which is None where it cannot be."""
    try:
        on_disk = digest(load(type(settings), path))
    except ConfigError:
        on_disk = None
    return {"path": str(path), "digest": digest(settings), "on_disk": on_disk}


def _unknown(key: object) -> str:
    """Return what is said of a key that is none: the one that was probably meant, or else all that there are."""
    meant = get_close_matches(str(key), KEYS, n=1, cutoff=_ALIKE)
    return f"unknown key {key!r}; " + (
        f"did you mean {meant[0]}?" if meant else f"known keys: {', '.join(KEYS)}"
    )


def _overlaps(values: dict[str, Any]) -> list[str]:
    """Return a mistake for each folder of ours that lies in the server's data directory, or around it: a restore wants
    that directory empty, and a server takes every folder in it for a schema."""
    data_dir: Path = values["data_dir"]
    return [
        f"{name} must be a folder outside data_dir ({data_dir}), and not around it"
        for name in ("backup_dir", "restore_dir", "job_dir")
        if (folder := values[name]) and (folder.is_relative_to(data_dir) or data_dir.is_relative_to(folder))
    ]


def _contradictions(values: dict[str, Any]) -> list[str]:
    """Return a mistake for keys that cannot both be kept."""
    if values["stored_form"] == FOLDER and values["encryption_recipients"]:
        return [
            "stored_form must be auto, zstd or gzip while encryption_recipients has keys: a folder is not encrypted"
        ]
    return []


def _read(path: Path) -> dict[str, object]:
    try:
        values = yaml.load(read_small(path, follow=True).decode(), Loader=_StrictLoader)
    except FileNotFoundError as error:
        raise ConfigError(path, ["the file does not exist; DBCALM_CONFIG names another one"]) from error
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(path, ["is not valid YAML: " + " ".join(str(error).split())]) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(path, ["must be a mapping of keys to values"])
    return values
