"""The things that DBCalm knows. Times are text in UTC of fixed width, ``2026-01-31T03:00:00.000000Z``."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Backup:
    """A whole backup on disk. ``size`` is in bytes; ``seq`` counts up over all backups, whatever the clock did;
    ``timeline`` is the same for backups between which nobody put other data under the server.

    ``data_size`` is what a restore writes, ``form`` how it is stored, and ``recipients`` the public keys to which it is
    encrypted.

    ``proof_level`` says how far it was proven to come back, from 0 (whole, as it was made) to 3 (a server ran on it),
    and ``proof_at`` when; ``restore_seconds`` how long it took then to bring it back. ``suspect`` is what the last
    verification found wrong with it.

    ``presence`` is how it was found on disk by the last look (see ``presence``), and ``missing`` the sentence for what
    is wrong with that; both None where nobody has looked.

    A held backup has a ``hold_reason``, and a ``hold_until`` if the hold ends by itself. The retention is that of its
    schedule at present."""

    id: str
    type: str
    from_backup_id: str | None
    schedule_id: int | None
    start_time: str
    end_time: str | None
    process_id: int | None
    size: int
    note: str | None
    timeline: str
    seq: int
    hold_reason: str | None
    hold_until: str | None
    data_size: int
    form: str
    recipients: tuple[str, ...]
    proof_level: int
    proof_at: str
    restore_seconds: float | None
    suspect: str | None
    retention_value: int | None
    retention_unit: str | None
    presence: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class Restore:
    """A restore that was begun. ``status`` is that of its process, which tells more."""

    id: int
    start_time: str
    end_time: str | None
    target: str
    target_path: str
    backup_id: str
    backup_timestamp: str | None
    process_id: int
    status: str


RUNNING, SUCCESS = "running", "success"
"""The status of a process; the third is "failed"."""


@dataclass(frozen=True)
class Process:
    """A job of the mysql service. ``command_id`` is the job's id; ``reason`` says more about a failure, and
    ``known_at`` when somebody said that it is known."""

    id: int
    command: str
    command_id: str
    pid: int | None
    status: str
    output: str | None
    error: str | None
    return_code: int | None
    start_time: str
    end_time: str | None
    type: str
    args: Mapping[str, object]
    resource_id: str | None
    reason: str | None
    note: str | None
    known_at: str | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When to make which backup, in the host's time zone, and how long to keep it. Fields that the frequency does not
    need are kept as they were given. ``day_of_week`` 0 is Sunday.

    ``verify_level`` is how far each of its backups is verified afterwards, None for not at all. With the type "verify"
    it makes no backup: it verifies the newest one that is not proven so far."""

    backup_type: str
    frequency: str
    day_of_week: int | None = None
    day_of_month: int | None = None
    hour: int | None = None
    minute: int | None = None
    interval_value: int | None = None
    interval_unit: str | None = None
    retention_value: int | None = None
    retention_unit: str | None = None
    verify_level: int | None = None
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class Schedule(Plan):
    """A plan that is kept. ``last_refusal`` is why the last of its backups that never became a job was refused."""

    id: int
    created_at: str
    updated_at: str
    last_refused_at: str | None = None
    last_refusal: str | None = None


@dataclass(frozen=True)
class Run:
    """A backup, or a verification, that a schedule began. ``status`` is that of its process."""

    schedule_id: int
    status: str
    start_time: str
    error: str | None


@dataclass(frozen=True)
class Client:
    """A program that may use the API, with the scopes that its tokens have."""

    id: str
    label: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class User:
    """A person who may use the API. ``generation`` counts password changes: tokens of an older one are void."""

    id: int
    username: str
    generation: int
    created_at: str


@dataclass(frozen=True)
class Caller:
    """Who asks, as the log names them, and what they may do."""

    name: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Grant:
    """What a token says: whom it is for, as of which generation of their credentials, and the scopes it is worth."""

    subject: str
    generation: int
    scopes: tuple[str, ...]
