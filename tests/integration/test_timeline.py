"""Is an incremental still one? Never on data that somebody put back; always after what an administrator does daily."""

import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Rig

pytestmark = pytest.mark.integration


def incremental(rig: Rig, base: str) -> dict[str, Any]:
    status = rig.backup(type="incremental", from_backup_id=base)
    return dict(rig.api.call("GET", f"/backups/{status['resource_id']}"))


def restart(rig: Rig) -> None:
    rig.sandbox.restart("mariadbd")


def crash(rig: Rig) -> None:
    rig.sandbox.kill("mariadbd")
    rig.sandbox.start_db()


def purge_binary_logs(rig: Rig) -> None:
    rig.sandbox.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")
    newest = rig.sandbox.sql("SHOW BINARY LOGS").splitlines()[-1].split("\t")[0]
    rig.sandbox.sql(f"PURGE BINARY LOGS TO '{newest}'")


def restart_services(rig: Rig) -> None:
    rig.sandbox.restart("dbcalm-mariadb-cmd")
    rig.sandbox.restart("dbcalm")


def restore_to_folder(rig: Rig) -> None:
    rig.restore(str(rig.api.call("GET", "/backups?per_page=1")["items"][0]["id"]), "folder")


def write_much(rig: Rig) -> None:
    rig.change()
    rig.change()


@pytest.mark.parametrize(
    "event", [restart, crash, purge_binary_logs, restart_services, restore_to_folder, write_much]
)
def test_stays_incremental_after(rig: Rig, event: Callable[[Rig], None]) -> None:
    base = rig.backup()["resource_id"]
    rig.change()
    event(rig)
    made = incremental(rig, base)
    expected = rig.tables()
    assert (made["type"], made["from_backup_id"], made["note"]) == ("incremental", base, None)
    assert rig.tables_of(rig.restore(made["id"], "folder")) == expected


def our_restore(rig: Rig, base: str) -> None:
    rig.put_back(base)


def our_restore_with_a_lost_journal(rig: Rig, base: str) -> None:
    rig.put_back(base)
    rig.sandbox.services.end("dbcalm-mariadb-cmd")
    (rig.sandbox.root / "jobs" / "journal").unlink()
    rig.sandbox.restart("dbcalm-mariadb-cmd")


def restore_by_hand(rig: Rig, base: str) -> None:
    copy = prepared_copy(rig, base)
    rig.empty_database()
    own(rig, [str(tool()), "--no-defaults", "--copy-back", f"--target-dir={copy}", f"--datadir={rig.data}"])
    rig.sandbox.start_db()


def restore_by_hand_and_outrun_the_log(rig: Rig, base: str) -> None:
    before = lsn(rig)
    restore_by_hand(rig, base)
    rig.sandbox.sql("CREATE TABLE shop.fill (id INT PRIMARY KEY, body VARCHAR(250))")
    while lsn(rig) < before + 1_000_000:
        rig.sandbox.sql("USE shop; REPLACE INTO fill SELECT seq, SHA2(RAND(), 512) FROM seq_1_to_20000")
    rig.sandbox.sql("DROP TABLE shop.fill")


def another_data_directory(rig: Rig, base: str) -> None:
    """Put a cold copy of the data directory in its place: same numbers, same log, other files."""
    rig.sandbox.stop_db()
    copy = rig.data.with_name("swapped")
    subprocess.run(["cp", "--archive", str(rig.data), str(copy)], check=True)
    rig.sandbox.wipe_db()
    for entry in list(copy.iterdir()):
        shutil.move(entry, rig.data / entry.name)
    copy.rmdir()
    rig.sandbox.start_db()


def reset_binary_log(rig: Rig, base: str) -> None:
    rig.sandbox.sql("RESET MASTER")
    rig.change()


@pytest.mark.parametrize(
    "event",
    [
        our_restore,
        our_restore_with_a_lost_journal,
        restore_by_hand,
        restore_by_hand_and_outrun_the_log,
        another_data_directory,
        reset_binary_log,
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["base given", "newest"])
def test_becomes_a_full_backup_after(rig: Rig, event: Callable[[Rig, str], None], named: bool) -> None:
    base = rig.backup()["resource_id"]
    rig.change()
    rig.backup(type="incremental", from_backup_id=base)
    event(rig, base)
    rig.change()
    accepted = rig.start("/backups", {"type": "incremental", **({"from_backup_id": base} if named else {})})
    assert accepted["note"].startswith("a full backup is made instead: ")
    assert rig.end(accepted)["status"] == "success"
    expected = rig.tables()
    made = rig.api.call("GET", f"/backups/{accepted['resource_id']}")
    assert (made["type"], made["from_backup_id"], made["note"]) == ("full", None, accepted["note"])
    assert made["timeline"] != rig.api.call("GET", f"/backups/{base}")["timeline"]
    [process] = rig.api.call("GET", f"/processes?query=command_id|{accepted['pid']}")["items"]
    assert process["note"] == accepted["note"]
    assert rig.tables_of(rig.restore(made["id"], "folder")) == expected


def tool() -> Path:
    return Path(shutil.which("mariadb-backup") or "")


def own(rig: Rig, argv: list[str]) -> None:
    subprocess.run([*rig.sandbox.who.database.drop(), *argv], check=True, capture_output=True, cwd="/")


def prepared_copy(rig: Rig, backup_id: str) -> Path:
    copy = rig.sandbox.root / "jobs" / f"copy-{uuid.uuid4().hex}"
    stream = rig.backups / backup_id / "backup.xbstream.zst"
    own(rig, ["mkdir", str(copy)])
    own(rig, ["sh", "-c", f"zstd -d -c {stream} | mbstream -x -C {copy}"])
    own(rig, [str(tool()), "--no-defaults", "--prepare", f"--target-dir={copy}"])
    return copy


def lsn(rig: Rig) -> int:
    return int(rig.sandbox.sql("SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'").split("\t")[1])


def test_a_timeline_is_kept_by_the_next_full_backup(rig: Rig) -> None:
    first, second = rig.backup()["resource_id"], rig.backup()["resource_id"]
    timelines = {rig.api.call("GET", f"/backups/{name}")["timeline"] for name in (first, second)}
    assert len(timelines) == 1
