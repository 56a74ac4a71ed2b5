"""Schedules."""

from typing import Annotated, Literal

from pydantic import Field

from dbcalm.api.schemas.common import LARGEST_INTEGER, Answer, Body, Pagination, Status, Time
from dbcalm_mariadb_cmd.command.requests import LEVELS

Interval = Annotated[int, Field(ge=1, le=LARGEST_INTEGER, json_schema_extra={"maximum": 59})]


class ScheduleRequest(Body):
    backup_type: Annotated[
        Literal["full", "incremental", "verify"],
        Field(description="verify makes no backup: it verifies the newest chain that is not proven."),
    ]
    frequency: Literal["daily", "weekly", "monthly", "hourly", "interval"]
    day_of_week: Annotated[int | None, Field(ge=0, le=6, description="0 is Sunday. Needed for weekly.")] = (
        None
    )
    day_of_month: Annotated[int | None, Field(ge=1, le=28, description="Needed for monthly.")] = None
    hour: Annotated[int | None, Field(ge=0, le=23, description="Needed for daily, weekly and monthly.")] = (
        None
    )
    minute: Annotated[
        int | None,
        Field(ge=0, le=59, description="Needed for all but interval, which begins at the full hour."),
    ] = None
    interval_value: Annotated[
        Interval | None, Field(description="Needed for interval: 1 to 59 minutes, or 1 to 23 hours.")
    ] = None
    interval_unit: Annotated[
        Literal["minutes", "hours"] | None, Field(description="Needed for interval.")
    ] = None
    retention_value: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_INTEGER, description="How long to keep what it makes; with its unit."),
    ] = None
    retention_unit: Literal["days", "weeks", "months"] | None = None
    verify_level: Annotated[
        int | None,
        Field(
            ge=min(LEVELS),
            le=max(LEVELS),
            description="How far each of its backups is verified when it is whole; null for not at all. "
            "For backup_type verify: how far, null for 3.",
        ),
    ] = None
    enabled: bool = True


class Schedule(Answer):
    id: int
    backup_type: Annotated[
        Literal["full", "incremental", "verify"],
        Field(description="verify makes no backup: it verifies the newest chain that is not proven."),
    ]
    frequency: Literal["daily", "weekly", "monthly", "hourly", "interval"]
    day_of_week: int | None
    day_of_month: int | None
    hour: int | None
    minute: int | None
    interval_value: int | None
    interval_unit: Literal["minutes", "hours"] | None
    retention_value: int | None
    retention_unit: Literal["days", "weeks", "months"] | None
    enabled: bool
    created_at: Time
    updated_at: Time
    timezone: Annotated[str, Field(description="The host's, by which hour and minute are meant.")]
    next_run: Annotated[Time | None, Field(description="Null for one that is disabled.")]
    last_run: Annotated[
        Time | None, Field(description="When its newest backup was begun, whatever became of it.")
    ]
    last_status: Status | None
    last_error: Annotated[str | None, Field(description="Why the last backup failed, or was refused.")]
    overdue: Annotated[bool, Field(description="It should have run, and did not or failed.")]
    overdue_since: Time | None
    verify_level: int | None


class Message(Answer):
    message: str


class Schedules(Answer):
    items: list[Schedule]
    pagination: Pagination
