"""The bodies of requests, which are validated, and of answers, which are documented and built by ``views``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from dbcalm.domain.passwords import LONGEST_PASSWORD
from dbcalm.domain.scopes import SCOPES, WILDCARDS

_LARGEST_INTEGER = 2**53 - 1  # The largest that JSON carries everywhere.

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Number = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Label = Annotated[Text, Field(json_schema_extra={"minLength": 1, "maxLength": 128})]
Scope = Annotated[Text, Field(json_schema_extra={"enum": [*WILDCARDS, *SCOPES]})]
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
    """RFC 6749's request. A client's id and secret may stand in the Authorization header (Basic) instead.

    Nothing is required to read it: what is missing is refused in the words of the RFC."""

    model_config = ConfigDict(json_schema_extra={"required": ["grant_type"]})

    grant_type: Annotated[
        Text | None, Field(json_schema_extra={"enum": ["authorization_code", "client_credentials"]})
    ] = None
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
        Field(
            description="The backup's id, turned into kebab-case. Without it the time is its id.",
            json_schema_extra={"pattern": "^[A-Za-z0-9]([A-Za-z0-9 _-]*[A-Za-z0-9])?$", "maxLength": 64},
        ),
    ] = None
    from_backup_id: Annotated[
        Text | None, Field(description="What an incremental builds on. Without it the newest backup.")
    ] = None
    schedule_id: Number | None = None


class RestoreRequest(Body):
    id: Annotated[Text, Field(description="The backup; those that it builds on are restored below it.")]
    target: Literal["database", "folder"]


class ClientRequest(Body):
    label: Label
    scopes: Annotated[
        list[Scope] | None, Field(description="What the client may do. Without it all that its creator may.")
    ] = None


class ClientChange(Body):
    label: Label


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
    restore_id: str
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
    timeline: Annotated[
        str, Field(description="The same for backups between which nobody put other data under the server.")
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
    status: Status


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
