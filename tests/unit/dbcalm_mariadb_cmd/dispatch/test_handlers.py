"""The commands as they are answered, from their check to the end of the job, on a server that only its client plays."""

import os
import shutil
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbcalm_cmd.process import Answer
from dbcalm_cmd.wire import Command
from dbcalm_mariadb_cmd.clock import moment, text_of
from dbcalm_mariadb_cmd.command.amounts import minute
from dbcalm_mariadb_cmd.command.requests import (
    AdoptBackup,
    Check,
    CleanupBackups,
    DeleteBackup,
    FullBackup,
    HoldBackup,
    IncrementalBackup,
    JobProgress,
    ListAdoptable,
    ListBackups,
    ListRestored,
    ListTrash,
    LookAtBackups,
    ReadEvents,
    ReleaseBackup,
    RemoveRestored,
    RestoreBackup,
    UndeleteBackup,
    VerifyBackup,
)
from dbcalm_mariadb_cmd.dispatch.handlers import Desk
from dbcalm_mariadb_cmd.jobs.order import CleanupJob, write_order
from dbcalm_mariadb_cmd.preflight.checks import Settings
from dbcalm_mariadb_cmd.store.manifest import MANIFEST, read_manifest, sealed, unsealed
from dbcalm_mariadb_cmd.store.mark import NOTE
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from tests.support.engine_lab import CANNOT_CONNECT, Client, Lab, contents, wait_until

pytestmark = pytest.mark.slow


class Office:
    """The service's answers without its socket. ``changes`` are to its settings."""

    def __init__(self, lab: Lab, **changes: object) -> None:
        self.lab = lab
        self.changes = changes
        self.client = Client(lab)
        shutil.rmtree(lab.data)
        lab.server.rename(lab.data)  # The server works in the data directory, as it does on a host.
        lab.server.symlink_to(lab.data)
        self.client.rows["datadir"] = str(lab.data)
        self.begin()

    def begin(self) -> None:
        """Start the service, once more if it has begun already."""
        self.desk = Desk(self.settings())
        self.lab.at_end.callback(self.desk.close)

    def end(self) -> None:
        """End each service that was begun."""
        self.lab.at_end.close()

    def settings(self) -> Settings:
        """Let the client answer as it is set now; return the service's settings."""
        lsn = self.lab.data / ".lsn"
        self.client.status["Innodb_lsn_current"] = lsn.read_text() if lsn.exists() else "0"
        self.client.settings()
        return replace(self.lab.settings, **self.changes)  # type: ignore[arg-type]

    def ask(self, command: Command) -> Answer:
        """Return the answer to a command."""
        self.settings()
        handlers = self.desk.handlers()
        return handlers[type(command)](command)

    def full(self, backup_id: str | None = None) -> Answer:
        """Make a full backup to its end."""
        return self.done(FullBackup(uuid.uuid4().hex, backup_id, None))

    def incremental(self, base: str, backup_id: str | None = None, *, or_full: bool = False) -> Answer:
        """Make an incremental backup to its end."""
        return self.done(IncrementalBackup(uuid.uuid4().hex, backup_id, base, or_full, 3))

    def done(self, command: FullBackup | IncrementalBackup | RestoreBackup | CleanupBackups) -> Answer:
        """Give a job and wait for its success; return the answer it was accepted with, or refused."""
        answer = self.ask(command)
        if answer["code"] == 202:
            end = self.lab.end_of(command.job_id)
            assert end["status"] == "success", end
        return answer

    def wipe(self) -> None:
        """Stop the server and empty its data directory."""
        self.client.errors = CANNOT_CONNECT
        shutil.rmtree(self.lab.data)
        self.lab.data.mkdir()

    def start(self) -> None:
        """Start the server on what was restored."""
        self.client.errors = ""
        (self.lab.data / ".lsn").write_text("9000")


IDENTITY = "AGE-SECRET-KEY-177GGVS95DFGKX4YEUU9FRL73K6HKDDYJ72ZFEEGWF656YWNT8DGSSXE7QJ"
NOBODYS = "AGE-SECRET-KEY-1SDA5D4F2C4J0JKEA5DX662LGXUTNX4ZYSE2490L7J4NSL8QVVYAQAKCA5U"
RECIPIENT = "age1qc4wcr5ec5dtu469mucg2gg4ap4m206y63mj698tu573k5pdm5cqc4g47f"
"""Made for these tests."""


