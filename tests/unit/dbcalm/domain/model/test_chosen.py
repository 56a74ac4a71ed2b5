"""Ids on the command line: the newest, and as much of one as no other begins with."""

import pytest

from dbcalm.domain.model import names
from dbcalm.domain.model.chosen import chosen
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import Conflict, InvalidField
from tests.support.dbcalm_fakes import FakeMysqlService, manifest

IDS = ["monday", "monday-2", "tuesday", "2026-01-01-03-00-00", "2026-01-02-03-00-00"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("monday", "monday"),
        ("monday-", "monday-2"),
        ("Tues", "tuesday"),
        ("t", "tuesday"),
        ("2026-01-02", "2026-01-02-03-00-00"),
        ("latest", "2026-01-02-03-00-00"),
        ("friday", "friday"),
        ("", ""),
        ("mond\u00e4y", "mond\u00e4y"),
        ("mon\n", "mon\n"),
        ("%", "%"),
    ],
)
def test_what_is_meant(services: Services, mysql: FakeMysqlService, given: str, meant: str) -> None:
    for seq, id in enumerate(IDS, 1):
        mysql.on_disk[id] = manifest(id, seq)
    services.jobs.add_found()
    assert services.backups.chosen(given) == meant


def test_several_are_listed_in_one_line(services: Services, mysql: FakeMysqlService) -> None:
    for seq, id in enumerate(IDS, 1):
        mysql.on_disk[id] = manifest(id, seq)
    services.jobs.add_found()
    with pytest.raises(Conflict) as refused:
        services.backups.chosen("mon")
    said = "the ids of several backups begin with 'mon': monday-2, monday; type more of it"
    assert str(refused.value) == said


def test_of_very_many_a_few_are_named() -> None:
    with pytest.raises(Conflict, match="1, a2, a3, a4, a5, ...; type more of it"):
        chosen(
            "a", "jobs", lambda _id: False, lambda start: [f"{start}{n}" for n in range(1, 7)], lambda: None
        )


def test_an_old_backup_that_is_called_latest_is_meant_and_no_new_one_can_be(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.on_disk |= {"latest": manifest("latest", 1), "new": manifest("new", 2)}
    services.jobs.add_found()
    assert services.backups.chosen("latest") == "latest"
    with pytest.raises(InvalidField, match="reserved names latest, restores, trash, work"):
        names.backup_id("Latest!")


def test_there_may_be_none(services: Services) -> None:
    assert services.backups.chosen("latest") == "latest"
    assert services.processes.chosen("latest") == "latest"


def test_jobs_are_chosen_alike(services: Services, mysql: FakeMysqlService, root: Caller) -> None:
    first = services.backups.create(root, "full", "one").job_id
    mysql.finish(first)
    second = services.backups.create(root, "full", "two").job_id
    assert services.processes.chosen("latest") == second
    assert services.processes.chosen(first[:20]) == first
    assert services.processes.chosen(first) == first


def test_without_the_service_what_is_known_is_enough(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.on_disk["monday"] = manifest("monday", 1)
    services.jobs.add_found()
    mysql.down = True
    assert services.backups.chosen("mon") == "monday"
