"""Examples of requests and answers, as the documentation shows them."""

from fastapi.openapi.models import Example

from dbcalm.api.events import Event

_JOB = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

SIGN_IN = {"username": "alice", "password": "a long and private sentence"}
SIGN_INS: dict[str, Example] = {"person": {"summary": "A person", "value": SIGN_IN}}
CODE = {"code": "b2a9o0Zt2mV4yHq1c8w6d3fXkq5s7uJrLwPz0aBcDeE"}

TOKEN_REQUESTS: dict[str, Example] = {
    "code": {
        "summary": "A person, with the code of /auth/authorize",
        "value": {"grant_type": "authorization_code", "code": CODE["code"]},
    },
    "client": {
        "summary": "A program",
        "value": {
            "grant_type": "client_credentials",
            "client_id": "5f0c7f0a-3b0e-4f0e-9c5e-2f7a1d9b8e11",
            "client_secret": "…",
        },
    },
}
TOKEN = {"access_token": "eyJhbGciOiJIUzI1NiJ9…", "token_type": "bearer", "expires_in": 3600, "scope": "*"}

BACKUP_REQUESTS: dict[str, Example] = {
    "full": {"summary": "A full backup", "value": {"type": "full"}},
    "named": {"summary": "A full backup with a name", "value": {"type": "full", "id": "before-upgrade"}},
    "incremental": {"summary": "What changed since the newest backup", "value": {"type": "incremental"}},
    "based": {
        "summary": "What changed since a certain backup",
        "value": {"type": "incremental", "from_backup_id": "before-upgrade"},
    },
    "folder": {
        "summary": "A full backup as plain files, whatever is configured",
        "value": {"type": "full", "form": "folder"},
    },
    "synthetic": {
        "summary": "A full backup of the newest chain, without touching the server",
        "value": {"type": "full", "synthetic": True},
    },
}
_RUNNING = {"status": "running", "link": f"/status/{_JOB}", "pid": _JOB, "resource_id": "2026-01-31-03-00-00"}
BACKUP_STARTED = {**_RUNNING, "type": "full", "from_backup_id": None, "form": "zstd", "note": None}
BACKUP: dict[str, object] = {
    "id": "2026-01-31-03-00-00",
    "type": "full",
    "from_backup_id": None,
    "schedule_id": None,
    "start_time": "2026-01-31T03:00:00.102938Z",
    "end_time": "2026-01-31T03:02:11.564738Z",
    "process_id": 41,
    "size": 289910292,
    "retention_value": None,
    "retention_unit": None,
    "note": None,
    "timeline": "8c52b0a1f6de",
    "data_size": 1073741824,
    "form": "zstd",
    "recipients": [],
    "hold": None,
    "proof": {"level": 3, "at": "2026-01-31T03:31:09.102938Z", "restore_seconds": 61.3},
    "suspect": None,
    "presence": "whole",
    "missing": None,
}
VERIFY_REQUESTS: dict[str, Example] = {
    "runs": {"summary": "As far as it goes: a server is started on a copy", "value": {"level": 3}},
    "intact": {"summary": "Only that every stored byte is as it was", "value": {"level": 1}},
}

