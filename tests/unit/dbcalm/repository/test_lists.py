"""Lists of the catalogue: what they find, in which order, and how little they read for it."""

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dbcalm.domain.model.entities import Backup, Client, Process, Schedule
from dbcalm.domain.model.listing import Condition, Order, Query, parse
from dbcalm.domain.ports import Cursor
from dbcalm.domain.services import backups, processes, restores, schedules
from dbcalm.domain.services.access import clients
from dbcalm.repository.base import Repository
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.engine import Database, driver_of
from tests.support.dbcalm_fakes import manifest

ROWS = 240


def a_schedule(number: int) -> Schedule:
    return Schedule(
        id=0, backup_type="full", frequency="weekly", day_of_week=number, day_of_month=1, hour=3, minute=number,
        interval_value=1, interval_unit="hours", retention_value=number + 1, retention_unit="days",
        enabled=number != 1, created_at=f"2026-01-0{number + 1}T00:00:00.000000Z",
        updated_at="2026-02-01T00:00:00.000000Z",
    )  # fmt: skip


def fill(catalogue: Catalogue) -> None:
    """Put in backups whose fields repeat, are empty here and there, and whose clock jumps."""
    with catalogue.schedules.draft() as draft:
        for number in range(3):
            draft.add(a_schedule(number))
    chance = random.Random(7)
    events: list[dict[str, Any]] = []
    for number in range(ROWS):
        start = f"2026-01-{chance.randint(1, 28):02}T00:00:00.000000Z"
        job_id = f"{number:032x}"
        events += [
            {
                "event": "accepted", "at": start, "job_id": job_id, "type": "backup", "command": "tool",
                "args": {"n": number}, "resource_id": f"b{number:03}",
            },
            {
                "event": "ended", "at": start, "job_id": job_id,
                "status": "success",
                "backup": manifest(
                    f"b{number:03}", seq=number // 2, job_id=job_id, start_time=start,
                    end_time=f"{start[:11]}0{number % 5}{start[13:]}", schedule_id=chance.choice([None, 1, 2, 3]),
                    from_backup_id=chance.choice([None, "b000", "b001"]), type="full",
                ),
            },
        ]  # fmt: skip
    restore = {"target": "folder", "target_path": "/x", "backup_id": "b000", "backup_timestamp": None}
    events.append({**events[0], "job_id": "f" * 32, "type": "restore", "restore": restore})
    assert catalogue.jobs.apply(Cursor("", 0), Cursor("j", 1), events)
    catalogue.clients.add(Client("1", "one", ("*",)), "hash", "2026-01-01T00:00:00.000000Z")


@pytest.fixture
def filled(catalogue: Catalogue) -> Catalogue:
    fill(catalogue)
    return catalogue


def all_backups(catalogue: Catalogue) -> list[Backup]:
    return list(catalogue.backups.list(Query(per_page=1000)).items)


def matches(value: Any, condition: Condition) -> bool:
    """Tell what SQL says of a value, in Python's words."""
    match condition.op:
        case "isnull":
            return value is None
        case "isnotnull":
            return value is not None
        case "in":
            return value in condition.values
    if value is None:
        return False
    [other] = condition.values if condition.op != "nin" else [None]
    match condition.op:
        case "nin":
            return value not in condition.values
        case "eq":
            return bool(value == other)
        case "ne":
            return bool(value != other)
        case "gt":
            return bool(value > other)
        case "gte":
            return bool(value >= other)
        case "lt":
            return bool(value < other)
        case _:
            return bool(value <= other)


LISTINGS = {
    "backups": backups.LISTING,
    "restores": restores.LISTING,
    "processes": processes.LISTING,
    "schedules": schedules.LISTING,
    "clients": clients.LISTING,
}


