"""The grammar of ``query`` and ``order``."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbcalm.domain.model.listing import (
    COMPARISONS,
    INTEGER,
    TEXT,
    TIME,
    Condition,
    Listing,
    Order,
    Page,
    parse,
)
from dbcalm.domain.services import backups, processes, restores
from dbcalm.domain.services.access import clients
from dbcalm.errors import InvalidQuery

LISTING = Listing(query={"name": TEXT, "number": INTEGER, "time": TIME}, order=("name", "time"))


def conditions(query: str) -> tuple[Condition, ...]:
    return parse(LISTING, query, "", 1, 25).conditions


def orders(order: str) -> tuple[Order, ...]:
    return parse(LISTING, "", order, 1, 25).order


@pytest.mark.parametrize("empty", ["", None])
def test_nothing_asked_is_everything_newest_first(empty: str | None) -> None:
    query = parse(LISTING, empty, empty, 3, 10)
    assert (query.conditions, query.order, query.page, query.per_page) == ((), (), 3, 10)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name|x", Condition("name", "eq", ("x",))),
        ("name|eq|x", Condition("name", "eq", ("x",))),
        ("name|", Condition("name", "eq", ("",))),
        ("name|isnull", Condition("name", "isnull", ())),
        ("name|isnotnull", Condition("name", "isnotnull", ())),
        ("name|eq|isnull", Condition("name", "eq", ("isnull",))),
        ("number|ne|-7", Condition("number", "ne", (-7,))),
        ("number|in|1", Condition("number", "in", (1,))),
        ("number|nin|1,2,3", Condition("number", "nin", (1, 2, 3))),
    ],
)
def test_one_condition(query: str, expected: Condition) -> None:
    assert conditions(query) == (expected,)


def test_a_piece_without_a_bar_belongs_to_the_list_before_it() -> None:
    assert conditions("number|in|1,2,3,time|gte|2026-01-01T00:00,name|nin|a,b") == (
        Condition("number", "in", (1, 2, 3)),
        Condition("time", "gte", ("2026-01-01T00:00:00.000000Z",)),
        Condition("name", "nin", ("a", "b")),
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31T10:00", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31 10:00", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31T10:00:05Z", "2026-01-31T10:00:05.000000Z"),
        ("2026-01-31T10:00:05.25+02:00", "2026-01-31T08:00:05.250000Z"),
        ("2026-01-31T10:00 02:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T10:00:00.5 0200", "2026-01-31T08:00:00.500000Z"),
        ("2026-01-31T10:00-02:00", "2026-01-31T12:00:00.000000Z"),
        ("0999-01-31T10:00", "0999-01-31T10:00:00.000000Z"),
    ],
)
def test_times_are_normalised_and_naive_ones_are_utc(given: str, meant: str) -> None:
    assert conditions(f"time|lt|{given}")[0].values == (meant,)


@pytest.mark.parametrize(
    "query", ["time|x", "time|gt|0001-01-01T00:00+10:00", "number|1.0", "number|", "number|in|1,", "number|١"]
)
def test_a_value_of_the_wrong_kind_is_refused_with_what_it_must_be(query: str) -> None:
    with pytest.raises(InvalidQuery, match=r"in the query must be (an integer|a time)"):
        conditions(query)


def test_an_integer_that_sqlite_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidQuery):
        conditions("number|" + "9" * 19)


@pytest.mark.parametrize("query", ["x", ",", "name|x,", "name|eq|x,y", "name|a|b|c", "name|eq|a|b", "in|"])
def test_unknown_forms_are_refused(query: str) -> None:
    with pytest.raises(InvalidQuery):
        conditions(query)


def test_the_refusal_names_the_valid_fields() -> None:
    with pytest.raises(InvalidQuery, match="unknown field 'colour'.* valid are name, number, time"):
        conditions("colour|red")
    with pytest.raises(InvalidQuery, match="unknown field 'number'.* valid are name, time"):
        orders("number|asc")


def test_the_refusal_names_the_valid_operators() -> None:
    with pytest.raises(InvalidQuery, match="'like'") as refused:
        conditions("name|like|x")
    assert all(operator in str(refused.value) for operator in (*COMPARISONS, "isnull", "isnotnull"))


@pytest.mark.parametrize("order", ["name", "name|up", "name|", "name|asc|x", ",", "name|asc,"])
def test_unknown_orders_are_refused(order: str) -> None:
    with pytest.raises(InvalidQuery):
        orders(order)


def test_orders_are_kept_in_their_order() -> None:
    assert orders("time|desc,name|asc") == (Order("time", True), Order("name", False))


def test_a_span_of_time_is_ordered_by_that_time_unless_told_otherwise() -> None:
    assert parse(LISTING, "name|x,time|gt|2026-01-01", "", 1, 25).order == (Order("time", True),)
    assert parse(LISTING, "time|gt|2026-01-01", "name|asc", 1, 25).order == (Order("name", False),)
    assert parse(LISTING, "time|2026-01-01,number|gt|1", "", 1, 25).order == ()


def test_a_query_without_end_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="501 pieces"):
        conditions("number|in|" + ",".join(["1"] * 501))


def test_what_is_shown_of_a_long_query_is_short() -> None:
    with pytest.raises(InvalidQuery) as refused:
        conditions("x" * 10_000)
    assert len(str(refused.value)) < 300


def test_the_fields_are_those_of_the_contract() -> None:
    assert list(backups.LISTING.query) == [
        "id", "from_backup_id", "schedule_id", "start_time", "end_time", "process_id", "proof_level",
        "proof_at", "suspect",
    ]  # fmt: skip
    assert backups.LISTING.order == ("id", "start_time", "end_time")
    assert list(restores.LISTING.query) == [
        "id", "start_time", "end_time", "target", "target_path", "backup_id", "backup_timestamp", "process_id",
    ]  # fmt: skip
    assert restores.LISTING.order == ("id", "start_time", "end_time", "backup_id")
    assert list(processes.LISTING.query) == [
        "id", "command", "command_id", "pid", "status", "return_code", "start_time", "end_time", "type",
    ]  # fmt: skip
    assert processes.LISTING.order == ("id", "start_time", "end_time", "status")
    assert list(clients.LISTING.query) == ["id", "label", "scopes"]
    assert clients.LISTING.order == ("id", "label")


_WORDS = st.text(string.ascii_letters + string.digits + " .:-", max_size=8)
_ONE = st.tuples(st.just("name"), st.sampled_from(COMPARISONS), st.lists(_WORDS, min_size=1, max_size=4))


@given(st.lists(_ONE, min_size=1, max_size=5))
def test_what_is_written_is_read_back(asked: list[tuple[str, str, list[str]]]) -> None:
    expected = [
        Condition(field, op, tuple(values) if op in ("in", "nin") else (values[0],))
        for field, op, values in asked
    ]
    query = ",".join(f"{one.field}|{one.op}|{','.join(map(str, one.values))}" for one in expected)
    assert conditions(query) == tuple(expected)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (conditions, orders):
        try:
            read(text)
        except InvalidQuery as refused:
            assert "\n" not in str(refused)


@pytest.mark.parametrize(("total", "pages"), [(0, 0), (1, 1), (25, 1), (26, 2)])
def test_pages_are_counted(total: int, pages: int) -> None:
    assert Page([], total, 1, 25).total_pages == pages
