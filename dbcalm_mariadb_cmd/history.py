"""What the service knows of the past: read once from journal and manifests, kept up as it goes on."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from dbcalm_cmd.process import Answer, log
from dbcalm_mariadb_cmd.adapter.journal import Event, Journal
from dbcalm_mariadb_cmd.command import valid_id
from dbcalm_mariadb_cmd.manifest import Damaged, Manifest, read_manifest

_REMEMBERED = 1000


class History:
    """The open job, the newest backup, the last number given out, and the answers of the last thousand jobs.

    Backups and restores into the data directory share one sequence of numbers: what is newer is told by it alone,
    never by a clock.
    """

    def __init__(self, journal: Journal, backup_dir: Path) -> None:
        self.journal = journal
        self.open: Event | None = None
        self.restored_seq = 0
        self._seq = 0
        self._offset = 0
        self._reading = threading.Lock()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self.newest: Manifest | None = max(
            manifests(backup_dir), key=lambda manifest: manifest.seq, default=None
        )
        self.catch_up()
        self._seq = max(self._seq, self.newest.seq if self.newest else 0)

    def catch_up(self) -> None:
        """Take in what runners have written since."""
        with self._reading:
            while True:
                events, following = self.journal.read(self._offset)
                for event in events:
                    self._apply(event)
                if following == self._offset:
                    return
                self._offset = following

    def next_seq(self) -> int:
        """Return a number that is higher than that of every backup and restore so far."""
        self._seq += 1
        return self._seq

    def answer(self, job_id: str) -> Answer | None:
        """Return what was answered when this job was accepted, or None if it is not known."""
        return self._answers.get(job_id)

    def _apply(self, event: Event) -> None:
        job_id = str(event.get("job_id"))
        if event["event"] == "accepted":
            self.open = event
            self._seq = max(self._seq, _integer(event, "seq"))
            self._remember(job_id, event)
            if event.get("breaks_timeline"):
                self.restored_seq = _integer(event, "seq")
        elif event["event"] == "ended":
            if self.open is not None and self.open["job_id"] == job_id:
                self.open = None
            self._note_backup(event)

    def _remember(self, job_id: str, event: Event) -> None:
        answer = event["answer"]
        self._answers[job_id] = answer if isinstance(answer, dict) else {}
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    def _note_backup(self, event: Event) -> None:
        facts = event.get("backup")
        if isinstance(facts, dict) and (self.newest is None or facts["seq"] > self.newest.seq):
            self.newest = Manifest.from_facts(facts)


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
