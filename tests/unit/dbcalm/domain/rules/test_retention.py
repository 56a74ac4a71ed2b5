"""Retention: what each rule keeps, and that no rule ever breaks a chain or takes the last good ones."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbcalm.domain.rules import retention
from dbcalm.domain.rules.retention import Age, Chain, Hold, Point, Rules, Verdict, chains, judge, preview

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def point(id: str, days_ago: float, base: str | None = None, **more: object) -> Point:
    """Return a backup that ended so many days ago; the older, the lower its number."""
    seq = 1_000_000 - round(days_ago * 1000)
    plain = Point(id, base, seq, NOW - days_ago * DAY, None, 10)
    return replace(plain, **more)  # type: ignore[arg-type]


def going(
    points: list[Point], rules: Rules, ages: Mapping[int, Age] | None = None, now: datetime = NOW
) -> list[str]:
    """Return the chains that go, by their first backup."""
    return [one.chain.id for one in judge(points, rules, ages or {}, now, UTC) if not one.kept]


def verdict_on(
    points: list[Point], chain: str, rules: Rules, ages: Mapping[int, Age] | None = None
) -> Verdict:
    return next(one for one in judge(points, rules, ages or {}, NOW, UTC) if one.chain.id == chain)


def rules_of(verdict: Verdict) -> set[str]:
    return {reason.rule for reason in verdict.kept}


# A chain stays or goes as a whole


def test_chains_are_found_whatever_the_order_of_their_members() -> None:
    points = [point("c", 1, "b"), point("x", 2), point("b", 3, "a"), point("a", 4), point("d", 0.5, "a")]
    assert [[one.id for one in chain.points] for chain in chains(points)] == [["a", "b", "c", "d"], ["x"]]


def test_what_lacks_its_base_is_a_chain_that_cannot_be_restored() -> None:
    [lost] = chains([point("b", 3, "a"), point("c", 1, "b")])
    assert (lost.missing, lost.counts, list(lost.restorable())) == ("a", False, [])


def test_only_intact_backups_on_intact_ones_can_be_restored() -> None:
    [chain] = chains(
        [point("a", 4), point("b", 3, "a", intact=False), point("c", 2, "b"), point("d", 1, "a")]
    )
    assert [one.id for one in chain.restorable()] == ["a", "d"]


def test_a_chain_goes_when_its_newest_member_has_expired() -> None:
    old = [point("full", 20, schedule_id=1), point("inc", 8, "full", schedule_id=1)]
    newest = point("new", 0)
    assert going([*old, newest], Rules(), {1: Age(7, "days")}) == ["full"]
    assert going([*old, newest], Rules(), {1: Age(9, "days")}) == []


def test_the_longest_retention_of_its_schedules_counts() -> None:
    points = [point("full", 20, schedule_id=1), point("inc", 8, "full", schedule_id=2), point("new", 0)]
    assert going(points, Rules(), {1: Age(10, "days"), 2: Age(2, "days")}) == []
    assert going(points, Rules(), {1: Age(7, "days"), 2: Age(2, "days")}) == ["full"]
    # A schedule without retention, or one that was deleted, says nothing; another one's rule covers the chain.
    assert going(points, Rules(), {2: Age(2, "days")}) == ["full"]


def test_what_no_rule_covers_stays() -> None:
    points = [point("by-hand", 4000), point("gone-schedule", 3000, schedule_id=9), point("new", 0)]
    assert going(points, Rules(), {1: Age(1, "days")}) == []
    assert rules_of(verdict_on(points, "by-hand", Rules(), {1: Age(1, "days")})) == {"uncovered"}
    assert going(points, Rules(keep_last=1)) == ["by-hand", "gone-schedule"]


def test_age_and_choice_must_both_let_go() -> None:
    points = [point("a", 40, schedule_id=1), point("b", 20, schedule_id=1), point("c", 1, schedule_id=1)]
    assert going(points, Rules(), {1: Age(10, "days")}) == ["a", "b"]
    assert going(points, Rules(keep_monthly=2), {1: Age(10, "days")}) == ["b"]
    assert going(points, Rules(keep_last=1), {1: Age(30, "days")}) == ["a"]


@pytest.mark.parametrize(
    ("age", "expires"),
    [
        (Age(1, "days"), datetime(2026, 2, 1, 3, tzinfo=UTC)),
        (Age(2, "weeks"), datetime(2026, 2, 14, 3, tzinfo=UTC)),
        (Age(1, "months"), datetime(2026, 2, 28, 3, tzinfo=UTC)),
        (Age(11, "months"), datetime(2026, 12, 31, 3, tzinfo=UTC)),
        (Age(12, "months"), datetime(2027, 1, 31, 3, tzinfo=UTC)),
        (Age(25, "months"), datetime(2028, 2, 29, 3, tzinfo=UTC)),
        (Age(10**5, "months"), datetime.max.replace(tzinfo=UTC)),
        (Age(2**53 - 1, "months"), datetime.max.replace(tzinfo=UTC)),
        (Age(10**7, "weeks"), datetime.max.replace(tzinfo=UTC)),
        (Age(2**53 - 1, "days"), datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_months_are_those_of_the_calendar(age: Age, expires: datetime) -> None:
    assert age.after(datetime(2026, 1, 31, 3, tzinfo=UTC)) == expires


# The rules that choose


def test_keep_last_counts_backups() -> None:
    points = [point(name, days) for name, days in (("a", 4), ("b", 3), ("c", 2), ("d", 1))]
    assert going(points, Rules(keep_last=2)) == ["a", "b"]


def test_keep_daily_keeps_the_newest_of_each_day_that_has_one() -> None:
    points = [
        point("mon", 8),
        point("thu1", 5.2),
        point("thu2", 5.1),
        point("today1", 0.2),
        point("today2", 0.1),
    ]
    assert going(points, Rules(keep_daily=2)) == ["mon", "thu1", "today1"]
    assert going(points, Rules(keep_daily=3)) == ["thu1", "today1"]


def test_weeks_begin_on_monday_and_years_are_those_of_the_calendar() -> None:
    sunday, monday = datetime(2026, 11, 22, 12, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC)
    points = [replace(point("sunday", 2), at=sunday), replace(point("monday", 1), at=monday)]
    assert going(points, Rules(keep_weekly=2)) == []
    # 2027 begins within a week of 2026.
    points = [
        replace(point("old-year", 2), at=datetime(2026, 12, 31, 12, tzinfo=UTC)),
        replace(point("new-year", 1), at=datetime(2027, 1, 1, 12, tzinfo=UTC)),
    ]
    assert going(points, Rules(keep_weekly=2)) == ["old-year"]
    assert going(points, Rules(keep_yearly=2)) == []


def test_days_are_those_of_the_hosts_zone() -> None:
    late = replace(point("late", 2), at=datetime(2026, 11, 22, 22, 30, tzinfo=UTC))
    early = replace(point("early", 1), at=datetime(2026, 11, 22, 23, 30, tzinfo=UTC))

    def gone(zone: str) -> list[str]:
        verdicts = judge([late, early], Rules(keep_daily=5), {}, NOW, ZoneInfo(zone))
        return [one.chain.id for one in verdicts if not one.kept]

    assert gone("UTC") == ["late"]
    assert gone("Europe/Berlin") == []  # 23:30 on Sunday and 00:30 on Monday.


def test_a_chosen_backup_keeps_its_whole_chain() -> None:
    points = [point("full", 9), point("inc", 8, "full"), point("later", 7, "inc"), point("new", 1)]
    assert going(points, Rules(keep_last=2)) == []
    assert rules_of(verdict_on(points, "full", Rules(keep_last=2))) == {"keep_last"}


def test_a_backup_that_cannot_be_restored_is_never_one_that_is_kept() -> None:
    points = [point("good", 3), point("bad", 2, intact=False), point("orphan", 1, "lost")]
    assert going(points, Rules(keep_last=1)) == ["bad", "orphan"]
    assert rules_of(verdict_on(points, "good", Rules(keep_last=1))) == {"keep_last", "min_full_chains"}


# What always holds


def test_the_newest_whole_chains_stay() -> None:
    points = [point(name, days, schedule_id=1) for name, days in (("a", 90), ("b", 80), ("c", 70))]
    points.append(point("damaged", 60, schedule_id=1, intact=False))
    assert going(points, Rules(), {1: Age(1, "days")}) == ["a", "b", "damaged"]
    assert going(points, Rules(min_full_chains=2), {1: Age(1, "days")}) == ["a", "damaged"]
    assert going(points, Rules(min_full_chains=9), {1: Age(1, "days")}) == []


def test_where_too_few_are_whole_the_newest_others_stay_too() -> None:
    bad = [point(name, days, schedule_id=1, intact=False) for name, days in (("a", 90), ("b", 80), ("c", 70))]
    ages = {1: Age(1, "days")}
    assert going(bad, Rules(), ages) == ["a", "b"]
    assert going(bad, Rules(min_full_chains=2), ages) == ["a"]
    assert going([*bad, point("good", 85, schedule_id=1)], Rules(), ages) == ["a", "b", "c"]
    assert going([*bad, point("good", 85, schedule_id=1)], Rules(min_full_chains=2), ages) == ["a", "b"]
    assert going([*bad, point("orphan", 1, "lost", schedule_id=1)], Rules(), ages) == ["a", "b", "orphan"]
    [reason] = verdict_on(bad, "c", Rules(), ages).kept
    assert reason.sentence == "one of the newest 1 chains, as too few are without a fault"


def test_a_rule_chooses_what_has_a_fault_only_where_nothing_else_takes_the_place() -> None:
    """A fault that every verification finds is the server's own now and then, and must not empty the shelf."""
    bad = [point(f"d{days}", days, intact=False) for days in (5, 4, 3, 2)]
    assert going(bad, Rules(keep_last=2)) == ["d5", "d4"]
    assert going([point("old", 90), *bad], Rules(keep_daily=3)) == ["d5", "d4"]
    whole = [point("today", 0.1), point("d2-too", 2.01)]
    assert going([*bad, *whole], Rules(keep_daily=2)) == ["d5", "d4", "d3", "d2"]
    assert going([*bad, *whole], Rules(keep_daily=3)) == ["d5", "d4", "d2"]


