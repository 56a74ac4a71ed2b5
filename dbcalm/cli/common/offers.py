"""What a shell offers for ids: those that there are, as far as whoever asks may see them.

A shell waits for this at each key, so the catalogue is only read, as it stands; and whatever is wrong, nothing is said
between the words that somebody types.
"""

import contextlib
import os
import sqlite3
from collections.abc import Sequence

from dbcalm import config
from dbcalm.cli.common.start import become
from dbcalm.domain.model.names import LATEST
from dbcalm.errors import DBCalmError

ONE_BACKUP = "The backup's id, as much of it as no other one begins with, or latest."


def backups(incomplete: str) -> Sequence[str]:
    """Return the ids of backups that begin so, the newest first."""
    return _with_latest(_ids("backups", incomplete), incomplete)


def jobs(incomplete: str) -> Sequence[str]:
    """Return the ids of jobs that begin so, those that run first, then the newest."""
    return _with_latest(_ids("jobs", incomplete), incomplete)


def schedules(incomplete: str) -> Sequence[str]:
    """Return the ids of schedules that begin so."""
    return _ids("schedules", incomplete)


def _with_latest(found: Sequence[str], incomplete: str) -> Sequence[str]:
    return [LATEST, *found] if LATEST.startswith(incomplete) else found


def _ids(kind: str, start: str) -> Sequence[str]:
    from dbcalm.repository import offers  # No other word of the command line needs the catalogue's libraries.

    with contextlib.suppress(DBCalmError, sqlite3.Error, OSError):
        loaded = config.load(config.config_path(os.environ))
        become(loaded.dbcalm_user)
        found: Sequence[str] = getattr(offers, kind)(loaded.database_file, start)
        return found
    return []