@pytest.fixture
def office(lab: Lab) -> Office:
    return Office(lab)


class TestBackups:
    def test_a_full_backup(self, lab: Lab, office: Office) -> None:
        answer = office.full("monday")
        assert {name: value for name, value in answer.items() if name != "job_id"} == {
            "code": 202,
            "status": "accepted",
            "id": "monday",
            "type": "full",
            "from_backup_id": None,
            "form": "folder",
            "note": None,
        }
        made = read_manifest(lab.backups / "monday")
        assert made.server.data_dir == str(lab.data)
        assert (made.seq, made.schedule_id, made.tool_version) == (1, None, "10.11.19")

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("innodb_encrypt_tables", "ON"),
            ("innodb_encrypt_tables", "FORCE"),
            ("innodb_encrypt_log", "ON"),
            ("file_key_management_filename", "/etc/passwd"),
            ("innodb_redo_log_encrypt", "ON"),
        ],
    )
    def test_a_server_that_encrypts_is_told_once_where_its_keys_are_not(
        self, office: Office, variable: str, value: str
    ) -> None:
        told = "the server encrypts its tables or logs: their keys are in no backup"
        office.client.rows[variable] = "OFF"
        assert office.full()["note"] is None
        office.client.rows[variable] = value
        assert str(office.full("first")["note"]).startswith(told)
        assert office.full()["note"] is None
        assert office.incremental("first")["note"] is None
        office.client.rows[variable] = "OFF"
        assert office.full()["note"] is None
        office.client.rows[variable] = value
        (office.lab.data / ".lsn").write_text("1")
        note = str(office.incremental("first")["note"])
        assert note.startswith("a full backup is made instead: ")
        assert told in note

    def test_a_form_is_taken_from_the_order_or_the_configuration(self, lab: Lab) -> None:
        office = Office(lab, stored_form="zstd")
        answer = office.full("packed")
        assert (answer["form"], read_manifest(lab.backups / "packed").form) == ("zstd", "zstd")
        answer = office.done(FullBackup(uuid.uuid4().hex, "plain", None, "folder"))
        assert (answer["form"], read_manifest(lab.backups / "plain").form) == ("folder", "folder")
        answer = office.done(IncrementalBackup(uuid.uuid4().hex, "inc", "packed", False, None, "gzip"))
        assert (answer["form"], read_manifest(lab.backups / "inc").form) == ("gzip", "gzip")
        office.done(RestoreBackup(uuid.uuid4().hex, "inc", "folder", False))

    def test_an_identity_comes_to_the_runner_and_is_kept_nowhere(self, lab: Lab) -> None:
        if not shutil.which("age"):
            pytest.skip("age is not installed")
        office = Office(lab, stored_form="zstd", encryption_recipients=(RECIPIENT,))
        office.full("sealed")
        answer = office.ask(RestoreBackup(uuid.uuid4().hex, "sealed", "folder", False))
        assert (answer["code"], f"encrypted to {RECIPIENT}" in str(answer["status"])) == (409, True)
        answer = office.done(RestoreBackup(uuid.uuid4().hex, "sealed", "folder", False, IDENTITY))
        assert (Path(str(answer["target_path"])) / "shop/orders.ibd").exists()
        kept = [
            path for path in lab.root.rglob("*") if path.is_file() and IDENTITY.encode() in path.read_bytes()
        ]
        assert kept == []

    def test_a_key_of_the_host_that_opens_nothing_is_told_before_it_is_needed(self, lab: Lab) -> None:
        if not shutil.which("age"):
            pytest.skip("age is not installed")
        keys = lab.root / "keys"
        changes = {"stored_form": "zstd", "encryption_recipients": (RECIPIENT,)}
        office = Office(lab, encryption_identity_file=keys, **changes)
        office.full("sealed")
        for text, problem in (
            (None, f"encryption_identity_file {keys}: No such file or directory"),
            (NOBODYS, f"encryption_identity_file {keys} does not open backup sealed"),
            (IDENTITY, None),
        ):
            if text is not None:
                keys.write_text(text)
                keys.chmod(0o640)
            told = office.ask(Check())["chain"]
            assert isinstance(told, dict)
            assert told["ids"] == ["sealed"]
            assert told["problem"] is None if problem is None else str(told["problem"]).startswith(problem)

    def test_two_in_one_second_get_two_names(self, lab: Lab, office: Office) -> None:
        names = [str(office.full()["id"]) for _ in range(4)]
        assert len(set(names)) == 4
        assert all((lab.backups / name).is_dir() for name in names)

    @pytest.mark.parametrize("taken_by", ["backup", "folder", "file", "dangling link"])
    def test_a_name_that_is_taken(self, lab: Lab, office: Office, taken_by: str) -> None:
        path = lab.backups / "monday"
        if taken_by == "backup":
            office.full("monday")
        elif taken_by == "folder":
            path.mkdir()
        else:
            path.write_text("") if taken_by == "file" else path.symlink_to("/none")
        answer = office.ask(FullBackup(uuid.uuid4().hex, "monday", None))
        assert (answer["code"], answer["status"]) == (409, "the id monday is taken")

    def test_an_incremental_stays_one(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        lab.fill({"shop/orders.ibd": "4"})
        answer = office.incremental("monday", "tuesday")
        assert (answer["type"], answer["from_backup_id"], answer["note"]) == ("incremental", "monday", None)
        first, second = (read_manifest(lab.backups / name) for name in ("monday", "tuesday"))
        assert first.timeline == second.timeline
        assert (second.seq, second.schedule_id) == (2, 3)

    def test_a_restore_into_the_data_directory_opens_a_new_timeline(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        office.wipe()
        office.done(RestoreBackup(uuid.uuid4().hex, "monday", "database", False))
        office.start()
        answer = office.incremental("monday", "tuesday")
        why = "a full backup is made instead: a backup was restored into the data directory after monday was made"
        assert (answer["type"], answer["from_backup_id"], answer["note"]) == ("full", None, why)
        lab.fill({"shop/orders.ibd": "4"})
        assert office.incremental("tuesday", "wednesday")["type"] == "incremental"
        made = {name: read_manifest(lab.backups / name) for name in ("monday", "tuesday", "wednesday")}
        assert made["tuesday"].note == why
        assert made["monday"].timeline != made["tuesday"].timeline == made["wednesday"].timeline
        assert [made[name].seq for name in made] == [1, 3, 4]

    def test_a_restore_into_a_folder_does_not(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        office.done(RestoreBackup(uuid.uuid4().hex, "monday", "folder", False))
        assert office.incremental("monday")["type"] == "incremental"

    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize(
        ("damage", "code", "why"),
        [
            ("gone", 404, "there is no backup 'monday'"),
            ("changed", 409, "backup monday is damaged: ibdata1 is missing"),
        ],
    )
    def test_a_base_that_cannot_be_built_on(
        self, lab: Lab, office: Office, damage: str, code: int, why: str, named: bool
    ) -> None:
        office.full("monday")
        shutil.rmtree(lab.backups / "monday") if damage == "gone" else (
            lab.backups / "monday/ibdata1"
        ).unlink()
        answer = office.incremental("monday", or_full=not named)
        if named:
            assert (answer["code"], answer["status"]) == (code, why)
        else:
            assert (answer["code"], answer["type"]) == (202, "full")
            assert answer["note"] == f"a full backup is made instead: {why}"

    def test_a_full_disk_is_told_before(self, lab: Lab, office: Office) -> None:
        with (lab.data / "huge.ibd").open("wb") as file:
            file.truncate(1 << 43)
        answer = office.ask(FullBackup(uuid.uuid4().hex, None, None))
        assert answer["code"] == 507
        assert str(answer["status"]).startswith("disk full: the backup needs about 8.8 TB in ")
        assert "trash" not in str(answer["status"])

    def test_a_full_disk_is_told_with_what_the_trash_has_of_it(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        office.incremental("monday", "tuesday")
        lab.rewrite("tuesday", size=7_000_000)
        office.ask(DeleteBackup("tuesday"))
        with (lab.data / "huge.ibd").open("wb") as file:
            file.truncate(1 << 43)
        answer = office.ask(FullBackup(uuid.uuid4().hex, None, None))
        listed = office.ask(ListTrash())["backups"]
        until = minute(listed[0]["purge_at"])  # type: ignore[index]
        advice = f"; 7.0 MB more are in the trash until {until}; root may remove them: rm -r {lab.backups}/.trash/*"
        assert (answer["code"], str(answer["status"]).endswith(advice)) == (507, True)

    def test_a_server_that_is_down(self, office: Office) -> None:
        office.client.errors = CANNOT_CONNECT
        answer = office.ask(FullBackup(uuid.uuid4().hex, None, None))
        assert answer == {"code": 503, "status": "server is not running"}


class TestChainLimits:
    def test_the_longest_chain(self, lab: Lab) -> None:
        office = Office(lab, max_chain_length=3)
        office.full("b1")
        assert office.incremental("b1", "b2")["type"] == "incremental"
        assert office.incremental("b2", "b3")["type"] == "incremental"
        answer = office.incremental("b3", "b4")
        why = "a full backup is made instead: the chain of b3 has 3 backups, and max_chain_length is 3"
        assert (answer["type"], answer["from_backup_id"], answer["note"]) == ("full", None, why)
        assert office.incremental("b1", "b5")["type"] == "incremental"  # A branch has a length of its own.
        assert office.incremental("b4", "b6")["type"] == "incremental"
        made = {name: read_manifest(lab.backups / name) for name in ("b3", "b4", "b6")}
        assert made["b4"].note == why
        assert (
            len({one.timeline for one in made.values()}) == 1
        )  # Nobody has put other data under the server.

    def test_the_oldest_full_backup(self, lab: Lab) -> None:
        office = Office(lab, full_every=timedelta(days=7))
        office.full("b1")
        office.incremental("b1", "b2")
        long_ago = [text_of(datetime.now(UTC) - timedelta(days=age, minutes=-1)) for age in (7, 8)]
        lab.rewrite("b1", start_time=long_ago[0])
        assert office.incremental("b2", "b3")["type"] == "incremental"
        lab.rewrite("b1", start_time=long_ago[1])
        answer = office.incremental("b3")
        why = "the chain's full backup b1 is 7 days old, and full_every is 7 days"
        assert (answer["type"], answer["note"]) == ("full", f"a full backup is made instead: {why}")

    def test_a_doubt_of_the_timeline_is_told_first(self, lab: Lab) -> None:
        office = Office(lab, max_chain_length=1)
        office.full("b1")
        (lab.data / ".lsn").write_text("1")
        assert "log sequence number" in str(office.incremental("b1", "b2")["note"])
        made = [read_manifest(lab.backups / name).timeline for name in ("b1", "b2")]
        assert made[0] != made[1]


class TestRestores:
    def test_to_a_folder(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        answers = [office.done(RestoreBackup(uuid.uuid4().hex, "monday", "folder", False)) for _ in range(2)]
        first, second = (Path(str(answer["target_path"])) for answer in answers)
        assert answers[0]["chain"] == ["monday"]
        assert first != second
        assert first.parent == lab.restores
        assert contents(first) == contents(second)
        assert first.name == answers[0]["restore_id"]

    def test_of_what_is_not_there(self, office: Office) -> None:
        answer = office.ask(RestoreBackup(uuid.uuid4().hex, "nope", "folder", False))
        assert answer == {"code": 404, "status": "there is no backup 'nope'"}

    def test_to_a_running_server(self, office: Office) -> None:
        office.full("monday")
        answer = office.ask(RestoreBackup(uuid.uuid4().hex, "monday", "database", False))
        assert answer["code"] == 503
        assert str(answer["status"]).startswith("server is not stopped: ")


class TestDeletions:
    def chain(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        lab.fill({"shop/orders.ibd": "4"})
        office.incremental("monday", "tuesday")
        office.incremental("monday", "wednesday")

    def test_go_from_the_leaf_to_the_root(self, lab: Lab, office: Office) -> None:
        self.chain(lab, office)
        answer = office.ask(DeleteBackup("monday"))
        assert answer == {
            "code": 409,
            "status": "backups depend on monday: tuesday, wednesday",
            "dependents": ["tuesday", "wednesday"],
        }
        assert office.full("other")["code"] == 202
        for name in ("tuesday", "wednesday", "monday"):
            assert office.ask(DeleteBackup(name)) == {"code": 200, "status": "ok"}
            assert not (lab.backups / name).exists()
        assert sorted(name.split(".")[0] for name in os.listdir(lab.backups / ".trash")) == [
            "monday", "tuesday", "wednesday",
        ]  # fmt: skip
        deleted = [event["backup_id"] for event in self.events(office) if event["event"] == "deleted"]
        assert deleted == ["tuesday", "wednesday", "monday"]

    def test_are_final_at_once_without_a_delay(self, lab: Lab) -> None:
        office = Office(lab, trash_delay=timedelta(0))
        self.chain(lab, office)
        office.full("newer")  # The newest whole chain would stay.
        assert office.ask(DeleteBackup("wednesday")) == {"code": 200, "status": "ok"}
        wait_until(lambda: not list((lab.backups / ".trash").iterdir()), "the trash")
        wait_until(lambda: self.events(office)[-1]["event"] == "purged", "the word of it")
        assert office.ask(UndeleteBackup("wednesday", None))["code"] == 404

    def test_of_a_clean_up_are_final_soon_without_a_delay(self, lab: Lab) -> None:
        office = Office(lab, trash_delay=timedelta(0))
        self.chain(lab, office)
        office.full("newer")
        answer = office.done(CleanupBackups(uuid.uuid4().hex, ("tuesday", "wednesday"), None))
        assert (answer["deleting"], answer["note"]) == (["wednesday", "tuesday"], None)
        wait_until(lambda: not list((lab.backups / ".trash").iterdir()), "the trash")
        assert os.listdir(lab.backups / "monday")

    def test_are_purged_though_something_beside_it_fails(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*_: object) -> None:
            raise ValueError("nobody thought of this")

        monkeypatch.setattr("dbcalm_mariadb_cmd.restore.rollback_copies.purge", fail)
        office = Office(lab, trash_delay=timedelta(0))
        self.chain(lab, office)
        office.full("newer")
        office.ask(DeleteBackup("wednesday"))
        wait_until(lambda: not list((lab.backups / ".trash").iterdir()), "the trash")
        assert "tried again in 3 s: ValueError('nobody thought of this')\n" in capfd.readouterr().err

    def test_of_the_last_whole_chain_are_refused(self, lab: Lab, office: Office) -> None:
        office.full("monday")
        why = "monday is the last whole chain, and min_full_chains is 1: make a full backup first"
        assert office.ask(DeleteBackup("monday")) == {"code": 409, "status": why}

    def test_can_be_undone_while_they_are_listed_in_the_trash(self, lab: Lab, office: Office) -> None:
        self.chain(lab, office)
        for name in ("tuesday", "wednesday"):
            office.ask(DeleteBackup(name))
        listed = office.ask(ListTrash())["backups"]
        assert isinstance(listed, list)
        assert [backup["id"] for backup in listed] == ["wednesday", "tuesday"]
        assert listed[0]["from_backup_id"] == "monday"
        deleted, purged = (moment(listed[0][name]) for name in ("deleted_at", "purge_at"))
        assert purged - deleted == timedelta(hours=24)
        assert office.ask(UndeleteBackup("tuesday", None)) == {"code": 200, "status": "ok"}
        assert office.incremental("tuesday")["type"] == "incremental"
        assert len(office.ask(ListTrash())["backups"]) == 1  # type: ignore[arg-type]

    def events(self, office: Office) -> list[dict[str, str]]:
        events = office.ask(ReadEvents("", 0, 0))["events"]
        assert isinstance(events, list)
        return events

    @pytest.mark.parametrize("kind", ["empty", "full of files"])
    def test_leave_what_is_not_ours(self, lab: Lab, office: Office, kind: str) -> None:
        (lab.backups / "theirs").mkdir()
        if kind != "empty":
            (lab.backups / "theirs/thesis.txt").write_text("precious")
        before = contents(lab.backups)
        answer = office.ask(DeleteBackup("theirs"))
        assert (answer["code"], "not a backup that DBCalm made" in str(answer["status"])) == (404, True)
        assert contents(lab.backups) == before

    def test_of_what_is_gone_are_told_all_the_same(self, lab: Lab, office: Office) -> None:
        """The catalogue may know a backup whose folder somebody has removed."""
        assert office.ask(DeleteBackup("gone")) == {"code": 200, "status": "ok"}
        assert self.events(office)[-1]["backup_id"] == "gone"


def test_backups_are_listed_some_at_a_time(lab: Lab, office: Office) -> None:
    office.full("b000")
    facts = unsealed((lab.backups / "b000" / MANIFEST).read_bytes())
    for number in range(1, 250):
        name = f"b{number:03}"
        (lab.backups / name).mkdir()
        (lab.backups / name / MANIFEST).write_bytes(sealed({**facts, "id": name}))
    found: list[str] = []
    more, pages = True, 0
    while more:
        answer = office.ask(ListBackups(found[-1] if found else "", False))
        assert isinstance(answer["backups"], list)
        found += [backup["id"] for backup in answer["backups"]]
        more, pages = bool(answer["more"]), pages + 1
    assert found == [f"b{number:03}" for number in range(250)]
    assert pages == 2


class TestEvents:
    def test_are_read_from_an_offset_on(self, office: Office) -> None:
        first = office.ask(ReadEvents("", 0, 0))
        office.ask(DeleteBackup("a"))
        second = office.ask(ReadEvents(str(first["journal"]), int(str(first["offset"])), 0))
        assert [event["event"] for event in second["events"]] == ["deleted"]  # type: ignore[attr-defined]
        third = office.ask(ReadEvents(str(first["journal"]), int(str(second["offset"])), 0))
        assert (third["events"], third["offset"], third["more"]) == ([], second["offset"], False)

    def test_of_another_journal_are_read_from_the_beginning(self, office: Office) -> None:
        office.ask(DeleteBackup("a"))
        answer = office.ask(ReadEvents("another", 100, 0))
        assert [event["event"] for event in answer["events"]] == ["journal", "deleted"]  # type: ignore[attr-defined]

    def test_are_waited_for(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = office.ask(ReadEvents("", 0, 0))
        began = time.monotonic()
        answer = office.ask(ReadEvents(str(seen["journal"]), int(str(seen["offset"])), 0.1))
        assert answer["events"] == []
        assert time.monotonic() - began >= 0.1
        monkeypatch.setattr(JobControl, "wait_for_change", lambda *_: pytest.fail("it waits"))
        office.end()
        office.ask(ReadEvents(str(seen["journal"]), int(str(seen["offset"])), 25))


def test_progress_is_told(office: Office) -> None:
    answer = office.full("monday")
    progress = office.ask(JobProgress(str(answer["job_id"])))
    assert (progress["code"], progress["phase"]) == (200, "syncing")
    assert office.ask(JobProgress("0" * 32))["code"] == 404


class TestStart:
    def test_removes_what_no_job_works_in_any_more(self, lab: Lab, office: Office) -> None:
        for half_made in (
            lab.backups / ".work" / ("0" * 32),
            lab.restores / ".monday-restored-2026-11-23-03-00-00",
        ):
            half_made.mkdir()
            (half_made / "ibdata1").write_text("half")
        office.begin()
        assert not list((lab.backups / ".work").iterdir())
        assert not list(lab.restores.iterdir())

    def test_leaves_what_somebody_else_keeps_where_restores_go(self, lab: Lab, office: Office) -> None:
        (lab.restores / ".snapshots").mkdir()
        (lab.restores / ".snapshots/precious").write_text("kept")
        (lab.restores / ".profile").write_text("kept")
        (lab.restores / ".a-restored-file").write_text("kept")
        before = contents(lab.restores)
        office.begin()
        assert contents(lab.restores) == before

    def test_empties_the_trash(self, lab: Lab, office: Office) -> None:
        shutil.copytree(lab.data, lab.backups / ".copied")
        # At once, as a deletion does: the service that runs already may look at any moment.
        (lab.backups / ".copied").rename(lab.backups / ".trash/monday.1")
        office.begin()
        wait_until(lambda: not os.listdir(lab.backups / ".trash"), "the trash")


class TestWithoutTheDiskOfBackups:
    """A mount point without its disk: an empty folder that the service may write in, one that it may not, or none."""

    @pytest.fixture(params=["an empty folder", "nothing"])
    def away(self, request: pytest.FixtureRequest, lab: Lab) -> Office:
        """Give a service that has started without the disk, and bring the disk back when ``back`` is called."""
        office = Office(lab)
        office.full("monday")
        office.full("tuesday")
        office.ask(HoldBackup("monday", "because", None))
        assert office.ask(DeleteBackup("tuesday"))["code"] == 200
        self.lab, self.aside = lab, lab.root / "aside"
        lab.backups.rename(self.aside)
        if request.param == "an empty folder":
            lab.backups.mkdir()
        office.begin()
        return office

    def back(self) -> None:
        if self.lab.backups.exists():
            shutil.rmtree(self.lab.backups)
        self.aside.rename(self.lab.backups)

    def test_all_that_needs_it_is_refused_and_the_rest_answers(self, lab: Lab, away: Office) -> None:
        job = uuid.uuid4().hex
        orders: list[Command] = [
            FullBackup(job, None, None),
            IncrementalBackup(job, None, "monday", True, None),
            FullBackup(job, None, None, None, True),
            RestoreBackup(job, "monday", "folder", False),
            RestoreBackup(job, "monday", "database", False),
            VerifyBackup(job, "monday", 1),
            CleanupBackups(job, ("monday",), None),
            AdoptBackup(job, "monday"),
            DeleteBackup("monday"),
            UndeleteBackup("tuesday", None),
            HoldBackup("monday", "why", None),
            ReleaseBackup("monday"),
            ListBackups("", False),
            ListTrash(),
            ListAdoptable(),
            ListRestored(),
            RemoveRestored("monday-restored-2026-11-23-03-00-00"),
        ]
        for order in orders:
            answer = away.ask(order)
            assert answer["code"] == 503, order
            assert f"findmnt --target {lab.backups}" in str(answer["status"])
        found = away.ask(Check())
        assert (found["code"], found["folders"]) == (200, [answer["status"]])
        looked = away.ask(LookAtBackups("", 0))
        assert (looked["backups"], looked["problem"]) == ([], answer["status"])
        events = away.ask(ReadEvents("", 0, 0))["events"]
        kinds = [event["event"] for event in events]  # type: ignore[attr-defined]
        assert kinds.count("deleted") == 1
        assert not {"purged", "released", "undeleted"}.intersection(kinds), (
            "nothing is told of what is not seen"
        )
        if lab.backups.exists():
            assert not list(lab.backups.iterdir())

    def test_all_is_well_by_itself_when_it_is_back(self, lab: Lab, away: Office) -> None:
        half_made = self.aside / ".work" / ("0" * 32)
        half_made.mkdir()
        self.back()
        assert away.incremental("monday", "later")["code"] == 202
        assert not half_made.exists()
        assert away.ask(UndeleteBackup("tuesday", None))["code"] == 200
        backups = away.ask(ListBackups("", False))["backups"]
        held = {made["id"]: bool(made["hold"]) for made in backups}  # type: ignore[attr-defined]
        assert held == {"later": False, "monday": True, "tuesday": False}
        seqs = [made["seq"] for made in backups]  # type: ignore[attr-defined]
        assert len(set(seqs)) == 3

    def test_a_journal_that_is_new_too_gives_no_number_again(self, lab: Lab, away: Office) -> None:
        (lab.jobs / "journal").unlink()
        (lab.jobs / NOTE).unlink()
        office = away
        office.end()
        office.begin()
        self.back()
        made = office.full("wednesday")
        assert made["code"] == 202
        assert read_manifest(lab.backups / "wednesday").seq > 2

    def test_a_job_that_was_interrupted_is_no_success(self, lab: Lab, away: Office) -> None:
        """A clean-up without its disk has nothing left to delete."""
        self.back()
        job = CleanupJob(uuid.uuid4().hex, lab.places, ("monday",), None, 1, 0.0)
        write_order(job)
        away.end()
        control = JobControl(lab.jobs, lab.backups)
        answer = {"code": 202, "status": "accepted"}
        control.journal.append("accepted", job_id=job.job_id, type="cleanup_backups", seq=0, answer=answer)
        lab.backups.rename(self.aside)
        away.begin()
        end = lab.end_of(job.job_id)
        assert (end["status"], end["reason"]) == ("failed", "interrupted")
        assert "cannot be seen" in str(end["error"])


def test_a_folder_for_restores_that_cannot_be_written_keeps_no_backup_from_being_made(lab: Lab) -> None:
    office = Office(lab, restore_dir=lab.root / "nowhere" / "restores")
    office.full("monday")
    told = "restore_dir: user "
    for order in (
        RestoreBackup(uuid.uuid4().hex, "monday", "folder", False),
        VerifyBackup(uuid.uuid4().hex, "monday", 2),
    ):
        answer = office.ask(order)
        assert answer["code"] == 503
        assert str(answer["status"]).startswith(told)
        assert f"findmnt --target {lab.root / 'nowhere'}" in str(answer["status"])
    checked = office.ask(Check())
    assert checked["folders"] == checked["unwritable"] == [answer["status"]]
