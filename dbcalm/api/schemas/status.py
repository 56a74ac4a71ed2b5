"""Whether all is well."""

from typing import Annotated, Literal

from pydantic import Field

from dbcalm.api.schemas.backups import Backup
from dbcalm.api.schemas.common import Answer, Time
from dbcalm.api.schemas.jobs import Process


class Health(Answer):
    status: Literal["ok"]


class ServicesUp(Answer):
    dbcalm_api: Annotated[bool, Field(alias="dbcalm-api")]
    dbcalm_cmd: Annotated[bool, Field(alias="dbcalm-cmd")]
    dbcalm_mariadb_cmd: Annotated[bool, Field(alias="dbcalm-mariadb-cmd")]


class DatabaseState(Answer):
    ok: bool
    message: str


class NewestBackup(Backup):
    age_seconds: int


class Newest(Answer):
    full: NewestBackup | None
    incremental: NewestBackup | None


class RestoreChain(Answer):
    ids: Annotated[
        list[str], Field(description="What a restore of the newest backup would use, the full one first.")
    ]
    problem: str | None


class OverdueSchedule(Answer):
    id: int
    since: Time
    error: str | None


class ScheduleState(Answer):
    enabled: int
    next_run: Time | None
    timezone: str
    overdue: list[OverdueSchedule]


class Space(Answer):
    free_bytes: int
    needed_bytes: Annotated[int | None, Field(description="What the next full backup is likely to need.")]


class TrashState(Answer):
    count: int
    bytes: int


class WarmCopy(Answer):
    backup_id: Annotated[str | None, Field(description="The newest backup, if that is kept prepared.")]
    is_being_made: bool
    problem: Annotated[str | None, Field(description="What is in its way.")]


class RestorablePoints(Answer):
    day: Annotated[int, Field(description="Of the last 24 hours.")]
    week: Annotated[int, Field(description="Of the last 7 days.")]
    month: Annotated[int, Field(description="Of the last 30 days.")]


class Protection(Answer):
    chain: Annotated[list[str], Field(description="What a restore would use now, the full one first.")]
    recovery_point_seconds: Annotated[
        int | None, Field(description="Age of the newest backup: what would be lost.")
    ]
    proven_point_seconds: Annotated[
        int | None, Field(description="Age of the newest one that was brought back for proof.")
    ]
    proven_backup_id: str | None
    recovery_seconds: Annotated[
        float | None,
        Field(description="About how long a restore takes: as measured, scaled by the size of the chain."),
    ]
    measured_by: Annotated[str | None, Field(description="The backup by which that was measured.")]
    restorable_points: RestorablePoints
    improve: Annotated[list[str], Field(description="What would make any of it better.")]


class Ready(Answer):
    ok: bool
    attention: Annotated[list[str], Field(description="What needs attention, the most urgent first.")]
    services: ServicesUp
    database: DatabaseState | None
    newest: Newest
    restore: RestoreChain | None
    schedules: ScheduleState
    space: Space | None
    trash: TrashState | None
    clock: Annotated[str | None, Field(description="Why nothing is cleaned up, where the clock is in doubt.")]
    warm: Annotated[WarmCopy | None, Field(description="Null where `warm_restore` is off.")]
    by_hand: Annotated[TrashState, Field(description="What was made by hand and no rule removes.")]
    restored: Annotated[TrashState | None, Field(description="Folders that restores have made.")]
    replaced: Annotated[TrashState | None, Field(description="What restores have replaced and is kept.")]
    running: Process | None
    protection: Protection
