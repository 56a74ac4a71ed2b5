"""What RESTORE.md says of a chain; that it is true, the integration tests show by doing it."""

from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.builder.argv import Binlog
from dbcalm_mariadb_cmd.builder.layout import Places
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest
from dbcalm_mariadb_cmd.store.restore_instructions import chain_of, instructions
from tests.support.engine_lab import manifest

PLACES = Places(
    engine_name="mariadb", tool="", client="", credentials="", backup_dir="/srv/my backups",
    data_dir="/var/lib/mysql", restore_dir="", job_dir="",
)  # fmt: skip
MYSQL = replace(PLACES, engine_name="mysql")


def chain(count: int, **facts: object) -> list[Manifest]:
    """Return a full backup and incrementals, each on the one before."""
    links = [manifest(id="day-0", **facts)]
    for number in range(1, count):
        base = links[-1].id
        links.append(manifest(id=f"day-{number}", type="incremental", from_backup_id=base, **facts))
    return links


def prepares(text: str) -> list[str]:
    return [line for line in text.splitlines() if "--prepare" in line]


def test_mariadb_prepares_each_alike() -> None:
    assert prepares(instructions(chain(2), PLACES)) == [
        'mariadb-backup "--defaults-file=$RESCUE/day-0/backup-my.cnf" --prepare "--target-dir=$RESCUE/day-0"',
        'mariadb-backup "--defaults-file=$RESCUE/day-0/backup-my.cnf" --prepare "--target-dir=$RESCUE/day-0"'
        ' "--incremental-dir=$RESCUE/day-1"',
    ]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_xtrabackup_leaves_all_but_the_last_open(count: int) -> None:
    text = instructions(chain(count, engine="mysql", form="zstd"), MYSQL)
    assert ["--apply-log-only" in line for line in prepares(text)] == [True] * (count - 1) + [False]
    assert "systemctl stop mysql" in text
    assert 'xbstream -x -C "$RESCUE/day-0"' in text
    assert "mariadb" not in text


def test_where_the_backups_are_may_have_any_name() -> None:
    assert "BACKUPS='/srv/my backups'" in instructions(chain(1), PLACES).splitlines()


def test_a_key_is_asked_for_only_where_one_is_needed() -> None:
    plain = chain(2, form="gzip")
    assert "age" not in instructions(plain, PLACES).split()
    sealed = instructions([plain[0], replace(plain[1], recipients=("age1xyz",))], PLACES)
    assert "# a file with the private key of age1xyz:\nIDENTITY=" in sealed
    assert 'cat "$BACKUPS/day-0/backup.xbstream.gz" | gzip -d -c -q | mbstream' in sealed
    assert 'cat "$BACKUPS/day-1/backup.xbstream.gz.age" | age --decrypt' in sealed


def test_what_the_commands_do_not_bring_back_is_said() -> None:
    made = chain(1)[0]
    server = replace(made.server, encrypts=True, elsewhere={"innodb_undo_directory": "/undo"})
    text = instructions([replace(made, server=server, binlog=Binlog("bin.07", 42, "0-1-9"))], PLACES)
    assert "without its own key files nothing" in text
    assert "innodb_undo_directory (/undo)" in text
    assert "bin.07, position 42, GTID 0-1-9" in text
    assert "encrypts" not in instructions([made], PLACES)


def test_a_chain_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="day-0 is gone"):
        chain_of(chain(2)[1], replace(PLACES, backup_dir=str(tmp_path)))
