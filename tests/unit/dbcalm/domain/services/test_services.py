"""What the services do beside jobs and signing in: names, users, clients, and what is asked of the mysql service."""

from datetime import UTC, datetime

import hypothesis
import pytest
from hypothesis import strategies

from dbcalm.domain.model import names
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import Conflict, DBCalmError, InvalidField, NotAllowed, NotFound, Unavailable
from dbcalm.repository.catalogue import Catalogue
from dbcalm_cmd_client import Answer
from dbcalm_mariadb_cmd.command.requests import valid_id
from tests.support.dbcalm_fakes import FakeMysqlService, HandClock, manifest

IDENTITY = "AGE-SECRET-KEY-177GGVS95DFGKX4YEUU9FRL73K6HKDDYJ72ZFEEGWF656YWNT8DGSSXE7QJ"
"""Made for these tests; it opens nothing."""


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ("before-upgrade", "before-upgrade"),
        ("Before upgrade", "before-upgrade"),
        ("before_upgrade", "before-upgrade"),
        ("beforeUpgrade", "before-upgrade"),
        ("BeforeUpgrade", "before-upgrade"),
        ("BEFORE", "before"),
        ("DBBackup", "db-backup"),
        ("v2 final__copy", "v2-final-copy"),
        (" -x- ", "x"),
        ("a" * 64, "a" * 64),
        ("2026-01-31-03-00-00", "2026-01-31-03-00-00"),
        ("Nightly Copy #1", "nightly-copy-1"),
        ("v1.2 (final)!", "v1-2-final"),
        ("a.b", "a-b"),
        ("naïve Übergröße", "naive-ubergrosse"),
        ("Łódź, Århus & Đà Nẵng", "lodz-arhus-da-nang"),
        ("kopie č. １", "kopie-c-1"),
        ("\u212a", "k"),
        ("$(reboot)", "reboot"),
        ("резервная копия 7", "7"),
        ("a" * 65, "a" * 64),
        ("word " * 20, "-".join(["word"] * 13)),
        ("x" * 60 + " yyyy", "x" * 60),
        ("x " + "y" * 80, "x-" + "y" * 62),
        ("trash 1", "trash-1"),
    ],
)
def test_given_ids_become_kebab_case(given: str, id: str) -> None:
    assert names.backup_id(given) == id


