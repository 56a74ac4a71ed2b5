"""Deleting, bringing back, holding and purging: what lies where afterwards, and what the journal tells of it."""

import json
import os
import shutil
import threading
from datetime import timedelta

import pytest

from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.command.requests import DeleteBackup, HoldBackup, ReleaseBackup, UndeleteBackup
from dbcalm_mariadb_cmd.store.hold import Hold, hold_of, store_hold, stored_hold
from dbcalm_mariadb_cmd.store.manifest import MANIFEST, read_files, read_manifest, require_unchanged
from tests.support.engine_fuse import Fuse, PowerCut
from tests.support.engine_lab import Lab, contents
from tests.support.engine_tiny import DATA, Shelf, refusal

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    shelf = Shelf(lab)
    shelf.chain("a")
    shelf.chain("b", 1)
    return shelf


def delete(shelf: Shelf, *ids: str) -> None:
    for backup_id in ids:
        assert shelf.keeper.delete(DeleteBackup(backup_id)) == {"code": 200, "status": "ok"}


def undelete(shelf: Shelf, *ids: str) -> None:
    for backup_id in ids:
        assert shelf.keeper.undelete(UndeleteBackup(backup_id, None)) == {"code": 200, "status": "ok"}


class TestTrash:
    def test_a_deleted_backup_lies_in_the_trash_and_comes_back_as_it_was(self, shelf: Shelf) -> None:
        before = contents(shelf.lab.backups / "a2")
        delete(shelf, "a2")
        (name,) = shelf.trash()
        assert name.startswith("a2.")
        (event,) = shelf.told("deleted")
        assert (event["backup_id"], event["trash"], "job_id" in event) == ("a2", name, False)
        undelete(shelf, "a2")
        assert contents(shelf.lab.backups / "a2") == before
        (event,) = shelf.told("undeleted")
        made = read_manifest(shelf.lab.backups / "a2").facts()
        backup = event["backup"]
        assert isinstance(backup, dict)
        assert {**made, "hold": None, "proof": None}.keys() == backup.keys()
        assert (backup["id"], backup["seq"], event["trash"]) == ("a2", 3, name)
        assert shelf.trash() == []

    def test_what_is_of_the_newest_whole_chains_stays_until_newer_ones_are_made(self, lab: Lab) -> None:
        shelf = Shelf(lab)
        shelf.chain("a")
        shelf.chain("b")
        delete(shelf, "b2", "b1", "b0", "a2")
        shelf.pass_time(30 * HOUR)
        assert [name.split(".")[0] for name in shelf.trash()] == ["b0", "b1", "b2"]
        shelf.add("damaged")
        os.truncate(lab.backups / "damaged" / DATA, 1)
        shelf.pass_time(HOUR)
        assert len(shelf.trash()) == 3
        undelete(shelf, "b0", "b1")
        delete(shelf, "b1", "b0")
        shelf.add("c0")
        shelf.pass_time(30 * HOUR)
        assert shelf.trash() == []

    def test_where_too_few_are_whole_the_newest_others_stay_too(self, lab: Lab) -> None:
        shelf = Shelf(lab, min_full_chains=2)
        for name in "abc":
            shelf.chain(name, 2)
        for name in ("a0", "b0", "c0"):
            os.truncate(lab.backups / name / DATA, 1)
        delete(shelf, "c1", "b1", "a1", "a0")
        shelf.pass_time(30 * HOUR)
        assert [name.split(".")[0] for name in shelf.trash()] == ["b1", "c1"]
        assert refusal(shelf.keeper.delete, DeleteBackup("b0"))[0] == 409

    def test_one_whose_age_nobody_knows_stays(self, lab: Lab) -> None:
        shelf = Shelf(lab, min_age=HOUR)
        shelf.chain("a", 1)
        shelf.add("odd", "a0", end_time="soon")
        code, said = refusal(shelf.keeper.delete, DeleteBackup("odd"))
        assert (code, "end_time must be a time" in said) == (409, True)

    def test_as_many_chains_stay_as_never_go(self, lab: Lab) -> None:
        shelf = Shelf(lab, min_full_chains=2)
        for name in "abcd":
            shelf.chain(name, 2)
        delete(shelf, "d1", "d0", "c1", "b1", "c0")
        shelf.pass_time(30 * HOUR)
        assert [name.split(".")[0] for name in shelf.trash()] == ["c0", "c1", "d0", "d1"]

    def test_what_builds_on_one_that_cannot_be_read_stays(self, lab: Lab) -> None:
        shelf = Shelf(lab)
        shelf.chain("a", 4)
        shelf.add("z")
        delete(shelf, "a3")
        manifest = lab.backups / "a1" / MANIFEST
        whole = manifest.read_bytes()
        manifest.write_bytes(b"{")
        shelf.pass_time(30 * HOUR)
        assert [name.split(".")[0] for name in shelf.trash()] == ["a3"]
        manifest.write_bytes(whole)
        shelf.pass_time(HOUR)
        assert shelf.trash() == []

    def test_of_several_with_one_id_each_can_be_brought_back(self, shelf: Shelf) -> None:
        seqs = []
        for _ in range(3):
            shelf.add("x")
            seqs.append(shelf.seq)
            delete(shelf, "x")
            shelf.pass_time(HOUR)
        times = [entry.deleted_at for entry in shelf.control.trash.entries() if entry.backup_id == "x"]
        for deleted_at, seq in zip(times, reversed(seqs), strict=True):
            assert shelf.keeper.undelete(UndeleteBackup("x", deleted_at))["code"] == 200
            assert read_manifest(shelf.lab.backups / "x").seq == seq
            delete(shelf, "x")
        code, said = refusal(shelf.keeper.undelete, UndeleteBackup("x", "2000-01-01T00:00:00.000000Z"))
        assert (code, said) == (404, "no backup x is in the trash since 2000-01-01T00:00:00.000000Z")

    def test_min_age_is_not_kept_by_a_clock_that_is_in_doubt(self, lab: Lab) -> None:
        shelf = Shelf(lab, min_age=2 * DAY)
        shelf.chain("a", 1)
        shelf.chain("b", 1)
        shelf.clock.time += 400 * DAY
        code, line = refusal(shelf.keeper.delete, DeleteBackup("a0"))
        assert code == 409
        assert line.startswith(
            "min_age cannot be kept by a clock that is in doubt: the clock went on by 400 days"
        )
        shelf.pass_time(50 * HOUR)
        delete(shelf, "a0")

    def test_is_kept_for_its_time_and_then_purged(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        shelf.pass_time(23 * HOUR)
        (name,) = shelf.trash()
        shelf.pass_time(2 * HOUR)
        assert shelf.trash() == []
        assert [event["trash"] for event in shelf.told("purged")] == [name]
        assert refusal(shelf.keeper.undelete, UndeleteBackup("a2", None)) == (
            404,
            "no backup a2 is in the trash",
        )

    def test_what_is_being_purged_does_not_come_back_and_is_gone_at_the_next_look(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        (name,) = shelf.trash()
        trash = shelf.lab.backups / ".trash"
        (trash / name).rename(trash / f"purging.{name}")  # As a purge that was killed leaves it.
        shelf.start()
        assert refusal(shelf.keeper.undelete, UndeleteBackup("a2", None))[0] == 404
        shelf.keeper.purge()
        assert shelf.trash() == []
        assert [event["trash"] for event in shelf.told("purged")] == [name]

    def test_what_is_not_named_as_ours_stays(self, shelf: Shelf) -> None:
        trash = shelf.lab.backups / ".trash"
        for name in ("thesis", "a2", "a2.x", ".hidden", "A.5"):
            (trash / name).mkdir()
        (trash / "a2.7").write_text("a file")
        before = contents(trash)
        shelf.pass_time(30 * HOUR)
        assert contents(trash) == before
        assert refusal(shelf.keeper.undelete, UndeleteBackup("a2", None))[0] == 404

    @pytest.mark.parametrize("jump", [-3 * HOUR, 400 * DAY])
    def test_nothing_is_purged_while_the_clock_is_in_doubt(self, shelf: Shelf, jump: timedelta) -> None:
        delete(shelf, "a2")
        shelf.clock.time += jump
        shelf.pass_time(47 * HOUR)
        assert len(shelf.trash()) == 1
        shelf.pass_time(3 * HOUR)
        assert shelf.trash() == []

    def test_a_quiet_fortnight_is_no_doubt_for_a_service_that_lives(self, shelf: Shelf) -> None:
        shelf.pass_time(14 * DAY)
        delete(shelf, "a2")
        shelf.pass_time(25 * HOUR)
        assert shelf.trash() == []
        assert 13 <= len(shelf.told("tick")) <= 16

    def test_a_trash_that_is_not_mounted_is_not_taken_for_empty(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        trash = shelf.lab.backups / ".trash"
        trash.rename(shelf.lab.root / "unplugged")
        shelf.start()
        shelf.keeper.purge()
        assert shelf.told("purged", "undeleted") == []
        (shelf.lab.root / "unplugged").rename(trash)
        undelete(shelf, "a2")

    def test_the_last_deleted_of_an_id_comes_back(self, shelf: Shelf) -> None:
        for seq in (10, 20, 30):
            shelf.seq = seq
            shelf.add("x")
            delete(shelf, "x")
        undelete(shelf, "x")
        assert read_manifest(shelf.lab.backups / "x").seq == 31
        assert len(shelf.trash()) == 2


class TestUndelete:
    def test_of_what_was_never_there(self, shelf: Shelf) -> None:
        assert refusal(shelf.keeper.undelete, UndeleteBackup("x", None)) == (
            404,
            "no backup x is in the trash",
        )

    def test_needs_the_id(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        (shelf.lab.backups / "a2").symlink_to("/none")
        assert refusal(shelf.keeper.undelete, UndeleteBackup("a2", None)) == (409, "the id a2 is taken")

    def test_needs_the_base(self, shelf: Shelf) -> None:
        delete(shelf, "a2", "a1", "a0")
        code, said = refusal(shelf.keeper.undelete, UndeleteBackup("a2", None))
        assert (code, said.endswith("; undelete a1 first")) == (409, True)
        undelete(shelf, "a0", "a1", "a2")
        assert shelf.here() == {"a0", "a1", "a2", "b0"}

    def test_needs_a_base_that_is_not_lost(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        shutil.rmtree(shelf.lab.backups / "a1")
        code, said = refusal(shelf.keeper.undelete, UndeleteBackup("a2", None))
        assert (code, said.endswith("; it is not in the trash either")) == (409, True)

    @pytest.mark.parametrize("change", [{"to_lsn": 1}, {"seq": 9}])
    def test_needs_the_base_that_it_was_made_on(self, shelf: Shelf, change: dict[str, object]) -> None:
        delete(shelf, "a2")
        shelf.lab.rewrite("a1", **change)
        expected = (409, "a2 was not made on the a1 that is here now")
        assert refusal(shelf.keeper.undelete, UndeleteBackup("a2", None)) == expected

    def test_needs_a_manifest(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        (shelf.lab.backups / ".trash" / shelf.trash()[0] / MANIFEST).write_text("{")
        assert refusal(shelf.keeper.undelete, UndeleteBackup("a2", None))[0] == 409


class TestHold:
    def test_is_stored_and_told_and_ends(self, shelf: Shelf) -> None:
        until = text_of(shelf.clock.time + DAY)
        shelf.keeper.hold(HoldBackup("a1", "an audit", until))
        (event,) = shelf.told("held")
        assert (event["backup_id"], event["hold"]) == ("a1", {"reason": "an audit", "until": until})
        stored = stored_hold(shelf.lab.backups / "a1")
        assert stored is not None
        assert (stored.reason, stored.until, stored.since[:10]) == ("an audit", until, "2026-11-23")
        assert refusal(shelf.keeper.delete, DeleteBackup("a2"))[0] == 409
        shelf.keeper.release(ReleaseBackup("a1"))
        assert [event["backup_id"] for event in shelf.told("released")] == ["a1"]
        assert stored_hold(shelf.lab.backups / "a1") is None
        delete(shelf, "a2")

    def test_changes_nothing_of_the_backup(self, shelf: Shelf) -> None:
        folder = shelf.lab.backups / "a1"
        shelf.keeper.hold(HoldBackup("a1", "because", None))
        (folder / "dbcalm-hold.json.new").write_text("left by a power cut")
        made = read_manifest(folder)
        require_unchanged(
            folder, {**read_files(folder, made), "ibdata1": read_files(folder, made)["ibdata1"]}
        )

    def test_takes_the_place_of_an_earlier_one(self, shelf: Shelf) -> None:
        for reason in ("first", "second"):
            shelf.keeper.hold(HoldBackup("a1", reason, None))
        hold = hold_of(shelf.lab.backups / "a1", shelf.clock())
        assert hold is not None
        assert hold.reason == "second"

    def test_is_refused_for_what_is_not_there_or_over_already(self, shelf: Shelf) -> None:
        assert refusal(shelf.keeper.hold, HoldBackup("x", "because", None)) == (404, "there is no backup 'x'")
        assert refusal(shelf.keeper.release, ReleaseBackup("x")) == (404, "there is no backup 'x'")
        past = text_of(shelf.clock.time - HOUR)
        assert refusal(shelf.keeper.hold, HoldBackup("a1", "because", past))[0] == 409
        shelf.keeper.hold(HoldBackup("a1", "because", None))
        (shelf.lab.backups / "a1" / MANIFEST).write_text("{")
        assert refusal(shelf.keeper.hold, HoldBackup("a1", "because", None))[0] == 409
        shelf.keeper.release(ReleaseBackup("a1"))
        assert stored_hold(shelf.lab.backups / "a1") is None

    def test_that_is_not_there_ends_without_a_word(self, shelf: Shelf) -> None:
        assert shelf.keeper.release(ReleaseBackup("a1")) == {"code": 200, "status": "ok"}
        assert shelf.told("released") == []

    def test_does_not_wait_for_a_job_but_a_deletion_does(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dbcalm_mariadb_cmd.supervisor.control._GRACE_SECONDS", 0.05)
        with shelf.lab.locked():
            shelf.keeper.hold(HoldBackup("a1", "because", None))
            assert refusal(shelf.keeper.delete, DeleteBackup("b0"))[0] == 409
            assert refusal(shelf.keeper.undelete, UndeleteBackup("b0", None))[0] == 409

    def test_waits_for_a_deletion_that_is_under_way(self, shelf: Shelf) -> None:
        with shelf.control.trash.changing():
            thread = threading.Thread(target=shelf.keeper.hold, args=(HoldBackup("a1", "because", None),))
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
        thread.join()
        assert stored_hold(shelf.lab.backups / "a1") is not None

    def test_comes_back_with_its_backup(self, shelf: Shelf) -> None:
        until = text_of(shelf.clock.time + HOUR)
        shelf.keeper.hold(HoldBackup("a2", "because", until))
        shelf.clock.time += HOUR
        delete(shelf, "a2")
        undelete(shelf, "a2")
        (event,) = shelf.told("undeleted")
        assert event["backup"]["hold"] == {"reason": "because", "until": until}  # type: ignore[index]


class TestPowerCuts:
    """Each number is a change of a file; the loops end where the work is done before the cut."""

    @pytest.mark.parametrize("work", ["delete", "undelete", "hold", "release", "purge"])
    def test_leave_a_backup_in_one_place_and_the_journal_right(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, work: str
    ) -> None:
        fuse, number, cut = Fuse(monkeypatch), 0, True
        while cut:
            number += 1
            shutil.rmtree(lab.jobs)
            (lab.jobs / "jobs").mkdir(parents=True)
            for name in os.listdir(lab.backups):
                shutil.rmtree(lab.backups / name)
            (lab.backups / ".trash").mkdir()
            shelf = Shelf(lab, trash_delay=timedelta(0))
            shelf.chain("a", 2)
            shelf.add("z")  # As long as there is no newer chain, nothing of this one is purged.
            self.prepare(shelf, work)
            fuse.arm(number)
            try:
                self.do(shelf, work)
                cut = False
            except PowerCut:
                shelf.start()
            fuse.arm(0)
            self.judge(shelf)
        assert number > 3

    def prepare(self, shelf: Shelf, work: str) -> None:
        if work in ("undelete", "purge"):
            delete(shelf, "a1")
        if work == "release":
            shelf.keeper.hold(HoldBackup("a1", "because", None))

    def do(self, shelf: Shelf, work: str) -> None:
        match work:
            case "delete":
                delete(shelf, "a1")
            case "undelete":
                undelete(shelf, "a1")
            case "hold":
                shelf.keeper.hold(HoldBackup("a1", "because", None))
            case "release":
                shelf.keeper.release(ReleaseBackup("a1"))
            case _:
                shelf.keeper.purge()

    def judge(self, shelf: Shelf) -> None:
        """The last word of the journal on the backup, on its trash and on its hold is what is there."""
        assert "a0" in shelf.here()
        told = [event for event in shelf.told("ended", "deleted", "undeleted") if '"a1"' in json.dumps(event)]
        last = told[-1]["event"]
        assert (last != "deleted") == ("a1" in shelf.here())
        entries = [name for name in shelf.trash() if name.startswith("a1")]
        assert len(entries) + ("a1" in shelf.here()) <= 1
        shelf.control.history.catch_up()
        assert set(shelf.control.history.trashed) >= set(entries)
        held = stored_hold(shelf.lab.backups / "a1")
        told = [event["event"] for event in shelf.told("held", "released")]
        assert (held is not None) == (told[-1:] == ["held"])
        shelf.keeper.purge()
        assert shelf.trash() == []

    def test_what_an_older_life_left_is_told_at_the_start(self, shelf: Shelf) -> None:
        trash = shelf.lab.backups / ".trash"
        (shelf.lab.backups / "a2").rename(trash / "a2.1795402800000000000")
        shelf.start()
        (event,) = shelf.told("deleted")
        assert (event["backup_id"], event["trash"]) == ("a2", "a2.1795402800000000000")
        shelf.start()
        assert len(shelf.told("deleted")) == 1
        (trash / "a2.1795402800000000000").rename(shelf.lab.backups / "a2")
        shelf.start()
        assert [event["trash"] for event in shelf.told("undeleted")] == ["a2.1795402800000000000"]

    def test_what_root_took_out_of_the_trash_is_told_at_the_start(self, shelf: Shelf) -> None:
        delete(shelf, "a2")
        (name,) = shelf.trash()
        shutil.rmtree(shelf.lab.backups / ".trash" / name)
        shelf.start()
        assert [event["trash"] for event in shelf.told("purged")] == [name]

    def test_a_hold_that_was_made_by_hand_is_told_at_the_start(self, shelf: Shelf) -> None:
        store_hold(shelf.lab.backups / "a1", Hold("by hand", None, ""))
        shelf.start()
        assert [event["hold"] for event in shelf.told("held")] == [{"reason": "by hand", "until": None}]
        shelf.start()
        assert len(shelf.told("held")) == 1


class TestNewest:
    """The newest backup decides which timeline a full backup goes on with."""

    def newest(self, shelf: Shelf) -> str | None:
        shelf.control.history.catch_up()
        newest = shelf.control.history.newest
        return newest.id if newest else None

    def test_is_one_that_is_there(self, shelf: Shelf) -> None:
        shelf.add("c")
        delete(shelf, "c")
        assert self.newest(shelf) == "b0"
        shelf.start()
        assert self.newest(shelf) == "b0"
        undelete(shelf, "c")
        assert self.newest(shelf) == "c"
        delete(shelf, "c", "a2")
        assert self.newest(shelf) == "b0"
        undelete(shelf, "a2")
        assert self.newest(shelf) == "b0"

    def test_numbers_of_deleted_backups_are_not_given_out_again(self, shelf: Shelf) -> None:
        shelf.control.journal.append("accepted", job_id="1" * 32, seq=50, type="backup", answer={})
        shelf.control.journal.append("ended", job_id="1" * 32, status="failed")
        shelf.start()
        assert shelf.control.history.next_seq() == 51

    def test_nor_are_they_when_the_journal_is_lost(self, shelf: Shelf) -> None:
        shelf.add("c", "b0")
        delete(shelf, "c")
        (shelf.lab.jobs / "journal").unlink()
        shelf.start()
        assert shelf.control.history.next_seq() == 6
        assert [event["backup_id"] for event in shelf.told("deleted")] == ["c"]
