"""What is told of entities, over HTTP and as the command line's JSON: plain values in the contract's order."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dbcalm.domain.entities import Backup, Client, Process, Restore
from dbcalm.domain.jobs import Started
from dbcalm.domain.listing import Page

T = TypeVar("T")

View = dict[str, Any]


def page(found: Page[T], view: Callable[[T], View]) -> View:
    """Return a page of a list."""
    return {
        "items": [view(item) for item in found.items],
        "pagination": {
            "total": found.total,
            "page": found.page,
            "per_page": found.per_page,
            "total_pages": found.total_pages,
        },
    }


def backup(one: Backup) -> View:
    """Return a backup. Its retention is that of its schedule, and null without one."""
    return {
        "id": one.id,
        "type": one.type,
        "from_backup_id": one.from_backup_id,
        "schedule_id": one.schedule_id,
        "start_time": one.start_time,
        "end_time": one.end_time,
        "process_id": one.process_id,
        "size": one.size,
        "retention_value": None,
        "retention_unit": None,
        "note": one.note,
        "timeline": one.timeline,
    }


def restore(one: Restore) -> View:
    """Return a restore."""
    return dict(vars(one))


def process(one: Process) -> View:
    """Return a process."""
    return dict(vars(one))


def client(one: Client) -> View:
    """Return a client."""
    return dict(vars(one))


def started(job: Started, type: str) -> View:
    """Return what is told of a job when it was accepted: its status, and the facts that the service has."""
    facts = {name: value for name, value in job.facts.items() if name not in ("id", "job_id")}
    return {
        "status": "running",
        "link": f"/status/{job.job_id}",
        "pid": job.job_id,
        "resource_id": job.facts["id"],
        "type": type,
        "note": None,
        **facts,
    }


def status(one: Process, progress: Mapping[str, Any] | None) -> View:
    """Return how a job stands."""
    return {
        "status": one.status,
        "link": f"/status/{one.command_id}",
        "pid": one.command_id,
        "resource_id": one.resource_id,
        "type": one.type,
        "note": one.note,
        "reason": one.reason,
        "error": one.error,
        "return_code": one.return_code,
        "start_time": one.start_time,
        "end_time": one.end_time,
        "progress": progress,
    }
