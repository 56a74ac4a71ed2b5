"""How the catalogue came to look as it does: one function a version, run in order, never changed afterwards. Its SQL
is frozen text, as no class of today may change what a version was."""
# ruff: noqa: S608  # the names in the SQL stand in this module

import sqlite3
from collections.abc import Callable

_COUNTED = ("backups", "restores", "processes", "clients")


def _first(connection: sqlite3.Connection) -> None:
    """All tables of the first release.

    Indexes of ``backups`` end with ``seq``, and every index ends with the row's number, so that each filter and each
    order gives its rows in the list's own order without sorting.
    """
    for statement in (
        """CREATE TABLE processes (
            id INTEGER PRIMARY KEY AUTOINCREMENT, command_id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
            command TEXT NOT NULL, args TEXT NOT NULL, resource_id TEXT, note TEXT, pid INTEGER,
            status TEXT NOT NULL CHECK (status IN ('running', 'success', 'failed')), reason TEXT, return_code INTEGER,
            output TEXT, error TEXT, start_time TEXT NOT NULL, end_time TEXT)""",
        """CREATE TABLE backups (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL,
            type TEXT NOT NULL CHECK (type IN ('full', 'incremental')), from_backup_id TEXT, schedule_id INTEGER,
            process_id INTEGER REFERENCES processes (id), start_time TEXT NOT NULL, end_time TEXT,
            size INTEGER NOT NULL, note TEXT, timeline TEXT NOT NULL)""",
        """CREATE TABLE restores (
            id INTEGER PRIMARY KEY AUTOINCREMENT, process_id INTEGER NOT NULL UNIQUE REFERENCES processes (id),
            target TEXT NOT NULL, target_path TEXT NOT NULL, backup_id TEXT NOT NULL, backup_timestamp TEXT,
            start_time TEXT NOT NULL, end_time TEXT,
            status TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'success', 'failed')))""",
        """CREATE TABLE users (
            id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL,
            generation INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL)""",
        """CREATE TABLE clients (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, label TEXT NOT NULL,
            scopes TEXT NOT NULL, secret_hash TEXT NOT NULL, created_at TEXT NOT NULL)""",
        """CREATE TABLE codes (
            code_hash TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            generation INTEGER NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID""",
        "CREATE TABLE cursor (journal TEXT NOT NULL, offset INTEGER NOT NULL)",
        "INSERT INTO cursor VALUES ('', 0)",
        "CREATE TABLE table_state (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, version INTEGER NOT NULL)",
        "CREATE INDEX backups_seq ON backups (seq)",
        """CREATE TRIGGER restores_follow AFTER UPDATE OF status ON processes BEGIN
            UPDATE restores SET status = NEW.status, end_time = NEW.end_time WHERE process_id = NEW.id; END""",
    ):
        connection.execute(statement)
    for table, columns, last in (
        ("processes", ("type", "command", "pid", "status", "return_code", "start_time", "end_time"), ""),
        ("backups", ("from_backup_id", "schedule_id", "process_id", "start_time", "end_time"), ", seq"),
        (
            "restores",
            ("target", "target_path", "backup_id", "backup_timestamp", "start_time", "end_time"),
            "",
        ),
        ("clients", ("label", "scopes"), ""),
    ):
        for column in columns:
            connection.execute(f"CREATE INDEX {table}_{column} ON {table} ({column}{last})")
    for table in _COUNTED:
        _count(connection, table)


def _second(connection: sqlite3.Connection) -> None:
    """Schedules, which of them began a job, and holds of backups.

    The index of jobs by schedule gives the newest of each status at once, however many there are.
    """
    for statement in (
        """CREATE TABLE schedules (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            backup_type TEXT NOT NULL CHECK (backup_type IN ('full', 'incremental')),
            frequency TEXT NOT NULL CHECK (frequency IN ('daily', 'weekly', 'monthly', 'hourly', 'interval')),
            day_of_week INTEGER CHECK (day_of_week BETWEEN 0 AND 6),
            day_of_month INTEGER CHECK (day_of_month BETWEEN 1 AND 28),
            hour INTEGER CHECK (hour BETWEEN 0 AND 23), minute INTEGER CHECK (minute BETWEEN 0 AND 59),
            interval_value INTEGER CHECK (interval_value >= 1),
            interval_unit TEXT CHECK (interval_unit IN ('minutes', 'hours')),
            retention_value INTEGER CHECK (retention_value >= 1),
            retention_unit TEXT CHECK (retention_unit IN ('days', 'weeks', 'months')),
            enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)), created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
            last_refused_at TEXT, last_refusal TEXT,
            CHECK ((retention_value IS NULL) = (retention_unit IS NULL)))""",
        "ALTER TABLE processes ADD COLUMN schedule_id INTEGER",
        """UPDATE processes SET schedule_id = json_extract(args, '$.schedule_id')
            WHERE CASE WHEN json_valid(args) THEN json_type(args, '$.schedule_id') = 'integer' END""",
        "CREATE INDEX processes_schedule ON processes (schedule_id, type, status)",
        "ALTER TABLE backups ADD COLUMN hold_reason TEXT",
        "ALTER TABLE backups ADD COLUMN hold_until TEXT",
    ):
        connection.execute(statement)
    _index_schedules(connection)
    _count(connection, "schedules")


