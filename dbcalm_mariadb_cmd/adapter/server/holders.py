"""Which process has a data directory: the database server that works in it, and no other one of the host.

A server changes into its data directory at start, and holds locks on files there for as long as it runs, which the
kernel tells to everybody who can open them, with the process. And what a process has not mounted it cannot work in. Of
a server that root started, or that has a capability, the kernel keeps the first from us: then its locks, here or where
its options have its data, tell. Where nothing does, it is in doubt, and named.
"""

import fcntl
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT, SEARCHED

_SERVERS = ("mariadbd", "mysqld")
_KEEPERS = ("mariadbd-safe", "mysqld_safe")
"""Scripts that start a server again when it ends: one that names the data directory is as good as a server."""

_FLOCK = "hhqqi4x"
"""struct flock of fcntl(2), on every Linux of 64 bits."""

_LOCKED = ("aria_log_control", "ibdata1")
_A_DATA_DIRECTORY_HAS = (*_LOCKED, "mysql")
_DEFAULT = "/var/lib/mysql"
_GROUPS = ("mysqld", "server", "mariadb", "mariadbd")
DEFAULTS = "--defaults-"
"""Begins the words of a command line that name option files."""

_DATADIR = "--datadir="
_TOLD_OPTIONS = (_DATADIR, DEFAULTS, "--socket=", "--port=")
"""What is shown of a command line, which may have secrets."""

_OPTIONS_SECONDS = 5
_OCTAL = re.compile(r"\\([0-7]{3})")
_UNIT = re.compile(r"/([^/\n]+\.(?:service|scope))$", re.MULTILINE)
_LONGEST_COMMAND = 200

Mounts = tuple[tuple[str, str, str], ...]
"""What a process has mounted: device, the folder of that device's file system, and where."""


@dataclass(frozen=True)
class Holder:
    """A process that works in the data directory, or, not ``sure``, one of which that cannot be ruled out. ``pid`` is 0
    for one that cannot be seen from here."""

    pid: int
    command: str = ""
    unit: str = ""
    sure: bool = True

    def __str__(self) -> str:
        if not self.pid:
            return "a process that cannot be seen from here, as of a container,"
        of = f", of {self.unit}" if self.unit else ""
        return f"process {self.pid} ({self.command}{of})"

    @property
    def how_to_stop(self) -> str:
        """What to do to end it."""
        if not self.pid:
            return "stop what runs it"
        return (
            f"type: systemctl stop {self.unit}"
            if self.unit.endswith(".service")
            else f"type: kill {self.pid}"
        )


def holder(data_dir: Path) -> Holder | None:
    """Return the process that works in this directory, a sure one before one in doubt, or None."""
    home = _Home(data_dir)
    if (locking := home.locked_by()) is not None:
        return _told(locking, sure=True)
    doubtful = None
    for pid in _processes():
        with suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
            works = _works_in(pid, home)
            if works:
                return _told(pid, sure=True)
            if works is None:
                doubtful = doubtful or _told(pid, sure=False)
    return doubtful


class _Home:
    """A data directory, as the kernel knows it."""

    def __init__(self, path: Path) -> None:
        self.path = os.path.realpath(path)
        self.mounts = _mounts(os.getpid())
        self.place = _place(self.path, self.mounts)

    def locked_by(self) -> int | None:
        """Return the process that has a lock on a file of a server here, 0 for one that is not seen, None for none."""
        try:
            files = [entry.path for entry in os.scandir(self.path) if entry.is_file(follow_symlinks=False)]
        except OSError:
            return None
        return next((pid for pid in map(_lock_on, files) if pid is not None), None)

    def has_data(self) -> bool:
        """Tell whether files are there on which a server that works here has locks."""
        return any(os.path.lexists(os.path.join(self.path, name)) for name in _LOCKED)

    def is_cwd_of(self, pid: int) -> bool | None:
        """Tell whether a process has this for its working directory; None where we may not know that."""
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.path)
        except PermissionError:
            return None

    def is_reached_by(self, mounts: Mounts) -> bool:
        """Tell whether a process with these mounts can see this directory; where that is not known, it can."""
        if self.place is None or not mounts:
            return True
        device, path = self.place
        return any(there == device and PurePosixPath(path).is_relative_to(root) for there, root, _ in mounts)

    def is_at(self, path: str, mounts: Mounts) -> bool:
        """Tell whether this directory is what a path means to a process with these mounts."""
        if not mounts or self.place is None:
            return os.path.realpath(path) == self.path
        if _place("/", mounts) == _place("/", self.mounts):
            path = os.path.realpath(path)
        return _place(path, mounts) == self.place

    def may_be_written_by(self, pid: int) -> bool:
        """Tell whether the process is root's, ours, or of the user whom this directory belongs to."""
        return _owner(pid) in (0, os.geteuid(), Path(self.path).stat().st_uid)


