"""Passwords of the server's key management, kept out of backups, logs and answers.

The backup tool reads the options of the server's encryption plugin, prints them, and writes them into the backup's
``backup-my.cnf``: also a password that unlocks the key file, where that is given as such and not as ``FILE:/path``. It
needs them again when it prepares the backup. So they are kept in a file of the service's own, on this host alone, and
are put before the tool for as long as it prepares.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.small import read_small, small_text, write_new
from dbcalm_mariadb_cmd.adapter.tree import write_synced
from dbcalm_mariadb_cmd.errors import JobFailed

CONFIG = "backup-my.cnf"
KEPT = "keys.cnf"
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


def keep_out(folder: Path, job_dir: Path) -> None:
    """Leave the passwords out of a backup's folder, and remember them; raise OSError."""
    path = folder / CONFIG
    with suppress(FileNotFoundError):
        before = read_small(path)
        after, found = without(before)
        remember(found, job_dir)
        if after != before:
            write_new(path, after)


def remember(found: Mapping[str, str], job_dir: Path) -> None:
    """Keep these options for the time when a backup is brought back; raise OSError."""
    kept = _kept(job_dir)
    if found and {**kept, **found} != kept:
        text = "".join(f"{name}={value}\n" for name, value in sorted({**kept, **found}.items()))
        write_synced(job_dir / KEPT, text, 0o600)


def _kept(job_dir: Path) -> dict[str, str]:
    try:
        text = small_text(job_dir / KEPT).encode("latin-1", "replace")
    except FileNotFoundError:
        return {}
    return {name.decode(): value.decode("latin-1") for name, value in _OPTION.findall(text)}


@contextmanager
def put_before(argv: list[str], job_dir: Path, folder: Path) -> Iterator[list[str]]:
    """Yield the tool's command to prepare a backup, with the options that were left out of it put back in a file in
    this folder, for as long as the block lasts. Raise JobFailed where nobody knows them."""
    given = argv[1].removeprefix("--defaults-file=")
    try:
        config = read_small(Path(given))
    except OSError:
        config = b""  # The tool says so itself.
    names = [name.decode() for name in _LEFT_OUT.findall(config)]
    if not names:
        yield argv
        return
    kept = _kept(job_dir)
    if missing := [name for name in names if name not in kept]:
        raise JobFailed(
            f"{missing[0]} is in no backup, and the backup tool needs it: write {missing[0]}=FILE:/path, or the "
            f"password, into {job_dir / KEPT}, a file that only user mysql can read, and try again"
        )
    fresh = folder / "prepare.cnf"
    lines = "".join(f"{name}={kept[name]}\n" for name in names)
    write_new(fresh, config + b"\n[mysqld]\n" + lines.encode("latin-1"), 0o600)
    try:
        yield [argv[0], f"--defaults-file={fresh}", *argv[2:]]
    finally:
        fresh.unlink()
