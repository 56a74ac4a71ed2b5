"""What is told of entities, over HTTP and as the command line's JSON: plain values in the contract's order."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from dbcalm.domain.model import times
from dbcalm.domain.model.entities import Backup, Client, Process, Restore
from dbcalm.domain.model.listing import Page
from dbcalm.domain.rules.protection import Protection
from dbcalm.domain.rules.retention import Chain, Preview, Verdict
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm.domain.services.schedules import State
from dbcalm.domain.services.status import Report

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
    """Return a backup. Its retention is that of its schedule at present, and null without one."""
    return {
        "id": one.id,
        "type": one.type,
        "from_backup_id": one.from_backup_id,
        "schedule_id": one.schedule_id,
        "start_time": one.start_time,
        "end_time": one.end_time,
        "process_id": one.process_id,
        "size": one.size,
        "retention_value": one.retention_value,
        "retention_unit": one.retention_unit,
        "note": one.note,
        "timeline": one.timeline,
        "data_size": one.data_size,
        "form": one.form,
        "recipients": list(one.recipients),
        "hold": None if one.hold_reason is None else {"reason": one.hold_reason, "until": one.hold_until},
        "proof": {"level": one.proof_level, "at": one.proof_at, "restore_seconds": one.restore_seconds},
        "suspect": one.suspect,
        "presence": one.presence,
        "missing": one.missing,
    }


def schedule(one: State) -> View:
    """Return a schedule, when it runs next, and what became of its last run."""
    kept = one.schedule
    return {
        "id": kept.id,
        "backup_type": kept.backup_type,
        "frequency": kept.frequency,
        "day_of_week": kept.day_of_week,
        "day_of_month": kept.day_of_month,
        "hour": kept.hour,
        "minute": kept.minute,
        "interval_value": kept.interval_value,
        "interval_unit": kept.interval_unit,
        "retention_value": kept.retention_value,
        "retention_unit": kept.retention_unit,
        "enabled": kept.enabled,
        "created_at": kept.created_at,
        "updated_at": kept.updated_at,
        "timezone": one.timezone,
        "next_run": one.next_run,
        "last_run": one.last_run,
        "last_status": one.last_status,
        "last_error": one.last_error,
        "overdue": one.overdue_since is not None,
        "overdue_since": one.overdue_since,
        "verify_level": kept.verify_level,
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


def deleted(facts: Mapping[str, Any]) -> View:
    """Return a deleted backup that can still be undeleted."""
    told = (
        "id",
        "type",
        "from_backup_id",
        "schedule_id",
        "start_time",
        "end_time",
        "size",
        "deleted_at",
        "purge_at",
    )
    return {name: facts[name] for name in told}


def _chain(chain: Chain) -> View:
    return {
        "chain": chain.id,
        "backups": [point.id for point in chain.points],
        "size": sum(point.size for point in chain.points),
        "newest_end_time": times.written(chain.newest.at),
    }


def verdict(one: Verdict) -> View:
    """Return what becomes of a chain: the reasons for which it stays, and since when it may go if there is none."""
    reasons = [
        {"rule": reason.rule, "sentence": reason.sentence, "until": _optional(reason.until)}
        for reason in one.kept
    ]
    return {**_chain(one.chain), "kept": reasons, "why": None if one.kept else one.why}


def preview(found: Preview) -> View:
    """Return what clean-up will do if nothing new is made."""
    removals = [{**_chain(one.chain), "on": times.written(one.on), "why": one.why} for one in found.removals]
    return {
        "removals": removals,
        "kept": [verdict(one) for one in found.kept],
        "points": [{"from": times.written(moment), "points": count} for moment, count in found.points],
        "asked_points": found.asked,
        "first_short_day": _optional(found.first_short),
    }


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else times.written(moment)


def report(found: Report) -> View:
    """Return whether all is well, and what was looked at."""
    engine = found.engine or {}
    return {
        "ok": found.ok,
        "attention": list(found.attention),
        "services": dict(found.services),
        "database": engine.get("database"),
        "newest": {
            type: None if one is None else {**backup(one), "age_seconds": round(found.ages[type])}
            for type, one in found.newest.items()
        },
        "restore": engine.get("chain"),
        "schedules": {
            "enabled": found.enabled,
            "next_run": found.next_run,
            "timezone": found.timezone,
            "overdue": [
                {"id": one.schedule.id, "since": one.since, "error": one.error} for one in found.overdue
            ],
        },
        "space": engine.get("space"),
        "trash": engine.get("trash"),
        "clock": engine.get("clock"),
        "warm": engine.get("warm"),
        "by_hand": dict(vars(found.unruled)),
        "restored": engine.get("restored"),
        "replaced": engine.get("replaced"),
        "running": None if found.running is None else process(found.running),
        "protection": protection(found.protection),
    }


def protection(found: Protection) -> View:
    """Return how well the data is protected."""
    return {
        "chain": list(found.chain),
        "recovery_point_seconds": _rounded(found.recovery_point_seconds),
        "proven_point_seconds": _rounded(found.proven_point_seconds),
        "proven_backup_id": found.proven,
        "recovery_seconds": None if found.recovery_seconds is None else round(found.recovery_seconds, 1),
        "measured_by": found.measured_by,
        "restorable_points": dict(found.points),
        "improve": list(found.improve),
    }


def _rounded(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def started(job: Started, type: str) -> View:
    """Return what is told of a job when it was accepted: its status, and the facts that the service has."""
    facts = {name: value for name, value in job.facts.items() if name not in ("id", "job_id")}
    return {
        "status": "running",
        "link": f"/status/{job.job_id}",
        "pid": job.job_id,
        "resource_id": job.facts.get("id"),
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
