"""What the mysql service can be asked for.

No command carries a path, an option, a program or a host: ids, closed words and bounded numbers only, and one note for
people, which is stored and nothing else.
"""

import re
from dataclasses import dataclass, field
from typing import Self

from dbcalm_cmd.wire import Command, InvalidCommand, require_integer, require_word
from dbcalm_mariadb_cmd.builder.storage_format import FORMS
from dbcalm_mariadb_cmd.command.age_keys import IDENTITY_FORM, is_identity

LEVELS = (1, 2, 3)
"""How far a backup can be asked to be proven; ``proof`` says what each means."""

TARGETS = ("database", "folder")
RESERVED_IDS = frozenset({"restores", "trash", "work"})
LONGEST_WAIT = 25.0
"""Seconds that ``read_events`` may be held open."""

LONGEST_REASON = 200
"""Characters of the reason for which a backup is held."""

MOST_CLEANED = 5000
"""Backups that one clean-up may delete: they fit into a frame."""

DATABASE_STATES = ("pending", "stopped", "running", "failed")
"""What a job can be told of the database's unit. Only "failed" comes with a problem, a sentence for people."""

_REPLACED_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,126}")
_WANT = re.compile(r"[0-9a-f]{16}")
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
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


def valid_replaced_id(value: object) -> bool:
    """Tell whether this may be the id of what a restore replaced."""
    return isinstance(value, str) and _REPLACED_ID.fullmatch(value) is not None


def require_replaced_id(value: object) -> None:
    """Raise InvalidCommand unless the value may name what a restore replaced."""
    if not valid_replaced_id(value):
        raise InvalidCommand("id must be one that the list of what was replaced shows", "id")


def valid_job_id(value: object) -> bool:
    """Tell whether this may be a job's id."""
    return isinstance(value, str) and _JOB_ID.fullmatch(value) is not None


def _require_job_id(value: object) -> None:
    if not valid_job_id(value):
        raise InvalidCommand("job_id must be 32 hexadecimal digits")


