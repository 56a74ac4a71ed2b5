"""Clean-up, and its preview."""

from typing import Annotated

from pydantic import Field

from dbcalm.api.schemas.common import Answer, Body, Number, Time
from dbcalm.api.schemas.jobs import Started


class CleanupRequest(Body):
    schedule_id: Number | None = None


class CleanupStarted(Started):
    deleting: list[str]


class ChainOfBackups(Answer):
    chain: Annotated[str, Field(description="The id of its first backup.")]
    backups: list[str]
    size: int
    newest_end_time: Time


class Removal(ChainOfBackups):
    on: Time
    why: str


class Reason(Answer):
    rule: str
    sentence: str
    until: Annotated[
        Time | None, Field(description="Null where it depends on other backups, or on somebody's word.")
    ]


class KeptChain(ChainOfBackups):
    kept: list[Reason]
    why: str | None


class PointsFrom(Answer):
    from_: Annotated[Time, Field(alias="from")]
    points: int


class CleanupPreview(Answer):
    removals: list[Removal]
    kept: list[KeptChain]
    points: Annotated[
        list[PointsFrom], Field(description="Restorable points, for each day on which they change.")
    ]
    asked_points: int
    first_short_day: Time | None
    blocked: Annotated[str | None, Field(description="Why nothing at all is deleted now.")]