def test_a_hold_keeps_the_whole_chain_until_it_ends() -> None:
    held = Hold("audit", NOW + DAY)
    points = [point("full", 90, schedule_id=1), point("inc", 80, "full", schedule_id=1), point("new", 0)]
    ages = {1: Age(1, "days")}
    for place in (0, 1):
        kept = [replace(one, hold=held) if number == place else one for number, one in enumerate(points)]
        assert going(kept, Rules(), ages) == []
        [reason] = verdict_on(kept, "full", Rules(), ages).kept
        assert (reason.rule, reason.until) == ("hold", NOW + DAY)
        assert reason.sentence.endswith("is held: audit")
        assert going(kept, Rules(), ages, NOW + 2 * DAY) == ["full"]
    for_good = [replace(points[0], hold=Hold("law", None)), *points[1:]]
    assert going(for_good, Rules(), ages, NOW + 9000 * DAY) == []


def test_nothing_younger_than_min_age_goes() -> None:
    points = [point("a", 5), point("b", 3), point("c", 1)]
    assert going(points, Rules(keep_last=1, min_age=4 * DAY)) == ["a"]
    assert going(points, Rules(keep_last=1)) == ["a", "b"]


def test_a_min_age_beyond_the_calendar_keeps_everything() -> None:
    points, rules = [point("a", 5), point("b", 3)], Rules(keep_last=1, min_age=timedelta(weeks=999_999))
    assert going(points, rules) == []
    assert preview(points, rules, {}, NOW, UTC, 2).removals == []


