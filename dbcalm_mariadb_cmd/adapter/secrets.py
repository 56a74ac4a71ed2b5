"""Passwords of the server's key management, kept out of backups, logs and answers.

The backup tool reads the options of the server's encryption plugin, prints them, and writes them into the backup's
``backup-my.cnf``: also a password that unlocks the key file, where that is given as such and not as ``FILE:/path``.
What is left out here ``key_options`` finds again when the tool needs it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.small_files import read_small, write_new

CONFIG = "backup-my.cnf"
_NAME = r"[a-z0-9_-]*(?:filekey|_token|_secret|_password)"
_TOLD = re.compile(rf"({_NAME}\s*=\s*)(?!FILE:)\S.*".encode(), re.I)
_OPTION = re.compile(rf"^({_NAME})[ \t]*=[ \t]*(.*?)[ \t]*$".encode(), re.I | re.M)
_LEFT_OUT = re.compile(rf"^#({_NAME}) *$".encode(), re.I | re.M)
_FROM_A_FILE = b"FILE:"
_OF_KEYS = re.compile(r"(filekey|_key_management_\w*(token|secret|password))$", re.I)


def are_in(variables: Mapping[str, str]) -> bool:
    """Tell whether a server with these variables may have such passwords."""
    return any(value for name, value in variables.items() if _OF_KEYS.search(name))


def advice(variables: Mapping[str, str]) -> str | None:
    """Return what is to be done about a password that stands in the server's options as such, None where none does."""
    for name, value in variables.items():
        if _OF_KEYS.search(name) and value and not value.startswith("FILE:"):
            how = f"write it into a file of mysql's, mode 0600, and set {name}=FILE:/path"
            return f"{name} has a password as such, which the server shows to its users: " + (
                how if name.endswith("filekey") else "see that few may ask for its variables"
            )
    return None


def redacted(line: bytes) -> bytes:
    """Return a line of a tool's log without the password that it may tell."""
    if b"=" not in line:
        return line
    end = b"\n" if line.endswith(b"\n") else b""
    return _TOLD.sub(rb"\1[...]", line.rstrip(b"\n")) + end


def without(config: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the tool's options with the passwords left out, just as long as before, and what these options were. One
    that names a file is none."""
    found: dict[str, str] = {}

    def leave_out(option: re.Match[bytes]) -> bytes:
        name, value = option[1], option[2]
        if value:
            found[name.decode()] = value.decode("latin-1")
        if not value or value.startswith(_FROM_A_FILE):
            return option[0]
        return (b"#" + name).ljust(len(option[0]))

    return _OPTION.sub(leave_out, config), found


def left_out_of(config: bytes) -> list[str]:
    """Return the names of the options whose values were left out of the tool's."""
    return [name.decode() for name in _LEFT_OUT.findall(config)]


def options_in(text: bytes) -> dict[str, str]:
    """Return the options of key management that stand in an option file's text."""
    return {name.decode(): value.decode("latin-1") for name, value in _OPTION.findall(text)}


def keep_out(folder: Path) -> dict[str, str]:
    """Leave the passwords out of a backup's folder; return what these options were. Raise OSError."""
    path = folder / CONFIG
    try:
        before = read_small(path)
    except FileNotFoundError:
        return {}
    after, found = without(before)
    if after != before:
        write_new(path, after)
    return found
