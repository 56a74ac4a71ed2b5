"""What the service remembers: from the journal and the folders, in the order of numbers, never of clocks."""

import json
import time
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.store.history import History, manifests
from dbcalm_mariadb_cmd.store.journal import Journal
from tests.support.engine_lab import Lab, manifest


@pytest.fixture
def journal(lab: Lab) -> Journal:
    return Journal(lab.jobs / "journal")


def accepted(number: int, **more: object) -> dict[str, object]:
    """Return an ``accepted`` event of the job with this number."""
    job_id = f"{number:032x}"
    answer = {"code": 202, "status": "accepted", "job_id": job_id}
    return {"event": "accepted", "job_id": job_id, "seq": number, "type": "backup", "answer": answer, **more}


def ended(number: int, **more: object) -> dict[str, object]:
    return {"event": "ended", "job_id": f"{number:032x}", "status": "success", **more}


def write(journal: Journal, path: Path, *events: dict[str, object]) -> None:
    """Add events, without the time that syncing each would take."""
    assert path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.writelines(json.dumps({"at": "2026-11-23T03:00:00.000000Z", **event}) + "\n" for event in events)


def test_a_new_installation_knows_nothing(lab: Lab, journal: Journal) -> None:
    history = History(journal, lab.backups)
    assert (history.open, history.newest, history.restored_seq) == (None, None, 0)
    assert history.next_seq() == 1
    assert history.answer("0" * 32) is None


def test_a_job_is_open_from_its_acceptance_to_its_end(lab: Lab, journal: Journal) -> None:
    history = History(journal, lab.backups)
    write(journal, lab.jobs / "journal", accepted(1))
    history.catch_up()
    assert history.open is not None
    assert history.open["job_id"] == f"{1:032x}"
    write(journal, lab.jobs / "journal", ended(2), {"event": "started", "job_id": f"{1:032x}", "pid": 5})
    history.catch_up()
    assert history.open is not None  # Another job's end is not this one's.
    write(journal, lab.jobs / "journal", ended(1))
    history.catch_up()
    assert history.open is None
    assert History(journal, lab.backups).open is None


def test_answers_are_remembered_over_a_restart(lab: Lab, journal: Journal) -> None:
    write(
        journal, lab.jobs / "journal", *(event for n in range(1, 1102) for event in (accepted(n), ended(n)))
    )
    history = History(journal, lab.backups)
    assert history.answer(f"{1101:032x}") == accepted(1101)["answer"]
    assert history.answer(f"{102:032x}") == accepted(102)["answer"]
    assert history.answer(f"{101:032x}") is None  # The last thousand are kept.


def test_numbers_go_on_from_the_highest_of_journal_and_folders(lab: Lab, journal: Journal) -> None:
    write(journal, lab.jobs / "journal", accepted(7), ended(7))
    assert History(journal, lab.backups).next_seq() == 8
    lab.seq = 40
    lab.back_up("full")
    assert History(journal, lab.backups).next_seq() == 42


def test_numbers_go_on_when_the_journal_is_lost(lab: Lab, journal: Journal) -> None:
    lab.back_up("full")
    (lab.jobs / "journal").unlink()
    history = History(Journal(lab.jobs / "journal"), lab.backups)
    assert history.next_seq() == 2
    assert history.newest is not None
    assert history.newest.id == "full"


def test_the_newest_is_told_by_number_whatever_the_clock_did(lab: Lab, journal: Journal) -> None:
    for number, (backup_id, year) in enumerate([("a", 2030), ("c", 2026), ("b", 2001)], start=1):
        lab.back_up(backup_id)
        lab.rewrite(
            backup_id, seq=number, start_time=f"{year}-01-01T00:00:00.000000Z", end_time=f"{year}-01-02"
        )
    history = History(journal, lab.backups)
    assert history.newest is not None
    assert history.newest.id == "b"


def test_the_newest_is_kept_up_from_the_journal_by_number(lab: Lab, journal: Journal) -> None:
    history = History(journal, lab.backups)
    for number, backup_id in ((3, "third"), (2, "second")):
        backup = manifest(id=backup_id, seq=number).facts()
        write(journal, lab.jobs / "journal", accepted(number), ended(number, backup=backup))
        history.catch_up()
    assert history.newest is not None
    assert history.newest == manifest(id="third", seq=3)


def test_only_a_restore_into_the_data_directory_breaks_the_timeline(lab: Lab, journal: Journal) -> None:
    history = History(journal, lab.backups)
    write(journal, lab.jobs / "journal", accepted(1, type="restore", breaks_timeline=False), ended(1))
    history.catch_up()
    assert history.restored_seq == 0
    write(
        journal,
        lab.jobs / "journal",
        accepted(2, type="restore", breaks_timeline=True),
        ended(2),
        accepted(3),
    )
    history.catch_up()
    assert history.restored_seq == 2
    assert History(journal, lab.backups).restored_seq == 2


def test_folders_that_are_no_backups_are_passed_over(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.chain()
    (lab.backups / "inc1/dbcalm-manifest.json").write_text("{}")
    (lab.backups / "somebody-elses").mkdir()
    (lab.backups / "UPPER").mkdir()
    (lab.backups / "a-file").write_text("")
    assert [found.id for found in manifests(lab.backups)] == ["full", "inc2"]
    told = capsys.readouterr().err
    assert "backup inc1 is damaged" in told
    assert "somebody-elses has no dbcalm-manifest.json" in told


@pytest.mark.slow
def test_a_long_journal_is_read_at_start_in_reasonable_time(lab: Lab, journal: Journal) -> None:
    path, jobs = lab.jobs / "journal", 33_334
    log = "[00] 2026-11-23 03:00:00 Copying ./shop/orders.ibd to /backups/.work/7/shop/orders.ibd\n" * 40
    backup = manifest(seq=1).facts()
    with path.open("a") as file:
        for number in range(1, jobs + 1):
            start = {"event": "started", "job_id": f"{number:032x}", "pid": 1}
            output = log if number % 10 == 0 else ""
            for event in (accepted(number), start, ended(number, output=output, backup=backup)):
                file.write(json.dumps(event) + "\n")
    began = time.process_time()
    history = History(journal, lab.backups)
    assert time.process_time() - began < 60  # The time of a processor, which others do not take: about 2 s.
    assert history.next_seq() == jobs + 1


def test_numbers_of_backups_that_are_told_of_are_taken(lab: Lab, journal: Journal) -> None:
    history = History(journal, lab.backups)
    write(journal, lab.jobs / "journal", ended(1, backup=manifest(id="a", seq=9).facts()))
    write(journal, lab.jobs / "journal", {"event": "deleted", "backup_id": "a", "trash": "a.1"})
    history.catch_up()
    assert history.next_seq() == 10
    assert history.trashed == {"a.1": "a"}
    assert history.newest is None
