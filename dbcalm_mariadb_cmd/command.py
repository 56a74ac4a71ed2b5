"""What the mysql service can be asked for.

No command carries a path, an option, a program or a host: ids, closed words and bounded numbers only.
"""

import re
from dataclasses import dataclass

from dbcalm_cmd.wire import Command, InvalidCommand, require_integer, require_word

TARGETS = ("database", "folder")
RESERVED_IDS = frozenset({"restores", "trash", "work"})
LONGEST_WAIT = 25.0
"""Seconds that ``read_events`` may be held open."""

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_LARGEST = 2**63 - 1


def valid_id(value: object) -> bool:
    """Tell whether this may be a backup's id, and so the name of its folder."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None and value not in RESERVED_IDS


def require_id(value: object, name: str) -> None:
    """Raise InvalidCommand unless the value may be a backup's id."""
    if not valid_id(value):
        raise InvalidCommand(
            f"{name} must be 1 to 64 of a-z, 0-9 and -, neither first nor last a -, and no reserved name"
        )


def _require_job_id(value: object) -> None:
    if not isinstance(value, str) or not _JOB_ID.fullmatch(value):
        raise InvalidCommand("job_id must be 32 hexadecimal digits")


def _require_number(value: object, name: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidCommand(f"{name} must be a number from {low:g} to {high:g}")


def _require_journal(value: object) -> None:
    if not isinstance(value, str) or len(value) > 64:
        raise InvalidCommand("journal must be what an earlier answer gave, or empty")


@dataclass(frozen=True)
class FullBackup(Command):
    """Copy the whole server. The service names the backup if ``id`` is None."""

    job_id: str
    id: str | None
    schedule_id: int | None

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        if self.id is not None:
            require_id(self.id, "id")
        if self.schedule_id is not None:
            require_integer(self.schedule_id, "schedule_id", 1, _LARGEST)


@dataclass(frozen=True)
class IncrementalBackup(Command):
    """Copy what changed since the base. With ``or_full`` a base that is damaged or gone leads to a full backup instead
    of a refusal; a base of another timeline always does."""

    job_id: str
    id: str | None
    from_backup_id: str
    or_full: bool
    schedule_id: int | None

    def __post_init__(self) -> None:
        FullBackup(self.job_id, self.id, self.schedule_id)
        require_id(self.from_backup_id, "from_backup_id")
        if not isinstance(self.or_full, bool):
            raise InvalidCommand("or_full must be true or false")


@dataclass(frozen=True)
class RestoreBackup(Command):
    """Bring a backup and the chain below it back, into the data directory or into a folder of its own."""

    job_id: str
    id: str
    target: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        require_id(self.id, "id")
        require_word(self.target, "target", TARGETS)


@dataclass(frozen=True)
class DeleteBackup(Command):
    """Delete a backup on which no other depends."""

    id: str

    def __post_init__(self) -> None:
        require_id(self.id, "id")


@dataclass(frozen=True)
class ReadEvents(Command):
    """Read the journal from an offset on; wait up to ``wait`` seconds while there is nothing new."""

    journal: str
    offset: int
    wait: float

    def __post_init__(self) -> None:
        _require_journal(self.journal)
        require_integer(self.offset, "offset", 0, _LARGEST)
        _require_number(self.wait, "wait", 0, LONGEST_WAIT)


@dataclass(frozen=True)
class ListBackups(Command):
    """List the whole backups on disk in order of id, those after this id."""

    after: str

    def __post_init__(self) -> None:
        if self.after != "":
            require_id(self.after, "after")


@dataclass(frozen=True)
class JobProgress(Command):
    """How far a job has come."""

    job_id: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)


@dataclass(frozen=True)
class Check(Command):
    """Run every check that a full backup would begin with, and report each."""
