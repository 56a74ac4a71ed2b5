"""Backups of one small file, made by hand, which is all that deleting and keeping look at; and a clock to be set."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.files import FileState
from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.dispatch.lifecycle import Keeper
from dbcalm_mariadb_cmd.dispatch.queries import Reports
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.store.history import manifests
from dbcalm_mariadb_cmd.store.journal import Event, Journal
from dbcalm_mariadb_cmd.store.manifest import FILES, MANIFEST, encode_files
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from dbcalm_mariadb_cmd.supervisor.plans import Planner
from dbcalm_mariadb_cmd.supervisor.standby_manager import Warmer
from tests.support.engine_lab import Lab, manifest

DATA = "ibdata1"
_CONTENT = b"data"
_LISTED = encode_files({DATA: FileState(len(_CONTENT), 0, 0, hashlib.sha256(_CONTENT).hexdigest())})
_FACTS = {
    **asdict(manifest(size=len(_CONTENT), files_sha256=hashlib.sha256(_LISTED).hexdigest())),
    "job_id": "0" * 32,
}


class Clock:
    """Tells the time that it is set to, and goes on by a millisecond each time that it is asked."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 3, tzinfo=UTC)

    def __call__(self) -> str:
        self.time += timedelta(milliseconds=1)
        return text_of(self.time)


def tiny_backup(
    backup_dir: Path,
    backup_id: str,
    seq: int,
    base: dict[str, object] | None,
    made_at: str,
    **changes: object,
) -> dict[str, object]:
    """Make a backup on this base, given by its facts, or a full one; return its facts."""
    facts: dict[str, object] = {
        **_FACTS,
        "id": backup_id,
        "type": "incremental" if base else "full",
        "from_backup_id": base["id"] if base else None,
        "seq": seq,
        "start_time": made_at,
        "end_time": made_at,
        "from_lsn": base["to_lsn"] if base else 0,
        "to_lsn": seq * 1000,
        "last_lsn": seq * 1000,
        **changes,
    }
    folder = backup_dir / backup_id
    folder.mkdir()
    (folder / DATA).write_bytes(_CONTENT)
    (folder / FILES).write_bytes(_LISTED)
    (folder / MANIFEST).write_text(json.dumps(facts))
    return facts


class Shelf:
    """Tiny backups in an installation, with what keeps them; ``changes`` are to its settings."""

    def __init__(self, lab: Lab, **changes: object) -> None:
        self.lab = lab
        self.settings: Settings = replace(lab.settings, **changes)  # type: ignore[arg-type]
        self.clock = Clock()
        self.seq = 0
        self.facts: dict[str, dict[str, object]] = {}
        self.start()

    def start(self) -> None:
        """Begin a life of the service."""
        self.control = JobControl(self.lab.jobs, self.lab.backups, self.clock)
        self.keeper = Keeper(self.settings, self.control)
        self.keeper.recover()
        self.control.recover(list)

    def add(self, backup_id: str, base: str | None = None, **changes: object) -> None:
        """Make a backup and tell the journal."""
        self.seq += 1
        made_at = self.clock()
        below = self.facts[base] if base else None
        facts = tiny_backup(self.lab.backups, backup_id, self.seq, below, made_at, **changes)
        self.facts[backup_id] = facts
        self.control.journal.append("ended", job_id="0" * 32, status="success", backup=facts)

    def chain(self, name: str, length: int = 3) -> list[str]:
        """Make a full backup and incrementals, each on the one before; return their ids, the full first."""
        ids = [f"{name}{number}" for number in range(length)]
        for number, backup_id in enumerate(ids):
            self.add(backup_id, ids[number - 1] if number else None)
        return ids

    def here(self) -> set[str]:
        """Return the ids of the backups that are there."""
        return {found.id for found in manifests(self.lab.backups)}

    def trash(self) -> list[str]:
        """Return the names in the trash."""
        return sorted(path.name for path in (self.lab.backups / ".trash").iterdir())

    def told(self, *kinds: str) -> list[Event]:
        """Return the events of these kinds."""
        return [event for event in Journal(self.lab.jobs / "journal").all() if event["event"] in kinds]

    def pass_time(self, time: timedelta) -> None:
        """Let the clock go on as it does while the service lives and looks into its trash every hour."""
        end = self.clock.time + time
        while self.clock.time < end:
            self.clock.time = min(end, self.clock.time + timedelta(hours=1))
            self.keeper.purge()


def refusal(call: Callable[..., object], *arguments: object) -> tuple[int, str]:
    """Return the code and the sentence with which this is refused."""
    with pytest.raises(Refused) as refused:
        call(*arguments)
    return refused.value.code, str(refused.value)


def reports_of(settings: Settings, control: JobControl) -> Reports:
    """Return what the service would tell of itself with these."""
    planner = Planner(settings, settings.backup_dir / "restores", control.history)
    return Reports(settings, control, Warmer(settings, control, planner))
