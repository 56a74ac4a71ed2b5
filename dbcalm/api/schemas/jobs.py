"""Jobs, and their processes."""

from typing import Annotated, Any

from pydantic import Field

from dbcalm.api.schemas.common import Answer, Pagination, Status, Time


class Progress(Answer):
    phase: str
    bytes_done: Annotated[
        int,
        Field(
            description="A full backup counts what it has copied, an incremental what it has looked through, "
            "a restore what it has written and applied."
        ),
    ]
    bytes_total: Annotated[int, Field(description="About; 0 where that is not known.")]
    percent: Annotated[
        int | None,
        Field(
            description="Of the whole job. It never goes back, and is below 100 until the job has succeeded."
        ),
    ]
    bytes_per_second: Annotated[int | None, Field(description="Over the last ten seconds.")]
    seconds_left: Annotated[int | None, Field(description="About, as it went in the last ten seconds.")]


class JobStatus(Answer):
    status: Status
    link: str
    pid: str
    resource_id: str | None


class Started(JobStatus):
    type: str
    note: str | None


class ProcessStatus(Started):
    reason: str | None
    error: str | None
    return_code: int | None
    start_time: Time
    end_time: Time | None
    progress: Progress | None


class Process(Answer):
    id: int
    command: str
    command_id: str
    pid: int | None
    status: Status
    output: str | None
    error: str | None
    return_code: int | None
    start_time: Time
    end_time: Time | None
    type: str
    args: dict[str, Any]
    resource_id: str | None
    reason: str | None
    note: str | None
    known_at: Annotated[Time | None, Field(description="When somebody said that its failure is known.")]


class Processes(Answer):
    items: list[Process]
    pagination: Pagination
