"""The things that DBCalm knows. Times are text in UTC of fixed width, ``2026-01-31T03:00:00.000000Z``."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Backup:
    """A whole backup on disk. ``size`` is in bytes; ``seq`` counts up over all backups, whatever the clock did;
    ``timeline`` is the same for backups between which nobody put other data under the server."""

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


@dataclass(frozen=True)
class Process:
    """A job of the mysql service. ``command_id`` is the job's id; ``reason`` says more about a failure."""

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
