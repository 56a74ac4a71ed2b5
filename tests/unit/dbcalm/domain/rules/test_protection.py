"""Protection in numbers: what counts as restorable, what is proven, how long a restore takes, and what to do."""

import pytest
from fastapi.testclient import TestClient

from dbcalm.domain.rules.protection import Habits, Point, Protection, measure

NOW = 1_000_000_000.0
HOUR = 3600.0
GOOD = Habits(makes=True, verifies=True, is_kept_warm=True)


def point(id: str, seq: int, hours_ago: float, base: str | None = None, **more: object) -> Point:
    facts = {"data_size": 100, "proof_level": 0, "restore_seconds": None, "suspect": False, **more}
    return Point(id=id, base=base, seq=seq, at=NOW - hours_ago * HOUR, **facts)  # type: ignore[arg-type]  # as named


def found(*points: Point, habits: Habits = GOOD) -> Protection:
    return measure(points, habits, NOW)


def test_nothing_protects_by_itself() -> None:
    none = found()
    assert (none.chain, none.recovery_point_seconds, none.recovery_seconds) == ([], None, None)
    assert none.points == {"day": 0, "week": 0, "month": 0}
    assert none.improve == ("make a full backup: dbcalm backup full",)


def test_what_a_server_has_looked_at_since_has_not_inherited_a_fault() -> None:
    now = found(
        point("full", 1, 100, suspect=True),
        point("unproven", 2, 20, "full", proof_level=2),
        point("proven", 3, 10, "unproven", proof_level=3, restore_seconds=5.0),
        point("on it", 4, 5, "proven"),
        point("lost", 5, 1, "gone", proof_level=3),
    )
    assert now.chain == ["full", "unproven", "proven", "on it"]
    assert now.points["week"] == 2


def test_the_newest_that_can_be_restored_counts() -> None:
    now = found(
        point("old", 1, 800),
        point("full", 2, 100, proof_level=3, restore_seconds=5.0),
        point("inc", 3, 20, "full", proof_level=1),
        point("bad", 4, 2, "inc", suspect=True),
        point("above", 5, 1, "bad"),
        point("orphan", 6, 0.5, "nowhere"),
    )
    assert now.chain == ["full", "inc"]
    assert now.recovery_point_seconds == 20 * HOUR
    assert (now.proven, now.proven_point_seconds) == ("full", 100 * HOUR)
    assert now.points == {"day": 1, "week": 2, "month": 2}
    assert (now.recovery_seconds, now.measured_by) == (10.0, "full")
    assert now.improve == ()


def test_a_base_is_one_by_number_whatever_the_order() -> None:
    now = found(point("inc", 2, 1, "full"), point("full", 1, 2))
    assert now.chain == ["full", "inc"]


@pytest.mark.parametrize(
    ("points", "habits", "words"),
    [
        ([point("a", 1, 1)], Habits(False, True, True), "let a schedule make backups"),
        ([point("a", 1, 30)], GOOD, "make backups more often"),
        ([point("a", 1, 1, proof_level=1)], GOOD, "prove that the newest backup comes back"),
        ([point("a", 1, 300, proof_level=3), point("b", 2, 1)], GOOD, "prove a newer backup"),
        ([point("a", 1, 1)], Habits(True, False, True), "let a schedule verify"),
        ([point("a", 1, 1)], GOOD, "make a second full backup"),
        (
            [point("0", 1, 1), *(point(str(n), n + 1, 1, str(n - 1)) for n in range(1, 16))],
            GOOD,
            "shorten the chain of 16 backups",
        ),
        (
            [point("a", 1, 1, restore_seconds=61.0, proof_level=3)],
            Habits(True, True, False),
            "keep the newest chain prepared",
        ),
    ],
)
def test_what_would_make_it_better_is_said(points: list[Point], habits: Habits, words: str) -> None:
    assert any(advice.startswith(words) for advice in found(*points, habits=habits).improve)


def test_the_numbers_are_told_over_http(api: TestClient) -> None:
    alone = api.get("/protection")
    assert alone.status_code == 200
    assert alone.json() == api.get("/ready").json()["protection"]
    assert set(alone.json()["restorable_points"]) == {"day", "week", "month"}