def _index_schedules(connection: sqlite3.Connection) -> None:
    for column in (
        "backup_type", "frequency", "day_of_week", "day_of_month", "hour", "minute", "interval_value", "interval_unit",
        "enabled", "created_at", "updated_at",
    ):  # fmt: skip
        connection.execute(f"CREATE INDEX schedules_{column} ON schedules ({column})")


def _third(connection: sqlite3.Connection) -> None:
    """How backups are stored. What was made before was a folder."""
    for statement in (
        "ALTER TABLE backups ADD COLUMN data_size INTEGER NOT NULL DEFAULT 0",
        "UPDATE backups SET data_size = size",
        "ALTER TABLE backups ADD COLUMN form TEXT NOT NULL DEFAULT 'folder'",
        "ALTER TABLE backups ADD COLUMN recipients TEXT NOT NULL DEFAULT ''",
    ):
        connection.execute(statement)


def _fourth(connection: sqlite3.Connection) -> None:
    """How far backups are proven, and schedules that verify. What a column may hold can only be changed by a new table,
    which must go on with the numbers of the old one."""
    for statement in (
        "ALTER TABLE backups ADD COLUMN proof_level INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE backups ADD COLUMN proof_at TEXT",
        "UPDATE backups SET proof_at = coalesce(end_time, start_time)",
        "ALTER TABLE backups ADD COLUMN restore_seconds REAL",
        "ALTER TABLE backups ADD COLUMN suspect TEXT",
        "CREATE INDEX backups_proof_level ON backups (proof_level, seq)",
        "CREATE INDEX backups_proof_at ON backups (proof_at, seq)",
        "CREATE INDEX backups_suspect ON backups (suspect, seq)",
        """CREATE TABLE schedules_new (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            backup_type TEXT NOT NULL CHECK (backup_type IN ('full', 'incremental', 'verify')),
            frequency TEXT NOT NULL CHECK (frequency IN ('daily', 'weekly', 'monthly', 'hourly', 'interval')),
            day_of_week INTEGER CHECK (day_of_week BETWEEN 0 AND 6),
            day_of_month INTEGER CHECK (day_of_month BETWEEN 1 AND 28),
            hour INTEGER CHECK (hour BETWEEN 0 AND 23), minute INTEGER CHECK (minute BETWEEN 0 AND 59),
            interval_value INTEGER CHECK (interval_value >= 1),
            interval_unit TEXT CHECK (interval_unit IN ('minutes', 'hours')),
            retention_value INTEGER CHECK (retention_value >= 1),
            retention_unit TEXT CHECK (retention_unit IN ('days', 'weeks', 'months')),
            enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)), created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
            last_refused_at TEXT, last_refusal TEXT, verify_level INTEGER CHECK (verify_level BETWEEN 1 AND 3),
            CHECK ((retention_value IS NULL) = (retention_unit IS NULL)))""",
        "INSERT INTO schedules_new SELECT *, NULL FROM schedules",
        "DELETE FROM sqlite_sequence WHERE name = 'schedules_new'",
        "UPDATE sqlite_sequence SET name = 'schedules_new' WHERE name = 'schedules'",
        "DROP TABLE schedules",
        "ALTER TABLE schedules_new RENAME TO schedules",
    ):
        connection.execute(statement)
    _index_schedules(connection)
    _count_on(connection, "schedules")


def _set_aside(connection: sqlite3.Connection) -> None:
    """Events of the journal that could not be applied, as they were, and why."""
    connection.execute(
        "CREATE TABLE set_aside (number INTEGER PRIMARY KEY AUTOINCREMENT, journal TEXT NOT NULL, "
        "reason TEXT NOT NULL, event TEXT NOT NULL)"
    )


def _count(connection: sqlite3.Connection, table: str) -> None:
    """Keep the number of rows of a table, and a version that every change raises, so that no list has to count."""
    connection.execute("INSERT INTO table_state VALUES (?, 0, 0)", (table,))
    _count_on(connection, table)


def _count_on(connection: sqlite3.Connection, table: str) -> None:
    for event, rows in (("INSERT", "rows + 1"), ("DELETE", "rows - 1"), ("UPDATE", "rows")):
        connection.execute(
            f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} BEGIN "
            f"UPDATE table_state SET rows = {rows}, version = version + 1 WHERE name = '{table}'; END"
        )


def _count_changes(connection: sqlite3.Connection) -> None:
    """A number that each change of what the sealed copy holds raises, whoever makes it."""
    connection.execute("CREATE TABLE changes (number INTEGER NOT NULL)")
    connection.execute("INSERT INTO changes VALUES (0)")
    for table in ("users", "clients", "schedules"):
        for event in ("INSERT", "DELETE", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER {table}_{event.lower()}_counts AFTER {event} ON {table} BEGIN "
                "UPDATE changes SET number = number + 1; END"
            )


def _acknowledged(connection: sqlite3.Connection) -> None:
    """When somebody said that a job's failure is known."""
    connection.execute("ALTER TABLE processes ADD COLUMN known_at TEXT")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _first,
    _second,
    _third,
    _fourth,
    _set_aside,
    _count_changes,
    _acknowledged,
)
