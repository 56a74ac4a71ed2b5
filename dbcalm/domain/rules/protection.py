"""How well the data is protected, in numbers that somebody can act on: how much would be lost, and how long it takes.

Facts in, numbers out; nothing is asked. A backup counts that can be restored as far as is known: neither it nor what it
builds on is missing or suspect. It is *proven* if it was brought back for real (level 2 or 3).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from dbcalm.domain.model.advice import ADD_FULL, ADD_INCREMENTAL, ADD_VERIFY, MAKE_FULL

PROVEN = 2
"""The lowest level of proof for which a backup was brought back."""

_RUNS = 3
"""The level of proof at which a server has looked at every table."""

SPANS: Mapping[str, timedelta] = {
    "day": timedelta(hours=24),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
_OFTEN_ENOUGH = timedelta(hours=24)
_PROVEN_LATELY = timedelta(days=8)
_LONG_CHAIN = 15
_LONG_RESTORE = 60.0


@dataclass(frozen=True)
class Point:
    """A backup, as protection sees it. ``at`` is when it ended, in seconds since 1970; ``restore_seconds`` how long it
    took to bring its chain back, if that was done."""

    id: str
    base: str | None
    seq: int
    at: float
    data_size: int
    proof_level: int
    restore_seconds: float | None
    suspect: bool


@dataclass(frozen=True)
class Protection:
    """``chain`` is what a restore would use now, the full backup first. Ages and ``recovery_seconds`` are None where
    they are not known; the latter was measured by bringing back ``measured_by``, and is scaled to the chain's size.
    ``points`` counts the restorable backups of each span; ``improve`` has what would make any of it better."""

    chain: Sequence[str]
    recovery_point_seconds: float | None
    proven_point_seconds: float | None
    proven: str | None
    recovery_seconds: float | None
    measured_by: str | None
    points: Mapping[str, int]
    improve: Sequence[str]


@dataclass(frozen=True)
class Habits:
    """What is set up: whether any schedule makes backups, whether any verifies, and whether the newest chain is kept
    prepared (None where nobody knows)."""

    makes: bool
    verifies: bool
    is_kept_warm: bool | None


def measure(points: Sequence[Point], habits: Habits, now: float) -> Protection:
    """Return how well these backups protect."""
    chains = _restorable(points)
    newest_first = sorted((chain[-1] for chain in chains.values()), key=lambda point: -point.seq)
    newest = newest_first[0] if newest_first else None
    proven = next((point for point in newest_first if point.proof_level >= PROVEN), None)
    measured = next((point for point in newest_first if point.restore_seconds is not None), None)
    chain = chains[newest.id] if newest else ()
    takes = None
    if measured is not None and measured.restore_seconds is not None:
        takes = measured.restore_seconds * _bytes(chain) / max(1, _bytes(chains[measured.id]))
    found = Protection(
        chain=[point.id for point in chain],
        recovery_point_seconds=None if newest is None else max(0.0, now - newest.at),
        proven_point_seconds=None if proven is None else max(0.0, now - proven.at),
        proven=None if proven is None else proven.id,
        recovery_seconds=takes,
        measured_by=measured.id if measured else None,
        points={
            name: sum(point.at > now - span.total_seconds() for point in newest_first)
            for name, span in SPANS.items()
        },
        improve=(),
    )
    fulls = sum(point.base is None for point in newest_first)
    return Protection(**{**vars(found), "improve": tuple(_better(found, habits, fulls))})


def _restorable(points: Sequence[Point]) -> dict[str, tuple[Point, ...]]:
    """Return the chain of each backup that can be restored, the full one first, by the backup's id."""
    chains: dict[str, tuple[Point, ...]] = {}
    spared: dict[str, tuple[Point, ...]] = {}
    for point in sorted(points, key=lambda point: point.seq):  # A base comes before what builds on it.
        sound = () if point.base is None else chains.get(point.base)
        below = spared.get(point.base or "") if sound is None else sound
        if below is None:
            continue
        # A fault marks all that builds on it. What was proven in full since is not marked: it has not inherited that.
        is_sound = not point.suspect and (sound is not None or point.proof_level >= _RUNS)
        (chains if is_sound else spared)[point.id] = (*below, point)
    return chains


def _bytes(chain: Sequence[Point]) -> int:
    return sum(point.data_size for point in chain)


def _better(found: Protection, habits: Habits, fulls: int) -> Iterator[str]:
    age, proven_age = found.recovery_point_seconds, found.proven_point_seconds
    if age is None:
        yield f"make a full backup: {MAKE_FULL}"
        return
    if not habits.makes:
        yield f"let a schedule make backups: {ADD_FULL}"
    elif age > _OFTEN_ENOUGH.total_seconds():
        yield f"make backups more often: {ADD_INCREMENTAL}"
    if proven_age is None:
        yield "prove that the newest backup comes back: dbcalm verify"
    elif proven_age > _PROVEN_LATELY.total_seconds():
        yield "prove a newer backup: dbcalm verify"
    if not habits.verifies:
        yield f"let a schedule verify: {ADD_VERIFY}"
    if fulls == 1:
        yield f"make a second full backup, as all that is there builds on one: {MAKE_FULL}"
    if len(found.chain) > _LONG_CHAIN:
        yield f"shorten the chain of {len(found.chain)} backups: max_chain_length, or dbcalm backup full --synthetic"
    if (found.recovery_seconds or 0.0) > _LONG_RESTORE and habits.is_kept_warm is False:
        yield "keep the newest chain prepared, so that its restore is a rename: warm_restore"
