"""What the service knows of the past: read once from journal and manifests, kept up as it goes on."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from dbcalm_cmd.process import Answer, log
from dbcalm_mariadb_cmd.adapter.journal import Event, Journal
from dbcalm_mariadb_cmd.clock import ClockWatch
from dbcalm_mariadb_cmd.command import valid_id
from dbcalm_mariadb_cmd.manifest import Damaged, Manifest, read_manifest

_REMEMBERED = 1000


class History:
    """The open job and what it wants of the database, the newest backup, the last number given out, and the answers of
    the last thousand jobs; what is told to be in the trash and to be held, and whether the clock is in doubt.

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
        self._backup_dir = backup_dir
        self._newest_gone = False
        self._seq = 0
        self._offset = 0
        self._reading = threading.Lock()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self.newest = self._newest_on_disk()
        self.catch_up()
        self.number_taken(self.newest.seq if self.newest else 0)

    def catch_up(self) -> None:
        """Take in what runners have written since."""
        with self._reading:
            while True:
                events, following = self.journal.read(self._offset)
                for event in events:
                    self._apply(event)
                if following == self._offset:
                    break
                self._offset = following
            if self._newest_gone:
                self.newest = self._newest_on_disk()
                self._newest_gone = False

    def next_seq(self) -> int:
        """Return a number that is higher than that of every backup and restore so far."""
        self._seq += 1
        return self._seq

    def number_taken(self, seq: int) -> None:
        """Learn of a number that is not to be given out again, such as that of a backup in the trash."""
        self._seq = max(self._seq, seq)

    def answer(self, job_id: str) -> Answer | None:
        """Return what was answered when this job was accepted, or None if it is not known."""
        return self._answers.get(job_id)

    def _apply(self, event: Event) -> None:
        self.clock.note(event.get("at"))
        if event["event"] == "accepted":
            self.open = event
            self.number_taken(_integer(event, "seq"))
            self._remember(str(event.get("job_id")), event)
            if event.get("breaks_timeline"):
                self.restored_seq = _integer(event, "seq")
        elif event["event"] == "ended":
            if self.open is not None and self.open["job_id"] == event.get("job_id"):
                self.open = self.wanted = None
            self._note_backup(event)
        elif event["event"] == "wants":
            if self.open is not None and self.open["job_id"] == event.get("job_id"):
                self.wanted = event
        else:
            self._note_keeping(event)

    def _note_keeping(self, event: Event) -> None:
        """Take in what became of a backup after it was made."""
        kind, id, trash = event["event"], str(event.get("backup_id")), event.get("trash")
        if kind == "deleted":
            self._newest_gone |= self.newest is not None and self.newest.id == id
            self.held.pop(id, None)
            if isinstance(trash, str):
                self.trashed[trash] = id
        elif kind in ("purged", "undeleted"):
            self.trashed.pop(str(trash), None)
            self._note_backup(event)
        elif kind == "held":
            self.held[id] = event.get("hold")
        elif kind == "released":
            self.held.pop(id, None)

    def _remember(self, job_id: str, event: Event) -> None:
        answer = event["answer"]
        self._answers[job_id] = answer if isinstance(answer, dict) else {}
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    def _note_backup(self, event: Event) -> None:
        facts = event.get("backup")
        if not isinstance(facts, dict):
            return
        facts = dict(facts)
        self.number_taken(facts["seq"])
        facts.pop("proof", None)
        if hold := facts.pop("hold", None):
            self.held[facts["id"]] = hold
        if self.newest is None or facts["seq"] > self.newest.seq:
            self.newest = Manifest.from_facts(facts)

    def _newest_on_disk(self) -> Manifest | None:
        return max(manifests(self._backup_dir), key=lambda manifest: manifest.seq, default=None)


def manifests(backup_dir: Path, after: str = "") -> Iterator[Manifest]:
    """Yield the manifest of every backup on disk, in order of id and after this id; tell the log of folders that cannot
    be read."""
    for folder in sorted(backup_dir.iterdir()):
        if folder.name <= after or not valid_id(folder.name) or not folder.is_dir():
            continue
        try:
            yield read_manifest(folder)
        except Damaged as damage:
            log("warning", str(damage))


def _integer(event: Event, name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) else 0
