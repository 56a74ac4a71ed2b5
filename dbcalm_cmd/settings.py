"""The root service's own configuration, ``cmd.toml`` beside ``config.yml``: owned by root, written by nobody else.

It is a file of its own, in a form that the standard library reads, so that root neither loads a YAML parser nor
takes orders from a file that somebody else may write.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

# Debian's cron drops the whole file when a command is longer than 998 characters, hence the bound.
_PATH = r"/[A-Za-z0-9_./+@-]{1,254}"
_A_PATH = "an absolute path of at most 255 letters, digits and _ . / + @ -"
FORMS = {
    "socket": (_PATH, _A_PATH),
    "cron_file": (_PATH, _A_PATH),
    "dbcalm_user": (r"[a-z_][a-z0-9_-]{0,31}", "the name of a user"),
    "program": (f"{_PATH}(?: {_PATH})?", f"{_A_PATH}, or two of them with a space between"),
    "config": (f"(?:{_PATH})?", f"{_A_PATH}, or empty"),
    "systemctl": (_PATH, _A_PATH),
    "database_unit": (r"(?:[A-Za-z0-9:_.@-]{1,240}\.service)?", "the name of a .service unit, or empty"),
}
"""What each key looks like, and how that is said."""


class SettingsError(Exception):
    """A configuration that cannot be used; the message names the file, the keys and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """Where the root service listens, what it writes, and the one unit that it stops and starts (none if empty).
    ``program`` and ``config`` appear in the cron lines."""

    socket: str = "/var/run/dbcalm/cmd.sock"
    cron_file: str = "/etc/cron.d/dbcalm"
    dbcalm_user: str = "dbcalm"
    program: str = "/usr/bin/dbcalm"
    config: str = ""
    systemctl: str = "/usr/bin/systemctl"
    database_unit: str = "mariadb.service"


def default_path(environment: Mapping[str, str]) -> Path:
    """Return where ``cmd.toml`` is looked for: beside the file that DBCALM_CONFIG names, else in /etc/dbcalm."""
    return Path(environment.get("DBCALM_CONFIG") or "/etc/dbcalm/config.yml").parent / "cmd.toml"


def load(path: Path) -> Settings:
    """Return the settings of a file, or the defaults if there is none; raise SettingsError naming every mistake."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            _require_private(os.fstat(file.fileno()), path)
            values = tomllib.load(file)
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    mistakes = [mistake for key, value in values.items() if (mistake := _mistake(key, value))]
    if mistakes:
        raise SettingsError(f"{path}: " + "; ".join(mistakes))
    return Settings(**values)


def _require_private(status: os.stat_result, path: Path) -> None:
    if status.st_uid not in (0, os.getuid()) or stat.S_IMODE(status.st_mode) & 0o022:
        raise SettingsError(f"{path}: must be owned by root and not be writable by others")


def _mistake(key: str, value: object) -> str | None:
    if key not in FORMS:
        return f"unknown key {key!r}; known keys: {', '.join(field.name for field in fields(Settings))}"
    form, allowed = FORMS[key]
    if not isinstance(value, str) or not re.fullmatch(form, value):
        return f"{key} must be {allowed}"
    return None
