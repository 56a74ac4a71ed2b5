"""The bodies of requests, which are validated, and of answers, which are documented and built by ``views``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, WithJsonSchema
from typing_extensions import TypeAliasType

from dbcalm.domain.model.scopes import SCOPES, WILDCARDS
from dbcalm.domain.rules.passwords import LONGEST_PASSWORD
from dbcalm.domain.services.backups import HIGHEST_LEVEL
from dbcalm_mariadb_cmd.command.age_keys import LONGEST_IDENTITY
from dbcalm_mariadb_cmd.command.requests import LEVELS, LONGEST_REASON

_LARGEST_INTEGER = 2**53 - 1  # The largest that JSON carries everywhere.

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Number = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Interval = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER, json_schema_extra={"maximum": 59})]
Text = Annotated[str, StringConstraints(max_length=4096)]
_PRINTABLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
"""What a text is that is shown on one line: printable, and not only blanks."""

Label = Annotated[Text, Field(json_schema_extra={"minLength": 1, "maxLength": 128, "pattern": _PRINTABLE})]
Scope = Annotated[Text, Field(json_schema_extra={"enum": [*WILDCARDS, *SCOPES]})]
Status = TypeAliasType("Status", Literal["running", "success", "failed"])


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
        Text | None,
        WithJsonSchema({"type": "string", "enum": ["authorization_code", "client_credentials"]}),
        Field(default_factory=lambda: None),  # A default would stand in the schema, which has none.
    ]
    code: Text | None = None
    client_id: Text | None = None
    client_secret: Text | None = None
    scope: Annotated[
        Text | None, Field(description="Scopes joined by blanks; without it all that there are.")
    ] = None


Form = Literal["folder", "zstd", "gzip"]


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
    form: Annotated[
        Form | None,
        Field(description="How it is stored. Without it as `stored_form` in the configuration says."),
    ] = None
    synthetic: Annotated[
        bool,
        Field(description="For a full one only: made of the newest chain, without touching the server."),
    ] = False


class RestoreRequest(Body):
    id: Annotated[Text, Field(description="The backup; those that it builds on are restored below it.")]
    target: Literal["database", "folder"]
    replace: Annotated[
        bool,
        Field(
            description="For the database only: stop it, put the restored data into the place of what it has, start it."
        ),
    ] = False
    identity: Annotated[
        SecretStr | None,
        Field(
            description="The private key of age that opens an encrypted backup; without it, the host's own.",
            max_length=LONGEST_IDENTITY,
        ),
    ] = None


class VerifyRequest(Body):
    level: Annotated[
        int,
        Field(
            ge=min(LEVELS),
            le=max(LEVELS),
            description="1: every stored byte is as it was. 2: a copy can be prepared, and every page of it is good. "
            "3: a server of its own runs on that copy, its tables are good, and it answers as configured.",
        ),
    ] = HIGHEST_LEVEL
    identity: Annotated[
        SecretStr | None,
        Field(description="As for a restore.", max_length=LONGEST_IDENTITY),
    ] = None


class HoldRequest(Body):
    reason: Annotated[
        Text,
        Field(
            description="Why it has to stay.",
            json_schema_extra={"minLength": 1, "maxLength": LONGEST_REASON, "pattern": _PRINTABLE},
        ),
    ]
    until: Annotated[
        Text | None,
        Field(description="When the hold ends by itself.", json_schema_extra={"format": "date-time"}),
    ] = None


class UndeleteRequest(Body):
    deleted_at: Annotated[
        Text | None,
        Field(description="As `GET /trash` has it.", json_schema_extra={"format": "date-time"}),
    ] = None


class CleanupRequest(Body):
    schedule_id: Number | None = None


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
        Field(ge=1, le=_LARGEST_INTEGER, description="How long to keep what it makes; with its unit."),
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


class BackupStarted(Started):
    from_backup_id: str | None
    form: Form


class RestoreStarted(Started):
    target: str
    target_path: str
    restore_id: str
    chain: list[str]


class VerifyStarted(Started):
    level: Annotated[int, Field(description="Lower than asked for where `note` says why.")]
    chain: list[str]


class BackStarted(Started):
    """The answer to an order to bring back what was replaced."""


class CleanupStarted(Started):
    deleting: list[str]


class ProcessStatus(Started):
    reason: str | None
    error: str | None
    return_code: int | None
    start_time: Time
    end_time: Time | None
    progress: Progress | None


class Hold(Answer):
    reason: str
    until: Annotated[Time | None, Field(description="Null until it is released.")]


class Proof(Answer):
    level: Annotated[
        int, Field(description="0 whole as it was made, 1 intact, 2 can be prepared, 3 a server ran on it.")
    ]
    at: Annotated[Time, Field(description="When that was found.")]
    restore_seconds: Annotated[
        float | None, Field(description="How long it took to bring it back; null where that was never tried.")
    ]


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
        str | None,
        Field(
            description="Why it is a full backup where an incremental was asked for, and what else to know."
        ),
    ]
    timeline: Annotated[
        str, Field(description="The same for backups between which nobody put other data under the server.")
    ]
    data_size: Annotated[int, Field(description="Bytes that a restore writes, about.")]
    form: Annotated[Form, Field(description="How it is stored.")]
    recipients: Annotated[
        list[str], Field(description="The public keys that it is encrypted to; empty where it is not.")
    ]
    hold: Annotated[Hold | None, Field(description="Why it is kept whatever its age.")]
    proof: Annotated[Proof, Field(description="How far it is proven to come back.")]
    suspect: Annotated[str | None, Field(description="What the last verification found wrong with it.")]
    presence: Annotated[
        Literal["whole", "gone", "damaged", "no base"] | None,
        Field(description="How it was found on disk seconds ago; null where nobody could look."),
    ]
    missing: Annotated[str | None, Field(description="What is wrong with that.")]


class DeletedBackup(Answer):
    id: str
    type: Literal["full", "incremental"]
    from_backup_id: str | None
    schedule_id: int | None
    start_time: Time
    end_time: Time
    size: int
    deleted_at: Time
    purge_at: Annotated[Time, Field(description="Until then at least it can be undeleted.")]


class Trash(Answer):
    items: list[DeletedBackup]
    more: Annotated[bool, Field(description="There are older ones, more than one answer holds.")]


class ReplacedData(Answer):
    id: str
    backup_id: Annotated[str | None, Field(description="What took its place; null where that was no backup.")]
    replaced_at: Time
    keep_until: Annotated[
        Time | None, Field(description="Null where the restore failed and did not put it back.")
    ]
    size: int


class ReplacedList(Answer):
    items: list[ReplacedData]


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
    known_at: Annotated[Time | None, Field(description="When somebody said that its failure is known.")]


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


class Schedules(Answer):
    items: list[Schedule]
    pagination: Pagination


class Clients(Answer):
    items: list[Client]
    pagination: Pagination


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


class Failure(Answer):
    detail: Annotated[str, Field(description="One sentence that a person can act on.")]


class Mistake(Answer):
    loc: list[str | int]
    msg: str
    type: str


class Invalid(Failure):
    errors: list[Mistake]
