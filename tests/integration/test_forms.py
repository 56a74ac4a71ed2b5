"""Stored forms on a real server: mixed in chains, damaged at every member of the pipe, and brought back."""

import json
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dev.sandbox_lib.processes import all_processes, command_line
from tests.integration.conftest import Rig
from tests.support.able import disk
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

FORMS = ("folder", "zstd", "gzip")
_ROUNDS = 4


@pytest.mark.parametrize("seed", range(_ROUNDS))
def test_any_chain_of_any_forms_comes_back_to_any_target(rig: Rig, seed: int) -> None:
    """Each chain is drawn by chance: forms, length, targets. Between them every pair of neighbours occurs."""
    chance = random.Random(seed)
    forms = [FORMS[seed % 3], *chance.choices(FORMS, k=3)]
    points = rig.points(f"forms-{seed}", forms)
    for name, form in zip(points, forms, strict=True):
        made = rig.api.call("GET", f"/backups/{name}")
        assert (made["form"], made["recipients"]) == (form, [])
        assert (made["data_size"] == made["size"]) == (form == "folder")
    stored = {name: rig.stored(name) for name in points}
    for name, expected in points.items():
        if chance.random() < 0.5:
            assert rig.tables_of(rig.restore(name, "folder")) == expected, forms
        else:
            rig.put_back(name)
            assert rig.tables() == expected, forms
    assert {name: rig.stored(name) for name in points} == stored
    assert rig.leftovers() == []


def test_encrypted_and_plain_backups_of_all_forms_are_one_chain(
    rig: Rig, keys: tuple[str, str, Path]
) -> None:
    """Encryption is switched on and off in the middle; each point comes back by each way of giving the key."""
    identity, public, file = keys
    chance = random.Random(7)
    points: dict[str, dict[str, str]] = {}
    base = None
    for number, sealed in enumerate((False, True, True, False, True)):
        with rig.configured("dbcalm-mariadb-cmd", encryption_recipients=[public] if sealed else []):
            rig.change()
            order = {"type": "incremental", "from_backup_id": base} if base else {"type": "full"}
            form = chance.choice(FORMS[1:] if sealed else FORMS)
            base = str(rig.backup(id=f"sealed-{number}", form=form, **order)["resource_id"])
            points[base] = rig.tables()
            made = rig.api.call("GET", f"/backups/{base}")
            assert (made["type"], made["recipients"]) == (
                "incremental" if number else "full",
                [public] if sealed else [],
            )
            if sealed:
                status, line = rig.refused("POST", "/backups", {"type": "full", "form": "folder"})
                assert (status, "a folder is not encrypted" in line) == (409, True)
    assert rig.tables_of(rig.restore("sealed-0", "folder")) == points["sealed-0"]
    status, line = rig.refused("POST", "/restore", {"id": base, "target": "folder"})
    assert (status, line.startswith(f"backup sealed-1 is encrypted to {public}: give the identity")) == (
        409,
        True,
    )
    other = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout.split()[-1]
    status, line = rig.refused("POST", "/restore", {"id": base, "target": "folder", "identity": other})
    assert (status, "does not open backup sealed-1" in line, other in line) == (409, True, False)
    assert not list((rig.backups / "restores").glob("sealed-4-*"))
    for name in list(points)[1:]:
        accepted = rig.start("/restore", {"id": name, "target": "folder", "identity": identity})
        assert rig.end(accepted)["status"] == "success"
        assert rig.tables_of(Path(accepted["target_path"])) == points[name]
    with rig.configured("dbcalm-mariadb-cmd", encryption_identity_file=str(file)):
        rig.put_back(str(base))
        assert rig.tables() == points[str(base)]
    answered = json.dumps(rig.api.call("GET", "/processes?per_page=1000"))
    assert identity not in answered
    assert rig.kept_anywhere(identity) == []


