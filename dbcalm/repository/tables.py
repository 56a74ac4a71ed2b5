"""The one truth of the catalogue's columns. Statements are built from these; the migrations make the same, and a test
holds the two against each other. What a column may hold, and the triggers that count, stand in the migrations alone."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    REAL,
    Column,
    ColumnElement,
    Dialect,
    Index,
    Integer,
    MetaData,
    Table,
    TableClause,
    Text,
    TypeDecorator,
    column,
    literal_column,
    table,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

METADATA: MetaData = SQLModel.metadata
METADATA.naming_convention = {"ix": "%(table_name)s_%(column_0_name)s"}


class Kept(TypeDecorator[Any]):
    """A value that is kept as something simpler, and how it is written and read. What a question compares with a column
    is given as it is kept."""

    impl: type[TypeEngine[Any]] = Text
    cache_ok = True

    def __init__(self, write: Callable[[Any], object], read: Callable[[Any], object]) -> None:
        super().__init__()
        self.write, self.read = write, read

    def process_bind_param(self, value: Any, _dialect: Dialect) -> Any:
        return self.write(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Any:
        return self.read(value)


class KeptAsNumber(Kept):
    """The same, kept as a number."""

    impl = Integer


_WORDS = Kept(" ".join, lambda text: tuple(text.split()))
_JSON = Kept(json.dumps, json.loads)
_FLAG = KeptAsNumber(int, bool)


def _text(**more: Any) -> Any:
    """Return a column for text, of which SQLite has one kind only."""
    return Field(sa_type=Text, **more)


def _numbered() -> Any:
    """Return a row's number; to SQLite its key is no NOT NULL."""
    return Field(default=None, primary_key=True, nullable=True)


class UserRow(SQLModel, table=True):
    """A person who may use the API."""

    __tablename__ = "users"

    id: int | None = _numbered()
    username: str = _text(unique=True)
    password_hash: str = _text()
    generation: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    created_at: str = _text()


class ClientRow(SQLModel, table=True):
    """A program that may use the API."""

    __tablename__ = "clients"

    number: int | None = _numbered()
    id: str = _text(unique=True)
    label: str = _text(index=True)
    scopes: tuple[str, ...] = Field(sa_type=_WORDS, index=True)
    secret_hash: str = _text()
    created_at: str = _text()


class CodeRow(SQLModel, table=True):
    """An authorization code that was given out, deleted with its user. ``expires_at`` is in seconds since 1970."""

    __tablename__ = "codes"

    code_hash: str = _text(primary_key=True)
    user_id: int = Field(foreign_key="users.id")
    generation: int
    expires_at: float = Field(sa_type=REAL)


class ScheduleRow(SQLModel, table=True):
    """What cron shall make when."""

    __tablename__ = "schedules"

    id: int | None = _numbered()
    backup_type: str = _text(index=True)
    frequency: str = _text(index=True)
    day_of_week: int | None = Field(index=True)
    day_of_month: int | None = Field(index=True)
    hour: int | None = Field(index=True)
    minute: int | None = Field(index=True)
    interval_value: int | None = Field(index=True)
    interval_unit: str | None = _text(index=True)
    retention_value: int | None
    retention_unit: str | None = _text()
    enabled: bool = Field(sa_type=_FLAG, index=True)
    created_at: str = _text(index=True)
    updated_at: str = _text(index=True)
    last_refused_at: str | None = _text()
    last_refusal: str | None = _text()
    verify_level: int | None


class ProcessRow(SQLModel, table=True):
    """A job of the mysql service. ``schedule_id`` is the one that its arguments tell."""

    __tablename__ = "processes"
    __table_args__ = (Index("processes_schedule", "schedule_id", "type", "status"),)

    id: int | None = _numbered()
    command_id: str = _text(unique=True)
    type: str = _text(index=True)
    command: str = _text(index=True)
    args: dict[str, Any] = Field(sa_type=_JSON)
    resource_id: str | None = _text()
    note: str | None = _text()
    pid: int | None = Field(index=True)
    status: str = _text(index=True)
    reason: str | None = _text()
    return_code: int | None = Field(index=True)
    output: str | None = _text()
    error: str | None = _text()
    start_time: str = _text(index=True)
    end_time: str | None = _text(index=True)
    schedule_id: int | None
    known_at: str | None = _text()