HOLD_REQUESTS: dict[str, Example] = {
    "audit": {
        "summary": "Until a day",
        "value": {"reason": "audit of January", "until": "2026-04-01T00:00:00Z"},
    },
    "good": {"summary": "Until it is released", "value": {"reason": "before the migration"}},
}
HELD = {**BACKUP, "hold": {"reason": "audit of January", "until": "2026-04-01T00:00:00.000000Z"}}
_CHAIN = {
    "chain": "2026-01-01-03-00-00",
    "backups": ["2026-01-01-03-00-00", "2026-01-01-04-00-00"],
    "size": 1181116006,
    "newest_end_time": "2026-01-01T04:00:09.564738Z",
}
DELETED = {
    "id": "2026-01-01-03-00-00",
    "type": "full",
    "from_backup_id": None,
    "schedule_id": 1,
    "start_time": "2026-01-01T03:00:00.102938Z",
    "end_time": "2026-01-01T03:02:11.564738Z",
    "size": 1073741824,
    "deleted_at": "2026-01-31T04:20:01.102938Z",
    "purge_at": "2026-02-01T04:20:01.102938Z",
}
UNDELETE_REQUESTS: dict[str, Example] = {
    "last": {"summary": "The last one that was deleted", "value": {}},
    "one": {"summary": "One of several", "value": {"deleted_at": DELETED["deleted_at"]}},
}
CLEANUP_REQUESTS: dict[str, Example] = {
    "all": {"summary": "Whatever has expired", "value": {}},
    "schedule": {"summary": "What one schedule has made", "value": {"schedule_id": 1}},
}
CLEANUP_STARTED = {
    **_RUNNING,
    "resource_id": None,
    "type": "cleanup_backups",
    "note": None,
    "deleting": ["2026-01-01-04-00-00", "2026-01-01-03-00-00"],
}
CLEANUP_PREVIEW = {
    "removals": [
        {
            **_CHAIN,
            "on": "2026-02-01T09:00:00.000000Z",
            "why": "its newest backup 2026-01-01-04-00-00 has expired: schedule 1 keeps it for 30 days only",
        }
    ],
    "kept": [
        {
            **_CHAIN,
            "kept": [
                {
                    "rule": "age",
                    "sentence": "schedule 1 keeps it for 30 days after 2026-01-01-04-00-00",
                    "until": "2026-01-31T04:00:09.564738Z",
                }
            ],
            "why": None,
        }
    ],
    "points": [
        {"from": "2026-01-31T09:00:00.000000Z", "points": 9},
        {"from": "2026-02-01T09:00:00.000000Z", "points": 7},
    ],
    "asked_points": 8,
    "first_short_day": "2026-02-01T09:00:00.000000Z",
    "blocked": None,
}

RESTORE_REQUESTS: dict[str, Example] = {
    "folder": {
        "summary": "Into a folder, beside a running server",
        "value": {"id": "2026-01-31-03-00-00", "target": "folder"},
    },
    "database": {
        "summary": "Into the data directory: the server is stopped, the directory is empty",
        "value": {"id": "2026-01-31-03-00-00", "target": "database"},
    },
    "replace": {
        "summary": "Over the data of a running server, which is stopped, started again, and asked how it is",
        "value": {"id": "2026-01-31-03-00-00", "target": "database", "replace": True},
    },
}
RESTORE_STARTED = {
    **_RUNNING,
    "type": "restore",
    "note": None,
    "target": "database",
    "target_path": "/var/lib/mysql",
    "restore_id": "2026-01-31-03-00-00-restored-2026-01-31-09-00-00",
    "chain": ["2026-01-31-03-00-00"],
}
VERIFY_STARTED = {
    **_RUNNING,
    "type": "verify",
    "note": None,
    "level": 3,
    "chain": ["2026-01-31-03-00-00"],
}
REPLACED = {
    "id": "2026-01-31-03-00-00-restored-2026-01-31-09-00-00",
    "backup_id": "2026-01-31-03-00-00",
    "replaced_at": "2026-01-31T09:01:38.102938Z",
    "keep_until": "2026-02-01T09:01:38.102938Z",
    "size": 1181116006,
}
BACK_STARTED = {**_RUNNING, "resource_id": REPLACED["id"], "type": "bring_back", "note": None}
RESTORE = {
    "id": 7,
    "start_time": "2026-01-31T09:00:00.102938Z",
    "end_time": "2026-01-31T09:01:40.564738Z",
    "target": "database",
    "target_path": "/var/lib/mysql",
    "backup_id": "2026-01-31-03-00-00",
    "backup_timestamp": "2026-01-31T03:00:00.102938Z",
    "process_id": 42,
    "status": "success",
}