def test_every_verdict_says_why() -> None:
    points = [point("a", 50, schedule_id=3), point("b", 2, schedule_id=3), point("c", 1, schedule_id=3)]
    ages = {3: Age(1, "weeks")}
    assert verdict_on(points, "a", Rules(keep_last=1), ages).why == (
        "its newest backup a has expired: schedule 3 keeps it for 1 week only and keep_last chose none of its backups"
    )
    [reason] = verdict_on(points, "b", Rules(keep_last=1), ages).kept
    assert (reason.rule, reason.sentence) == ("age", "schedule 3 keeps it for 1 week after b")
    assert reason.until == NOW + 5 * DAY


# Looking ahead


def test_a_preview_says_what_goes_when_and_when_it_becomes_too_little() -> None:
    points = [point(f"d{days}", days, schedule_id=1) for days in (3, 2, 1, 0)]
    found = preview(points, Rules(keep_last=0), {1: Age(5, "days")}, NOW, UTC, 30, asked=3)
    assert [(one.chain.id, (one.on - NOW).days) for one in found.removals] == [
        ("d3", 2),
        ("d2", 3),
        ("d1", 4),
    ]
    assert [((day - NOW).days, count) for day, count in found.points] == [(0, 4), (2, 3), (3, 2), (4, 1)]
    assert found.first_short == NOW + 3 * DAY
    assert {one.chain.id for one in found.kept} == {"d0", "d1", "d2", "d3"}


