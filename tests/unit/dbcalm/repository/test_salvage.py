"""Whatever happens to the catalogue's file, users, clients and schedules come back as they were, and no others."""

import json
import logging
import os
import random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbcalm.domain.model.entities import Client, Schedule
from dbcalm.errors import CatalogueDamaged, NoSpace
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.engine import Database, connect, opened
from dbcalm.repository.recovery import copies, sealed
from dbcalm.repository.recovery.copies import Copies
from dbcalm.repository.recovery.opening import open_database, open_or_replace
from dbcalm.repository.recovery.sealed import TABLES, Copy, Vault, copy_of

PLAN = {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0, "verify_level": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


def add_schedule(catalogue: Catalogue) -> Schedule:
    with catalogue.schedules.draft() as draft:
        return draft.add(Schedule(id=0, created_at="x", updated_at="x", **PLAN))  # type: ignore[arg-type]  # as named


def state(path: Path) -> Copy:
    with opened(lambda: connect(path)) as connection:
        return copy_of(connection, at="", number=0)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with a little of everything, among it what was deleted and changed since."""
    folder = tmp_path_factory.mktemp("original")
    catalogue = Catalogue(open_or_replace(folder / "db.sqlite3"))
    for number in range(2):
        catalogue.users.add(f"user {number}", f"hash {number}", "now")
    catalogue.users.add("gone", "hash", "now")
    catalogue.users.delete("gone")
    for number in range(30):
        catalogue.clients.add(Client(f"c{number}", "a label", ("status:read",)), "secret", "now")
    for _ in range(3):
        last = add_schedule(catalogue)
    with catalogue.schedules.draft() as draft:
        draft.delete(last.id)
    catalogue.close()
    return folder


@pytest.fixture
def filled(original: Path, path: Path) -> Copy:
    """The same at this test's path; what it has."""
    for file in original.iterdir():
        path.with_name(file.name).write_bytes(file.read_bytes())
        path.with_name(file.name).chmod(0o600)
    return state(path)


def flipped(data: bytes, seed: int) -> bytes:
    chance, changed = random.Random(seed), bytearray(data)
    for _ in range(64):
        changed[chance.randrange(100, len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def without_page(data: bytes, number: int) -> bytes:
    return data[: number * 4096] + bytes(4096) + data[(number + 1) * 4096 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "cut to half": lambda data: data[: len(data) // 2],
    "cut to 100 bytes": lambda data: data[:100],
    "cut to a page": lambda data: data[:4096],
    "cut within a page": lambda data: data[: len(data) // 2 + 100],
    "garbage": lambda data: random.Random(1).randbytes(50000),
    "zeroes": lambda data: bytes(len(data)),
    "text": lambda data: b"hello\n" * 100,
    "version 0": lambda data: data[:60] + bytes(4) + data[64:],
    "version 1": lambda data: data[:60] + (1).to_bytes(4, "big") + data[64:],
    "a word of the schema": lambda data: data.replace(b"CREATE TABLE users", b"CREATE TABLE usars"),
    "a word of an index": lambda data: data.replace(
        b"processes (schedule_id, type", b"processes (schedule_ie, type"
    ),
    "a word of a trigger": lambda data: data.replace(b"version = version + 1", b"ve2sion = version + 1", 1),
    "a name": lambda data: data.replace(b"user 1", b"user 2"),
    "a text that is none": lambda data: data.replace(b"a label", b"a \xff\xfe el"),
    **{f"page {number} zeroed": lambda data, n=number: without_page(data, n) for number in (0, 1, 4, 9, 14)},  # type: ignore[misc]
    **{f"64 bits, seed {seed}": lambda data, s=seed: flipped(data, s) for seed in range(8)},  # type: ignore[misc]
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_nothing_is_lost_and_nothing_comes_back_that_was_deleted(
    path: Path, filled: Copy, damage: str
) -> None:
    data = DAMAGES[damage](path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    catalogue = Catalogue(open_or_replace(path))
    assert state(path).says_the_same(filled), damage
    assert not catalogue.schedules.never_had_any()
    assert add_schedule(catalogue).id == 4  # The third was deleted, and its number is never given again.
    for sentence in catalogue.problems():
        assert "2 users, 30 clients, 2 schedules were brought back from the sealed copy of " in sentence
        assert "none is missing; then remove what is kept of it with: rm " in sentence
    catalogue.close()


@pytest.mark.parametrize("harm", ["gone", "empty", "log gone"])
def test_a_command_finds_them_back_as_the_api_does(path: Path, filled: Copy, harm: str) -> None:
    """Cron's commands do not check the file. The first that opens it must not begin with nothing, and seal that."""
    if harm == "log gone":
        old = path.read_bytes()
        catalogue = Catalogue(open_database(path))
        catalogue.users.delete("user 0")
        catalogue.close()
        filled = state(path)
        path.write_bytes(old)  # As without what stood in the write-ahead log only.
    else:
        path.unlink()
        if harm == "empty":
            path.touch(0o600)
    catalogue = Catalogue(open_database(path))
    assert state(path).says_the_same(filled)
    assert catalogue.users.add("eve", "hash", "now")
    [sentence] = catalogue.problems()
    assert "none is missing" in sentence
    remains = list(path.parent.glob("*damaged*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in remains} == {0o600}
    for file in remains:
        file.unlink()
    assert catalogue.problems() == []
    catalogue.close()


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_an_older_copy_brings_nobody_back_who_was_removed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last copies are damaged with the catalogue: what they told is lost, but not whom they no longer had."""
    catalogue = Catalogue(open_or_replace(path))
    for name in ("stays", "leaves", "changes"):
        catalogue.users.add(name, f"hash of {name}", "now")
        catalogue.clients.add(Client(name, name, ("*",)), "secret", "now")
    kept, gone = add_schedule(catalogue), add_schedule(catalogue)
    with catalogue.schedules.draft() as draft:
        draft.delete(gone.id)
    catalogue.clients.delete("leaves")
    catalogue.users.delete("leaves")
    catalogue.users.set_password("changes", "another")
    catalogue.close()
    path.write_bytes(b"garbage" * 100)
    for name in ("", ".1", ".2"):  # That of before the last three changes is whole.
        spoil(path.with_name(f"{path.name}.sealed{name}"))
    with caplog.at_level(logging.WARNING):
        catalogue = Catalogue(open_or_replace(path))
    assert [user.username for user in catalogue.users.all()] == ["stays"]
    assert catalogue.clients.get("leaves") is None
    assert catalogue.clients.get("stays") is not None
    assert list(catalogue.schedules.all()) == [kept]
    assert add_schedule(catalogue).id > 1000  # Nobody knows which numbers were given out since.
    [sentence] = catalogue.problems()
    assert "1 users, 2 clients, 1 schedules were brought back from the sealed copy of " in sentence
    assert "what was changed since is lost" in sentence
    assert "of users, 'changes' stays away: it was removed, or has another password since" in caplog.text
    catalogue.close()


def test_the_daily_copy_is_the_next_best(path: Path, filled: Copy) -> None:
    Copies(path).make()
    [daily] = path.parent.glob("*.daily-????????")
    assert stat.S_IMODE(daily.stat().st_mode) == 0o600
    catalogue = Catalogue(open_database(path))
    catalogue.clients.delete("c7")
    catalogue.close()
    path.unlink()
    for file in path.parent.glob("*.sealed*"):
        spoil(file)
    catalogue = Catalogue(open_or_replace(path))
    assert len(catalogue.users.all()) == 2
    assert catalogue.clients.get("c7") is None
    assert catalogue.clients.get("c8") is not None
    [sentence] = catalogue.problems()
    assert "from the daily copy of " in sentence
    catalogue.close()


def test_without_any_copy_all_is_read_that_can_be(path: Path, filled: Copy) -> None:
    for file in path.parent.glob("*.sealed*"):
        file.unlink()
    connection = connect(path)
    connection.execute("BEGIN")
    for number in range(400):
        values = (f"more {number}", "x" * 100)
        connection.execute("INSERT INTO clients VALUES (NULL, ?, ?, '*', 'secret', 'now')", values)
    connection.execute("COMMIT")
    connection.close()
    content = path.read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    [leaf] = [at for at, page in enumerate(pages) if page[0] == 13 and b"more 200" in page]
    path.write_bytes(without_page(content, leaf))
    catalogue = Catalogue(open_or_replace(path))
    assert len(catalogue.users.all()) == 2
    assert 390 < len(state(path).rows["clients"]) < 430
    [sentence] = catalogue.problems()
    assert (
        "brought back from what can be read of the damaged one, and what was changed since is lost"
        in sentence
    )
    catalogue.close()


def test_a_new_catalogue_has_nothing_to_bring_back(path: Path) -> None:
    catalogue = Catalogue(open_or_replace(path))
    assert catalogue.problems() == []
    assert catalogue.schedules.never_had_any()
    catalogue.close()
    catalogue = Catalogue(open_or_replace(path))
    assert catalogue.problems() == []
    catalogue.close()


def test_what_is_not_kept_is_not_sealed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(open_or_replace(path))
    catalogue.users.add("alice", "hash", "now")
    before = Vault(path).newest()

    class Full(sqlite3.Connection):
        def commit(self) -> None:
            if self.in_transaction:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error

    catalogue.close()
    connection = sqlite3.connect(path, isolation_level=None, factory=Full, check_same_thread=False)
    monkeypatch.setattr("dbcalm.repository.engine.connect", lambda path: connection)
    other = Catalogue(Database(path))
    with pytest.raises(NoSpace):
        other.users.delete("alice")
    monkeypatch.undo()
    connection.close()
    found = Vault(path).newest()
    assert found is not None
    assert before is not None
    assert (found.number, found.says_the_same(before)) == (before.number, True)
    assert not Vault(path).removals(0)


def test_a_copy_that_cannot_be_written_stops_nobody_and_is_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = Catalogue(open_or_replace(path))
    catalogue.users.add("alice", "hash", "now")
    (path.parent / "db.sqlite3.sealed.new").mkdir()
    assert catalogue.users.add("bob", "hash", "now")
    assert "the sealed copy" in caplog.text
    [sentence] = catalogue.problems()
    assert "is missing or out of date: restart dbcalm-api" in sentence
    (path.parent / "db.sqlite3.sealed.new").rmdir()
    open_or_replace(path).close()
    assert catalogue.problems() == []
    catalogue.close()


def test_one_of_before_there_were_copies_is_sealed_when_the_api_starts(path: Path, filled: Copy) -> None:
    for file in path.parent.glob("*.sealed*"):
        file.unlink()
    catalogue = Catalogue(open_or_replace(path))
    found = Vault(path).newest()
    assert found is not None
    assert found.says_the_same(filled)
    assert catalogue.problems() == []
    catalogue.close()


@pytest.mark.parametrize("number", [2**70, -1, "7", None, True])
def test_a_copy_with_a_wrong_number_is_none(path: Path, filled: Copy, number: object) -> None:
    file = path.with_name("db.sqlite3.sealed")
    header, body = file.read_bytes().split(b"\n", 1)
    file.write_bytes(json.dumps({**json.loads(header), "number": number}).encode() + b"\n" + body)
    catalogue = Catalogue(open_or_replace(path))
    assert state(path).says_the_same(filled)
    assert catalogue.problems() == []
    catalogue.close()


def test_what_is_no_file_is_no_copy(path: Path, filled: Copy) -> None:
    file = path.with_name("db.sqlite3.sealed")
    file.unlink()
    os.mkfifo(file)
    catalogue = Catalogue(open_or_replace(path))
    assert state(path).says_the_same(filled)
    assert file.is_file()
    catalogue.close()


def test_the_file_of_removals_does_not_grow_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_MOST_REMOVALS", 2000)
    catalogue = Catalogue(open_or_replace(path))
    for number in range(40):
        catalogue.clients.add(Client(f"c{number}", "x", ("*",)), "secret", "now")
        catalogue.clients.delete(f"c{number}")
    assert path.with_name("db.sqlite3.removed").stat().st_size < 2000
    found = Vault(path).removals(0)
    assert ("clients", "c39") in found
    assert ("clients", "c1") not in found
    catalogue.close()


def test_the_daily_copies_are_few_and_never_of_a_damaged_one(
    path: Path, filled: Copy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for day in range(10, 16):
        path.with_name(f"db.sqlite3.daily-202601{day}").touch()
    store = Copies(path)
    store.make()
    assert len(store.paths()) == copies.KEPT
    newest = store.paths()[0]
    made = newest.read_bytes()
    store.make()
    newest.unlink()
    content = path.read_bytes()
    path.write_bytes(without_page(content, 4))
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", lambda _seconds: stop.set())
    store.keep(stop)
    assert "the catalogue cannot be copied: " in caplog.text
    assert not newest.exists()
    assert len(store.paths()) == copies.KEPT - 1
    path.write_bytes(content)
    store.make()
    assert len(newest.read_bytes()) == len(made)
    assert not list(path.parent.glob("*new*"))


def test_a_daily_copy_that_is_days_old_is_told(path: Path, filled: Copy) -> None:
    Copies(path).make()
    catalogue = Catalogue(open_or_replace(path))
    assert catalogue.problems() == []
    [daily] = Copies(path).paths()
    os.utime(daily, (0, 1_767_225_600))
    [sentence] = catalogue.problems()
    assert sentence.startswith("the catalogue was not copied since 2026-01-01 00:00 UTC, as it is each day")
    catalogue.close()


def test_damage_that_is_met_while_it_is_open_is_one_clear_line(path: Path, filled: Copy) -> None:
    database = open_database(path)
    with database.read() as reading:
        root = reading.exec_driver_sql(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'clients'"
        ).scalar_one()
    database.close()
    database = open_database(path)
    path.write_bytes(without_page(path.read_bytes(), root - 1))
    with pytest.raises(CatalogueDamaged, match="restart dbcalm-api"):
        Catalogue(database).clients.get("c7")
    database.close()


def test_every_table_of_the_sealed_copy_raises_the_number_of_changes(path: Path) -> None:
    database = open_database(path)
    with database.read() as connection:
        found = connection.exec_driver_sql(
            "SELECT count(DISTINCT tbl_name) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%_counts'"
        ).scalar_one()
    assert found == len(TABLES)
    database.close()


class TestASecondFolder:
    """The copies lie in the catalogue's folder and in one beside it, so that no folder takes both."""

    @pytest.fixture
    def twin(self, path: Path) -> Iterator[Path]:
        folder = path.parent.with_name(f"{path.parent.name}-copies")
        folder.mkdir(mode=0o700)
        yield folder
        shutil.rmtree(folder)

    @pytest.fixture
    def twice(self, twin: Path, filled: Copy, path: Path) -> Copy:
        open_or_replace(path).close()
        assert Vault(path).is_up_to(Vault(path).number())
        return filled

    @pytest.mark.parametrize("spared", [[], ["db.sqlite3.sealed"]])
    def test_the_whole_folder_of_the_catalogue_may_be_lost(
        self, path: Path, twice: Copy, spared: list[str]
    ) -> None:
        for file in path.parent.iterdir():
            if file.name in spared:
                spoil(file)
            else:
                file.unlink()
        catalogue = Catalogue(open_database(path))
        assert state(path).says_the_same(twice)
        [sentence] = catalogue.problems()
        assert "none is missing" in sentence
        catalogue.close()

    def test_a_stale_copy_beside_the_newest_is_not_taken_for_it(
        self, path: Path, twin: Path, twice: Copy
    ) -> None:
        old = twin.joinpath("db.sqlite3.sealed").read_bytes()
        catalogue = Catalogue(open_database(path))
        catalogue.clients.delete("c3")
        catalogue.close()
        twin.joinpath("db.sqlite3.sealed").write_bytes(old)
        path.unlink()
        catalogue = Catalogue(open_or_replace(path))
        assert catalogue.clients.get("c3") is None
        assert catalogue.clients.get("c4") is not None
        assert Vault(path).is_up_to(Vault(path).number())
        catalogue.close()

    def test_one_that_others_can_enter_is_not_used(self, path: Path, twin: Path, filled: Copy) -> None:
        twin.chmod(0o750)
        open_or_replace(path).close()
        Copies(path).make()
        assert not list(twin.iterdir())
        assert list(path.parent.glob("*.daily-*"))

    def test_daily_copies_go_there(self, path: Path, twin: Path, filled: Copy) -> None:
        Copies(path).make()
        assert list(twin.glob("*.daily-*")) == Copies(path).paths()
