"""What the service tells of itself: backups and whether they are intact, the trash, logs of jobs, the check."""

import json
import os
import shutil
import uuid
from datetime import timedelta

import pytest

from dbcalm_cmd.process import Answer
from dbcalm_cmd.wire import encode
from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.command.requests import DeleteBackup, HoldBackup, JobLog, ListBackups
from dbcalm_mariadb_cmd.dispatch import queries
from dbcalm_mariadb_cmd.dispatch.queries import Reports
from dbcalm_mariadb_cmd.preflight.checks import RESERVE
from dbcalm_mariadb_cmd.store.manifest import MANIFEST
from tests.support.engine_lab import CANNOT_CONNECT, Client, Lab
from tests.support.engine_tiny import DATA, Shelf, reports_of

HOUR = timedelta(hours=1)
JOB = uuid.uuid4().hex


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    shelf = Shelf(lab)
    shelf.chain("a")
    return shelf


def report(shelf: Shelf) -> Reports:
    return reports_of(shelf.settings, shelf.control)


def listed(shelf: Shelf, after: str = "", *, examine: bool = False) -> dict[str, dict[str, object]]:
    answer = report(shelf).backups(ListBackups(after, examine))
    assert answer["more"] is False
    backups = answer["backups"]
    assert isinstance(backups, list)
    return {backup["id"]: backup for backup in backups}


class TestBackups:
    def test_are_told_with_their_holds(self, shelf: Shelf) -> None:
        until = text_of(shelf.clock.time + HOUR)
        shelf.keeper.hold(HoldBackup("a1", "because", until))
        found = listed(shelf)
        assert found["a1"]["hold"] == {"reason": "because", "until": until}
        assert (found["a0"]["hold"], found["a0"]["intact"]) == (None, None)
        assert (found["a2"]["type"], found["a2"]["from_backup_id"]) == ("incremental", "a1")
        shelf.clock.time += HOUR
        assert listed(shelf)["a1"]["hold"] is None

    def test_are_examined_by_names_and_sizes(self, shelf: Shelf) -> None:
        shelf.keeper.hold(HoldBackup("a0", "because", None))
        (shelf.lab.backups / "a1" / DATA).write_text("longer than it was")
        found = listed(shelf, examine=True)
        assert {name: backup["intact"] for name, backup in found.items()} == {
            "a0": True,
            "a1": False,
            "a2": True,
        }

    def test_that_take_long_to_examine_come_some_at_a_time(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queries, "_EXAMINED_SECONDS", 0.0)
        answer = report(shelf).backups(ListBackups("", True))
        assert [backup["id"] for backup in answer["backups"]] == ["a0"]  # type: ignore[attr-defined]
        assert answer["more"] is True
        assert len(listed(shelf)) == 3

    def test_a_whole_page_fits_into_a_frame(self, shelf: Shelf) -> None:
        for number in range(200):
            folder = shelf.lab.backups / f"b{number:03}"
            shutil.copytree(shelf.lab.backups / "a0", folder)
            shelf.lab.rewrite(folder.name, id=folder.name, note="\u00e9" * 300)
            reason = json.dumps({"reason": "\u65e5" * 200, "until": None, "since": ""})
            (folder / "dbcalm-hold.json").write_text(reason)
        answer = report(shelf).backups(ListBackups("b", False))
        assert len(answer["backups"]) == 200  # type: ignore[arg-type]
        encode(answer)


class TestTrash:
    def test_is_told_the_last_deleted_first_as_far_as_it_fits(self, shelf: Shelf) -> None:
        trash = shelf.lab.backups / ".trash"
        for number in range(2000):
            entry = trash / f"a0.{1_795_402_800_000_000_000 + number}"
            entry.mkdir()
            shutil.copy(shelf.lab.backups / "a0" / MANIFEST, entry)
        (trash / f"a0.{1_795_402_800_000_001_999}" / MANIFEST).write_text("{")
        answer = report(shelf).trash()
        encode(answer)
        rows = answer["backups"]
        assert isinstance(rows, list)
        assert 500 < len(rows) < 2000
        assert answer["more"] is True
        assert rows[0]["deleted_at"] == "2026-11-23T03:00:00.000001Z"  # The last one cannot be read.
        assert rows[0]["purge_at"] == "2026-11-24T03:00:00.000001Z"


class TestLogs:
    def write(self, shelf: Shelf, content: bytes) -> None:
        folder = shelf.lab.jobs / "jobs" / JOB
        folder.mkdir(exist_ok=True)
        (folder / "output.log").write_bytes(content)

    def ask(self, shelf: Shelf, offset: int) -> Answer:
        answer = report(shelf).log(JobLog(JOB, offset))
        encode(answer)
        return answer

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[00] completed OK!\n",
            "日本é😀".encode() * 60_000,
            b"\x01" * 600_000,
            b"\xff" * 600_000,
            b"x" + "😀".encode() * 150_000,
            b"\xe6\x97 cut \xf0\x9f\x98 off",
        ],
    )
    def test_is_read_piece_by_piece(self, shelf: Shelf, content: bytes) -> None:
        self.write(shelf, content)
        text, offset, more = "", 0, True
        while more:
            answer = self.ask(shelf, offset)
            text, more = text + str(answer["text"]), bool(answer["more"])
            assert not more or int(str(answer["offset"])) > offset
            offset = int(str(answer["offset"]))
        assert text == content.decode("utf-8", "replace")
        assert offset == len(content)

    def test_a_character_that_is_not_whole_yet_waits(self, shelf: Shelf) -> None:
        self.write(shelf, b"caf\xc3")
        assert self.ask(shelf, 0) == {"code": 200, "status": "ok", "text": "caf", "offset": 3, "more": False}
        self.write(shelf, b"caf\xc3\xa9")
        assert self.ask(shelf, 3)["text"] == "é"
        assert self.ask(shelf, 99) == {"code": 200, "status": "ok", "text": "", "offset": 99, "more": False}

    def test_of_a_job_that_is_about_to_begin_is_empty(self, shelf: Shelf) -> None:
        (shelf.lab.jobs / "jobs" / JOB).mkdir()
        assert self.ask(shelf, 0)["text"] == ""

    def test_that_is_not_kept(self, shelf: Shelf) -> None:
        assert self.ask(shelf, 0) == {"code": 404, "status": f"the log of job {JOB} is not kept"}