PROCESS = {
    "id": 41,
    "command": "/usr/bin/mariadb-backup --defaults-file=/etc/dbcalm/credentials.cnf --backup …",
    "command_id": _JOB,
    "pid": 12345,
    "status": "success",
    "output": "[00] 2026-01-31 03:02:10 completed OK!",
    "error": None,
    "return_code": 0,
    "start_time": "2026-01-31T03:00:00.102938Z",
    "end_time": "2026-01-31T03:02:11.564738Z",
    "type": "backup",
    "args": {"id": "2026-01-31-03-00-00", "type": "full"},
    "resource_id": "2026-01-31-03-00-00",
    "reason": None,
    "note": None,
    "known_at": None,
}
STATUS = {
    **_RUNNING,
    "type": "backup",
    "note": None,
    "reason": None,
    "error": None,
    "return_code": None,
    "start_time": "2026-01-31T03:00:00.102938Z",
    "end_time": None,
    "progress": {
        "phase": "copying",
        "bytes_done": 536870912,
        "bytes_total": 1073741824,
        "percent": 50,
        "bytes_per_second": 178956970,
        "seconds_left": 3,
    },
}

EVENTS = "".join(
    event.encode()
    for event in (
        Event("log", {"text": "[00] 2026-01-31 03:00:00 Connecting to MariaDB server host: localhost\n"}, 73),
        Event("progress", STATUS["progress"]),
        Event("end", {**STATUS, "status": "success", "return_code": 0, "progress": None}),
    )
)

PROTECTION = {
    "chain": ["2026-01-31-03-00-00"],
    "recovery_point_seconds": 21600,
    "proven_point_seconds": 21600,
    "proven_backup_id": "2026-01-31-03-00-00",
    "recovery_seconds": 61.3,
    "measured_by": "2026-01-31-03-00-00",
    "restorable_points": {"day": 24, "week": 30, "month": 53},
    "improve": ["keep the newest chain prepared, so that its restore is a rename: warm_restore"],
}
READY = {
    "ok": False,
    "attention": [
        "schedule 2 (incremental, hourly at :00) is overdue since 2026-01-31 09:00 UTC: server is not running"
    ],
    "services": {"dbcalm-api": True, "dbcalm-cmd": True, "dbcalm-mariadb-cmd": True},
    "database": {"ok": True, "message": "/usr/bin/mariadb-backup 10.11.19, server 10.11.19"},
    "newest": {"full": {**BACKUP, "age_seconds": 21600}, "incremental": None},
    "restore": {"ids": ["2026-01-31-03-00-00"], "problem": None},
    "schedules": {
        "enabled": 2,
        "next_run": "2026-01-31T10:00:00.000000Z",
        "timezone": "Europe/Berlin",
        "overdue": [{"id": 2, "since": "2026-01-31T09:00:00.000000Z", "error": "server is not running"}],
    },
    "space": {"free_bytes": 53687091200, "needed_bytes": 1073741824},
    "trash": {"count": 2, "bytes": 1181116006},
    "clock": None,
    "warm": None,
    "by_hand": {"count": 0, "bytes": 0},
    "restored": {"count": 1, "bytes": 734003200},
    "replaced": {"count": 0, "bytes": 0},
    "running": None,
    "protection": PROTECTION,
}
SCHEDULE_REQUESTS: dict[str, Example] = {
    "nightly": {
        "summary": "A full backup each night, kept for two weeks",
        "value": {
            "backup_type": "full",
            "frequency": "daily",
            "hour": 3,
            "minute": 0,
            "retention_value": 14,
            "retention_unit": "days",
        },
    },
    "weekly": {
        "summary": "A full backup on Sundays",
        "value": {"backup_type": "full", "frequency": "weekly", "day_of_week": 0, "hour": 4, "minute": 30},
    },
    "often": {
        "summary": "What changed, every 15 minutes",
        "value": {
            "backup_type": "incremental",
            "frequency": "interval",
            "interval_value": 15,
            "interval_unit": "minutes",
        },
    },
}
SCHEDULE = {
    "id": 1,
    "backup_type": "full",
    "frequency": "daily",
    "day_of_week": None,
    "day_of_month": None,
    "hour": 3,
    "minute": 0,
    "interval_value": None,
    "interval_unit": None,
    "retention_value": 14,
    "retention_unit": "days",
    "enabled": True,
    "created_at": "2026-01-30T09:00:00.102938Z",
    "updated_at": "2026-01-30T09:00:00.102938Z",
    "timezone": "Europe/Berlin",
    "next_run": "2026-02-01T02:00:00.000000Z",
    "last_run": "2026-01-31T02:00:01.102938Z",
    "last_status": "success",
    "last_error": None,
    "overdue": False,
    "overdue_since": None,
    "verify_level": 3,
}
SCHEDULE_DELETED = {"message": "schedule 1 was deleted"}

