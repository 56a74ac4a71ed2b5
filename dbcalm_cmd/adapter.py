"""The one thing that the root service does to the host: it replaces the cron file, or looks whether it has to.

Debian's cron drops a whole file because of one bad line, so every line is built from integers and closed words and
then held against one strict pattern.
"""

import os
import re
import stat
import tempfile
from pathlib import Path

from dbcalm_cmd.command import VERIFY, CronSchedule
from dbcalm_cmd.wire import MAX_FRAME

_HEADER = (
    "# Made by DBCalm from its schedules; each save replaces this file. Change schedules through DBCalm.\n"
)
_CLEAN_UP = "20 4 * * *"
"""Once a day, with or without schedules; between the full hours, where most backups begin."""

_WHO = r"[a-z_][a-z0-9_-]{0,31} /[A-Za-z0-9_./+@-]+(?: /[A-Za-z0-9_./+@-]+)?"
_LINE = re.compile(
    rf"{re.escape(_CLEAN_UP)} {_WHO} cleanup\n|"
    r"(?:[0-9]{1,2}|\*/[0-9]{1,2}|\*) (?:[0-9]{1,2}|\*/[0-9]{1,2}|\*) (?:[0-9]{1,2}|\*) \* (?:[0-6]|\*) "
    rf"{_WHO} (?:backup full|backup incremental|verify) --schedule-id [0-9]{{1,19}}(?: --if-due [0-9]{{1,4}})?\n"
)


def render(schedules: tuple[CronSchedule, ...], user: str, program: str, config: str) -> str:
    """Return the cron file's text; raise ValueError if a line is not of the one form that is allowed."""
    lines = [
        f"{schedule.times} {user} {program} "
        f"{'' if schedule.backup_type == VERIFY else 'backup '}{schedule.backup_type} --schedule-id {schedule.id}"
        f"{f' --if-due {schedule.every}' if schedule.every else ''}\n"
        for schedule in sorted(schedules, key=lambda schedule: schedule.id)
    ]
    lines.append(f"{_CLEAN_UP} {user} {program} cleanup\n")
    for line in lines:
        if not _LINE.fullmatch(line):
            raise ValueError(f"refused to install the cron line {line!r}")
    environment = 'SHELL=/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nMAILTO=""\n'
    return _HEADER + environment + (f"DBCALM_CONFIG={config}\n" if config else "") + "".join(lines)


def is_installed(path: Path, text: str) -> bool:
    """Tell whether the file is what ``replace_file`` leaves, so that cron takes it: this text and no more."""
    return _read_ours(path, len(text) + 1) == text.encode()


def schedules_in(path: Path) -> tuple[int, int]:
    """Return of how many schedules the file has lines, whoever wrote them, and the highest of their ids."""
    ids = re.findall(rb" --schedule-id ([0-9]{1,19})", _read_ours(path, MAX_FRAME))
    return len(ids), max(map(int, ids), default=0)


def _read_ours(path: Path, most: int) -> bytes:
    """Return what is in the file, if it is a plain one of ours that has one name, as cron wants it. Nothing is followed
    or waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        plain = (
            status.st_mode == stat.S_IFREG | 0o644 and status.st_nlink == 1 and status.st_uid == os.getuid()
        )
        return os.read(descriptor, most) if plain else b""
    finally:
        os.close(descriptor)


def replace_file(path: Path, text: str) -> None:
    """Replace a file so that whoever looks, even after a power cut, sees the old or the new one, whole; then read it
    back. Raise OSError if that fails; the old file is then still there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    if path.read_text(encoding="ascii") != text:
        raise OSError(f"{path} does not hold what was written to it")
