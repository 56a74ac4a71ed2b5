"""A backup that lacks a table of the server is not whole, whatever the tool says of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import Rig

pytestmark = pytest.mark.integration

_TOOL = """#!/bin/sh
case " $* " in *" --backup "*) ;; *) exec mariadb-backup "$@" ;; esac
if [ -e {marks}/used ] && [ -e {marks}/once ]; then exec mariadb-backup "$@"; fi
touch {marks}/used
for word; do case $word in --stream=*) exec mariadb-backup "$@" '--tables-exclude={excluded}' ;; esac; done
mariadb-backup "$@" || exit
for word; do case $word in --target-dir=*) rm "${{word#*=}}/"{file} ;; esac; done
"""
"""The real tool, and then a file is missing, or a table in a stream, which the tool is told to leave out."""


@contextmanager
def _leaving_out(rig: Rig, file: str, excluded: str, *, once: bool = False) -> Iterator[None]:
    folder = rig.sandbox.root / "leaving-out"
    folder.mkdir()
    who = rig.sandbox.who.database
    shutil.chown(folder, who.uid, who.gid)
    if once:
        (folder / "once").touch()
    wrapper = folder / "mariadb-backup"
    wrapper.write_text(_TOOL.format(marks=folder, file=file, excluded=excluded))
    wrapper.chmod(0o755)
    try:
        with rig.configured("dbcalm-mariadb-cmd", backup_bin=str(wrapper)):
            yield
    finally:
        shutil.rmtree(folder)


def _log(rig: Rig) -> str:
    logs = (rig.sandbox.root / "jobs" / "jobs").glob("*/output.log")
    return max(logs, key=lambda path: path.stat().st_mtime_ns).read_text(errors="replace")


@pytest.mark.parametrize("form", ["folder", "zstd"])
def test_what_is_left_out_once_is_in_the_second_try(rig: Rig, form: str) -> None:
    with _leaving_out(rig, "shop/log.MAI", "^shop[.]log$", once=True):
        made = rig.backup(form=form)
    assert "left out the data of table `shop`.`log` and said nothing; it is tried once more" in _log(rig)
    assert made["resource_id"] in rig.on_disk()


@pytest.mark.parametrize(
    ("form", "file", "excluded", "name"),
    [
        ("folder", "shop/log.MA*", "", "`shop`.`log`"),
        ("folder", "shop/odd*.[in]*", "", "`shop`.`odd/näme #1`"),
        ("folder", "shop/odd*", "", "`shop`.`odd/näme #1`"),
        ("zstd", "", "^shop[.]log$", "`shop`.`log`"),
        ("zstd", "", "^shop[.]orders$", "`shop`.`orders`"),
    ],
)
def test_what_is_left_out_each_time_makes_no_backup(
    rig: Rig, form: str, file: str, excluded: str, name: str
) -> None:
    before = rig.on_disk()
    with _leaving_out(rig, file, excluded):
        status = rig.end(rig.start("/backups", {"type": "full", "form": form}))
    assert status["status"] == "failed"
    assert f"left out the data of table {name} and said nothing" in status["error"]
    assert f"ALTER TABLE {name} FORCE" in status["error"]
    assert rig.on_disk() == before
    assert rig.leftovers() == []


def test_a_table_whose_tablespace_was_imported_needs_what_is_advised(rig: Rig) -> None:
    """The tool reads in the log that the file was deleted, and leaves out the one that came."""
    data = Path(rig.data, "shop")
    rig.sandbox.sql(
        "CREATE TABLE shop.imported (id INT PRIMARY KEY); INSERT INTO shop.imported VALUES (1), (2);"
        "FLUSH TABLES shop.imported FOR EXPORT;"
    )
    kept = rig.sandbox.root / "imported.ibd"
    shutil.copy2(data / "imported.ibd", kept)
    try:
        rig.sandbox.sql("ALTER TABLE shop.imported DISCARD TABLESPACE")
        rig.backup()  # What is missing in the server is none of the backup's faults.
        shutil.copy2(kept, data / "imported.ibd")
        shutil.chown(data / "imported.ibd", rig.sandbox.who.database.uid, rig.sandbox.who.database.gid)
        rig.sandbox.sql("ALTER TABLE shop.imported IMPORT TABLESPACE")
        for form in ("folder", "zstd"):
            status = rig.end(rig.start("/backups", {"type": "full", "form": form}))
            assert status["status"] == "failed", status
            assert "table `shop`.`imported`" in status["error"]
        rig.sandbox.sql("ALTER TABLE shop.imported FORCE")
        rig.backup()
    finally:
        rig.sandbox.sql("DROP TABLE shop.imported")
        kept.unlink()
