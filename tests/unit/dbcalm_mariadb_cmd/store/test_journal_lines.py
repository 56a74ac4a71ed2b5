"""Damage to the journal: whatever happens to its bytes, the service starts, nothing damaged is taken for true, what is
wrong is told with file and line, and the next job's events are kept."""

import json
import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.store import journal_shortening
from dbcalm_mariadb_cmd.store.history import History
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.journal_lines import Event, Link, line_of, sealed_line
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from tests.support.engine_lab import Lab, manifest

Damage = Callable[[list[bytes]], bytes]


def written(path: Path, count: int = 12) -> list[Event]:
    """Write so many events and return them."""
    journal = Journal(path)
    for number in range(count):
        journal.append("note", number=number, text="é" * (number % 5), more={"n": 1, "sum": "x"})
    return list(journal.all())


def joined(lines: list[bytes]) -> bytes:
    return b"".join(lines)


def at(place: int, change: Callable[[bytes], bytes]) -> Damage:
    return lambda lines: joined([*lines[:place], change(lines[place]), *lines[place + 1 :]])


def replaced(place: int, old: bytes, new: bytes) -> Damage:
    def change(line: bytes) -> bytes:
        assert old in line
        return line.replace(old, new, 1)

    return at(place, change)


DAMAGES: dict[str, tuple[Damage, int | None]] = {
    "a flipped bit in a value": (replaced(5, b'"number":4', b'"number":5'), 6),
    "a flipped bit in a key": (replaced(5, b'"event"', b'"evenu"'), 6),
    "a flipped bit in the checksum's key": (replaced(5, b'"sum":"', b'"sun":"'), 6),
    "a flipped bit in the key before": (replaced(5, b'"after":"', b'"aftes":"'), 6),
    "a flipped bit in the number's key": (replaced(5, b',"n":', b',"o":'), 6),
    "a flipped bit in the number": (replaced(5, b',"n":6,', b',"n":7,'), 6),
    "its newline is gone": (at(5, lambda line: line[:-1]), 6),
    "a zeroed line": (at(5, lambda line: b"\0" * (len(line) - 1) + b"\n"), 6),
    "a zeroed block over several": (lambda lines: joined(lines[:4]) + b"\0" * 500 + joined(lines[7:]), 5),
    "a line is gone": (lambda lines: joined(lines[:5] + lines[6:]), 6),
    "three lines are gone": (lambda lines: joined(lines[:5] + lines[8:]), 6),
    "two are swapped": (lambda lines: joined([*lines[:5], lines[6], lines[5], *lines[7:]]), 6),
    "one is doubled": (lambda lines: joined([*lines[:6], *lines[5:]]), 7),
    "an early one is doubled at the end": (lambda lines: joined([*lines, lines[2]]), 14),
    "the last is gone": (lambda lines: joined(lines[:-1]), 13),
    "the end is gone": (lambda lines: joined(lines[:6]), 7),
    "the last is damaged": (replaced(12, b'"number":11', b'"number":10'), 13),
    "garbage in the middle": (lambda lines: joined([*lines[:5], b"\xff" * 30 + b"\n", *lines[6:]]), 6),
    "the first is garbage": (at(0, lambda line: b"\xff" * 40 + b"\n"), 1),
    "the first is zeroed": (at(0, lambda line: b"\0" * len(line)), 1),
    "the first's id is flipped": (replaced(0, b'"id"', b'"ie"'), 1),
    "the first is gone": (lambda lines: joined(lines[1:]), 1),
    "all is gone": (lambda lines: b"", None),
    "a block is left": (lambda lines: joined(lines)[:1000], None),
    "all is zeroed": (lambda lines: b"\0" * 9000, 1),
    "garbage without an end": (lambda lines: os.urandom(3).hex().encode() * 1000, None),
}
HARMLESS: dict[str, Damage] = {
    "a torn last line": lambda lines: joined(lines) + b'{"event":"note","numb',
    "torn, and gone on after": lambda lines: joined(lines) + b'{"event":"note","numb\n',
    "a block of nothing at the end": lambda lines: joined(lines) + b"\0" * 4096,
    "empty lines": lambda lines: joined(lines) + b"\n\n",
}