CLIENT = {"id": "5f0c7f0a-3b0e-4f0e-9c5e-2f7a1d9b8e11", "label": "monitoring", "scopes": ["backups:read"]}
CLIENT_REQUESTS: dict[str, Example] = {
    "all": {"summary": "May do what its creator may", "value": {"label": "deploy script"}},
    "some": {"summary": "May only look", "value": {"label": "monitoring", "scopes": ["backups:read"]}},
}
CLIENT_CHANGES: dict[str, Example] = {
    "rename": {"summary": "Another label", "value": {"label": "monitoring, second site"}}
}
NEW_CLIENT = {**CLIENT, "secret": "kV8m1QeYdW4rT7uI0oP3aS6dF9gH2jK5lZ8xC1vB4nM"}


def _example(summary: str, value: str) -> Example:
    return {"summary": summary, "value": value}


_TIMES: dict[str, dict[str, Example]] = {
    "query": {
        "recent": _example("Since a time", "start_time|gte|2026-01-31T00:00"),
        "unended": _example("Without an end", "end_time|isnull"),
    },
    "order": {
        "oldest": _example("The oldest first", "start_time|asc"),
        "several": _example("By two fields", "end_time|desc,id|asc"),
    },
}
BACKUP_LISTS: dict[str, dict[str, Example]] = {
    **_TIMES,
    "query": {
        **_TIMES["query"],
        "chain": _example("What builds directly on a backup", "from_backup_id|before-upgrade"),
        "proven": _example("Those that a server ran on", "proof_level|3"),
        "suspect": _example("Those with which a verification found fault", "suspect|isnotnull"),
        "several": _example(
            "Of three processes, and since a time", "process_id|in|1,2,3,start_time|gte|2026-01-01"
        ),
    },
}
RESTORE_LISTS: dict[str, dict[str, Example]] = {
    **_TIMES,
    "query": {**_TIMES["query"], "database": _example("Into the data directory", "target|database")},
}
PROCESS_LISTS: dict[str, dict[str, Example]] = {
    **_TIMES,
    "query": {**_TIMES["query"], "failed": _example("Backups that failed", "type|backup,status|failed")},
}
SCHEDULE_LISTS: dict[str, dict[str, Example]] = {
    "query": {
        "enabled": _example("Those that run", "enabled|true"),
        "full": _example("Full backups", "backup_type|full"),
        "verifying": _example("Those that verify what they make", "verify_level|isnotnull"),
    },
    "order": {"changed": _example("The last to be changed first", "updated_at|desc")},
}
CLIENT_LISTS: dict[str, dict[str, Example]] = {
    "query": {"label": _example("By label", "label|monitoring")},
    "order": {"label": _example("By label", "label|asc")},
}

REFUSALS = {
    "InvalidQuery": "unknown field 'colour' in the query; valid are id, from_backup_id, schedule_id, start_time",
    "InvalidRequest": "type: must be full or incremental",
    "RuleBroken": "an incremental schedule needs at least one enabled full schedule: add or enable a full one first",
    "NotFound": "there is no backup '2026-01-31-03-00-00'",
    "Conflict": "the id before-upgrade is taken",
    "Busy": f"job {_JOB} is running; wait for its end",
    "Unavailable": "server is not running",
    "NoSpace": "the disk has 2 GiB free, and the backup needs about 5 GiB",
    "ServiceFailed": "the service dbcalm-mariadb-cmd failed; its log says why",
    "NotAuthenticated": "this needs a token: Authorization: Bearer <token>",
    "NotAllowed": "this needs a token with the scope backups:write",
    "WrongCredentials": "the user name or the password is wrong",
    "InvalidGrant": "the code is wrong, used or older than a minute; sign in again",
    "Throttled": "too many failed attempts; try again in 42 seconds",
}


def listed(item: object) -> dict[str, object]:
    """Return a page with one item."""
    return {"items": [item], "pagination": {"total": 1, "page": 1, "per_page": 25, "total_pages": 1}}