def test_the_key_is_in_no_argument_and_no_environment(rig: Rig, keys: tuple[str, str, Path]) -> None:
    identity, public, _ = keys
    with rig.configured("dbcalm-mariadb-cmd", encryption_recipients=[public]):
        base = rig.backup()["resource_id"]
    accepted = rig.start("/restore", {"id": base, "target": "folder", "identity": identity})
    seen = 0
    while rig.api.call("GET", accepted["link"])["status"] == "running":
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            seen += b"--identity=/proc/self/fd/" in told
            assert identity.encode() not in told
    assert rig.end(accepted)["status"] == "success"


def test_the_command_line_takes_the_key_from_standard_input(rig: Rig, keys: tuple[str, str, Path]) -> None:
    _, public, file = keys
    with rig.configured("dbcalm-mariadb-cmd", encryption_recipients=[public]):
        base = str(rig.backup()["resource_id"])
    words = ("restore", base, "--target", "folder", "--identity-stdin", "--wait")
    done = rig.sandbox.cli(*words, text=file.read_text())
    assert "is restored in" in done.stdout
    assert rig.tables_of(Path(done.stdout.split()[-1])) == rig.tables()


def test_the_default_is_zstd_and_configuration_or_caller_say_otherwise(rig: Rig) -> None:
    def form(**order: str) -> str:
        accepted = rig.start("/backups", {"type": "full", **order})
        assert rig.end(accepted)["status"] == "success"
        made = rig.api.call("GET", f"/backups/{accepted['resource_id']}")
        assert made["form"] == accepted["form"]
        return str(made["form"])

    assert form() == "zstd"
    assert form(form="gzip") == "gzip"
    with rig.configured("dbcalm-mariadb-cmd", stored_form="folder"):
        assert form() == "folder"
        assert form(form="zstd") == "zstd"
    status, line = rig.refused("POST", "/backups", {"type": "full", "form": "tar"})
    assert (status, "form" in line) == (422, True)


def members(rig: Rig, word: str) -> list[int]:
    """Return the processes of a pipe: children of this sandbox's runner whose program has this name."""
    runners = [
        process.pid
        for process in all_processes()
        if "dbcalm_mariadb_cmd.supervisor.runner" in " ".join(command_line(process.pid))
        and str(rig.sandbox.root) in " ".join(command_line(process.pid))
    ]
    found = []
    for process in all_processes():
        try:
            parent = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if (
            parent in runners
            and Path(command_line(process.pid)[0] if command_line(process.pid) else "").name == word
        ):
            found.append(process.pid)
    return found


