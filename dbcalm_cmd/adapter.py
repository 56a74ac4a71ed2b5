"""The one thing that the root service does to the host: it replaces the cron file.

Debian's cron drops a whole file because of one bad line, so every line is built from integers and closed words and
then held against one strict pattern.
"""

import os
import re
import tempfile
from pathlib import Path

from dbcalm_cmd.command import CronSchedule

_HEADER = (
    "# Made by DBCalm from its schedules; each save replaces this file. Change schedules through DBCalm.\n"
)
_LINE = re.compile(
    r"(?:[0-9]{1,2}|\*/[0-9]{1,2}|\*) (?:[0-9]{1,2}|\*/[0-9]{1,2}|\*) (?:[0-9]{1,2}|\*) \* (?:[0-6]|\*) "
    r"[a-z_][a-z0-9_-]{0,31} /[A-Za-z0-9_./+@-]+(?: /[A-Za-z0-9_./+@-]+)? "
    r"backup (?:full|incremental) --schedule-id [0-9]{1,19}\n"
)


def cron_time(schedule: CronSchedule) -> str:
    """Return the five time fields of a schedule's cron line."""
    minute, hour = schedule.minute, schedule.hour
    match schedule.frequency:
        case "daily":
            return f"{minute} {hour} * * *"
        case "weekly":
            return f"{minute} {hour} * * {schedule.day_of_week}"
        case "monthly":
            return f"{minute} {hour} {schedule.day_of_month} * *"
        case "hourly":
            return f"{minute} * * * *"
    step = "*" if schedule.interval_value == 1 else f"*/{schedule.interval_value}"
    return f"{step} * * * *" if schedule.interval_unit == "minutes" else f"{minute or 0} {step} * * *"


def render(schedules: tuple[CronSchedule, ...], user: str, program: str, config: str) -> str:
    """Return the cron file's text; raise ValueError if a line is not of the one form that is allowed."""
    lines = [
        f"{cron_time(schedule)} {user} {program} backup {schedule.backup_type} --schedule-id {schedule.id}\n"
        for schedule in sorted(schedules, key=lambda schedule: schedule.id)
    ]
    for line in lines:
        if not _LINE.fullmatch(line):
            raise ValueError(f"refused to install the cron line {line!r}")
    environment = 'SHELL=/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nMAILTO=""\n'
    return _HEADER + environment + (f"DBCALM_CONFIG={config}\n" if config else "") + "".join(lines)


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
