"""Retention: which chains of backups go, and why each of the others stays. Facts in, verdicts out; nothing is asked.

A chain, a full backup with all that builds on it, stays or goes as a whole, whichever schedules made its members. It
goes when every rule that covers it lets it go. What no rule covers stays.

The rules are those of the tools that people know (restic's ``forget --keep-*``, borgmatic's ``keep_*``): ``keep_daily:
7`` keeps the newest backup of each of the last seven days that have one. A schedule's own retention counts from the
newest backup of the chain. Days, weeks, months and years are those of the host's time zone.

What has a fault takes the place of nothing that has none. Where too little without a fault is left, the newest with one
count: what was found may be the server's own, and they may be all that there is.
"""

import calendar
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from dbcalm_mariadb_cmd.command.last_chains import last_chains

_NEVER = datetime.max.replace(tzinfo=UTC)


def _later(at: datetime, span: timedelta) -> datetime:
    """Return what is so much later, or the last time that there is."""
    try:
        return at + span
    except OverflowError:
        return _NEVER


@dataclass(frozen=True)
class Hold:
    """Somebody's word that a backup has to stay, until a time or for good."""

    reason: str
    until: datetime | None


@dataclass(frozen=True)
class Point:
    """A backup, as retention sees it. ``at`` is when it ended, which is the moment whose data it holds; ``intact`` is
    False where files of it are missing or have another size, or where a verification found fault with it."""

    id: str
    base: str | None
    seq: int
    at: datetime
    schedule_id: int | None
    size: int
    hold: Hold | None = None
    intact: bool = True


@dataclass(frozen=True)
class Age:
    """How long a schedule keeps what it has made."""

    value: int
    unit: str

    def after(self, at: datetime) -> datetime:
        """Return when what ended at this time has expired; a month is one of the calendar."""
        try:
            if self.unit != "months":
                return _later(at, timedelta(**{self.unit: self.value}))
            month = at.month - 1 + self.value
            year, month = at.year + month // 12, month % 12 + 1
            return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))
        except (OverflowError, ValueError):  # Longer than the calendar goes.
            return _NEVER

    def __str__(self) -> str:
        return f"{self.value} {self.unit if self.value > 1 else self.unit.removesuffix('s')}"


@dataclass(frozen=True)
class Rules:
    """What the configuration says of all backups; 0 is no such rule."""

    min_full_chains: int = 1
    min_age: timedelta = timedelta(0)
    keep_last: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0

    @property
    def choosing(self) -> Mapping[str, int]:
        """The rules that choose backups, with how many each wants."""
        return {name: getattr(self, name) for name in _PERIODS if getattr(self, name)}

    @property
    def asked(self) -> int:
        """The number of restorable points that the rules ask for."""
        return max(self.min_full_chains, *self.choosing.values(), 0)


_PERIODS: Mapping[str, Callable[[Point, datetime], str]] = {
    "keep_last": lambda point, _local: point.id,
    "keep_daily": lambda _point, local: f"{local:%Y-%m-%d}",
    "keep_weekly": lambda _point, local: f"{local:%G-W%V}",
    "keep_monthly": lambda _point, local: f"{local:%Y-%m}",
    "keep_yearly": lambda _point, local: f"{local:%Y}",
}
"""For each rule the name of the period that a backup belongs to: the rule keeps one of each period."""


@dataclass(frozen=True)
class Chain:
    """Backups that stay or go together, in the order in which they were made. Where the first one builds on something
    that is not there, ``missing`` names it, and none of them can be restored."""

    points: tuple[Point, ...]

    @property
    def id(self) -> str:
        """The id of its first backup, its name."""
        return self.points[0].id

    @property
    def missing(self) -> str | None:
        """What the first backup builds on and lacks."""
        return self.points[0].base

    @property
    def newest(self) -> Point:
        """The backup that was made last."""
        return self.points[-1]

    @property
    def counts(self) -> bool:
        """Whether it can be restored at all, and so counts as a chain that is kept."""
        return self.missing is None and self.points[0].intact

    def restorable(self) -> Iterator[Point]:
        """Yield the backups that can be restored: intact ones on intact ones."""
        good: set[str | None] = {None}
        for point in self.points:
            if point.intact and point.base in good:
                good.add(point.id)
                yield point