_ASKED_FOR = (
    "from_backup_id", "schedule_id", "process_id", "start_time", "end_time", "proof_level", "proof_at", "suspect",
)  # fmt: skip


class BackupRow(SQLModel, table=True):
    """A whole backup. Its indexes end with ``seq``, so that each filter and each order gives the list's own order."""

    __tablename__ = "backups"
    __table_args__ = (
        Index("backups_seq", "seq"),
        *(Index(f"backups_{name}", name, "seq") for name in _ASKED_FOR),
    )

    number: int | None = _numbered()
    id: str = _text(unique=True)
    seq: int
    type: str = _text()
    from_backup_id: str | None = _text()
    schedule_id: int | None
    process_id: int | None = Field(foreign_key="processes.id")
    start_time: str = _text()
    end_time: str | None = _text()
    size: int
    note: str | None = _text()
    timeline: str = _text()
    hold_reason: str | None = _text()
    hold_until: str | None = _text()
    data_size: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    form: str = _text(default="folder", sa_column_kwargs={"server_default": "folder"})
    recipients: tuple[str, ...] = Field(
        default=(), sa_type=_WORDS, sa_column_kwargs={"server_default": literal_column("''")}
    )
    proof_level: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    proof_at: str | None = _text()
    restore_seconds: float | None = Field(sa_type=REAL)
    suspect: str | None = _text()


class RestoreRow(SQLModel, table=True):
    """A restore that was begun. A trigger lets its status and its end follow its process."""

    __tablename__ = "restores"

    id: int | None = _numbered()
    process_id: int = Field(foreign_key="processes.id", unique=True)
    target: str = _text(index=True)
    target_path: str = _text(index=True)
    backup_id: str = _text(index=True)
    backup_timestamp: str | None = _text(index=True)
    start_time: str = _text(index=True)
    end_time: str | None = _text(index=True)
    status: str = _text(default="running", sa_column_kwargs={"server_default": "running"})


class SetAsideRow(SQLModel, table=True):
    """An event of the journal that could not be applied, as it was, and why."""

    __tablename__ = "set_aside"

    number: int | None = _numbered()
    journal: str = _text()
    reason: str = _text()
    event: str = _text()


class CountRow(SQLModel, table=True):
    """How many rows a table has, and a version that each change raises; triggers keep both."""

    __tablename__ = "table_state"

    name: str = _text(primary_key=True, nullable=True)
    rows: int
    version: int


def table_of(row: type[SQLModel]) -> Table:
    """Return the table of a class, for statements over its columns."""
    return METADATA.tables[str(row.__tablename__)]


def columns_of(row: type[SQLModel]) -> ReadOnlyColumnCollection[str, Column[Any]]:
    """Return the columns of a class by their names."""
    return table_of(row).columns


# One row each and no key, therefore no classes: how far the journal is applied, and how often triggers saw a change.
CURSOR = Table(
    "cursor", METADATA, Column("journal", Text, nullable=False), Column("offset", Integer, nullable=False)
)
CHANGES = Table("changes", METADATA, Column("number", Integer, nullable=False))

# SQLite's own.
SCHEMA = table("sqlite_master", column("type", Text), column("name", Text), column("sql", Text))
SEQUENCE = table("sqlite_sequence", column("name", Text), column("seq", Integer))


def raw(name: str, *columns: str) -> TableClause:
    """Return a table as it is in whatever file, without our types."""
    return table(name, *map(column, columns))


EVERYTHING: ColumnElement[Any] = literal_column("*")
ROWID: ColumnElement[Any] = literal_column("rowid", Integer)