@contextmanager
def killed_when_seen(rig: Rig, word: str) -> Iterator[list[int]]:
    """Kill a member of the pipe as soon as there is one, at most once, until the block ends; yield whom it was."""
    killed: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not killed and not over.is_set():
            for pid in members(rig, word)[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
                    killed.append(pid)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@contextmanager
def slowed(rig: Rig) -> Iterator[None]:
    """Let backups take far longer than a test waits, so that there is time to do something to them."""
    with rig.configured("dbcalm-mariadb-cmd", copy_throttle=1, parallel=1):
        yield


@pytest.mark.parametrize(("form", "word"), [("zstd", "zstd"), ("gzip", "gzip"), ("zstd", "mariadb-backup")])
@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_killed_member_of_a_backup_is_named_and_leaves_nothing(
    rig: Rig, kind: str, form: str, word: str
) -> None:
    base = rig.backup()["resource_id"]
    order = {"type": kind, "id": "killed", "form": form}
    if kind == "incremental":
        order["from_backup_id"] = base
    with slowed(rig), killed_when_seen(rig, word) as killed:
        ended = rig.end(rig.start("/backups", order))
    assert killed
    assert ended["status"] == "failed"
    name = "the backup tool" if word == "mariadb-backup" else word
    assert ended["error"].startswith(f"{name} was ended by signal 9"), ended["error"]
    assert rig.api.request("GET", "/backups/killed").status == 404
    assert not (rig.backups / "killed").exists()
    eventually(lambda: rig.leftovers() == [])
    assert "QUERY" not in rig.sandbox.sql("SHOW PROCESSLIST")
    rig.sandbox.sql("CREATE TABLE shop.unlocked (id INT); DROP TABLE shop.unlocked")  # No lock was left.


@pytest.mark.parametrize("word", ["zstd", "mbstream"])
def test_a_killed_member_of_a_restore_is_named_and_leaves_nothing(rig: Rig, word: str) -> None:
    rig.sandbox.sql(
        "CREATE OR REPLACE TABLE shop.much (id INT PRIMARY KEY, body VARCHAR(1000));"
        "INSERT INTO shop.much SELECT seq, REPEAT(SHA2(seq, 512), 7) FROM shop.seq_1_to_60000"
    )
    base = rig.backup(id=f"much-{word}")["resource_id"]
    rig.sandbox.sql("DROP TABLE shop.much")
    stored = rig.stored(base)
    for _ in range(20):  # The member may have ended before it was seen.
        with killed_when_seen(rig, word) as killed:
            ended = rig.end(rig.start("/restore", {"id": base, "target": "folder"}))
        if ended["status"] == "failed":
            break
    assert killed
    assert ended["error"].startswith(f"{word} was ended by signal 9"), ended["error"]
    eventually(lambda: rig.leftovers() == [])
    assert rig.stored(base) == stored


@contextmanager
def small_disk(rig: Rig, at: Path, megabytes: int) -> Iterator[None]:
    """Put a small file system of its own at a folder."""
    with disk(at, megabytes, "mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal"):
        (at / "lost+found").rmdir()
        owner = rig.backups.stat()
        os.chown(at, owner.st_uid, owner.st_gid)
        yield


def test_a_disk_that_fills_is_named_and_left_as_it_was(rig: Rig, as_root: None) -> None:
    """The first check can only guess how well the data packs: random data packs not at all."""
    random_rows = "CONCAT(" + ", ".join(["UNHEX(SHA2(RAND(), 512))"] * 14) + ")"
    rig.sandbox.sql(
        "CREATE TABLE shop.noise (id INT PRIMARY KEY, body VARBINARY(1000));"
        f"INSERT INTO shop.noise SELECT seq, {random_rows} FROM shop.seq_1_to_120000"
    )
    before = rig.on_disk()
    try:
        with small_disk(rig, rig.backups / ".work", 50):
            ended = rig.end(rig.start("/backups", {"type": "full", "form": "zstd"}))
            assert ended["status"] == "failed"
            assert "No space left on device" in ended["error"]
            eventually(lambda: rig.leftovers() == [])
        assert rig.on_disk() == before
    finally:
        rig.sandbox.sql("DROP TABLE shop.noise")


def test_pages_that_are_corrupted_in_the_server_are_seen_in_a_stream(rig: Rig) -> None:
    """The tool can be told to go on, and then ends well: only the file that it streams says so."""
    rig.sandbox.sql(
        "CREATE TABLE shop.spoilt (id INT PRIMARY KEY, body VARCHAR(200));"
        "INSERT INTO shop.spoilt SELECT seq, SHA2(seq, 512) FROM shop.seq_1_to_20000;"
        "FLUSH TABLES shop.spoilt FOR EXPORT; UNLOCK TABLES"
    )
    credentials = rig.sandbox.layout.credentials
    original = credentials.read_text()
    with (rig.data / "shop" / "spoilt.ibd").open("r+b") as file:
        file.seek(30 * 16384 + 8000)
        kept = file.read(2000)
        file.seek(-2000, os.SEEK_CUR)
        file.write(os.urandom(2000))
    try:
        for told in ("", "\n[mariadb-backup-dbcalm]\nlog-innodb-page-corruption\n"):
            credentials.write_text(original + told)
            ended = rig.end(rig.start("/backups", {"type": "full", "form": "zstd"}))
            assert ended["status"] == "failed"
            expected = "the server has corrupted pages" if told else "shop/spoilt.ibd seems to be corrupted"
            assert expected in ended["error"], ended["error"]
    finally:
        credentials.write_text(original)
        with (rig.data / "shop" / "spoilt.ibd").open("r+b") as file:
            file.seek(30 * 16384 + 8000)
            file.write(kept)
    rig.backup()
    rig.sandbox.sql("DROP TABLE shop.spoilt")
    assert rig.leftovers() == []