@dataclass(frozen=True)
class Reason:
    """Why a chain stays: the rule's name, a sentence, and until when that holds, None where it depends on others."""

    rule: str
    sentence: str
    until: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of a chain: it goes where nothing keeps it. ``why`` says why it may go."""

    chain: Chain
    kept: tuple[Reason, ...]
    why: str


def chains(points: Iterable[Point]) -> list[Chain]:
    """Return the chains that these backups form, the oldest first."""
    members: dict[str, list[Point]] = {}
    root_of: dict[str, str] = {}
    for point in sorted(points, key=lambda point: point.seq):  # A base comes before what builds on it.
        root = root_of[point.id] = root_of.get(point.base or "", point.id)
        members.setdefault(root, []).append(point)
    return [Chain(tuple(found)) for found in members.values()]


def judge(
    points: Iterable[Point], rules: Rules, ages: Mapping[int, Age], now: datetime, zone: tzinfo
) -> list[Verdict]:
    """Return the verdict on every chain at this moment, the oldest first.

    ``ages`` are the retentions of schedules by their number.
    """
    found = chains(points)
    chosen = _chosen(_best_first(found), rules, zone)
    complete = [chain for chain in reversed(found) if chain.missing is None]
    last = {chain.id for chain in last_chains(complete, lambda chain: chain.counts, rules.min_full_chains)}
    verdicts = []
    for chain in found:
        kept = [*_held(chain, now), *_aged(chain, rules, ages, now)]
        kept += [reason for point in chain.points for reason in chosen.get(point.id, ())]
        if chain.id in last:
            whole = "whole chains" if chain.counts else "chains, as too few are without a fault"
            kept.append(Reason("min_full_chains", f"one of the newest {rules.min_full_chains} {whole}"))
        verdicts.append(Verdict(chain, tuple(kept), _why(chain, rules, ages)))
    return verdicts


def _best_first(found: Iterable[Chain]) -> list[Point]:
    """Return what can be restored, the newest first, and then what has a fault or builds on that."""
    points = {point.id: point for chain in found if chain.missing is None for point in chain.points}
    restorable = {point.id for chain in found for point in chain.restorable()}
    return sorted(points.values(), key=lambda point: (point.id not in restorable, -point.seq))


def _chosen(best_first: Sequence[Point], rules: Rules, zone: tzinfo) -> dict[str, list[Reason]]:
    """Return the reasons of the rules that choose backups, by the backup's id. What comes later never takes the place
    of what comes first."""
    chosen: dict[str, list[Reason]] = {}
    for rule, wanted in rules.choosing.items():
        periods: set[str] = set()
        for point in best_first:
            period = _PERIODS[rule](point, point.at.astimezone(zone))
            if len(periods) < wanted and period not in periods:
                periods.add(period)
                what = f"among the newest {wanted}" if rule == "keep_last" else f"the newest of {period}"
                chosen.setdefault(point.id, []).append(Reason(rule, f"{point.id} is {what}"))
    return chosen


def _held(chain: Chain, now: datetime) -> Iterator[Reason]:
    for point in chain.points:
        if point.hold and (point.hold.until is None or point.hold.until > now):
            yield Reason("hold", f"{point.id} is held: {point.hold.reason}", point.hold.until)


def _aged(chain: Chain, rules: Rules, ages: Mapping[int, Age], now: datetime) -> Iterator[Reason]:
    """Yield the reasons that pass with time, and the one of a chain that no rule covers."""
    for number, age in _covering(chain, ages):
        if (until := age.after(chain.newest.at)) > now:
            yield Reason("age", f"schedule {number} keeps it for {age} after {chain.newest.id}", until)
    if rules.min_age and (until := _later(chain.newest.at, rules.min_age)) > now:
        yield Reason("min_age", f"{chain.newest.id} is younger than min_age", until)
    if not rules.choosing and not _covering(chain, ages):
        yield Reason("uncovered", "no rule covers it")


def _covering(chain: Chain, ages: Mapping[int, Age]) -> list[tuple[int, Age]]:
    """Return the schedules whose retention covers a chain: those that made one of its backups."""
    numbers = sorted({point.schedule_id for point in chain.points if point.schedule_id is not None})
    return [(number, ages[number]) for number in numbers if number in ages]


def _why(chain: Chain, rules: Rules, ages: Mapping[int, Age]) -> str:
    parts = [f"schedule {number} keeps it for {age} only" for number, age in _covering(chain, ages)]
    if rules.choosing:
        parts.append(f"{', '.join(rules.choosing)} chose none of its backups")
    return f"its newest backup {chain.newest.id} has expired: " + " and ".join(parts)


@dataclass(frozen=True)
class Removal:
    """A chain that will go, on the day on which it does."""

    chain: Chain
    on: datetime
    why: str


@dataclass(frozen=True)
class Preview:
    """What clean-up would do from now on if nothing new were made. ``points`` has the number of restorable points for
    each day on which it changes, the first day included; ``first_short`` is the first day with fewer than ``asked``."""

    removals: Sequence[Removal]
    kept: Sequence[Verdict]
    points: Sequence[tuple[datetime, int]]
    asked: int
    first_short: datetime | None


def _days_unchanged(verdicts: Iterable[Verdict], moment: datetime, most: int) -> int:
    """Return after how many days the next of the reasons for which chains stay has passed: nothing goes before."""
    ends = [reason.until for verdict in verdicts for reason in verdict.kept if reason.until is not None]
    return max(1, -((moment - min(ends)) // timedelta(days=1))) if ends else most


def preview(
    points: Sequence[Point],
    rules: Rules,
    ages: Mapping[int, Age],
    now: datetime,
    zone: tzinfo,
    days: int,
    asked: int | None = None,
) -> Preview:
    """Return what a clean-up a day would do, today and on each of the next days."""
    left, day = list(points), 0
    removals: list[Removal] = []
    counts: list[tuple[datetime, int]] = []
    while day <= days:
        moment = now + timedelta(days=day)
        verdicts = judge(left, rules, ages, moment, zone)
        going = [verdict for verdict in verdicts if not verdict.kept]
        gone = {point.id for verdict in going for point in verdict.chain.points}
        left = [point for point in left if point.id not in gone]
        removals += [Removal(verdict.chain, moment, verdict.why) for verdict in going]
        count = sum(1 for chain in chains(left) for _ in chain.restorable())
        if not counts or counts[-1][1] != count:
            counts.append((moment, count))
        day += 1 if going else _days_unchanged(verdicts, moment, days + 1)
    wanted = rules.asked if asked is None else asked
    short = next((moment for moment, count in counts if count < wanted), None)
    kept = [verdict for verdict in judge(points, rules, ages, now, zone) if verdict.kept]
    return Preview(removals, kept, counts, wanted, short)
