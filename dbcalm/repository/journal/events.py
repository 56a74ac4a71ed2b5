"""What the catalogue takes from an event of the journal, and from a backup's facts. Whatever else they say it passes
over: a newer service may say more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dbcalm_mariadb_cmd.command.requests import valid_id, valid_job_id
from dbcalm_mariadb_cmd.command.shapes import Between, Count, Seconds, Seq, Time, Where, fitted

Id = Annotated[str, Where(valid_id, "the id of a backup")]
JobId = Annotated[str, Where(valid_job_id, "the id of a job")]


@dataclass(frozen=True)
class Restore:
    """What a job restores."""

    target: str
    target_path: str
    backup_id: str
    backup_timestamp: Time | None = None


@dataclass(frozen=True)
class Accepted:
    """A job begins."""

    at: Time
    job_id: JobId
    type: str
    command: str
    args: dict[str, Any] = field(default_factory=dict)
    resource_id: str | None = None
    note: str | None = None
    restore: Restore | None = None


@dataclass(frozen=True)
class Arguments:
    """What of a job's arguments has a column of its own."""

    schedule_id: int | None = None


@dataclass(frozen=True)
class Started:
    """It has a process."""

    job_id: JobId
    pid: int


@dataclass(frozen=True)
class Acknowledged:
    """Somebody knows how it ended."""

    at: Time
    job_id: JobId


@dataclass(frozen=True)
class Ended:
    """It is over. A backup that was made has its facts here; ``note`` is what else there is to say."""

    at: Time
    job_id: JobId
    status: Literal["success", "failed"]
    reason: str | None = None
    return_code: int | None = None
    error: str | None = None
    output: str | None = None
    note: str | None = None
    backup: dict[str, Any] | None = None


@dataclass(frozen=True)
class OfBackup:
    """Something became of a backup."""

    backup_id: str


@dataclass(frozen=True)
class Undeleted:
    """A backup is back."""

    backup: dict[str, Any]


@dataclass(frozen=True)
class Hold:
    """Why and until when a backup is held."""

    reason: str
    until: Time | None


@dataclass(frozen=True)
class Held:
    """A backup is held."""

    backup_id: str
    hold: Hold


@dataclass(frozen=True)
class Proof:
    """How far a backup is proven."""

    level: Annotated[int, Between(0, 3)]
    at: Time
    restore_seconds: Seconds | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Proved:
    """A backup was verified."""

    backup_id: str
    proof: Proof


@dataclass(frozen=True)
class Facts:
    """A whole backup, by its manifest and what lies beside it, which need not say anything of a hold or a proof."""

    id: Id
    seq: Seq
    type: Literal["full", "incremental"]
    timeline: str
    start_time: Time
    end_time: Time
    size: Count
    from_backup_id: Id | None = None
    schedule_id: int | None = None
    job_id: str | None = None
    note: str | None = None
    form: str = "folder"
    data_size: Count | None = None
    recipients: tuple[str, ...] = ()
    hold: Hold | None = None
    proof: Proof | None = None


def facts(values: Mapping[str, Any]) -> Facts:
    """Return the facts of a backup; raise Unfit. Older services say {} where there is no hold or proof."""
    empty = {name: None for name in ("hold", "proof") if not values.get(name)}
    return fitted(Facts, {**values, **empty}, others=True)