def _require_number(value: object, name: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidCommand(f"{name} must be a number from {low:g} to {high:g}")


def _require_sentence(value: object, name: str) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_REASON or not value.isprintable():
        raise InvalidCommand(f"{name} must be 1 to {LONGEST_REASON} printable characters", name)


def _require_want(value: object) -> None:
    if not isinstance(value, str) or not _WANT.fullmatch(value):
        raise InvalidCommand("want must be what database_wanted answered")


def _require_time_or_none(value: object, name: str) -> None:
    if value is not None and (not isinstance(value, str) or not _TIME.fullmatch(value)):
        raise InvalidCommand(f"{name} must be a time such as 2026-01-31T03:00:00.000000Z, or null", name)


def _require_flag(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise InvalidCommand(f"{name} must be true or false", name)


def _require_form_or_none(value: object) -> None:
    if value is not None:
        require_word(value, "form", FORMS)


def _require_identity_or_none(value: object) -> None:
    if value is not None and not is_identity(value):
        raise InvalidCommand(f"identity must be {IDENTITY_FORM}", "identity")


def _require_journal(value: object) -> None:
    if not isinstance(value, str) or len(value) > 64:
        raise InvalidCommand("journal must be what an earlier answer gave, or empty")


@dataclass(frozen=True)
class FullBackup(Command):
    """Copy the whole server, or roll the newest chain up if ``synthetic``. The service names the backup if ``id`` is
    None, and stores it as it is configured to if ``form`` is None."""

    job_id: str
    id: str | None
    schedule_id: int | None
    form: str | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        if self.id is not None:
            require_id(self.id, "id")
        if self.schedule_id is not None:
            require_integer(self.schedule_id, "schedule_id", 1, _LARGEST)
        _require_form_or_none(self.form)
        _require_flag(self.synthetic, "synthetic")


@dataclass(frozen=True)
class IncrementalBackup(Command):
    """Copy what changed since the base. With ``or_full`` a base that is damaged or gone leads to a full backup instead
    of a refusal; a base of another timeline always does."""

    job_id: str
    id: str | None
    from_backup_id: str
    or_full: bool
    schedule_id: int | None
    form: str | None = None

    def __post_init__(self) -> None:
        FullBackup(self.job_id, self.id, self.schedule_id, self.form)
        require_id(self.from_backup_id, "from_backup_id")
        _require_flag(self.or_full, "or_full")


@dataclass(frozen=True)
class RestoreBackup(Command):
    """Bring a backup and the chain below it back, into the data directory or into a folder of its own. With
    ``replace`` the data directory may be in use: what is in it is exchanged for the restored data, and kept.

    ``identity`` is the private key that opens it, None where the service has one or none is needed: a secret, kept
    nowhere."""

    job_id: str
    id: str
    target: str
    replace: bool
    identity: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        require_id(self.id, "id")
        require_word(self.target, "target", TARGETS)
        _require_flag(self.replace, "replace")
        if self.replace and self.target != "database":
            raise InvalidCommand(
                "replace is for target database only: a folder is always a new one", "replace"
            )
        _require_identity_or_none(self.identity)


@dataclass(frozen=True)
class AdoptBackup(Command):
    """Take over the backup that somebody else has put into the folder of this name."""

    job_id: str
    id: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        require_id(self.id, "id")


@dataclass(frozen=True)
class ListAdoptable(Command):
    """List the folders among the backups that are not ours, and what they are, the oldest first."""


@dataclass(frozen=True)
class VerifyBackup(Command):
    """Prove that a backup comes back, up to a level from 1 to 3 (see ``proof``). ``identity`` is as for a restore."""

    job_id: str
    id: str
    level: int
    schedule_id: int | None = None
    identity: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        require_id(self.id, "id")
        require_integer(self.level, "level", min(LEVELS), max(LEVELS))
        if self.schedule_id is not None:
            require_integer(self.schedule_id, "schedule_id", 1, _LARGEST)
        _require_identity_or_none(self.identity)


@dataclass(frozen=True)
class BringBack(Command):
    """Exchange what is in the data directory for what an earlier restore replaced, and keep it in its turn."""

    job_id: str
    id: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        require_replaced_id(self.id)


@dataclass(frozen=True)
class ListRestored(Command):
    """List the folders that restores have made and that are still there, the newest first."""


@dataclass(frozen=True)
class RemoveRestored(Command):
    """Remove a folder that a restore has made, for good."""

    id: str

    def __post_init__(self) -> None:
        require_replaced_id(self.id)


@dataclass(frozen=True)
class RemoveReplaced(Command):
    """Remove what a restore replaced before its time, for good."""

    id: str

    def __post_init__(self) -> None:
        require_replaced_id(self.id)


@dataclass(frozen=True)
class ListReplaced(Command):
    """List what restores have replaced and what is still kept, the newest first."""


@dataclass(frozen=True)
class DatabaseWanted(Command):
    """Say whether the running job wants the database stopped or running: neither this service nor its jobs may do
    that."""


@dataclass(frozen=True)
class ReportDatabase(Command):
    """Tell the running job how far the database has come to what it wanted. ``want`` says what this answers."""

    job_id: str
    want: str
    state: str
    problem: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        _require_want(self.want)
        require_word(self.state, "state", DATABASE_STATES)
        if self.problem != "":
            _require_sentence(self.problem, "problem")


@dataclass(frozen=True)
class DeleteBackup(Command):
    """Delete a backup on which no other depends: it goes into the trash."""

    id: str

    def __post_init__(self) -> None:
        require_id(self.id, "id")


@dataclass(frozen=True)
class UndeleteBackup(Command):
    """Bring a backup back from the trash: the last one that was deleted under this id, or the one of this time."""

    id: str
    deleted_at: str | None

    def __post_init__(self) -> None:
        require_id(self.id, "id")
        _require_time_or_none(self.deleted_at, "deleted_at")


@dataclass(frozen=True)
class HoldBackup(Command):
    """Keep a backup, and so its chain, from being deleted, until a time (UTC text as DBCalm writes it) or for good."""

    id: str
    reason: str
    until: str | None

    def __post_init__(self) -> None:
        require_id(self.id, "id")
        _require_sentence(self.reason, "reason")
        _require_time_or_none(self.until, "until")


@dataclass(frozen=True)
class ReleaseBackup(Command):
    """End the hold of a backup."""

    id: str

    def __post_init__(self) -> None:
        require_id(self.id, "id")


@dataclass(frozen=True)
class CleanupBackups(Command):
    """Delete these backups, each of which is a leaf once those before it are gone: whole chains that have expired.

    The service deletes none that it would not delete one by one.
    """

    job_id: str
    ids: tuple[str, ...]
    schedule_id: int | None

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        if len(self.ids) > MOST_CLEANED:
            raise InvalidCommand(f"ids must be {MOST_CLEANED} at most")
        for id in self.ids:
            require_id(id, "each of ids")
        if len(set(self.ids)) != len(self.ids):
            raise InvalidCommand("ids must not name a backup twice")
        if self.schedule_id is not None:
            require_integer(self.schedule_id, "schedule_id", 1, _LARGEST)

    @classmethod
    def from_args(cls, args: object) -> Self:
        """Return the command with these arguments; raise InvalidCommand where they do not fit."""
        if isinstance(args, dict) and "ids" in args:
            if not isinstance(args["ids"], list):
                raise InvalidCommand("ids must be a list")
            args = {**args, "ids": tuple(args["ids"])}
        return super().from_args(args)


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
    """List the whole backups on disk in order of id, those after this id. With ``examine`` each is told to be intact
    or not, by the names and sizes of its files."""

    after: str
    examine: bool

    def __post_init__(self) -> None:
        if self.after != "":
            require_id(self.after, "after")
        _require_flag(self.examine, "examine")


@dataclass(frozen=True)
class LookAtBackups(Command):
    """Tell which backups are on disk, in order of id and after this one, and which of them lack files or have some of
    another size, as it was at most ``within`` seconds ago."""

    after: str
    within: float

    def __post_init__(self) -> None:
        if self.after != "":
            require_id(self.after, "after")
        _require_number(self.within, "within", 0, LONGEST_WAIT)


@dataclass(frozen=True)
class ListTrash(Command):
    """List the deleted backups that can still be undeleted, the last deleted first."""


@dataclass(frozen=True)
class CancelJob(Command):
    """Have a running job end before its work is done."""

    job_id: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)


@dataclass(frozen=True)
class AcknowledgeJob(Command):
    """Keep in the journal that somebody knows of a job's failure."""

    job_id: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)


@dataclass(frozen=True)
class JobProgress(Command):
    """How far a job has come."""

    job_id: str

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)


@dataclass(frozen=True)
class JobLog(Command):
    """Read what a job's tool has said, from a byte on."""

    job_id: str
    offset: int

    def __post_init__(self) -> None:
        _require_job_id(self.job_id)
        require_integer(self.offset, "offset", 0, _LARGEST)


@dataclass(frozen=True)
class Check(Command):
    """Run every check that a full backup and a restore of the newest one would begin with, and report on each."""
