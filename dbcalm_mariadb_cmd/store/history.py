"""What the service knows of the past: read once from journal and manifests, kept up as it goes on."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from dbcalm_cmd.process import Answer, log
from dbcalm_mariadb_cmd.clock import ClockWatch
from dbcalm_mariadb_cmd.command.requests import valid_id, valid_job_id
from dbcalm_mariadb_cmd.command.shapes import Seq, Unfit, Where, fitted, legible
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.journal_lines import Event
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest, Missing, read_manifest

_REMEMBERED = 1000
_LAST_SEQ = 2**53
_TOLD = 20
_Job = Annotated[str, Where(valid_job_id, "the id of a job")]


@dataclass(frozen=True)
class _Accepted:
    """What the beginning of a job says of the past."""

    job_id: _Job
    type: str = ""
    seq: Seq = 0
    answer: dict[str, Any] = field(default_factory=dict)
    breaks_timeline: bool = False


@dataclass(frozen=True)
class _OfJob:
    job_id: _Job | None = None
    backup: dict[str, Any] | None = None


@dataclass(frozen=True)
class _OfBackup:
    """What became of a backup after it was made."""

    backup_id: str | None = None
    trash: str | None = None
    hold: dict[str, Any] | None = None
    proof: dict[str, Any] | None = None
    backup: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Made:
    """A backup that was made, or is back."""

    id: str
    seq: Seq
    hold: dict[str, Any] | None = None
    proof: dict[str, Any] | None = None


class History:
    """The open job and what it wants of the database, the newest backup, the last number given out, and the answers of
    the last thousand jobs; what is told to be in the trash and to be held, and whether the clock is in doubt. Events
    that did not fit are ``passed_over``, and told in sentences. Jobs whose end is lost are ``unended``; ``proofs`` has
    what was told of how far backups are proven.

    Backups and restores into the data directory share one sequence of numbers: what is newer is told by it alone,
    never by a clock.
    """

    def __init__(self, journal: Journal, backup_dir: Path) -> None:
        self.journal = journal
        self.open: Event | None = None
        self.wanted: Event | None = None
        self.restored_seq = 0
        self.clock = ClockWatch()
        self.trashed: dict[str, str] = {}
        self.held: dict[str, object] = {}
        self.unended: dict[str, Event] = {}
        self.proofs: dict[str, object] = {}
        self.passed_over: list[str] = []
        self._backup_dir = backup_dir
        self._newest_gone = False
        self._seq = 0
        self._read = (journal.id, 0)
        self._reading = threading.Lock()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self.newest = self._newest_on_disk()
        self.catch_up()
        self.number_taken(self.newest.seq if self.newest else 0)

    def catch_up(self) -> None:
        """Take in what runners have written since."""
        with self._reading:
            while True:
                page = self.journal.read_on(*self._read)
                for event in page.events:
                    self._apply(event)
                if (page.id, page.offset) == self._read:
                    break
                self._read = page.id, page.offset
            if self._newest_gone:
                self.newest = self._newest_on_disk()
                self._newest_gone = False

    def next_seq(self) -> int:
        """Return a number that is higher than that of every backup and restore so far; raise Refused 409 if one of them
        has the last number there is, which only a forged one has."""
        if self._seq >= _LAST_SEQ:
            raise Refused(
                409, f"a backup has the number {self._seq}, and none is higher: move its folder away"
            )
        self._seq += 1
        return self._seq

    def look_again(self) -> None:
        """Take in the newest backup on disk, which may not have been there when this began."""
        with self._reading:
            found = self._newest_on_disk()
            if found is not None:
                self.number_taken(found.seq)
                if self.newest is None or found.seq > self.newest.seq:
                    self.newest = found

    def number_taken(self, seq: int) -> None:
        """Learn of a number that is not to be given out again, such as that of a backup in the trash."""
        self._seq = max(self._seq, seq)

    def answer(self, job_id: str) -> Answer | None:
        """Return what was answered when this job was accepted, or None if it is not known."""
        return self._answers.get(job_id)

    def _apply(self, event: Event) -> None:
        """Take in one event; one that does not fit is passed over, and told."""
        try:
            self._take(event)
        except Unfit as unfit:
            told = (
                f"an event {legible(str(event.get('event'))[:40])} of {event.get('at')} does not fit: {unfit}"
            )
            log("warning", f"{told}; it is passed over")
            self.passed_over = [*self.passed_over, told][-_TOLD:]

    def _take(self, event: Event) -> None:
        self.clock.note(event.get("at"))
        kind = event.get("event")
        if kind == "accepted":
            accepted = fitted(_Accepted, event, others=True)
            if self.open is not None and self.open["job_id"] != accepted.job_id:
                self.unended[str(self.open["job_id"])] = self.open  # Jobs come one by one: that line is lost.
            self.open = {**event, "type": accepted.type}
            self.number_taken(accepted.seq)
            self._remember(accepted.job_id, accepted.answer)
            if accepted.breaks_timeline:
                self.restored_seq = accepted.seq
        elif kind in ("ended", "wants"):
            told = fitted(_OfJob, event, others=True)
            if self.open is not None and self.open["job_id"] == told.job_id:
                self.open, self.wanted = (self.open, event) if kind == "wants" else (None, None)
            if kind == "ended":
                self.unended.pop(told.job_id or "", None)
                self._note_backup(told.backup)
        elif isinstance(kind, str):
            self._note_keeping(kind, fitted(_OfBackup, event, others=True))

    def _note_keeping(self, kind: str, told: _OfBackup) -> None:
        """Take in what became of a backup after it was made."""
        id, trash = told.backup_id or "", told.trash
        if kind == "deleted":
            self._newest_gone |= self.newest is not None and self.newest.id == id
            self.held.pop(id, None)
            if trash is not None:
                self.trashed[trash] = id
        elif kind in ("purged", "undeleted"):
            self.trashed.pop(trash or "", None)
            self._note_backup(told.backup)
        elif kind == "held":
            self.held[id] = told.hold
        elif kind == "released":
            self.held.pop(id, None)
        elif kind == "proved":
            self.proofs[id] = told.proof

    def _remember(self, job_id: str, answer: Answer) -> None:
        self._answers[job_id] = answer
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    def _note_backup(self, facts: dict[str, Any] | None) -> None:
        if not facts:
            return
        made = fitted(_Made, facts, others=True)
        self.number_taken(made.seq)
        self.proofs[made.id] = made.proof
        if made.hold:
            self.held[made.id] = made.hold
        if self.newest is None or made.seq >= self.newest.seq:
            self._newest_gone = False
            beside = ("proof", "hold", "intact")
            self.newest = Manifest.from_facts({name: facts[name] for name in facts if name not in beside})

    def _newest_on_disk(self) -> Manifest | None:
        with suppress(OSError):  # Its disk is not mounted.
            return max(manifests(self._backup_dir), key=lambda manifest: manifest.seq, default=None)
        return None


def manifests(
    backup_dir: Path, after: str = "", on_damage: Callable[[Path, Damaged], object] | None = None
) -> Iterator[Manifest]:
    """Yield the manifest of every backup on disk, in order of id and after this id; tell ``on_damage``, or else the
    log, of folders that cannot be read."""
    tell = on_damage or (lambda _folder, damage: log("warning", str(damage)))
    for folder in sorted(backup_dir.iterdir()):
        if folder.name <= after or not valid_id(folder.name) or not folder.is_dir():
            continue
        try:
            yield read_manifest(folder)
        except Damaged as damage:
            tell(folder, damage)


def unreadable(backup_dir: Path) -> list[str]:
    """Return a sentence for each backup on disk, up to twenty, whose manifest cannot be used. Folders without one are
    none of ours."""
    found: list[str] = []

    def tell(folder: Path, damage: Damaged) -> None:
        if not isinstance(damage, Missing):
            found.append(f"{legible(str(damage))}; fetch {folder} again from a copy, or move it away")

    for _ in manifests(backup_dir, on_damage=tell):
        if len(found) >= _TOLD:
            break
    return found[:_TOLD]
