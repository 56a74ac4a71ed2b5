"""The catalogue's file: its settings, its versions, and what is done about one that is damaged."""

import logging
import multiprocessing
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm.domain.model.entities import Client, Schedule
from dbcalm.domain.model.listing import Condition, Query
from dbcalm.domain.ports import Cursor
from dbcalm.errors import CatalogueDamaged, CatalogueError, NoSpace, Unavailable
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.engine import Database, connect, driver_of
from dbcalm.repository.migrations import runner as migrations
from dbcalm.repository.recovery.opening import open_database, open_or_replace
from tests.support.patience import PATIENCE

NOW = len(migrations.MIGRATIONS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_connection_survives_a_power_cut_and_queues_for_its_turn(database: Database) -> None:
    for open_transaction in (database.read, database.write):
        with open_transaction() as connection:
            found = {
                name: driver_of(connection).execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_nobody_else_can_read_it(path: Path) -> None:
    path.touch(mode=0o644)
    database = open_database(path)
    Catalogue(database).users.add("alice", "hash", "now")
    assert {mode(file) for file in path.parent.glob("db.sqlite3*")} == {0o600}
    database.close()


def test_a_folder_that_others_can_enter_is_refused(path: Path) -> None:
    path.parent.chmod(0o750)
    with pytest.raises(CatalogueError, match="chmod 700"):
        open_database(path)


@pytest.mark.parametrize("name", ["missing/db.sqlite3", "link"])
def test_a_place_that_cannot_be_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CatalogueError, match="cannot open the catalogue"):
        open_database(tmp_path / name)


def test_a_folder_in_its_place_is_one_clear_line(path: Path) -> None:
    path.mkdir()
    with pytest.raises(CatalogueError):
        open_database(path)


def test_a_newer_version_is_refused_and_not_touched(path: Path) -> None:
    open_database(path).close()
    connection = connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CatalogueError, match=rf"version 99, made by a newer DBCalm; this one knows {NOW}"):
        open_or_replace(path)


def further(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE users ADD COLUMN email TEXT")


def broken(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE users ADD COLUMN email TEXT")
    connection.execute("no such statement")


def test_a_migration_keeps_the_data_and_a_copy_of_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(path)
    Catalogue(database).users.add("alice", "hash", "now")
    database.close()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, further))
    database = open_database(path)
    with database.read() as connection:
        assert driver_of(connection).execute("SELECT username, email FROM users").fetchall() == [
            ("alice", None)
        ]
        assert migrations.version_of(driver_of(connection)) == NOW + 1
    database.close()
    copy = path.with_name(f"db.sqlite3.version-{NOW}")
    assert mode(copy) == 0o600
    before = sqlite3.connect(copy)
    assert before.execute("SELECT username FROM users").fetchall() == [("alice",)]
    assert migrations.version_of(before) == NOW
    before.close()


def test_a_migration_that_fails_leaves_everything_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(path).close()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, broken))
    with pytest.raises(CatalogueError):
        open_database(path)
    monkeypatch.undo()
    database = open_database(path)
    with database.read() as connection:
        assert migrations.version_of(driver_of(connection)) == NOW
        assert "email" not in [row[1] for row in driver_of(connection).execute("PRAGMA table_info(users)")]
    database.close()


def open_it(path: Path, results: "multiprocessing.Queue[str]") -> None:
    try:
        open_database(path).close()
        results.put("opened")
    except Exception as error:
        results.put(repr(error))


def test_programs_that_make_it_at_once_agree(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    programs = [context.Process(target=open_it, args=(path, results)) for _ in range(4)]
    for program in programs:
        program.start()
    found = [results.get(timeout=PATIENCE) for _ in programs]
    for program in programs:
        program.join(PATIENCE)
    assert found == ["opened"] * 4


def fill(path: Path) -> None:
    database = open_database(path)
    catalogue = Catalogue(database)
    with database.write() as connection:
        driver_of(connection).executemany(
            "INSERT INTO users (username, password_hash, created_at) VALUES (?, 'hash', 'now')",
            [(f"user {number}",) for number in range(200)],
        )
    catalogue.jobs.apply(Cursor("", 0), Cursor("j", 5), [])
    database.close()


def garble(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name says\n" * 400)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 512):
        content[at] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])


