"""What ``dbcalm`` reads from ``config.yml``, and the key that signs tokens."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dbcalm.errors import InvalidConfig
from dbcalm_mariadb_cmd.config.keys import DEFAULT_CONFIG, ConfigError
from dbcalm_mariadb_cmd.config.keys import load as load_keys

SHORTEST_KEY = 32
"""Bytes of the key that signs tokens: those of the shortest hash that signs."""


@dataclass(frozen=True)
class Settings:
    """The keys that this program uses; the table of keys says what each is for and what is allowed."""

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
    min_full_chains: int
    min_age: timedelta
    keep_last: int
    keep_daily: int
    keep_weekly: int
    keep_monthly: int
    keep_yearly: int
    schedule_patience: timedelta


def config_path(environment: Mapping[str, str]) -> Path:
    """Return the path of the configuration: what DBCALM_CONFIG names, or the default."""
    return Path(environment.get("DBCALM_CONFIG") or DEFAULT_CONFIG)


def load(path: Path) -> Settings:
    """Return the settings of a file; raise InvalidConfig, whose one line has every mistake in it."""
    try:
        return load_keys(Settings, path)
    except ConfigError as error:
        raise InvalidConfig(str(error), error.mistakes) from error


def signing_key(settings: Settings) -> bytes:
    """Return the key that signs tokens; raise InvalidConfig if it is missing, too short or readable by everybody."""
    if settings.jwt_secret_key:
        return _long_enough(settings.jwt_secret_key.encode(), "jwt_secret_key in the configuration")
    path = settings.jwt_secret_key_file
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(65536).strip()
    except OSError as error:
        raise InvalidConfig(
            f"jwt_secret_key_file: cannot read {path}: {error.strerror}; make one with: openssl rand -hex 32"
        ) from error
    if mode & stat.S_IRWXO:
        raise InvalidConfig(
            f"jwt_secret_key_file: {path} can be read by everybody; change that with: chmod o= {path}"
        )
    return _long_enough(key, f"jwt_secret_key_file: {path}")


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise InvalidConfig(
            f"{where} must hold at least {SHORTEST_KEY} bytes; make one with: openssl rand -hex 32"
        )
    if key.lstrip().startswith((b"-----", b"ssh-")):
        raise InvalidConfig(f"{where} must be random text, not a key pair")
    return key


def warnings(settings: Settings) -> list[str]:
    """Return what works but should be changed, one line each."""
    found = []
    if settings.jwt_secret_key:
        found.append(
            "jwt_secret_key stands in the configuration, which user mysql reads too; "
            "move it to jwt_secret_key_file and make that readable by dbcalm alone"
        )
    if "*" in settings.cors_origins:
        found.append('cors_origins has "*": any web page may call the API from its visitors\' browsers')
    return found
