"""A catalogue is the same, whether the journal was shortened before it was followed, in the middle, or not at all."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.jobs.jobs import Jobs
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_database
from dbcalm_cmd_client import Answer
from dbcalm_mariadb_cmd.store import journal_shortening
from dbcalm_mariadb_cmd.store.journal import Journal
from tests.support.dbcalm_fakes import manifest

JOBS = 400


class Service:
    """The mysql service, as far as it tells its journal; at most so many bytes at once."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.at_most = 40_000

    def read_events(self, journal: str, offset: int, wait: float) -> Answer:
        page = self.journal.read_on(journal, offset, self.at_most)
        told = {"journal": page.id, "offset": page.offset, "events": page.events, "more": page.more}
        return Answer(200, "ok", told)


class Followed:
    def __init__(self, folder: Path, journal: Journal) -> None:
        folder.mkdir(mode=0o700)
        self.catalogue = Catalogue(open_database(folder / "db.sqlite3"))
        self.jobs = Jobs(Service(journal), self.catalogue.jobs, SimpleNamespace())  # type: ignore[arg-type]

    def rows(self) -> list[Any]:
        tables = (self.catalogue.processes, self.catalogue.backups, self.catalogue.restores)
        return [list(table.list(Query(per_page=10_000)).items) for table in tables]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A journal of many jobs: backups, restores, and backups that were deleted since."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    time = datetime(2026, 1, 1, tzinfo=UTC)
    journal = Journal(tmp_path / "journal", lambda: time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    for number in range(1, JOBS + 1):
        time += timedelta(hours=1)
        job, id = f"{number:032x}", f"b{number}"
        restore = {"target": "folder", "target_path": "/r", "backup_id": "b1", "backup_timestamp": None}
        kind = {"type": "restore", "restore": restore} if number % 10 == 0 else {"type": "backup"}
        journal.append("accepted", job_id=job, command="x", args={"id": id}, seq=number, answer={}, **kind)
        journal.append("started", job_id=job, pid=number)
        made = {"backup": manifest(id, number, job_id=job)} if number % 10 else {}
        journal.append("ended", job_id=job, status="success", output="x" * 100, **made)
        if number % 7 == 0:
            journal.append("deleted", backup_id=id, trash=f"{id}.1")
    return journal


def test_the_same_catalogue_comes_of_it(tmp_path: Path, journal: Journal) -> None:
    whole = Followed(tmp_path / "whole", journal)
    whole.jobs.catch_up()
    half = Followed(tmp_path / "half", journal)
    assert half.jobs._advance(0.0)
    size = journal.size()
    journal.shorten(journal_shortening.kept)
    assert journal.size() < size
    journal.append("accepted", job_id="f" * 32, type="backup", command="x", args={}, seq=JOBS + 1, answer={})
    fresh = Followed(tmp_path / "fresh", Journal(tmp_path / "journal"))
    for one in (whole, half, fresh):
        one.jobs.catch_up()
    assert len(whole.rows()[0]) == JOBS + 1
    assert whole.rows()[0][0].status == "running"
    assert half.rows() == whole.rows()
    assert fresh.rows() == whole.rows()
    assert whole.jobs.set_aside() == []
