"""Restoring over a database that runs: the whole way, the way back, and whatever dies or fails in the middle."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm_mariadb_cmd.builder.layout import OURS_IN_DATA_DIR, REPLACED
from dbcalm_mariadb_cmd.restore.swap import FACTS
from dbcalm_mariadb_cmd.restore.swap_job import DONE, FAILED, MOVED, MOVING, RETURNING, STOPPING
from dev.sandbox_lib import Sandbox
from dev.sandbox_lib.installation import account_sql
from dev.sandbox_lib.processes import ENVIRONMENT, all_processes, command_line
from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with
from tests.support.patience import PATIENCE, eventually

pytestmark = pytest.mark.integration

_MYSQL_SERVICE = "dbcalm-mariadb-cmd"
_HOST = socket.gethostname()


class Replacing(Rig):
    """A sandbox of its own, whose database is replaced again and again. The backup ``full`` and its incremental
    ``base`` are there, and ``known`` are the checksums of the tables that ``base`` has."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.jobs = Path(sandbox.layout.jobs)
        self.known: dict[str, str] = {}

    def replace(self, backup_id: str = "base") -> dict[str, Any]:
        return self.start("/restore", {"id": backup_id, "target": "database", "replace": True})

    def replaced(self) -> list[dict[str, Any]]:
        """Return what is kept, the newest first."""
        return list(self.api.call("GET", "/replaced")["items"])

    def stage(self, accepted: dict[str, Any]) -> str:
        """Return how far a job has come, "" before it touches the server."""
        try:
            return str(json.loads((self.jobs / "jobs" / accepted["pid"] / "stage.json").read_text())["name"])
        except FileNotFoundError:
            return ""

    def reach(self, accepted: dict[str, Any], *stages: str) -> None:
        """Wait until a job is in one of these stages; hardly sleep, since some are over in a moment."""
        give_up = time.monotonic() + PATIENCE
        while (at := self.stage(accepted)) not in stages:
            assert at not in (DONE, FAILED), f"the job was {at} before it was seen in {stages}"
            assert time.monotonic() < give_up, f"the job is {at!r} and not in {stages}"
            time.sleep(0.001)

    def runner(self) -> int:
        """Return the process that works on the job."""
        [found] = [
            process.pid
            for process in all_processes()
            if "dbcalm_mariadb_cmd.supervisor.runner" in (words := " ".join(command_line(process.pid)))
            and str(self.sandbox.root) in words
        ]
        return found

    def signal_runner(self, number: signal.Signals) -> None:
        os.kill(self.runner(), number)

    def spoil_the_copy(self, accepted: dict[str, Any]) -> None:
        """Let no server start with what is being restored: its first file is cut off while the runner stands still."""
        self.reach(accepted, STOPPING)
        self.signal_runner(signal.SIGSTOP)
        try:
            os.truncate(self.data / f"{OURS_IN_DATA_DIR}restore" / "data" / "ibdata1", 1 << 20)
        finally:
            self.signal_runner(signal.SIGCONT)

    def is_whole(self, expected: dict[str, str]) -> None:
        """Fail unless the database runs with just this data, no job runs, and no copy of one is left."""
        assert self.sandbox.database.process is not None
        assert self.tables() == expected
        assert self.api.call("GET", "/processes?query=status|running")["items"] == []
        assert not list(self.data.glob(f"{OURS_IN_DATA_DIR}restore*"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replacing]:
    with sandbox_with(tmp_path_factory.mktemp("replace") / "sandbox", SMALL_SHOP) as sandbox:
        rig = Replacing(sandbox)
        rig.chain("full", "base")
        rig.known = rig.tables()
        yield rig


@pytest.fixture
def rig(own: Replacing) -> Iterator[Replacing]:
    """Give the sandbox with data that no backup has and with nothing kept."""
    own.change()
    yield own
    own.everything_runs()
    for kept in own.data.glob(f"{REPLACED}*"):
        shutil.rmtree(kept)


def test_over_https_and_back_again_and_back_from_that(rig: Replacing) -> None:
    before = rig.tables()
    assert before != rig.known
    accepted = rig.replace()
    assert accepted["chain"] == ["full", "base"]
    refusals = [
        rig.refused("POST", "/backups", {"type": "full"}),
        rig.refused("POST", "/restore", {"id": "base", "target": "database", "replace": True}),
        rig.refused("DELETE", "/backups/base"),
    ]
    ended = rig.end(accepted)
    assert ended["status"] == "success", ended
    assert all(status == 409 and accepted["pid"] in line for status, line in refusals), refusals
    rig.is_whole(rig.known)
    [kept] = rig.replaced()
    assert (kept["id"], kept["backup_id"]) == (accepted["restore_id"], "base")
    assert kept["keep_until"] > kept["replaced_at"]
    assert kept["size"] > 1 << 20

    ended = rig.end(rig.start(f"/replaced/{kept['id']}/bring-back", {}))
    assert (ended["status"], ended["type"]) == ("success", "bring_back"), ended
    rig.is_whole(before)
    [other] = rig.replaced()
    assert other["backup_id"] is None
    assert other["id"].startswith("brought-back-")

    assert rig.end(rig.start(f"/replaced/{other['id']}/bring-back", {}))["status"] == "success"
    rig.is_whole(rig.known)


def test_from_the_command_line_while_the_api_is_down(rig: Replacing) -> None:
    before = rig.tables()
    rig.sandbox.services.end("dbcalm")
    refused = rig.sandbox.cli("restore", "base", "--replace")
    assert (refused.returncode, _HOST in refused.stderr) == (2, True)
    assert rig.tables() == before
    done = rig.sandbox.cli("restore", "base", "--replace", "--confirm", _HOST)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the database runs with it" in done.stdout
    assert rig.tables() == rig.known
    [kept] = json.loads(rig.sandbox.cli("replaced", "list", "--json").stdout)
    assert kept["id"] in done.stdout
    done = rig.sandbox.cli("replaced", "bring-back", kept["id"], "--confirm", _HOST)
    assert (done.returncode, done.stderr) == (0, "")
    assert rig.tables() == before


def test_an_older_account_of_the_backup_user_is_no_reason_to_go_back_and_is_told(rig: Replacing) -> None:
    """The password was changed after the backup was made: the database that comes back has the older one."""
    credentials, user = rig.sandbox.layout.credentials, "dbcalm_backup@localhost"
    before = credentials.read_text()
    [password] = [line.partition("=")[2] for line in before.splitlines() if line.startswith("password=")]
    rig.sandbox.sql(f"ALTER USER {user} IDENTIFIED BY 'newer-{password}'")
    credentials.write_text(before.replace("password=", "password=newer-"))
    try:
        accepted = rig.replace()
        assert "was changed after base was made" in accepted["note"]
        ended = rig.end(accepted)
        assert ended["status"] == "success", ended
        rig.is_whole(rig.known)
        process = rig.api.call("GET", f"/processes?query=command_id|{accepted['pid']}")["items"][0]
        assert "no backup can be made before this is put right" in process["note"]
        assert "older password: run: dbcalm setup" in process["note"]
        log = rig.sandbox.cli("processes", "log", accepted["pid"]).stdout
        assert "older password: run: dbcalm setup" in log
        status, line = rig.refused("POST", "/backups", {"type": "full"})
        assert (status, "older password: run: dbcalm setup" in line) == (503, True), line
        assert "older password: run: dbcalm setup" in rig.sandbox.cli("status").stdout
        rig.sandbox.sql(f"DROP USER {user}")
        status, line = rig.refused("POST", "/backups", {"type": "full"})
        assert (status, "is missing or has an older password: run: dbcalm setup" in line) == (503, True), line
        rig.sandbox.sql(account_sql(rig.sandbox.layout))
        rig.backup(id="after-setup")
    finally:
        credentials.write_text(before)
        rig.sandbox.sql(f"DROP USER IF EXISTS {user}")
        rig.sandbox.sql(account_sql(rig.sandbox.layout))


def test_a_second_one_right_behind_and_only_the_last_is_in_the_way_of_none(rig: Replacing) -> None:
    for _ in range(2):
        assert rig.end(rig.replace())["status"] == "success"
    rig.is_whole(rig.known)
    assert len(rig.replaced()) == 2
    assert rig.end(rig.replace("full"))["status"] == "success"
    assert rig.tables() != rig.known


def test_an_encrypted_chain_of_any_forms_and_each_way_of_giving_the_key(
    rig: Replacing, keys: tuple[str, str, Path]
) -> None:
    identity, public, file = keys
    with rig.configured(_MYSQL_SERVICE, encryption_recipients=[public]):
        rig.chain("sealed", "sealed-more", form="gzip")
    rig.backup(id="mixed", type="incremental", from_backup_id="sealed-more", form="folder")
    known, order = rig.tables(), {"id": "mixed", "target": "database", "replace": True}
    rig.change()
    before, entries = rig.tables(), sorted(path.name for path in rig.data.iterdir())
    status, line = rig.refused("POST", "/restore", order)
    assert (status, line.startswith(f"backup sealed is encrypted to {public}: give the identity")) == (
        409,
        True,
    )
    assert (rig.tables(), sorted(path.name for path in rig.data.iterdir())) == (before, entries)

    assert rig.end(rig.start("/restore", {**order, "identity": identity}))["status"] == "success"
    rig.is_whole(known)
    rig.change()
    words = ("restore", "mixed", "--replace", "--confirm", _HOST, "--identity-stdin")
    done = rig.sandbox.cli(*words, text=file.read_text())
    assert (done.returncode, done.stderr) == (0, "")
    rig.is_whole(known)
    rig.change()
    with rig.configured(_MYSQL_SERVICE, encryption_identity_file=str(file)):
        assert rig.end(rig.start("/restore", order))["status"] == "success"
        rig.is_whole(known)
    assert rig.kept_anywhere(identity) == []


def test_a_process_that_goes_on_needs_no_key_and_one_that_cannot_leaves_none(
    rig: Replacing, keys: tuple[str, str, Path]
) -> None:
    identity, public, _ = keys
    with rig.configured(_MYSQL_SERVICE, encryption_recipients=[public]):
        rig.chain("opened")
    known = rig.tables()
    rig.change()
    before, order = (
        rig.tables(),
        {"id": "opened", "target": "database", "replace": True, "identity": identity},
    )
    accepted = rig.start("/restore", order)
    rig.signal_runner(signal.SIGKILL)
    ended = rig.end(accepted)
    assert (ended["status"], ended["reason"]) == ("failed", "interrupted")
    rig.is_whole(before)
    accepted = rig.start("/restore", order)
    rig.reach(accepted, MOVED)
    rig.signal_runner(signal.SIGKILL)
    assert rig.end(accepted)["status"] == "success"
    rig.is_whole(known)
    assert rig.kept_anywhere(identity) == []


def made(rig: Replacing, status: dict[str, Any]) -> dict[str, Any]:
    return dict(rig.api.call("GET", f"/backups/{status['resource_id']}"))


def test_what_comes_after_begins_a_timeline_of_its_own(rig: Replacing) -> None:
    assert rig.end(rig.replace())["status"] == "success"
    first = rig.backup(type="incremental", from_backup_id="base")
    assert made(rig, first)["type"] == "full"
    assert "restored into the data directory" in first["note"]
    rig.change()
    second = rig.backup(type="incremental", from_backup_id=first["resource_id"])
    assert (made(rig, second)["type"], second["note"]) == ("incremental", None)
    expected = rig.tables()
    rig.change()
    assert rig.end(rig.replace(second["resource_id"]))["status"] == "success"
    rig.is_whole(expected)


def test_a_schema_that_is_made_while_the_copy_is_prepared_goes_with_the_old_data(rig: Replacing) -> None:
    accepted = rig.replace()
    rig.sandbox.sql("CREATE DATABASE meanwhile; CREATE TABLE meanwhile.t (id INT PRIMARY KEY)")
    assert rig.end(accepted)["status"] == "success"
    rig.is_whole(rig.known)
    assert not (rig.data / "meanwhile").exists()
    assert (rig.data / f"{REPLACED}{accepted['restore_id']}" / "meanwhile").is_dir()


def test_of_a_database_that_is_stopped_and_of_one_that_has_no_data(rig: Replacing) -> None:
    rig.sandbox.stop_db()
    assert rig.end(rig.replace())["status"] == "success"
    rig.is_whole(rig.known)
    rig.empty_database()
    assert rig.end(rig.replace())["status"] == "success"
    rig.is_whole(rig.known)
    assert rig.replaced() == []


def as_root(rig: Replacing, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``dbcalm`` as root."""
    return subprocess.run(
        [*str(rig.sandbox.layout.launch).split(), *arguments],
        cwd="/", env={**ENVIRONMENT, "DBCALM_CONFIG": str(rig.sandbox.layout.config)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may remove what was replaced")
def test_what_was_replaced_is_removed_before_its_time(rig: Replacing) -> None:
    rig.end(rig.replace())
    newest, *_others = before = rig.replaced()
    told = rig.sandbox.cli("status").stdout
    assert f"{len(before)} kept, " in told
    assert "remove one, as root, with: dbcalm replaced remove ID" in told
    by_dbcalm = rig.sandbox.cli("replaced", "remove", newest["id"], "--yes")
    assert (by_dbcalm.returncode, rig.replaced()) == (1, before)
    assert "only root may" in by_dbcalm.stderr
    removed = as_root(rig, "replaced", "remove", newest["id"], "--yes")
    assert removed.returncode == 0, removed
    assert rig.replaced() == before[1:]
    eventually(lambda: not list(rig.data.glob("#sql-dbcalm-removing-*")))
    assert rig.tables() == rig.known
    assert (
        rig.sandbox.cli("replaced", "bring-back", newest["id"], "--confirm", socket.gethostname()).returncode
        == 1
    )


def test_what_is_kept_for_no_time_is_gone_soon(rig: Replacing) -> None:
    with rig.configured(_MYSQL_SERVICE, keep_replaced=0, trash_delay=0):
        assert rig.end(rig.replace())["status"] == "success"
        eventually(lambda: rig.replaced() == [])
        eventually(lambda: not list(rig.data.glob(f"{OURS_IN_DATA_DIR}*")))
        rig.is_whole(rig.known)
    status, line = rig.refused("POST", "/replaced/nothing/bring-back", {})
    assert (status, line) == (404, "nothing that was replaced is kept as nothing")


def test_an_old_server_gets_its_data_back_if_the_restored_one_cannot_start(rig: Replacing) -> None:
    before = rig.tables()
    accepted = rig.replace()
    rig.spoil_the_copy(accepted)
    ended = rig.end(accepted)
    assert (ended["status"], ended["reason"]) == ("failed", "error")
    assert "did not start" in ended["error"]
    assert ended["error"].endswith("the old data is back in place, and the database runs with it")
    rig.is_whole(before)
    assert rig.replaced() == []


def test_what_is_brought_back_and_cannot_start_stays_as_it_is(rig: Replacing) -> None:
    assert rig.end(rig.replace())["status"] == "success"
    [kept] = rig.replaced()
    first = rig.data / f"{REPLACED}{kept['id']}" / "ibdata1"
    whole = first.read_bytes()
    os.truncate(first, 1 << 20)
    ended = rig.end(rig.start(f"/replaced/{kept['id']}/bring-back", {}))
    assert ended["status"] == "failed"
    rig.is_whole(rig.known)
    assert [one["id"] for one in rig.replaced()] == [kept["id"]]
    with first.open("r+b") as file:
        file.write(whole)
    assert rig.end(rig.start(f"/replaced/{kept['id']}/bring-back", {}))["status"] == "success"
    assert rig.tables() != rig.known


@pytest.mark.parametrize("stage", [STOPPING, MOVING, MOVED, RETURNING])
@pytest.mark.parametrize("service_too", [False, True], ids=["runner", "runner and service"])
def test_a_runner_that_is_killed_leaves_no_mixture_and_no_job(
    rig: Replacing, stage: str, service_too: bool
) -> None:
    before = rig.tables()
    accepted = rig.replace()
    if stage == RETURNING:
        rig.spoil_the_copy(accepted)
    rig.reach(accepted, *((MOVING, MOVED) if stage == MOVING else (stage,)))
    rig.signal_runner(signal.SIGSTOP)  # Else it may go on between the look and the end.
    killed_at = rig.stage(accepted)
    rig.signal_runner(signal.SIGKILL)
    if service_too:
        rig.sandbox.kill(_MYSQL_SERVICE)
        rig.sandbox.restart(_MYSQL_SERVICE)
    ended = rig.end(accepted)
    assert ended["status"] == ("success" if killed_at == MOVED else "failed"), ended
    if killed_at != MOVED:
        assert "interrupted" in ended["error"]
        assert ended["error"].endswith("and the database runs with it")
    rig.is_whole(rig.known if killed_at == MOVED else before)


def test_a_runner_that_is_killed_again_and_again_ends_some_time(rig: Replacing) -> None:
    before = rig.tables()
    chance = random.Random(4)
    for _ in range(4):
        accepted = rig.replace()
        rig.reach(accepted, STOPPING, MOVING, MOVED)
        for _ in range(3):
            time.sleep(chance.random())
            with contextlib.suppress(ValueError, ProcessLookupError):  # It has none just now.
                rig.signal_runner(signal.SIGKILL)
        ended = rig.end(accepted)
        expected = rig.known if ended["status"] == "success" else before
        rig.is_whole(expected)
        before = expected


@pytest.mark.parametrize("program", ["dbcalm", _MYSQL_SERVICE, "dbcalm-cmd"])
@pytest.mark.parametrize("stage", [STOPPING, MOVED])
def test_a_service_that_is_killed_is_missed_by_nobody(rig: Replacing, program: str, stage: str) -> None:
    accepted = rig.replace()
    rig.reach(accepted, stage)
    rig.sandbox.kill(program)
    rig.sandbox.restart(program)
    assert rig.end(accepted)["status"] == "success"
    rig.is_whole(rig.known)


@contextlib.contextmanager
def systemctl(rig: Replacing, verb: str, does: str) -> Iterator[None]:
    """Let the stand-in for systemctl do something else instead of one verb."""
    program = rig.sandbox.layout.etc / "systemctl"
    original = program.read_text()
    shebang, _, rest = original.partition("\n")
    program.write_text(f'{shebang}\n[ "$2" = {verb} ] && {{ {does}; }}\n{rest}')
    try:
        yield
    finally:
        program.write_text(original)


def test_a_systemd_that_stops_nothing_changes_nothing(rig: Replacing) -> None:
    before = rig.tables()
    with systemctl(rig, "stop", "echo Access denied >&2; exit 4"):
        ended = rig.end(rig.replace())
    assert ended["status"] == "failed"
    assert "systemctl stop mariadb.service ended with 4: Access denied" in ended["error"]
    assert "nothing was changed" in ended["error"]
    rig.is_whole(before)


def test_a_systemd_that_hangs_for_a_while_is_waited_for(rig: Replacing) -> None:
    with systemctl(rig, "stop", "sleep 6"):
        assert rig.end(rig.replace())["status"] == "success"
    rig.is_whole(rig.known)


def test_a_systemd_that_starts_nothing_is_told_with_where_the_old_data_is(rig: Replacing) -> None:
    before = rig.tables()
    with systemctl(rig, "start", "echo Access denied >&2; exit 4"):
        ended = rig.end(rig.replace())
    assert ended["status"] == "failed"
    assert "the old data is back in place, and the database did not start with it" in ended["error"]
    rig.sandbox.start_db()
    rig.is_whole(before)


def test_without_a_unit_it_is_refused_at_once(rig: Replacing) -> None:
    cmd = rig.sandbox.layout.etc / "cmd.toml"
    original = cmd.read_text()
    cmd.write_text(f'{original}database_unit = ""\n')
    try:
        rig.sandbox.restart("dbcalm-cmd")
        status, line = rig.refused("POST", "/restore", {"id": "base", "target": "database", "replace": True})
        assert (status, "no database_unit is named in cmd.toml" in line) == (503, True)
    finally:
        cmd.write_text(original)
        rig.sandbox.restart("dbcalm-cmd")


def test_a_data_directory_that_is_not_the_servers_is_refused(rig: Replacing, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    account = rig.data.stat()
    os.chown(other, account.st_uid, account.st_gid)
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    with rig.configured(_MYSQL_SERVICE, "dbcalm"):
        config = rig.sandbox.layout.config
        config.write_text(config.read_text().replace(f'data_dir: "{rig.data}"', f'data_dir: "{other}"'))
        assert str(other) in config.read_text()
        rig.sandbox.restart(_MYSQL_SERVICE)
        status, line = rig.refused("POST", "/restore", {"id": "base", "target": "database", "replace": True})
    assert (status, line) == (503, f"the server's data directory is {rig.data}, but data_dir is {other}")
    assert list(other.iterdir()) == []


def test_lost_and_found_of_root_stays_and_a_schema_of_root_is_told(rig: Replacing, as_root: None) -> None:
    lost = rig.data / "lost+found"
    lost.mkdir(mode=0o700)
    try:
        assert rig.end(rig.replace())["status"] == "success"
        rig.is_whole(rig.known)
        assert lost.is_dir()
    finally:
        lost.rmdir()
    before = rig.tables()
    owner = (rig.data / "shop").stat()
    os.chown(rig.data / "shop", 0, 0)
    try:
        order = {"id": "base", "target": "database", "replace": True}
        status, line = rig.refused("POST", "/restore", order)
    finally:
        os.chown(rig.data / "shop", owner.st_uid, owner.st_gid)
    assert status == 409
    assert "does not belong to user mysql" in line
    rig.is_whole(before)


def test_a_token_that_may_restore_may_not_replace(rig: Replacing) -> None:
    body = {"label": "restores only", "scopes": ["restores:*", "backups:*"]}
    client = rig.api.call("POST", "/clients", body)
    api = type(rig.api)(rig.sandbox.facts.url, Path(rig.sandbox.facts.ca), client["id"], client["secret"])
    reply = api.request("POST", "/restore", {"id": "base", "target": "database", "replace": True})
    assert (reply.status, reply.body["detail"]) == (403, "this needs a token with the scope database:replace")
    assert api.request("POST", "/replaced/x/bring-back", {}).status == 403


def sums(folder: Path) -> dict[int, bytes]:
    """Return the content of every file below a folder, by its inode."""
    return {path.lstat().st_ino: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def try_to_start(rig: Replacing) -> int:
    """Let somebody start the server by hand; return how it ended."""
    command = [
        *rig.sandbox.who.database.drop(), "mariadbd", f"--defaults-file={rig.sandbox.database.home}/my.cnf",
    ]  # fmt: skip
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd="/", check=False, capture_output=True, timeout=PATIENCE
    )
    return done.returncode


@pytest.mark.parametrize("leave", [1, 3, 6, 12, 20])
def test_a_server_that_is_started_in_the_middle_refuses_and_harms_nothing(rig: Replacing, leave: int) -> None:
    before = rig.tables()
    accepted = rig.replace()
    rig.reach(accepted, STOPPING)
    rig.signal_runner(signal.SIGSTOP)
    runner, service = rig.runner(), rig.sandbox.process(_MYSQL_SERVICE)
    assert service is not None
    # What the runner would do now, done here as far as `leave` names, and cut off there.
    try:
        rig.sandbox.stop_db()
        os.kill(service.pid, signal.SIGSTOP)  # It shall not go on with the job before we have looked.
        program = _CUT_SHORT.format(folder=str(rig.jobs / "jobs" / accepted["pid"]), leave=leave)
        programs = rig.sandbox.layout.programs  # Its user may not enter the checkout.
        subprocess.run(
            [*rig.sandbox.who.database.drop(), programs / "venv/bin/python", "-c", program],
            env=ENVIRONMENT, cwd=programs, check=True,
        )  # fmt: skip
        assert not (rig.data / "ibdata1").exists()
        assert (rig.data / "ib_logfile0").exists()
        old = sums(rig.data)
        assert try_to_start(rig) != 0
        now = sums(rig.data)
        changed = {inode for inode, content in old.items() if now.get(inode) != content}
        names = {
            path.name for path in rig.data.rglob("*") if path.is_file() and path.lstat().st_ino in changed
        }
        # While the old Aria log is there, a start goes through it, as any start does; later nothing is touched.
        assert names <= (
            {"aria_log_control", "aria_log.00000001", "log.MAD", "log.MAI"} if leave <= 3 else set()
        )
        assert not (rig.data / "ibdata1").exists()
    finally:
        os.kill(runner, signal.SIGKILL)
        os.kill(service.pid, signal.SIGCONT)
    ended = rig.end(accepted)
    assert ended["status"] == "failed"
    assert ended["error"].endswith("the old data is back in place, and the database runs with it")
    rig.is_whole(before)


_CUT_SHORT = """
import os
from pathlib import Path
from dbcalm_mariadb_cmd.restore import swap, swap_job
from dbcalm_mariadb_cmd.restore.swap import Facts
from dbcalm_mariadb_cmd.jobs.order import read_order
job = read_order(Path({folder!r}))
left = {leave}
def counted(call):
    def move(*paths):
        global left
        left -= 1
        if left < 0:
            os._exit(0)
        call(*paths)
    return move
for name in ("rename_new", "exchange_names"):
    setattr(swap, name, counted(getattr(swap, name)))
work = swap_job._Work(job, None)
work._exchange.begin(Facts(job.restore_id, "base", "2026-11-23T03:00:00.000000Z", job.job_id))
work._enter(swap_job.MOVING, "exchanging the data")
work._exchange.forward()
raise SystemExit("the exchange has fewer steps")
"""


def test_a_disk_that_is_too_full_is_refused_before_anything_is_touched(
    rig: Replacing, as_root: None, tmp_path: Path
) -> None:
    before, entries = rig.tables(), sorted(path.name for path in rig.data.iterdir())
    status = os.statvfs(rig.data)
    free = status.f_bavail * status.f_frsize
    rig.rewrite("base", data_size=free)
    try:
        code, line = rig.refused("POST", "/restore", {"id": "base", "target": "database", "replace": True})
    finally:
        rig.rewrite("base", data_size=json.loads(_manifest_of(rig, "full"))["data_size"])
    assert (code, "disk full: the restore needs about" in line) == (507, True), line
    assert rig.tables() == before
    assert sorted(path.name for path in rig.data.iterdir()) == entries


def _manifest_of(rig: Replacing, backup_id: str) -> str:
    return (rig.backups / backup_id / "dbcalm-manifest.json").read_text()


def test_what_could_not_be_put_back_is_kept_for_good(rig: Replacing) -> None:
    assert rig.end(rig.replace())["status"] == "success"
    [kept] = rig.replaced()
    facts = rig.data / f"{REPLACED}{kept['id']}" / FACTS
    told = json.loads(facts.read_text())
    facts.write_text(json.dumps({**told, "succeeded": False}))
    with rig.configured(_MYSQL_SERVICE, keep_replaced=0, trash_delay=0):
        time.sleep(3)
        assert [(one["id"], one["keep_until"]) for one in rig.replaced()] == [(kept["id"], None)]
