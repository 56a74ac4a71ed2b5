"""Bringing a catalogue to this program's version: copied first, then all steps or none."""

import contextlib
import sqlite3
from pathlib import Path

from dbcalm.errors import CatalogueError
from dbcalm.logger import log
from dbcalm.repository.migrations.versions import MIGRATIONS


def version_of(connection: sqlite3.Connection) -> int:
    """Return how many migrations this catalogue has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Run the migrations that a catalogue has not seen, all or none, after copying one that has data; raise
    CatalogueError if a newer DBCalm made it."""
    found = version_of(connection)
    if found > len(MIGRATIONS):
        raise CatalogueError(
            f"the catalogue {path} has version {found}, made by a newer DBCalm; this one knows {len(MIGRATIONS)}"
        )
    if found == len(MIGRATIONS):
        return
    if found:
        _copy(connection, path.with_name(f"{path.name}.version-{found}"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another program may have migrated while this one waited for its turn.
        for step in MIGRATIONS[version_of(connection) :]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")
    log.info("the catalogue %s now has version %d", path, len(MIGRATIONS))


def make(connection: sqlite3.Connection) -> None:
    """Make an empty catalogue of this version."""
    for step in MIGRATIONS:
        step(connection)


def _copy(connection: sqlite3.Connection, copy: Path) -> None:
    """Copy the catalogue as it is into a file beside it, readable by nobody else."""
    copy.unlink(missing_ok=True)
    copy.touch(0o600)
    with contextlib.closing(sqlite3.connect(copy)) as target:
        connection.backup(target)
    log.info("the catalogue was copied to %s before it is changed", copy)
