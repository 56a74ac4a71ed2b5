"""``dbcalm status`` and ``GET /ready``: what needs attention is named first, and all is well where nothing does."""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from dev.sandbox_lib.services import API, MYSQL_SERVICE, ROOT_SERVICE
from tests.integration.conftest import Rig, sandbox_with
from tests.support.patience import eventually

pytestmark = pytest.mark.integration


def attention(rig: Rig, *, by_api: bool = True) -> list[str]:
    """Return what needs attention: the same by the command, for people and as JSON, and by the API."""
    told, plain = rig.sandbox.cli("status", "--json"), rig.sandbox.cli("status")
    found = json.loads(told.stdout)
    sentences = [str(sentence) for sentence in found["attention"]]
    assert found["ok"] is (not sentences)
    assert (told.returncode, plain.returncode) == ((1, 1) if sentences else (0, 0))
    assert (told.stderr, plain.stderr) == ("", "")
    first, *rest = plain.stdout.splitlines()
    if sentences:
        assert "attention" in first
        assert rest[: len(sentences)] == [f"  ! {sentence}" for sentence in sentences]
    else:
        assert first == "all is well"
    if by_api:
        ready = rig.api.call("GET", "/ready")
        assert (ready["ok"], ready["attention"]) == (found["ok"], sentences)
    return sentences


@contextmanager
def truncated(rig: Rig, backup_id: str, name: str) -> Iterator[None]:
    """Cut the last byte off a file of a stored backup for a while."""
    path = rig.backups / backup_id / name
    kept = shutil.copy2(path, rig.sandbox.root / "kept")
    os.truncate(path, path.stat().st_size - 1)
    try:
        yield
    finally:
        with path.open("r+b") as file:
            file.write(kept.read_bytes())
        kept.unlink()


@pytest.fixture(scope="module")
def shared_plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """In place of the sandbox that others share: a job of theirs that failed would need attention here."""
    with sandbox_with(tmp_path_factory.mktemp("status") / "sandbox", "CREATE DATABASE shop") as sandbox:
        yield Rig(sandbox)


@pytest.fixture
def own(plain: Rig) -> Rig:
    """Give a sandbox with a whole backup, in which all is well."""
    plain.backup()
    assert attention(plain) == []
    return plain


def test_without_a_full_backup(own: Rig) -> None:
    for id in own.listed():  # The newest first; the service itself would keep the last.
        shutil.rmtree(own.backups / id)
        assert own.api.request("DELETE", f"/backups/{id}").status == 204
    assert attention(own) == ["there is no full backup: make one with: dbcalm backup full"]


def test_with_the_database_down(own: Rig) -> None:
    own.sandbox.stop_db()
    assert attention(own)[0] == "no backup can be made now: server is not running"
    own.sandbox.start_db()
    assert attention(own) == []


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (MYSQL_SERVICE, "the service dbcalm-mariadb-cmd does not answer"),
        (ROOT_SERVICE, "the service dbcalm-cmd does not answer"),
    ],
)
def test_with_a_service_killed(own: Rig, program: str, sentence: str) -> None:
    own.sandbox.kill(program)
    assert attention(own)[0].startswith(sentence)
    own.sandbox.restart(program)
    assert attention(own) == []


def test_with_the_api_killed(own: Rig) -> None:
    own.sandbox.kill(API)
    assert attention(own, by_api=False) == ["the API does not answer; see that dbcalm-api runs"]
    own.sandbox.restart(API)
    assert attention(own) == []


def test_with_the_newest_full_backup_damaged(own: Rig) -> None:
    newest = own.backup()["resource_id"]
    with truncated(own, newest, "backup.xbstream.zst"):
        [sentence] = attention(own)
        assert sentence.startswith(
            f"the newest backup cannot be restored: backup {newest} is damaged: backup.xbstream.zst"
        )
    assert attention(own) == []


def presences(rig: Rig) -> dict[str, str]:
    """Return how the backups are, as the command line tells it."""
    told = json.loads(rig.sandbox.cli("backups", "list", "--json", "--per-page", "1000").stdout)
    return {str(one["id"]): str(one["presence"]) for one in told["items"]}


def test_with_an_older_backup_damaged_or_removed_and_what_builds_on_it(own: Rig) -> None:
    older, above = "older", "above"
    own.backup(id=older)
    own.backup(id=above, type="incremental", from_backup_id=older)
    newest = own.backup()["resource_id"]
    with truncated(own, older, "backup.xbstream.zst"):
        [sentence] = attention(own)
        assert sentence.startswith(f"backup {older} is damaged: backup.xbstream.zst has ")
        assert f"nor {above}, built on it" in sentence
        assert (presences(own)[older], presences(own)[above], presences(own)[newest]) == (
            "damaged",
            "no base",
            "whole",
        )
    aside = own.sandbox.root / "aside"
    (own.backups / older).rename(aside)
    [sentence] = attention(own)
    assert sentence.startswith(f"backup {older} is not on disk any more: ")
    assert above in sentence
    assert (presences(own)[older], presences(own)[above]) == ("gone", "no base")
    aside.rename(own.backups / older)
    assert attention(own) == []
    assert set(presences(own).values()) == {"whole"}


