"""The bodies of requests, which are validated, and of answers, which are documented and built by ``views``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from dbcalm.domain.passwords import LONGEST_PASSWORD

_LARGEST_INTEGER = 2**63 - 1

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Number = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Status = Literal["running", "success", "failed"]


class Body(BaseModel):
    """A request's body: types are not converted, keys that are not fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class Answer(BaseModel):
    """An answer's body."""


class SignIn(Body):
    username: Text
    password: Annotated[SecretStr, Field(max_length=LONGEST_PASSWORD)]


class TokenRequest(Body):
    """RFC 6749's request. A client's id and secret may stand in the Authorization header (Basic) instead."""

    grant_type: Text | None = None
    code: Text | None = None
    client_id: Text | None = None
    client_secret: Text | None = None
    scope: Annotated[
        Text | None, Field(description="Scopes joined by blanks; without it all that there are.")
    ] = None


class BackupRequest(Body):
    type: Literal["full", "incremental"]
    id: Annotated[
        Text | None,
        Field(description="The backup's id, turned into kebab-case. Without it the time is its id."),
    ] = None
    from_backup_id: Annotated[
        Text | None, Field(description="What an incremental builds on. Without it the newest backup.")
    ] = None
    schedule_id: Number | None = None


class RestoreRequest(Body):
    id: Annotated[Text, Field(description="The backup; those that it builds on are restored below it.")]
    target: Literal["database", "folder"]


class ClientRequest(Body):
    label: Text
    scopes: Annotated[
        list[Text] | None, Field(description="What the client may do. Without it all that its creator may.")
    ] = None


class ClientChange(Body):
    label: Text


class Code(Answer):
    code: str


class Token(Answer):
    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    scope: str


class Progress(Answer):
    phase: str
    bytes_done: int
    bytes_total: int
    percent: int | None


class JobStatus(Answer):
    status: Status
    link: str
    pid: str
    resource_id: str | None


class Started(JobStatus):
    type: str
    note: str | None


class BackupStarted(Started):
    from_backup_id: str | None


class RestoreStarted(Started):
    target: str
    target_path: str
    chain: list[str]


class ProcessStatus(Started):
    reason: str | None
    error: str | None
    return_code: int | None
    start_time: Time
    end_time: Time | None
    progress: Progress | None


class Backup(Answer):
    id: str
    type: Literal["full", "incremental"]
    from_backup_id: str | None
    schedule_id: int | None
    start_time: Time
    end_time: Time | None
    process_id: int | None
    size: Annotated[int, Field(description="Bytes on disk.")]
    retention_value: int | None
    retention_unit: str | None
    note: Annotated[
        str | None, Field(description="Why it is a full backup where an incremental was asked for.")
    ]


class Restore(Answer):
    id: int
    start_time: Time
    end_time: Time | None
    target: Literal["database", "folder"]
    target_path: str
    backup_id: str
    backup_timestamp: Time | None
    process_id: int


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


class Client(Answer):
    id: str
    label: str
    scopes: list[str]


class NewClient(Client):
    secret: Annotated[str, Field(description="Shown this once, and kept nowhere.")]


class Pagination(Answer):
    total: int
    page: int
    per_page: int
    total_pages: int


class Backups(Answer):
    items: list[Backup]
    pagination: Pagination


class Restores(Answer):
    items: list[Restore]
    pagination: Pagination


class Processes(Answer):
    items: list[Process]
    pagination: Pagination


class Clients(Answer):
    items: list[Client]
    pagination: Pagination


class Health(Answer):
    status: Literal["ok"]


class Failure(Answer):
    detail: Annotated[str, Field(description="One sentence that a person can act on.")]


class Mistake(Answer):
    loc: list[str | int]
    msg: str
    type: str


class Invalid(Failure):
    errors: list[Mistake]
