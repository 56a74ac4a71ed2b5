"""What a shell offers for ids: those that there are, as far as whoever asks may see them.

A shell waits for this at each key, so the catalogue is only read, as it stands; and whatever is wrong, nothing is said
between the words that somebody types.
"""

import contextlib
import os
import sqlite3

from dbcalm import config
from dbcalm.cli.start import become
from dbcalm.domain.names import LATEST
from dbcalm.errors import DBCalmError

ONE_BACKUP = "The backup's id, as much of it as no other one begins with, or latest."

_MOST = 50
_SECONDS = 0.2


def backups(incomplete: str) -> list[str]:
    """Return the ids of backups that begin so, the newest first."""
    found = _ids("SELECT id FROM backups WHERE id >= ? AND id < ? ORDER BY seq DESC LIMIT ?", incomplete)
    return _with_latest(found, incomplete)


def jobs(incomplete: str) -> list[str]:
    """Return the ids of jobs that begin so, those that run first, then the newest."""
    found = _ids(
        "SELECT command_id FROM processes WHERE command_id >= ? AND command_id < ? "
        "ORDER BY status <> 'running', id DESC LIMIT ?",
        incomplete,
    )
    return _with_latest(found, incomplete)


def schedules(incomplete: str) -> list[str]:
    """Return the ids of schedules that begin so."""
    found = "SELECT CAST(id AS TEXT) AS text FROM schedules WHERE text >= ? AND text < ? ORDER BY id LIMIT ?"
    return _ids(found, incomplete)


def _with_latest(found: list[str], incomplete: str) -> list[str]:
    return [LATEST, *found] if LATEST.startswith(incomplete) else found


def _ids(statement: str, start: str) -> list[str]:
    with contextlib.suppress(DBCalmError, sqlite3.Error, OSError):
        loaded = config.load(config.config_path(os.environ))
        become(loaded.dbcalm_user)
        address = f"{loaded.database_file.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_SECONDS)) as connection:
            return [str(row[0]) for row in connection.execute(statement, (start, start + "\x7f", _MOST))]
    return []
