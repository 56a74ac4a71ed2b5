"""The catalogue's stores, one a resource, over one database."""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from dbcalm.domain import times
from dbcalm.domain.entities import Backup, Client, Process, Restore, User
from dbcalm.domain.protection import Point
from dbcalm.repository.database import Database
from dbcalm.repository.jobs import Jobs
from dbcalm.repository.schedules import Schedules
from dbcalm.repository.table import Table


class Backups(Table[Backup]):
    """Whole backups."""

    def __init__(self, database: Database) -> None:
        of_schedule = {
            name: f"(SELECT {name} FROM schedules WHERE schedules.id = backups.schedule_id)"  # noqa: S608  # our words
            for name in ("retention_value", "retention_unit")
        }
        super().__init__(
            database,
            "backups",
            Backup,
            key="id",
            sequence=("seq", "number"),
            make=_backup,
            derived={**of_schedule, "presence": "NULL", "missing": "NULL"},  # Looked at, not remembered.
        )

    def newest(self) -> Backup | None:
        """Return the backup that was made last."""
        return self.first("ORDER BY seq DESC, number DESC")

    def points(self) -> list[Point]:
        """Return all backups, as protection sees them."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT id, from_backup_id, seq, coalesce(end_time, start_time), data_size, proof_level, "
                "restore_seconds, suspect IS NOT NULL FROM backups"
            ).fetchall()
        return [
            Point(id, base, seq, times.seconds(at), size, level, took, bool(suspect))
            for id, base, seq, at, size, level, took, suspect in rows
        ]

    def unproven(self, level: int) -> Backup | None:
        """Return the newest backup on which no other builds, and which is neither proven to this level nor suspect."""
        return self.first(
            "WHERE proof_level < ? AND suspect IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM backups AS above WHERE above.from_backup_id = backups.id) ORDER BY seq DESC, number DESC",
            level,
        )

    def dependents(self, id: str) -> list[str]:
        """Return the ids of all backups that build on this one, nearest first."""
        with self.database.read() as connection:
            rows = connection.execute(
                "WITH RECURSIVE above (id, seq) AS (SELECT id, seq FROM backups WHERE from_backup_id = ? "
                "UNION SELECT backups.id, backups.seq FROM backups JOIN above ON backups.from_backup_id = above.id) "
                "SELECT id FROM above ORDER BY seq",
                (id,),
            ).fetchall()
        return [row[0] for row in rows]


_RECIPIENTS = [field.name for field in fields(Backup)].index("recipients")


def _backup(*row: object) -> Backup:
    """Return a backup; the keys that it is encrypted to are kept as one text, joined by blanks."""
    values: list[Any] = list(row)
    values[_RECIPIENTS] = tuple(values[_RECIPIENTS].split())
    return Backup(*values)


class Restores(Table[Restore]):
    """Restores, whatever became of them."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "restores", Restore, key="id", sequence=("id",))


class Processes(Table[Process]):
    """Jobs of the mysql service."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "processes", Process, key="command_id", sequence=("id",), make=_process)

    def by_id(self, id: int) -> Process | None:
        """Return the process of a number."""
        return self.first("WHERE id = ?", id)


_ARGS = [field.name for field in fields(Process)].index("args")


def _process(*row: object) -> Process:
    values: list[Any] = list(row)
    values[_ARGS] = json.loads(values[_ARGS])
    return Process(*values)


class Clients(Table[Client]):
    """Programs that may use the API. A client's scopes are kept as one text, joined by blanks."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "clients", Client, key="id", sequence=("number",), make=_client)

    def add(self, client: Client, secret_hash: str, created_at: str) -> None:
        """Add a client."""
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO clients (id, label, scopes, secret_hash, created_at) VALUES (?, ?, ?, ?, ?)",
                (client.id, client.label, " ".join(client.scopes), secret_hash, created_at),
            )

    def rename(self, key: str, label: str) -> bool:
        """Change a client's label; False if there is no such client."""
        with self.database.write() as connection:
            return connection.execute("UPDATE clients SET label = ? WHERE id = ?", (label, key)).rowcount > 0

    def secret_hash(self, key: str) -> str | None:
        """Return the hash of a client's secret."""
        row = self.database.row("SELECT secret_hash FROM clients WHERE id = ?", key)
        return None if row is None else str(row[0])


def _client(id: str, label: str, scopes: str) -> Client:
    return Client(id, label, tuple(scopes.split()))


class Users(Table[User]):
    """People who may use the API."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "users", User, key="username", sequence=("id",))

    def by_id(self, id: int) -> User | None:
        """Return the user of a number."""
        return self.first("WHERE id = ?", id)

    def all(self) -> Sequence[User]:
        """Return all users in order of name."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT id, username, generation, created_at FROM users ORDER BY username"
            ).fetchall()
        return [User(*row) for row in rows]

    def add(self, username: str, password_hash: str, created_at: str) -> bool:
        """Add a user; False if the name is taken."""
        with self.database.write() as connection:
            return (
                connection.execute(
                    "INSERT INTO users (username, password_hash, created_at) VALUES (?, ?, ?) "
                    "ON CONFLICT (username) DO NOTHING",
                    (username, password_hash, created_at),
                ).rowcount
                > 0
            )

    def set_password(self, key: str, password_hash: str) -> bool:
        """Replace a password and begin a new generation; False if there is no such user."""
        with self.database.write() as connection:
            return (
                connection.execute(
                    "UPDATE users SET password_hash = ?, generation = generation + 1 WHERE username = ?",
                    (password_hash, key),
                ).rowcount
                > 0
            )

    def password_hash(self, key: str) -> str | None:
        """Return the hash of a user's password."""
        row = self.database.row("SELECT password_hash FROM users WHERE username = ?", key)
        return None if row is None else str(row[0])


class Codes:
    """Authorization codes that were given out, by their hash."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, code_hash: str, user: User, now: float, expires_at: float) -> None:
        """Keep a code, and forget those that nobody used in time."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM codes WHERE expires_at < ?", (now,))
            connection.execute(
                "INSERT INTO codes VALUES (?, ?, ?, ?)", (code_hash, user.id, user.generation, expires_at)
            )

    def take(self, code_hash: str, now: float) -> User | None:
        """Use a code up and return whose it was, unless it is unknown, too old, or older than the user's password."""
        with self._database.write() as connection:
            taken = connection.execute(
                "DELETE FROM codes WHERE code_hash = ? RETURNING user_id, generation, expires_at",
                (code_hash,),
            ).fetchall()
            if not taken or taken[0][2] < now:
                return None
            row = connection.execute(
                "SELECT id, username, generation, created_at FROM users WHERE id = ? AND generation = ?",
                taken[0][:2],
            ).fetchone()
        return None if row is None else User(*row)


class Catalogue:
    """All stores of one database."""

    def __init__(self, database: Database) -> None:
        self.backups = Backups(database)
        self.restores = Restores(database)
        self.processes = Processes(database)
        self.schedules = Schedules(database)
        self.clients = Clients(database)
        self.users = Users(database)
        self.codes = Codes(database)
        self.jobs = Jobs(database)
        self.set_aside = database.set_aside
        self.problems = database.problems
        self.keep_copied = database.keep_copied
        self.close = database.close
