"""Whether what the catalogue knows is on disk and whole: looked at, not believed.

The catalogue keeps what is missing, so that all is well again by itself when a disk comes back.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dbcalm.domain.model.entities import Backup
from dbcalm.domain.ports import BackupStore, Clock, MysqlService
from dbcalm.domain.rules.protection import Point
from dbcalm.domain.services.jobs.jobs import asked, granted
from dbcalm.errors import DBCalmError

WHOLE, GONE, DAMAGED, NO_BASE = "whole", "gone", "damaged", "no base"

_NAMED = 3
_NOW = 0.0
_GOOD_FOR = 3.0
"""Seconds for which lists believe a look, also one that nobody could take."""


@dataclass(frozen=True)
class Look:
    """One look at the disk. ``known`` are the catalogue's ids at that time; ``problems`` has, for those of them that a
    restore cannot use, the word and the sentence for it. ``folder`` is where backups lie, and ``folder_problem`` the
    sentence for what is wrong with that as a whole. ``silence`` says why nobody could look; then nothing is known."""

    known: Collection[str]
    problems: Mapping[str, tuple[str, str]]
    folder: str = ""
    folder_problem: str | None = None
    silence: str | None = None

    def of(self, id: str) -> tuple[str | None, str | None]:
        """Return the word for how a backup is, and the sentence for what is wrong with it."""
        if self.silence is not None or id not in self.known:
            return None, None
        return self.problems.get(id, (WHOLE, None))

    def ids(self, word: str) -> list[str]:
        """Return the ids for which this word stands."""
        return [id for id, (how, _) in self.problems.items() if how == word]


class Presence:
    """Has the mysql service look, for whoever wants to promise something."""

    def __init__(self, store: BackupStore, service: MysqlService, clock: Clock) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._one = threading.Lock()
        self._last: tuple[float, Look] | None = None

    def look(self) -> Look:
        """Look now."""
        return self._look()

    def told(self, backups: Sequence[Backup]) -> list[Backup]:
        """Return these backups with how they are, as of some seconds ago, or now where one is newer than that. Of many
        who ask one looks, and the others take what was seen last."""
        last = self._last
        if (last is None or self._is_old(*last, backups)) and self._one.acquire(blocking=last is None):
            try:
                last = self._last = self._clock.monotonic(), self._look()
            finally:
                self._one.release()
        found = last[1] if last is not None else self.look()
        return [with_presence(one, found) for one in backups]

    def _is_old(self, at: float, look: Look, backups: Sequence[Backup]) -> bool:
        if self._clock.monotonic() - at > _GOOD_FOR:
            return True
        return look.silence is None and any(one.id not in look.known for one in backups)

    def _look(self) -> Look:
        # First what should be there: what is made or brought back meanwhile is in neither or only on disk.
        points = sorted(self._store.points(), key=lambda point: point.seq)
        known = frozenset(point.id for point in points)
        try:
            found, folder, problem = self._on_disk()
        except DBCalmError as error:
            return Look(known, {}, silence=str(error))
        problems: dict[str, tuple[str, str]] = {}
        for point in points:  # A base comes before what builds on it.
            if point.id not in found:
                problems[point.id] = GONE, f"backup {point.id} is not on disk any more"
            elif (damage := found[point.id]) is not None:
                problems[point.id] = DAMAGED, damage
            elif point.base in problems:
                how, why = problems[point.base]
                lost = why if how == NO_BASE else f"what it builds on cannot be used: {why}"
                problems[point.id] = NO_BASE, lost
        return Look(known, problems, folder, problem)

    def _on_disk(self) -> tuple[dict[str, str | None], str, str | None]:
        """Return what the service found; raise DBCalmError."""
        found: dict[str, str | None] = {}
        last, more = "", True
        while more:
            data = granted(
                asked(partial(self._service.look_at_backups, last, _NOW if last == "" else _GOOD_FOR))
            )
            rows = data["backups"]
            found |= {str(id): problem for id, problem in rows}
            more = bool(data["more"]) and bool(rows)
            last = rows[-1][0] if rows else ""
        return found, str(data["backup_dir"]), data["problem"]


def with_presence(backup: Backup, look: Look) -> Backup:
    """Return a backup with how it is."""
    presence, missing = look.of(backup.id)
    return replace(backup, presence=presence, missing=missing)


def usable(points: Sequence[Point], look: Look) -> list[Point]:
    """Return these backups, those that a restore cannot use marked as such."""
    return [replace(point, suspect=True) if point.id in look.problems else point for point in points]


def sentences(look: Look, told: str = "") -> Iterator[str]:
    """Yield what needs attention, one sentence for one cause: a disk that is not mounted is one, however many backups
    were on it. What stands in ``told`` already is left out."""
    gone = look.ids(GONE)
    if look.folder_problem is not None:
        if look.folder_problem not in told:
            yield look.folder_problem
        return
    if gone and len(gone) == len(look.known) > 1:
        yield (
            f"none of the {len(gone)} backups is on disk: see that the disk of backup_dir is mounted: "
            f"findmnt --target {look.folder}; when it is, they are there again"
        )
        return
    if len(gone) > _NAMED:
        yield (
            f"{len(gone)} of {len(look.known)} backups are not on disk any more ({_some(gone)}): see that the disk of "
            f"backup_dir is mounted: findmnt --target {look.folder}"
        )
    else:
        for id in gone:
            yield f"{look.problems[id][1]}: see that the disk of backup_dir is mounted{_or_forget(look, id)}"
    damaged = [id for id in look.ids(DAMAGED) if look.problems[id][1] not in told]
    for id in damaged[:_NAMED]:
        yield f"{look.problems[id][1]}; a restore cannot use it{_above(look, id)}: make a full backup"
    if len(damaged) > _NAMED:
        yield f"{len(damaged) - _NAMED} more backups are damaged: dbcalm backups list"


def _above(look: Look, id: str) -> str:
    above = [other for other in look.ids(NO_BASE) if look.problems[other][1].endswith(look.problems[id][1])]
    return f", nor {_some(above)}, built on it" if above else ""


def _or_forget(look: Look, id: str) -> str:
    above = [other for other in look.ids(NO_BASE) if look.problems[other][1].endswith(look.problems[id][1])]
    if above:
        return f"; a restore cannot use {_some(above)}, built on it"
    return f", or forget the backup with: dbcalm backups delete {id}"


def _some(ids: Sequence[str]) -> str:
    """Return the first of these ids, and how many more there are."""
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