@pytest.mark.parametrize("left", ["an empty folder", "nothing"])
def test_with_the_disk_of_backups_not_mounted(own: Rig, left: str) -> None:
    """When it is back all is well by itself."""
    known = own.listed()
    aside = own.sandbox.root / "unmounted"
    own.backups.rename(aside)
    try:
        if left == "an empty folder":
            own.backups.mkdir(0o755)
        [sentence] = attention(own)
        assert f"findmnt --target {own.backups}" in sentence
        found = own.api.call("GET", "/protection")
        assert (found["chain"], found["recovery_point_seconds"]) == ([], None)
        assert set(found["restorable_points"].values()) == {0}
        assert "findmnt" in found["improve"][0]
        assert presences(own) == dict.fromkeys(known, "gone")
    finally:
        if own.backups.exists():
            shutil.rmtree(own.backups)
        aside.rename(own.backups)
    assert attention(own) == []
    assert presences(own) == dict.fromkeys(known, "whole")
    own.backup()


def test_with_the_cron_file_gone(own: Rig) -> None:
    """The API, which puts it right now and then, does not run here: it would do so between two looks."""
    own.sandbox.kill(API)
    own.sandbox.layout.cron_file.unlink()
    api, cron = sorted(attention(own, by_api=False))
    assert api.startswith("the API does not answer")
    assert cron.startswith("the cron file is missing")
    own.sandbox.restart(API)
    eventually(own.sandbox.layout.cron_file.exists)
    assert attention(own) == []


def test_with_several_things_wrong_the_most_urgent_comes_first(own: Rig) -> None:
    newest = own.listed()[0]
    own.sandbox.stop_db()
    own.sandbox.kill(ROOT_SERVICE)
    with truncated(own, newest, "backup.xbstream.zst"):
        database, backup, service = attention(own)
    assert "server is not running" in database
    assert f"backup {newest} is damaged" in backup
    assert "dbcalm-cmd does not answer" in service
    own.sandbox.restart(ROOT_SERVICE)
    own.sandbox.start_db()
    assert attention(own) == []


def test_what_protection_advises_can_be_typed_one_after_the_other(own: Rig) -> None:
    """Each sentence ends with a command, which does what it says: then it is advised no more."""
    done: list[str] = []
    while advised := own.sandbox.cli("status", "--json"):
        improve = json.loads(advised.stdout)["protection"]["improve"]
        if not improve or improve[0] in done:
            break
        command = improve[0].split("dbcalm ", 1)[1]
        typed = own.sandbox.cli(
            *shlex.split(command), *(["--wait"] if command.startswith(("verify", "backup")) else [])
        )
        assert typed.returncode == 0, (improve[0], typed)
        done.append(improve[0])
    assert len(done) >= 3
    assert attention(own) == []
    for one in json.loads(own.sandbox.cli("schedules", "list", "--json").stdout)["items"]:
        assert own.sandbox.cli("schedules", "delete", str(one["id"]), "--yes").returncode == 0


def test_a_schedule_that_lacks_fields_is_told_all_of_them_at_once(own: Rig) -> None:
    refused = own.sandbox.cli("schedules", "add", "verify", "--frequency", "weekly")
    assert (refused.returncode, refused.stderr) == (
        1,
        "dbcalm: --frequency weekly needs --day-of-week, --hour and --minute too, such as --day-of-week 0 --hour 2 "
        "--minute 30\n",
    )
    advised = refused.stderr.split("such as ")[1].split()
    added = own.sandbox.cli("schedules", "add", "verify", "--frequency", "weekly", *advised, "--json")
    assert added.returncode == 0, added
    assert (
        own.sandbox.cli("schedules", "delete", str(json.loads(added.stdout)["id"]), "--yes").returncode == 0
    )


def test_a_configuration_that_was_changed_and_not_loaded(own: Rig) -> None:
    """By what its keys come to, and by who reads them: a comment is no change."""
    config = own.sandbox.layout.config
    whole = config.read_text()
    try:
        config.write_text(whole + "# a comment\n")
        assert attention(own) == []
        config.write_text(whole + "max_chain_length: 77\n")
        [sentence] = attention(own)
        assert sentence == (
            f"{config} was changed after dbcalm-mariadb-cmd had loaded it: systemctl restart dbcalm-mariadb-cmd"
        )
        own.sandbox.restart(MYSQL_SERVICE)
        assert attention(own) == []
        config.write_text(whole + "max_chain_length: 77\nlog_level: debug\n")
        [sentence] = attention(own)
        assert (
            sentence == f"{config} was changed after dbcalm-api had loaded it: systemctl restart dbcalm-api"
        )
        own.sandbox.restart(API)
        assert attention(own) == []
    finally:
        config.write_text(whole)
        own.sandbox.restart(MYSQL_SERVICE)
        own.sandbox.restart(API)
    assert attention(own) == []


def test_a_certificate_that_was_renewed_and_not_loaded(own: Rig) -> None:
    certificate = Path(yaml.safe_load(own.sandbox.layout.config.read_text())["ssl_cert"])
    whole = certificate.read_bytes()
    try:
        certificate.write_bytes(whole + b"\n")
        [sentence] = attention(own)
        assert (
            sentence
            == f"{certificate} was changed after dbcalm-api had loaded it: systemctl reload dbcalm-api"
        )
        process = own.sandbox.process(API)
        assert process is not None
        os.kill(process.pid, signal.SIGHUP)
        eventually(lambda: own.api.call("GET", "/ready")["ok"])
        assert attention(own) == []
        certificate.write_bytes(b"rubbish")
        assert any("not a certificate" in sentence for sentence in attention(own))
    finally:
        certificate.write_bytes(whole)
    os.kill(process.pid, signal.SIGHUP)
    eventually(lambda: own.api.call("GET", "/ready")["ok"])
    assert attention(own) == []