def test_a_preview_asks_for_what_the_rules_ask_for() -> None:
    points = [point("a", 3), point("b", 2)]
    found = preview(points, Rules(keep_daily=7), {}, NOW, UTC, 3)
    assert (found.asked, found.first_short) == (7, NOW)
    assert preview(points, Rules(), {}, NOW, UTC, 3).first_short is None


def test_a_hold_that_ends_is_seen_ahead() -> None:
    points = [point("a", 30, schedule_id=1, hold=Hold("audit", NOW + 4 * DAY)), point("b", 0)]
    [removal] = preview(points, Rules(), {1: Age(1, "days")}, NOW, UTC, 10).removals
    assert (removal.chain.id, removal.on) == ("a", NOW + 4 * DAY)


# Whatever there is


@st.composite
def forests(draw: st.DrawFn) -> list[Point]:
    """Draw backups of some chains: damaged, held, without their base, of schedules or not, with a clock that jumps."""
    points: list[Point] = []
    for seq in range(1, draw(st.integers(1, 14)) + 1):
        base = draw(st.sampled_from([None, None, *(one.id for one in points), "lost"]))
        hold = draw(
            st.none() | st.none() | st.builds(Hold, st.just("why"), st.none() | st.just(NOW + 3 * DAY))
        )
        hours_ago = draw(st.integers(-48, 24 * 900))
        points.append(
            Point(
                f"p{seq}",
                base,
                seq,
                NOW - timedelta(hours=hours_ago),
                draw(st.none() | st.integers(1, 3)),
                seq,
                hold,
                draw(st.sampled_from([True, True, True, False])),
            )
        )
    return points