def _works_in(pid: int, home: _Home) -> bool | None:
    """Tell whether a process works in this directory, None where that is in doubt."""
    words, mounts = _words(pid), _mounts(pid)
    in_it = home.is_cwd_of(pid)
    if in_it or not home.is_reached_by(mounts):
        return bool(in_it)
    if in_it is False and _is_data_directory(f"/proc/{pid}/cwd"):
        return False
    if (named := _named(words)) is not None:
        return home.is_at(named, mounts)
    if _name(pid) in _KEEPERS:
        return False
    configured = _configured(words)
    if any(_lock_in(folder) == pid for folder in configured):
        return False  # It works there: here it has no lock.
    if any(home.is_at(folder, mounts) for folder in configured):
        return True
    is_ruled_out = in_it is False or home.has_data() or not home.may_be_written_by(pid)
    return False if is_ruled_out else None


def _is_data_directory(path: str) -> bool:
    return any(os.path.lexists(os.path.join(path, name)) for name in _A_DATA_DIRECTORY_HAS)


def _processes() -> Iterator[int]:
    """Yield the processes that are servers, or keep one up, by name."""
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(OSError):
            if _name(pid) in (*_SERVERS, *_KEEPERS) and not _has_ended(pid):
                yield pid


def _name(pid: int) -> str:
    return _read(pid, "comm").strip()


def _has_ended(pid: int) -> bool:
    """Tell whether it is a zombie: all that it had is given back."""
    return _read(pid, "stat").rpartition(")")[2].split()[0] in ("Z", "X")


def _owner(pid: int) -> int:
    found = re.search(r"^Uid:\s+\d+\s+(\d+)", _read(pid, "status"), re.MULTILINE)
    return int(found[1]) if found else 0


def _words(pid: int) -> list[str]:
    return [word for word in _read(pid, "cmdline").split("\0") if word]


def _named(words: list[str]) -> str | None:
    """Return the data directory that a command line names, None if it names none that means something without more."""
    named = [word.removeprefix(_DATADIR) for word in words if word.startswith(_DATADIR)]
    for option in ("-h", "--datadir"):
        named += [words[place + 1] for place, word in enumerate(words[:-1]) if word == option]
    return named[-1] if named and named[-1].startswith("/") else None


def _configured(words: list[str]) -> tuple[str, ...]:
    """Return where a server of this command line has its data by the option files that it reads, as far as we can."""
    printed = options_printed(_option_files(words))
    if printed is None:
        return ()
    named = [line.removeprefix(_DATADIR) for line in printed if line.startswith(_DATADIR)]
    return tuple(named[-1:]) if named else (_DEFAULT,)


def option_files_of(data_dir: Path) -> list[str]:
    """Return the words by which the server that works in this directory was told its option files; none where that is
    the usual ones, or no server is seen."""
    working = holder(data_dir)
    try:
        return _option_files(_words(working.pid)) if working and working.pid else []
    except OSError:
        return []


def _option_files(words: list[str]) -> list[str]:
    return [word for word in words if word.startswith(DEFAULTS) and "=" in word]


def options_printed(files: list[str]) -> list[str] | None:
    """Return the options that a server finds in these option files, each as ``--name=value``; None where we cannot
    tell."""
    program = shutil.which("my_print_defaults", path=SEARCHED)
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, *files, *_GROUPS],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_OPTIONS_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if asked.returncode else asked.stdout.splitlines()


def _lock_in(folder: str) -> int | None:
    """Return the process that has the locks of a server in this folder."""
    found = (_lock_on(os.path.join(folder, name)) for name in _LOCKED)
    return next((pid for pid in found if pid is not None), None)


def _lock_on(path: str) -> int | None:
    """Return the process that has a lock on a file, 0 for one that is not seen from here, None for none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def _mounts(pid: int) -> Mounts:
    """Return what a process has mounted, nothing where that is not told."""
    try:
        lines = _read(pid, "mountinfo").splitlines()
    except PermissionError:
        return ()
    rows = (line.split(" ") for line in lines)
    return tuple((row[2], _unescaped(row[3]), _unescaped(row[4])) for row in rows)


def _place(path: str, mounts: Mounts) -> tuple[str, str] | None:
    """Return the device and the folder in it that a path means where these are mounted, the last one on top."""
    found = None
    for device, root, point in mounts:
        if PurePosixPath(path).is_relative_to(point) and (found is None or len(point) >= len(found[2])):
            found = device, root, point
    if found is None:
        return None
    device, root, point = found
    return device, str(PurePosixPath(root) / PurePosixPath(path).relative_to(point))


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def _told(pid: int, *, sure: bool) -> Holder:
    try:
        program, *options = _words(pid) or [_name(pid)]
        shown = [program, *(word for word in options if word.startswith(_TOLD_OPTIONS))]
        command = "".join(letter if letter.isprintable() else "?" for letter in " ".join(shown))
        unit = _UNIT.search(_read(pid, "cgroup"))
    except OSError:
        return Holder(0, sure=sure)
    return Holder(pid, command[:_LONGEST_COMMAND], unit[1] if unit else "", sure)


def _read(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_bytes().decode("utf-8", "replace")