class TestCheck:
    def check(self, shelf: Shelf, **client: object) -> Answer:
        player = Client(shelf.lab)
        for name, value in client.items():
            setattr(player, name, value)
        answer = reports_of(player.settings(), shelf.control).check()
        assert set(answer) == {
            "code", "status", "database", "cause", "folders", "space", "chain", "trash", "clock", "warm",
            "restored", "replaced", "config", "server_faults",
        }  # fmt: skip
        return answer

    def test_of_a_host_on_which_all_is_well(self, shelf: Shelf) -> None:
        (shelf.lab.server / "huge.ibd").write_bytes(b"x" * 5_000_000)
        answer = self.check(shelf)
        message = f"{shelf.lab.tool} 10.11.19, server 10.11.19"
        assert answer["database"] == {"ok": True, "message": message}
        space = answer["space"]
        assert isinstance(space, dict)
        status = os.statvfs(shelf.lab.backups)
        assert abs(space["free_bytes"] - status.f_bavail * status.f_frsize) < 1 << 30
        assert 5_000_000 < space["needed_bytes"] - RESERVE < 5_100_000
        assert answer["chain"] == {"ids": ["a0", "a1", "a2"], "problem": None}
        assert answer["trash"] == {"count": 0, "bytes": 0}
        assert answer["clock"] is None

    def test_of_a_server_that_is_down(self, shelf: Shelf) -> None:
        answer = self.check(shelf, errors=CANNOT_CONNECT)
        assert answer["database"] == {"ok": False, "message": "server is not running"}
        assert answer["space"]["needed_bytes"] is None  # type: ignore[index]

    @pytest.mark.parametrize(
        ("cause", "client"),
        [
            ("login", {"errors": "ERROR 1045 (28000): Access denied for user 'b'@'localhost'"}),
            ("grants", {"fails": {"BACKUP": "1227 you need (at least one of) the RELOAD privilege(s)"}}),
            (None, {"errors": CANNOT_CONNECT}),
            (None, {}),
        ],
    )
    def test_says_in_a_word_what_is_wrong_with_the_account(
        self, shelf: Shelf, cause: str | None, client: dict[str, object]
    ) -> None:
        answer = self.check(shelf, **client)
        assert (answer["cause"], answer["database"]["ok"]) == (cause, not client)  # type: ignore[index]

    def test_says_that_the_option_file_is_missing(self, shelf: Shelf) -> None:
        Client(shelf.lab).settings().backup_credentials_file.unlink()
        answer = self.check(shelf)
        assert (answer["cause"], answer["database"]["ok"]) == ("credentials", False)  # type: ignore[index]

    def test_of_folders_that_are_not_as_they_must_be(self, shelf: Shelf) -> None:
        backups = shelf.lab.backups
        for mode, told in ((0o700, []), (0o750, []), (0o705, [f"change that with: chmod o= {backups}"])):
            backups.chmod(mode)
            found = self.check(shelf)["folders"]
            assert isinstance(found, list)
            assert [sentence.partition("; ")[2] for sentence in found if "backup_dir" in sentence] == told

    @pytest.mark.parametrize(
        ("type", "asked"), [("backup", False), ("restore", False), ("cleanup_backups", True)]
    )
    def test_asks_no_database_that_a_job_works_with(self, shelf: Shelf, type: str, asked: bool) -> None:
        answer = {"code": 202, "status": "accepted"}
        shelf.control.journal.append("accepted", job_id=JOB, type=type, seq=9, answer=answer)
        database = self.check(shelf, errors=CANNOT_CONNECT)["database"]
        told = {"ok": True, "message": f"job {JOB} works with it ({type})"}
        assert database == ({"ok": False, "message": "server is not running"} if asked else told)
        shelf.control.journal.append("ended", job_id=JOB, status="success")
        assert self.check(shelf, errors=CANNOT_CONNECT)["database"]["ok"] is False  # type: ignore[index]

    def test_of_a_damaged_chain(self, shelf: Shelf) -> None:
        (shelf.lab.backups / "a1" / DATA).unlink()
        expected = {"ids": ["a2"], "problem": "backup a1 is damaged: ibdata1 is missing"}
        assert self.check(shelf)["chain"] == expected

    def test_of_a_new_host(self, lab: Lab) -> None:
        assert self.check(Shelf(lab))["chain"] == {"ids": [], "problem": None}

    def test_of_the_trash(self, shelf: Shelf) -> None:
        shelf.lab.rewrite("a2", size=500)
        for backup_id in ("a2", "a1"):
            shelf.keeper.delete(DeleteBackup(backup_id))
        assert self.check(shelf)["trash"] == {"count": 2, "bytes": 504}

    def test_of_a_clock_that_jumped(self, shelf: Shelf) -> None:
        shelf.clock.time -= 5 * HOUR
        assert str(self.check(shelf)["clock"]).startswith("the clock went back by 4 hours")
