"""Backups, their proof and their holds, and the trash."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from dbcalm.api.schemas.common import PRINTABLE, Answer, Body, Form, Number, Pagination, Text, Time
from dbcalm.api.schemas.jobs import Started
from dbcalm.domain.services.backups import HIGHEST_LEVEL
from dbcalm_mariadb_cmd.command.age_keys import LONGEST_IDENTITY
from dbcalm_mariadb_cmd.command.requests import LEVELS, LONGEST_REASON


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
            json_schema_extra={"minLength": 1, "maxLength": LONGEST_REASON, "pattern": PRINTABLE},
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


class BackupStarted(Started):
    from_backup_id: str | None
    form: Form


class VerifyStarted(Started):
    level: Annotated[int, Field(description="Lower than asked for where `note` says why.")]
    chain: list[str]


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


class Backups(Answer):
    items: list[Backup]
    pagination: Pagination