@pytest.mark.parametrize("damage", [garble, flip, cut])
def test_a_damaged_file_is_put_aside_and_a_new_one_begun(
    path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    assert callable(damage)
    damage(path)
    with pytest.raises(CatalogueDamaged, match="make it anew with: dbcalm catalogue rebuild$"):
        open_database(path, check=True)
    content = path.read_bytes()
    with caplog.at_level(logging.CRITICAL):
        database = open_or_replace(path)
    catalogue = Catalogue(database)
    assert catalogue.jobs.cursor() == Cursor("", 0)
    assert len(catalogue.users.all()) == 200
    [aside] = path.parent.glob("db.sqlite3.damaged-????????-??????")
    assert aside.read_bytes() == content
    assert "200 users, 0 clients, 0 schedules were brought back from the sealed copy of " in caplog.text
    assert not list(path.parent.glob("tmp*"))
    assert catalogue.set_aside() == [str(aside)]
    database.close()


def test_people_programs_and_schedules_are_saved_from_a_damaged_file(path: Path) -> None:
    """One page is spoilt, of a table that the mysql service knows better; even an older version's file will do."""
    fill(path)
    database = open_database(path)
    catalogue = Catalogue(database)
    catalogue.clients.add(Client("c", "monitoring", ("status:read",)), "secret", "now")
    plan = {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0, "verify_level": 3}
    with catalogue.schedules.draft() as draft:
        kept = draft.add(Schedule(id=0, created_at="x", updated_at="x", **plan))  # type: ignore[arg-type]  # as named
    with database.read() as reading:
        page = reading.exec_driver_sql(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'processes'"
        ).scalar_one()
    database.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = bytes(range(256)) * 16
    path.write_bytes(content)
    saved = Catalogue(open_or_replace(path))
    assert len(saved.users.all()) == 200
    assert saved.users.password_hash("user 7") == "hash"
    assert saved.clients.secret_hash("c") == "secret"
    assert list(saved.schedules.all()) == [kept]
    assert saved.schedules.list(Query()).total == 1
    saved.close()


def test_what_stands_only_in_the_write_ahead_log_goes_aside_with_its_file(path: Path) -> None:
    fill(path)
    garble(path)
    path.with_name("db.sqlite3-wal").write_bytes(b"log")
    open_or_replace(path).close()
    assert [file.read_bytes() for file in path.parent.glob("db.sqlite3.damaged-*-wal")] == [b"log"]
    database = open_database(path)
    assert len(Catalogue(database).set_aside()) == 1
    database.close()


def test_a_whole_file_is_opened_as_it_is(path: Path) -> None:
    fill(path)
    database = open_or_replace(path)
    assert len(Catalogue(database).users.all()) == 200
    assert not list(path.parent.glob("*damaged*"))
    assert not Catalogue(database).set_aside()
    database.close()


def test_writers_wait_for_each_other_and_none_is_lost(path: Path) -> None:
    database = open_database(path)
    catalogue = Catalogue(database)

    def write(writer: int) -> None:
        for number in range(20):
            assert catalogue.users.add(f"{writer} {number}", "hash", "now")
        database.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(catalogue.users.all()) == 160
    database.close()


def test_a_reader_does_not_wait_for_a_writer(database: Database, path: Path) -> None:
    writer = connect(path)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO users (username, password_hash, created_at) VALUES ('x', 'y', 'z')")
    assert not Catalogue(database).users.all()
    writer.rollback()
    writer.close()


def test_a_writer_that_waits_too_long_says_so(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcalm.repository.engine._BUSY_SECONDS", 0.05)
    database.close()  # Each connection keeps the patience that it was opened with.
    holder = connect(path)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="busy"):
        Catalogue(database).users.add("alice", "hash", "now")
    holder.rollback()
    holder.close()
    assert Catalogue(database).users.add("alice", "hash", "now")


def test_a_commit_that_fails_locks_nobody_out(database: Database, path: Path) -> None:
    with database.write() as connection:
        driver_of(connection).execute(
            "CREATE TABLE late (id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        driver_of(connection).execute("INSERT INTO late VALUES (99)")
    assert Catalogue(database).users.add("alice", "hash", "now")
    other = connect(path)
    assert other.execute("SELECT count(*) FROM late").fetchone() == (0,)
    other.close()


def of_version(version: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an empty catalogue as an older program made it."""
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:version])
        connection = connect(path)
        migrations.migrate(connection, path)
        connection.close()


def version_1(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a catalogue as the first release had it, with data."""
    of_version(1, path, monkeypatch)
    connection = connect(path)
    jobs = [
        ("a", "backup", '{"id": "one", "schedule_id": 7}'),
        ("b", "backup", '{"id": "two", "schedule_id": null}'),
        ("c", "restore", '{"id": "one"}'),
        ("d", "backup", '{"id": "three", "schedule_id": "7"}'),
        ("e", "backup", "no JSON"),
    ]
    for id, type, args in jobs:
        connection.execute(
            "INSERT INTO processes (command_id, type, command, args, status, start_time) "
            "VALUES (?, ?, 'tool', ?, 'success', '2026-01-01T00:00:00.000000Z')",
            (id, type, args),
        )
    connection.execute(
        "INSERT INTO backups (id, seq, type, schedule_id, process_id, start_time, size, timeline) "
        "VALUES ('one', 1, 'full', 7, 1, '2026-01-01T00:00:00.000000Z', 1000, 't')"
    )
    connection.execute("INSERT INTO users (username, password_hash, created_at) VALUES ('alice', 'h', 'now')")
    connection.close()


def test_a_catalogue_of_the_first_release_is_brought_up_with_all_its_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_1(path, monkeypatch)
    database = open_database(path)
    catalogue = Catalogue(database)
    with database.read() as connection:
        assert migrations.version_of(driver_of(connection)) == NOW
        rows = (
            driver_of(connection)
            .execute("SELECT command_id, schedule_id FROM processes ORDER BY id")
            .fetchall()
        )
        assert rows == [("a", 7), ("b", None), ("c", None), ("d", None), ("e", None)]
    backup = catalogue.backups.get("one")
    assert backup is not None
    assert (backup.schedule_id, backup.hold_reason, backup.retention_value) == (7, None, None)
    assert (backup.size, backup.data_size, backup.form, backup.recipients) == (1000, 1000, "folder", ())
    assert [run.schedule_id for run in catalogue.schedules.runs([7, 8])] == [7]
    assert catalogue.schedules.list(Query()).total == 0
    assert catalogue.processes.get("a") is not None
    assert catalogue.users.get("alice") is not None
    database.close()
    copy = sqlite3.connect(path.with_name("db.sqlite3.version-1"))
    assert migrations.version_of(copy) == 1
    assert copy.execute("SELECT count(*) FROM processes").fetchone() == (5,)
    assert "schedules" not in [row[0] for row in copy.execute("SELECT name FROM sqlite_master")]
    copy.close()


def test_a_brought_up_catalogue_is_as_a_new_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shape(file: Path) -> list[tuple[str, str]]:
        connection = sqlite3.connect(file)
        found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return found

    version_1(path, monkeypatch)
    open_database(path).close()
    other = path.with_name("new.sqlite3")
    open_database(other).close()
    assert shape(path) == shape(other)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("backup_type", "other"),
        ("frequency", "yearly"),
        ("day_of_week", 7),
        ("day_of_month", 29),
        ("hour", 24),
        ("minute", -1),
        ("interval_value", 0),
        ("interval_unit", "days"),
        ("retention_value", 0),
        ("retention_unit", None),
        ("enabled", 2),
    ],
)
def test_a_schedule_that_cannot_be_does_not_get_in(database: Database, column: str, value: object) -> None:
    good: dict[str, object] = {
        "backup_type": "full", "frequency": "daily", "day_of_week": 0, "day_of_month": 1, "hour": 3, "minute": 0,
        "interval_value": 1, "interval_unit": "hours", "retention_value": 1, "retention_unit": "days", "enabled": 1,
        "created_at": "x", "updated_at": "x",
    }  # fmt: skip

    def insert(values: dict[str, object]) -> None:
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        with database.write() as connection:
            driver_of(connection).execute(f"INSERT INTO schedules ({names}) VALUES ({marks})", values)

    insert(good)
    with pytest.raises(sqlite3.IntegrityError):
        insert({**good, column: value})


def test_a_full_disk_is_said_and_what_was_there_stays(database: Database) -> None:
    catalogue = Catalogue(database)
    catalogue.users.add("alice", "hash", "now")
    with database.read() as connection:
        pages = driver_of(connection).execute("PRAGMA page_count").fetchone()[0]
        driver_of(connection).execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NoSpace):
        for number in range(1000):
            catalogue.users.add(f"user {number}", "h" * 1000, "now")
    assert catalogue.users.get("alice") is not None