def random_query(chance: random.Random) -> Query:
    def condition() -> Condition:
        field = chance.choice(list(backups.LISTING.query))
        op = chance.choice(["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "isnull", "isnotnull"])
        values: Sequence[Any]
        if field in ("schedule_id", "process_id", "proof_level"):
            values = [chance.randint(0, 4) for _ in range(3)]
        elif field.endswith("time") or field == "proof_at":
            values = [f"2026-01-{chance.randint(1, 28):02}T00:00:00.000000Z" for _ in range(3)]
        else:
            values = [f"b{chance.randint(0, 3):03}" for _ in range(3)]
        wanted = 0 if "null" in op else 3 if "in" in op else 1
        return Condition(field, op, tuple(values[:wanted]))

    fields = chance.sample(backups.LISTING.order, chance.randint(0, 3))
    return Query(
        conditions=tuple(condition() for _ in range(chance.randint(0, 3))),
        order=tuple(Order(field, chance.random() < 0.5) for field in fields),
        page=chance.randint(1, 4),
        per_page=chance.choice([1, 7, 25, 1000]),
    )


def expected(rows: list[Backup], query: Query) -> list[Backup]:
    """Return what a list should find. ``rows`` come newest first."""
    found = [row for row in rows if all(matches(getattr(row, c.field), c) for c in query.conditions)]
    if query.order and not query.order[-1].descending:
        found.reverse()
    for order in reversed(query.order):
        # As in SQL, what is empty is smaller than anything.
        found.sort(key=lambda row: getattr(row, order.field) or "", reverse=order.descending)
    return found


def test_a_list_finds_what_a_plain_loop_finds(filled: Catalogue) -> None:
    rows = all_backups(filled)
    for seed in range(1000):
        query = random_query(random.Random(seed))
        found = filled.backups.list(query)
        wanted = expected(rows, query)
        start = (query.page - 1) * query.per_page
        assert [row.id for row in found.items] == [
            row.id for row in wanted[start : start + query.per_page]
        ], seed
        assert found.total == len(wanted), seed


def test_the_newest_come_first_by_sequence_whatever_the_clock_did(filled: Catalogue) -> None:
    rows = all_backups(filled)
    assert [row.id for row in rows] == [f"b{number:03}" for number in reversed(range(ROWS))]
    newest = filled.backups.newest()
    assert newest is not None
    assert newest.id == rows[0].id


def test_a_page_past_the_end_is_empty_and_still_counts(filled: Catalogue) -> None:
    page = filled.backups.list(Query(page=10**30))
    assert (list(page.items), page.total, page.page) == ([], ROWS, 10**30)


def test_totals_follow_every_change(filled: Catalogue, database: Database) -> None:
    some = Query((Condition("id", "lt", ("b010",)),))
    assert filled.backups.list(some).total == 10
    assert filled.backups.delete("b003")
    assert not filled.backups.delete("b003")
    assert (filled.backups.list(some).total, filled.backups.list(Query()).total) == (9, ROWS - 1)
    with database.write() as connection:
        driver_of(connection).execute("UPDATE backups SET id = 'z' WHERE id = 'b004'")
    assert filled.backups.list(some).total == 8


def test_totals_of_a_change_that_was_undone_are_as_before(filled: Catalogue, database: Database) -> None:
    def change() -> None:
        with database.write() as connection:
            driver_of(connection).execute("DELETE FROM backups")
            driver_of(connection).execute("INSERT INTO backups (id) VALUES ('x')")

    with pytest.raises(sqlite3.IntegrityError):
        change()
    assert filled.backups.list(Query()).total == ROWS


def test_a_process_comes_back_whole(filled: Catalogue) -> None:
    process = filled.processes.get(f"{3:032x}")
    assert isinstance(process, Process)
    assert (process.command_id, process.status, process.args) == (f"{3:032x}", "success", {"n": 3})
    backup = filled.backups.get("b003")
    assert backup is not None
    assert backup.process_id == process.id


def plan_of(database: Database, table: Repository[Any], query: Query) -> str:
    """Return how SQLite chooses the rows of a page: what it says of the statement that the list really runs."""
    statements: list[str] = []
    with database.read() as connection:
        driver_of(connection).set_trace_callback(statements.append)
    table.list(query)
    with database.read() as connection:
        driver_of(connection).set_trace_callback(None)
        [page] = [statement for statement in statements if "OUTER JOIN" in statement]
        chosen = page[page.index("FROM (SELECT") + 6 : page.index(") AS page")]
        return "\n".join(str(row[3]) for row in driver_of(connection).execute(f"EXPLAIN QUERY PLAN {chosen}"))


@pytest.mark.parametrize("resource", LISTINGS)
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_every_order_of_one_field_is_read_from_an_index(
    filled: Catalogue, database: Database, resource: str, direction: str
) -> None:
    listing = LISTINGS[resource]
    for order in ("", *(f"{field}|{direction}" for field in listing.order)):
        plan = plan_of(database, getattr(filled, resource), parse(listing, "", order, 1, 25))
        assert "TEMP B-TREE" not in plan, (order, plan)


SOME_ROWS: dict[str, dict[str, str]] = {
    "backups": {"from_backup_id": "b000", "schedule_id": "1", "process_id": "7", "id": "b001"},
    "restores": {
        "id": "1",
        "target": "folder",
        "target_path": "/x",
        "backup_id": "b000",
        "process_id": f"{ROWS + 1}",
    },
    "processes": {
        "id": "1",
        "command": "tool",
        "command_id": "0" * 32,
        "status": "success",
        "type": "backup",
    },
    "schedules": {
        "id": "1",
        "backup_type": "full",
        "frequency": "weekly",
        "day_of_week": "0",
        "day_of_month": "1",
        "hour": "3",
        "minute": "0",
        "interval_value": "1",
        "interval_unit": "hours",
        "enabled": "true",
        "created_at": "2026-01-01",
        "updated_at": "2026-02-01",
    },
    "clients": {"id": "1", "label": "one", "scopes": "*"},
}


@pytest.mark.parametrize("resource", LISTINGS)
def test_every_field_that_is_asked_for_alone_is_found_and_sorted_by_an_index(
    filled: Catalogue, database: Database, resource: str
) -> None:
    asked = [f"{field}|{value}" for field, value in SOME_ROWS[resource].items()]
    if "start_time" in LISTINGS[resource].query:
        asked += ["start_time|gte|2020-01-01", "start_time|lt|2030-01-01"]
    for query in asked:
        plan = plan_of(database, getattr(filled, resource), parse(LISTINGS[resource], query, "", 1, 25))
        assert "SEARCH" in plan, (query, plan)
        assert "TEMP B-TREE" not in plan, (query, plan)


def test_few_rows_among_many_are_sorted_instead_of_looked_for(
    catalogue: Catalogue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbcalm.repository.base._FEW", 5)
    fill(catalogue)
    few = parse(backups.LISTING, "id|lt|b004", "start_time|asc", 1, 25)
    many = parse(backups.LISTING, "id|lt|b200", "start_time|asc", 1, 25)
    assert "backups_start_time" not in plan_of(database, catalogue.backups, few)
    assert "backups_start_time" in plan_of(database, catalogue.backups, many)


def test_what_a_backup_has_of_its_schedule_is_looked_up_for_its_page_only(
    filled: Catalogue, database: Database
) -> None:
    kept = {
        backup.schedule_id: (backup.retention_value, backup.retention_unit) for backup in all_backups(filled)
    }
    assert kept == {None: (None, None), 1: (1, "days"), 2: (2, "days"), 3: (3, "days")}
    plan = plan_of(database, filled.backups, parse(backups.LISTING, "", "", 1, 25))
    assert "schedules" not in plan


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("enabled|true", [3, 1]),
        ("enabled|1", [3, 1]),
        ("enabled|false", [2]),
        ("enabled|ne|0", [3, 1]),
        ("minute|gte|1,day_of_week|lt|2", [2]),
        ("created_at|gt|2026-01-01", [3, 2]),
        ("interval_unit|isnotnull,frequency|in|weekly,daily", [3, 2, 1]),
    ],
)
def test_schedules_are_found_by_their_fields(filled: Catalogue, query: str, ids: list[int]) -> None:
    found = filled.schedules.list(parse(schedules.LISTING, query, "", 1, 25))
    assert sorted((one.id for one in found.items), reverse=True) == ids


def test_a_schedule_comes_back_whole(filled: Catalogue) -> None:
    assert filled.schedules.get(2) == replace(a_schedule(1), id=2)
    [found] = filled.schedules.list(parse(schedules.LISTING, "enabled|false", "", 1, 25)).items
    assert found.enabled is False


def test_processes_have_all_fields_that_can_be_asked_for() -> None:
    fields = set(Process.__dataclass_fields__)
    assert fields >= set(processes.LISTING.query) | set(processes.LISTING.order)
