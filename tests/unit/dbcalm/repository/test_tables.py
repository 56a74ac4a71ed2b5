"""The one truth of the columns against the migrations, the entities, and a catalogue of the last version."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from dbcalm.domain.model.entities import Backup, Client, Process, Restore, Schedule, User
from dbcalm.domain.model.listing import Query
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_database, open_or_replace
from dbcalm.repository.tables import METADATA

LAST_VERSION = Path(__file__).parent / "data" / "catalogue-7.sqlite3"
"""Made by the last program that had no table classes, with a little of everything."""

SAID: dict[str, Any] = json.loads(LAST_VERSION.with_suffix(".json").read_text(encoding="utf-8"))
"""What that program read in it, and the rows of all tables as they are."""


def test_a_migrated_file_is_what_the_classes_say(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    open_database(path).close()
    with create_engine(f"sqlite:///{path}").connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


NO_COLUMNS = {Backup: {"presence", "missing", "retention_value", "retention_unit"}}


@pytest.mark.parametrize(
    ("table", "entity"),
    [
        ("backups", Backup),
        ("restores", Restore),
        ("processes", Process),
        ("schedules", Schedule),
        ("clients", Client),
        ("users", User),
    ],
)
def test_every_field_of_an_entity_is_a_column_but_those_that_are_looked_up(table: str, entity: Any) -> None:
    missing = {field.name for field in fields(entity)} - set(METADATA.tables[table].columns.keys())
    assert missing == NO_COLUMNS.get(entity, set())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    copy = tmp_path / "db.sqlite3"
    shutil.copyfile(LAST_VERSION, copy)
    copy.chmod(0o600)
    return copy


@pytest.fixture
def opened(path: Path) -> Iterator[Catalogue]:
    catalogue = Catalogue(open_or_replace(path))
    yield catalogue
    catalogue.close()


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_a_catalogue_of_the_last_version_keeps_every_row(opened: Catalogue, path: Path) -> None:
    """But for the number of changes, which rises when the first sealed copy is made."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        rows = {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            for name in names
            if name != "changes"
        }
    assert as_json(rows) == {name: found for name, found in SAID["rows"].items() if name != "changes"}


@pytest.mark.parametrize("resource", ["backups", "restores", "processes", "schedules", "clients"])
def test_a_catalogue_of_the_last_version_reads_as_it_did(opened: Catalogue, resource: str) -> None:
    found = getattr(opened, resource).list(Query(per_page=1000))
    assert as_json([asdict(one) for one in found.items]) == SAID[resource]
    assert found.total == len(SAID[resource])


def test_what_is_asked_of_a_catalogue_of_the_last_version_is_answered_as_it_was(opened: Catalogue) -> None:
    users = opened.users.all()
    assert as_json([asdict(one) for one in users]) == SAID["users"]
    hashes = {one.username: opened.users.password_hash(one.username) for one in users}
    hashes |= {one["id"]: opened.clients.secret_hash(one["id"]) for one in SAID["clients"]}
    assert hashes == SAID["hashes"]
    assert as_json([asdict(one) for one in opened.backups.points()]) == SAID["points"]
    assert as_json([asdict(one) for one in opened.schedules.runs([1, 2, 3, 4])]) == SAID["runs"]
    assert opened.backups.dependents("b001") == SAID["dependents"]
    unproven = opened.backups.unproven(2)
    assert unproven is not None
    assert unproven.id == SAID["unproven"]
    assert asdict(opened.jobs.cursor()) == SAID["cursor"]
    assert opened.jobs.set_aside() == SAID["set_aside"]
    assert opened.codes.take("code-hash", now=2.0) == opened.users.get("alice")


def test_a_damaged_catalogue_of_the_last_version_is_salvaged(path: Path) -> None:
    Catalogue(open_or_replace(path)).close()
    path.write_bytes(path.read_bytes()[:8192])
    catalogue = Catalogue(open_or_replace(path))
    with closing(sqlite3.connect(path)) as connection:
        for table in ("users", "clients", "schedules"):
            rows = connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            assert as_json(rows) == SAID["rows"][table]
    [sentence] = catalogue.problems()
    assert "3 users, 3 clients, 4 schedules were brought back from the sealed copy" in sentence
    catalogue.close()
