"""Restores, and what they replaced."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from dbcalm.api.schemas.common import Answer, Body, Pagination, Status, Text, Time
from dbcalm.api.schemas.jobs import Started
from dbcalm_mariadb_cmd.command.age_keys import LONGEST_IDENTITY


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


class RestoreStarted(Started):
    target: str
    target_path: str
    restore_id: str
    chain: list[str]


class BackStarted(Started):
    """The answer to an order to bring back what was replaced."""


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


class Restores(Answer):
    items: list[Restore]
    pagination: Pagination