def test_schedules_of_the_third_version_go_on_with_their_numbers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their table is made anew, as it has to take another word."""
    of_version(3, path, monkeypatch)
    connection = connect(path)
    for id, type in ((7, "full"), (9, "incremental"), (12, "full")):
        connection.execute(
            "INSERT INTO schedules (id, backup_type, frequency, hour, minute, enabled, created_at, updated_at, "
            "last_refused_at, last_refusal) VALUES (?, ?, 'daily', 3, 0, 1, 'c', 'u', 'r', 'why')",
            (id, type),
        )
    connection.execute("DELETE FROM schedules WHERE id = 12")
    connection.execute(
        "INSERT INTO backups (id, seq, type, start_time, end_time, size, timeline) "
        "VALUES ('one', 1, 'full', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:01:00.000000Z', 1000, 't')"
    )
    connection.close()
    catalogue = Catalogue(open_database(path))
    kept = catalogue.schedules.all()
    assert [(one.id, one.backup_type, one.verify_level, one.last_refusal) for one in kept] == [
        (7, "full", None, "why"),
        (9, "incremental", None, "why"),
    ]
    assert not catalogue.schedules.never_had_any()
    with catalogue.schedules.draft() as draft:
        added = draft.add(replace(kept[0], id=0, backup_type="verify", verify_level=3))
    assert added.id == 13  # None that was given out before.
    assert catalogue.schedules.list(Query()).total == 3
    with pytest.raises(sqlite3.IntegrityError), catalogue.schedules.draft() as draft:
        draft.add(replace(kept[0], id=0, backup_type="else"))
    backup = catalogue.backups.get("one")
    assert backup is not None
    assert (backup.proof_level, backup.proof_at, backup.suspect) == (0, "2026-01-01T00:01:00.000000Z", None)
    catalogue.close()


def test_a_migrated_schedule_is_counted_as_it_changes(path: Path) -> None:
    """The triggers that count rows and changes are those of the new table."""
    catalogue = Catalogue(open_database(path))
    plan = {"backup_type": "verify", "frequency": "daily", "hour": 3, "minute": 0}
    with catalogue.schedules.draft() as draft:
        one = draft.add(Schedule(id=0, created_at="x", updated_at="x", **plan))  # type: ignore[arg-type]  # as named
    condition = Query((Condition("backup_type", "eq", ("verify",)),))
    assert catalogue.schedules.list(condition).total == 1
    with catalogue.schedules.draft() as draft:
        draft.delete(one.id)
    assert catalogue.schedules.list(condition).total == 0
    catalogue.close()