def test_a_taken_one_is_named_as_it_was_made(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.refusal = Answer(409, "the id nightly-copy-1 is taken", {})
    with pytest.raises(Conflict, match="the id nightly-copy-1 is taken"):
        services.backups.create(root, "full", "Nightly Copy #1")


NO_IDS = ["", " ", "-", ".", "..", "#", "резервная", "夜間", "\u0301", "😀"]
NO_NAMES = ["a/b", "../etc", "a\\b", "a\nb", "a\0", "a\x7f", "\u202eabc", "\uff0fetc"]


@pytest.mark.parametrize("given", NO_IDS)
def test_ids_of_which_nothing_is_left_are_refused_with_one_line(given: str) -> None:
    with pytest.raises(
        InvalidField, match=r"^id must have a letter a-z or a digit: it becomes 1 to 64 of a-z, 0-9"
    ):
        names.backup_id(given)


@pytest.mark.parametrize("given", NO_NAMES)
def test_paths_and_what_cannot_be_seen_are_no_ids(given: str) -> None:
    with pytest.raises(InvalidField, match=r"^id must be printable, without / and \\$"):
        names.backup_id(given)


@hypothesis.given(given=strategies.text(max_size=200))
def test_whatever_is_given_becomes_an_id_or_is_refused(given: str) -> None:
    try:
        made = names.backup_id(given)
    except InvalidField:
        return
    assert valid_id(made)
    assert names.backup_id(made) == made


@pytest.mark.parametrize("given", ["restores", "Trash", " work "])
def test_reserved_ids_are_refused(given: str) -> None:
    with pytest.raises(InvalidField, match="reserved names latest, restores, trash, work"):
        names.backup_id(given)


def test_a_full_backup_has_no_base(services: Services, mysql: FakeMysqlService, root: Caller) -> None:
    services.backups.create(root, "full", "Before upgrade", None, 3, "gzip")
    [(job_id, id, schedule, form, synthetic)] = mysql.asked_for("full_backup")
    assert (len(job_id), id, schedule, form, synthetic) == (32, "before-upgrade", 3, "gzip", False)
    with pytest.raises(InvalidField, match="from_backup_id is only for an incremental"):
        services.backups.create(root, "full", None, "before-upgrade")


def test_only_a_full_backup_is_synthetic(services: Services, mysql: FakeMysqlService, root: Caller) -> None:
    services.backups.create(root, "full", synthetic=True)
    assert [arguments[-1] for arguments in mysql.asked_for("full_backup")] == [True]
    with pytest.raises(InvalidField, match="synthetic is only for a full backup"):
        services.backups.create(root, "incremental", from_backup_id="a", synthetic=True)
    assert mysql.asked_for("incremental_backup") == []


def test_an_incremental_builds_on_the_newest_or_on_what_is_named(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.on_disk = {id: manifest(id, seq) for id, seq in (("new", 9), ("old", 1), ("zzz", 5))}
    services.jobs.add_found()
    services.backups.create(root, "incremental", "i1")
    services.backups.create(root, "incremental", "i2", "old")
    assert [arguments[1:4] for arguments in mysql.asked_for("incremental_backup")] == [
        ("i1", "new", True),
        ("i2", "old", False),
    ]


def test_without_any_backup_there_is_no_base(services: Services, root: Caller) -> None:
    with pytest.raises(NotFound, match="^there is no backup to build on: make a full backup first$"):
        services.backups.create(root, "incremental")


@pytest.mark.parametrize("id", ["../x", "A", "", "work", "x" * 100_000])
def test_what_cannot_be_a_backup_is_not_found_and_not_asked_for(
    services: Services, mysql: FakeMysqlService, root: Caller, id: str
) -> None:
    for ask in (
        lambda: services.backups.create(root, "incremental", None, id),
        lambda: services.restores.create(root, id, "folder"),
        lambda: services.backups.delete(root, id),
        lambda: services.backups.require(id),
    ):
        with pytest.raises(NotFound) as refused:
            ask()
        assert len(str(refused.value)) < 200
    assert not mysql.calls


def test_a_restore_is_sent_one_id(services: Services, mysql: FakeMysqlService, root: Caller) -> None:
    mysql.on_disk = {"one": manifest("one", 1)}
    job = services.restores.create(root, "one", "database", identity=IDENTITY)
    assert mysql.asked_for("restore_backup") == [(job.job_id, "one", "database", False, IDENTITY)]
    with pytest.raises(InvalidField, match=r"^identity must be AGE-SECRET-KEY-1 and 58 letters and digits"):
        services.restores.create(root, "one", "database", identity=IDENTITY[:-1])
    assert [restore.backup_id for restore in services.restores.list(Query()).items] == ["one"]


def test_a_deleted_backup_leaves_the_list(services: Services, mysql: FakeMysqlService, root: Caller) -> None:
    job = services.backups.create(root, "full", "one")
    mysql.finish(job.job_id)
    services.backups.delete(root, "one")
    with pytest.raises(NotFound):
        services.backups.require("one")
    with pytest.raises(NotFound):
        services.backups.delete(root, "one")


def test_a_backup_that_others_build_on_stays(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.on_disk = {"one": manifest("one", 1)}
    services.jobs.add_found()
    mysql.refusal = Answer(409, "backups depend on one: two", {"dependents": ["two"]})
    with pytest.raises(Conflict, match="two"):
        services.backups.delete(root, "one")
    assert services.backups.require("one").id == "one"


def test_a_backup_whose_folder_is_gone_can_be_taken_off_the_list(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.on_disk = {"one": manifest("one", 1)}
    services.jobs.add_found()
    mysql.on_disk = {}
    services.backups.delete(root, "one")
    with pytest.raises(NotFound):
        services.backups.require("one")


def test_status_is_no_older_than_the_journal(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    job = services.backups.create(root, "full", "one")
    mysql.progress[job.job_id] = {"phase": "copying", "bytes_done": 1, "bytes_total": 4, "percent": 25}
    process, progress = services.processes.status(job.job_id)
    assert (process.status, (progress or {})["percent"]) == ("running", 25)
    mysql.finish(job.job_id)
    process, progress = services.processes.status(job.job_id)
    assert (process.status, progress) == ("success", None)


def test_status_of_a_job_that_another_program_started(services: Services, mysql: FakeMysqlService) -> None:
    mysql.full_backup("a" * 32, "one", None)
    assert services.processes.status("a" * 32)[0].status == "running"
    with pytest.raises(NotFound):
        services.processes.status("b" * 32)


def test_status_while_the_service_is_down_is_what_is_known(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    job = services.backups.create(root, "full", "one")
    mysql.down = True
    assert services.processes.status(job.job_id)[0].status == "running"
    with pytest.raises(NotFound):
        services.processes.status("unknown")
    with pytest.raises(Unavailable):
        services.backups.create(root, "full", "two")


def test_status_of_a_finished_job_asks_nobody(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    job = services.backups.create(root, "full", "one")
    mysql.finish(job.job_id)
    services.jobs.catch_up()
    mysql.calls.clear()
    services.processes.status(job.job_id)
    assert not mysql.calls


def test_users_are_added_once(
    services: Services, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dbcalm.domain.services.access.users.hash_password", lambda password: f"hash of {password}"
    )
    services.users.add("test", " bob ", "x")
    services.users.add("test", "alice", "x")
    assert [user.username for user in services.users.list()] == ["alice", "bob"]
    with pytest.raises(Conflict, match="user bob exists already"):
        services.users.add("test", "bob", "y")
    with pytest.raises(Conflict):
        services.users.require_free("bob")
    assert catalogue.users.password_hash("bob") == "hash of x"
    with pytest.raises(NotFound, match="there is no user 'carol'"):
        services.users.update_password("test", "carol", "x")
    with pytest.raises(NotFound, match="there is no user 'carol'"):
        services.users.delete("test", "carol")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[31m", "x" * 65, "a\u2028b", "\ud800"])
def test_names_that_cannot_be_shown_are_refused(services: Services, root: Caller, name: str) -> None:
    with pytest.raises(InvalidField, match="printable"):
        services.users.require_free(name)
    with pytest.raises(InvalidField, match="label must be 1 to 128 printable"):
        services.clients.add(root, name * 3, None)


def test_a_client_gets_what_its_creator_has_and_no_more(services: Services) -> None:
    creator = Caller("client x", ("backups:*", "clients:write"))
    client, _secret = services.clients.add(creator, "same", None)
    assert client.scopes == ("backups:*", "clients:write")
    client, _secret = services.clients.add(creator, "less", ["backups:read", "backups:read"])
    assert client.scopes == ("backups:read",)
    for beyond in (["*"], ["clients:*"], ["backups:read", "restores:write"]):
        with pytest.raises(NotAllowed, match="its creator lacks"):
            services.clients.add(creator, "more", beyond)


def test_clients_are_renamed_and_deleted(services: Services, root: Caller) -> None:
    client, _secret = services.clients.add(root, "one", None)
    assert services.clients.rename(root, client.id, " two ").label == "two"
    assert [each.label for each in services.clients.list(Query()).items] == ["two"]
    services.clients.delete(root, client.id)
    for change in (
        lambda: services.clients.rename(root, client.id, "three"),
        lambda: services.clients.delete(root, client.id),
    ):
        with pytest.raises(NotFound):
            change()


def test_every_privileged_action_leaves_one_line(
    services: Services, mysql: FakeMysqlService, root: Caller, audit_log: pytest.LogCaptureFixture
) -> None:
    job = services.backups.create(root, "full", "one")
    mysql.finish(job.job_id)
    restored = services.restores.create(root, "one", "folder")
    services.backups.delete(root, "one")
    client, secret = services.clients.add(root, "look", None)
    services.clients.rename(root, client.id, "see")
    services.clients.delete(root, client.id)
    with pytest.raises(DBCalmError):
        services.backups.delete(root, "one")
    lines = [record.getMessage() for record in audit_log.records]
    assert lines == [
        f"test: make full backup 'one': began, job {job.job_id}",
        f"test: restore backup 'one' to the folder: began, job {restored.job_id}",
        "test: delete backup 'one': done",
        "test: add client 'look': done",
        f"test: rename client '{client.id}': done",
        f"test: delete client '{client.id}': done",
        "test: delete backup 'one': refused: there is no backup 'one'",
    ]
    assert secret not in audit_log.text


def test_a_hold_that_has_ended_is_not_told_any_more(
    services: Services, mysql: FakeMysqlService, root: Caller, clock: HandClock
) -> None:
    mysql.on_disk["a"] = manifest("a", 1)
    services.jobs.add_found()
    services.backups.hold(root, "a", "audit", "1970-01-20T00:00:00")

    def told() -> list[tuple[str | None, str | None]]:
        listed = services.backups.list(Query()).items
        newest = services.status.report(lambda: True).newest["full"]
        return [
            (one.hold_reason, one.hold_until)
            for one in (services.backups.require("a"), *listed, newest)
            if one
        ]

    end = "1970-01-20T00:00:00.000000Z"
    assert told() == [("audit", end)] * 3
    clock.time = datetime(1970, 1, 20, tzinfo=UTC).timestamp()
    assert told() == [(None, None)] * 3