@pytest.mark.parametrize(("damage", "line"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_told_with_its_line_and_nothing_of_it_is_taken_for_true(
    lab: Lab, damage: Damage, line: int | None
) -> None:
    path = lab.jobs / "journal"
    true = written(path)
    path.write_bytes(damage(path.read_bytes().splitlines(keepends=True)))
    before = Journal(path)
    told = before.problems()
    assert str(path) in told[0]
    if line is not None:
        assert f"line {line} of {path}" in told[0]
    assert all(event in true for event in before.all() if event["event"] != "journal")

    control = JobControl(lab.jobs, lab.backups)  # Begins it anew.
    kept = [event for event in control.journal.all() if event["event"] != "journal"]
    assert kept == [event for event in true if event in kept]
    assert control.journal.faults() == []
    (again,) = control.journal.problems()
    assert "was damaged" in again
    aside = Path(again.rpartition("remove ")[2])
    assert aside.is_file()
    assert control.journal.id != before.id or line is None
    control.journal.append("note", number=99)
    last = list(Journal(path).all())
    assert (last[-1]["number"], len(last)) == (99, len(kept) + 2)
    aside.unlink()
    assert JobControl(lab.jobs, lab.backups).journal.problems() == []


def test_two_that_were_swapped_are_put_right(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    true = written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(joined([*lines[:5], lines[6], lines[5], lines[5], *lines[7:]]))
    journal = Journal(path)
    assert journal.mend()
    assert [event for event in journal.all() if event["event"] == "note"] == true[1:]


@pytest.mark.parametrize("damage", HARMLESS.values(), ids=HARMLESS)
def test_what_nobody_was_told_of_is_no_damage(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "journal"
    true = written(path)
    path.write_bytes(damage(path.read_bytes().splitlines(keepends=True)))
    journal = Journal(path)
    assert journal.problems() == []
    journal.append("note", number=99)
    assert journal.problems() == []
    assert [event["number"] for event in journal.all() if event["event"] == "note"] == [*range(12), 99]
    assert list(journal.all())[: len(true)] == true


def test_random_damage(tmp_path: Path) -> None:
    """A hundred damages of one to three kinds each: what is read is always some of what was written."""
    path = tmp_path / "journal"
    true = written(path, 20)
    good, chance = path.read_bytes(), random.Random(23)
    for round_ in range(100):
        for aside in tmp_path.glob("journal.*"):
            if aside.name != "journal.tip":
                aside.unlink()
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            place, length = chance.randrange(len(data)), chance.randrange(1, 400)
            match chance.randrange(5):
                case 0:
                    data[place] ^= 1 << chance.randrange(8)
                case 1:
                    data[place : place + length] = b"\0" * length
                case 2:
                    del data[place : place + length]
                case 3:
                    data[place:place] = data[place : place + length]
                case 4:
                    del data[place:]
            if not data:
                break
        path.write_bytes(data)
        journal = Journal(path)
        found = [event for event in journal.all() if event["event"] != "journal"]
        assert [event for event in found if event not in true] == [], round_
        journal.problems()
        journal.mend()
        after = [event for event in journal.all() if event["event"] != "journal"]
        assert after == [event for event in true if event in after], round_
        assert len(after) >= len(found), round_
        assert journal.faults() == []


def test_every_flipped_bit_of_a_line_is_seen() -> None:
    raw, _ = sealed_line({"event": "ended", "at": "x", "text": '"sum":"'}, Link(3, "a" * 16))
    assert line_of(raw) is not None
    for place in range(len(raw)):
        for bit in range(8):
            assert line_of(raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]) is None, (
                place,
                bit,
            )


def as_an_older_version(path: Path, number: int) -> None:
    with path.open("a") as file:
        file.write(
            json.dumps({"event": "note", "at": "2026-01-01T00:00:00.000000Z", "number": number}) + "\n"
        )


def test_lines_of_older_versions_stay_readable_and_join_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(json.dumps({"event": "journal", "at": "x", "id": "f" * 32}) + "\n")
    for number in range(3):
        as_an_older_version(path, number)
    journal = Journal(path)
    assert journal.id == "f" * 32
    journal.append("note", number=3)
    as_an_older_version(path, 4)  # As by a runner that an older version has started.
    journal.append("note", number=5)
    as_an_older_version(path, 6)
    assert journal.problems() == []
    assert [event["number"] for event in journal.all() if event["event"] == "note"] == list(range(7))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(joined([*lines[:5], lines[5].replace(b"4", b"7"), *lines[6:]]))
    assert journal.faults() != []


def test_an_older_version_reads_what_is_written_now(tmp_path: Path) -> None:
    written(tmp_path / "journal", 2)
    first, *others = map(json.loads, (tmp_path / "journal").read_text().splitlines())
    assert len(first["id"]) == 32
    assert [other["number"] for other in others] == [0, 1]


@pytest.mark.parametrize(
    "thing", [os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_file_is_put_aside(tmp_path: Path, thing: Callable[[Path], object]) -> None:
    thing(tmp_path / "journal")
    journal = Journal(tmp_path / "journal")
    journal.append("note", number=1)
    assert len(list(journal.all())) == 2
    assert len(list(tmp_path.glob("journal.damaged-*"))) == 1


JOB = "{:032x}".format
START = datetime(2026, 1, 1, tzinfo=UTC)


def job(number: int, when: datetime, **ended: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a job."""
    return [
        ("accepted", {"job_id": JOB(number), "type": "backup", "seq": number, "answer": {"id": str(number)}}),
        ("started", {"job_id": JOB(number), "pid": 5}),
        ("ended", {"job_id": JOB(number), "status": "success", **ended}),
    ]


class Told:
    """A journal whose times are told."""

    def __init__(self, path: Path) -> None:
        self.time = START
        self.journal = Journal(path, lambda: text_of(self.time))

    def tell(self, events: list[tuple[str, dict[str, Any]]], step: timedelta = timedelta(minutes=20)) -> None:
        for kind, fields in events:
            self.time += step
            self.journal.append(kind, **fields)


def knows(history: History, now: str) -> dict[str, Any]:
    return {
        "open": history.open, "restored": history.restored_seq, "trashed": history.trashed, "held": history.held,
        "seq": history._seq, "newest": history.newest, "clock": history.clock.doubt(now),
    }  # fmt: skip


MOVES = st.lists(
    st.sampled_from(
        ["job", "job", "job", "restore", "delete", "undelete", "purge", "hold", "release", "jump", "back"]
    ),
    max_size=40,
)


GONE = [
    "restore",
    "job",
    *["restore"] * 4,
    "delete",
    *["restore"] * 4,
    "purge",
    *["restore"] * 8,
    "jump",
    "restore",
]
"""The newest backup, the second move's, is deleted by the seventh and gone for good by the twelfth."""


@settings(max_examples=60, deadline=None)
@given(MOVES, st.integers(1, 6))
@example(GONE, 1)
@example([*GONE[:11], "undelete", *GONE[12:]], 1)
@example([*GONE[:7], "job", *GONE[8:]], 1)
def test_a_shortened_journal_tells_the_service_the_same(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str], jobs: int
) -> None:
    folder = tmp_path_factory.mktemp("shorten")
    (folder / "backups").mkdir()
    told, names = Told(folder / "journal"), [f"b{number}" for number in range(5)]
    told.journal._append = _unsynced(told.journal)  # type: ignore[method-assign]
    for number, move in enumerate(moves, start=1):
        name = names[number % 5]
        facts = manifest(seq=number, id=name).facts()
        match move:
            case "job":
                told.tell(job(number, told.time, backup=facts))
            case "restore":
                begun, *rest = job(number, told.time)
                told.tell([(begun[0], {**begun[1], "breaks_timeline": True}), *rest])
            case "delete":
                told.tell([("deleted", {"backup_id": name, "trash": f"{name}.1"})])
            case "undelete":
                told.tell([("undeleted", {"backup": facts, "trash": f"{name}.1"})])
            case "purge":
                told.tell([("purged", {"trash": f"{name}.1"})])
            case "hold":
                told.tell([("held", {"backup_id": name, "hold": {"reason": move, "until": None}})])
            case "release":
                told.tell([("released", {"backup_id": name})])
            case "jump":
                told.time += timedelta(days=5)
            case "back":
                told.time -= timedelta(days=4)
    told.tell([("tick", {})])
    now = text_of(told.time)
    before = knows(History(told.journal, folder / "backups"), now)
    usual, journal_shortening.JOBS = journal_shortening.JOBS, jobs
    try:
        told.journal.shorten(journal_shortening.kept)
    finally:
        journal_shortening.JOBS = usual
    assert told.journal.faults() == []
    assert knows(History(Journal(folder / "journal"), folder / "backups"), now) == before


def _unsynced(journal: Journal) -> Callable[[int, Event], None]:
    """Return the appending of a journal without its sync, which costs what a property test has not."""
    usual = type(journal)._append

    def append(descriptor: int, event: Event) -> None:
        synced, os.fsync = os.fsync, lambda _descriptor: None
        try:
            usual(journal, descriptor, event)
        finally:
            os.fsync = synced

    return append


def long_one(path: Path) -> Told:
    told = Told(path)
    told.journal._append = _unsynced(told.journal)  # type: ignore[method-assign]
    for number in range(1, 601):
        told.tell(job(number, told.time))
    return told


def all_from(journal: Journal, id: str, offset: int) -> tuple[list[Event], str, int]:
    """Return what a reader reads on, and where it comes to."""
    events: list[Event] = []
    while True:
        page = journal.read_on(id, offset)
        events += page.events
        if (page.id, page.offset) == (id, offset):
            return events, id, offset
        id, offset = page.id, page.offset


def test_a_reader_misses_nothing_and_reads_nothing_twice_when_it_is_shortened(tmp_path: Path) -> None:
    told = long_one(tmp_path / "journal")
    journal, old = told.journal, told.journal.id
    whole, size = list(journal.all()), journal.size()
    half = journal.read(0, 60_000)
    journal.shorten(journal_shortening.kept)
    assert journal.size() < size / 2
    told.tell(job(700, told.time))
    news = list(journal.all())[-3:]
    assert journal.id != old
    assert all_from(journal, old, size) == (news, journal.id, journal.size())
    assert all_from(journal, old, half[1]) == ([*whole[len(half[0]) :], *news], journal.id, journal.size())
    assert all_from(journal, "", 0) == ([*whole, *news], journal.id, journal.size())
    assert all_from(Journal(tmp_path / "journal"), "other", 77) == (
        [*whole, *news],
        journal.id,
        journal.size(),
    )
    assert all_from(journal, journal.id, journal.size())[0] == []
    again = Journal(tmp_path / "journal")
    again.append("tick")
    assert again.faults() == []


@pytest.mark.parametrize("step", range(6))
def test_wherever_shortening_is_cut_short_nothing_is_lost(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = long_one(tmp_path / "journal")
    journal, old = told.journal, told.journal.id
    whole, size = list(journal.all()), journal.size()
    calls = iter(range(100))

    class Killed(BaseException):
        pass

    def killed_at(name: str, owner: Any) -> None:
        usual = getattr(owner, name)

        def call(*args: Any, **named: Any) -> Any:
            if next(calls) == step:
                raise Killed
            return usual(*args, **named)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace")):
        killed_at(name, owner)
    with suppress(Killed):
        journal.shorten(journal_shortening.kept)
    monkeypatch.undo()
    later = Journal(tmp_path / "journal")
    later.append("tick")
    assert later.faults() == []
    assert all_from(later, old, size)[0] == list(later.all())[-1:]
    assert all_from(later, "", 0)[0][: len(whole)] == whole
    later.shorten(journal_shortening.kept)
    assert later.faults() == []


def test_the_service_shortens_when_it_has_grown_and_all_was_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcalm_mariadb_cmd.supervisor.control.SHORTEN_AT", 100_000)
    long_one(lab.jobs / "journal")
    control = JobControl(lab.jobs, lab.backups)
    id, size = control.journal.id, control.journal.size()
    control.shorten()
    assert control.journal.id == id  # Nobody has read it.
    control.followed = id
    control.shorten()
    assert control.journal.size() < size
    control.history.catch_up()
    assert control.history.next_seq() == 601
    assert control.history.answer(JOB(600)) == {"id": "600"}
    control.followed = control.journal.id
    shortened = control.journal.id
    control.shorten()
    assert control.journal.id == shortened  # It has not doubled since.


def test_a_job_whose_end_is_lost_gets_one(lab: Lab) -> None:
    path = lab.jobs / "journal"
    journal = Journal(path)
    for number in (1, 2):
        for kind, fields in job(number, START):
            journal.append(kind, **fields)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(joined([*lines[:3], re.sub(rb"success", rb"succesr", lines[3]), *lines[4:]]))
    control = JobControl(lab.jobs, lab.backups)
    assert list(control.history.unended) == [JOB(1)]
    control.recover(lambda: None)
    assert control.history.unended == {}
    (end,) = [
        event
        for event in control.journal.all()
        if event.get("job_id") == JOB(1) and event["event"] == "ended"
    ]
    assert (end["status"], end["reason"]) == ("failed", "interrupted")
    assert "damaged" in str(end["error"])