RULES = st.builds(
    Rules,
    min_full_chains=st.integers(1, 3),
    min_age=st.sampled_from([timedelta(0), DAY, 40 * DAY]),
    keep_last=st.integers(0, 3),
    keep_daily=st.integers(0, 3),
    keep_weekly=st.integers(0, 2),
    keep_monthly=st.integers(0, 2),
    keep_yearly=st.integers(0, 2),
)
AGES = st.dictionaries(
    st.integers(1, 3),
    st.builds(Age, st.integers(1, 20), st.sampled_from(["days", "weeks", "months"])),
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(forests(), RULES, AGES)
def test_a_preview_is_what_a_clean_up_a_day_would_do(
    points: list[Point], rules: Rules, ages: dict[int, Age]
) -> None:
    left, expected = points, []
    for day in range(61):
        moment = NOW + day * DAY
        gone = [one for one in judge(left, rules, ages, moment, UTC) if not one.kept]
        expected += [(one.chain.id, moment) for one in gone]
        ids = {one.id for verdict in gone for one in verdict.chain.points}
        left = [one for one in left if one.id not in ids]
    found = preview(points, rules, ages, NOW, UTC, 60)
    assert [(one.chain.id, one.on) for one in found.removals] == expected


def test_a_preview_of_years_judges_only_the_days_on_which_something_can_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[datetime] = []

    def counted(*given: Any) -> list[Verdict]:
        judged.append(given[3])
        return judge(*given)

    monkeypatch.setattr(retention, "judge", counted)
    points = [point("a", 3, schedule_id=1), point("b", 2)]
    [removal] = preview(points, Rules(), {1: Age(2000, "days")}, NOW, UTC, 3660).removals
    assert removal.on == NOW + 1997 * DAY
    assert len(judged) == 4  # Today, that day, the day after it, and today again for the reasons.


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(forests(), RULES, AGES)
def test_whatever_there_is_no_chain_is_broken_and_the_last_good_ones_stay(
    points: list[Point], rules: Rules, ages: dict[int, Age]
) -> None:
    verdicts = judge(points, rules, ages, NOW, UTC)
    assert sorted(one.id for verdict in verdicts for one in verdict.chain.points) == sorted(
        one.id for one in points
    )
    left = [one for verdict in verdicts if verdict.kept for one in verdict.chain.points]
    ids = {one.id for one in left}
    there = {one.id for one in points}
    for one in left:
        assert one.base is None or one.base in ids or one.base not in there
    good = [verdict for verdict in verdicts if verdict.chain.counts]
    assert sum(1 for one in good if one.kept) >= min(rules.min_full_chains, len(good))
    assert all(one.kept for one in good[-rules.min_full_chains :])
    faulty = [one for one in verdicts if one.chain.missing is None and not one.chain.counts]
    missing = max(0, rules.min_full_chains - len(good))
    assert all(one.kept for one in faulty[max(0, len(faulty) - missing) :])
    for verdict in verdicts:
        if not verdict.kept:
            assert_nothing_keeps(verdict.chain, rules, ages, ids)
            assert verdict.why
    assert all(verdict.kept for verdict in judge(left, rules, ages, NOW, UTC)), (
        "a second clean-up would delete more"
    )


def assert_nothing_keeps(chain: Chain, rules: Rules, ages: dict[int, Age], ids: set[str]) -> None:
    """Check a chain that goes, from the rules' words once more."""
    newest = max(chain.points, key=lambda one: one.seq)
    assert not any(one.hold and (one.hold.until is None or one.hold.until > NOW) for one in chain.points)
    assert NOW - newest.at >= rules.min_age or rules.min_age == timedelta(0)
    covering = [ages[one.schedule_id] for one in chain.points if one.schedule_id in ages]
    assert covering or rules.choosing
    for age in covering:
        assert age.after(newest.at) <= NOW


FORMATS = {"keep_daily": "%Y-%j", "keep_weekly": "%G-%V", "keep_monthly": "%Y-%m", "keep_yearly": "%Y"}


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.integers(0, 24 * 800), min_size=1, max_size=30),
    st.sampled_from(sorted(FORMATS)),
    st.integers(1, 6),
)
def test_a_period_is_kept_by_its_newest_backup(hours: list[int], rule: str, wanted: int) -> None:
    """Full backups only, so that each stands for itself: walk back through time and cross periods off a list."""
    points = [
        Point(f"p{number}", None, number, NOW - timedelta(hours=ago), None, 1)
        for number, ago in enumerate(sorted(hours, reverse=True), 1)
    ]
    expected: dict[str, str] = {}
    for one in reversed(points):
        if len(expected) < wanted:
            expected.setdefault(one.at.strftime(FORMATS[rule]), one.id)
    kept = {one.id for one in points} - set(going(points, Rules(**{rule: wanted})))
    assert kept == set(expected.values())
