"""What a proof says of tables: all are accounted for, whatever they are called and whatever stands beside them; what
was no better in the server is told as the server's; and a server of our own reads them as theirs did."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dev.sandbox_lib.database import PLUGINS
from dev.sandbox_lib.errors import SandboxError
from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with
from tests.integration.test_verify import proof, recompute, verified

pytestmark = pytest.mark.integration

NAMES = (
    "заказы", "παραγγελίες", "Żółć", "注文", "commandes d'été", 'in "quotes"', "back`tick", "back\\slash", "a b", " c",
    "semi;colon", "two\nlines", "DELIMITER //", "tab\there", "dash-ed", "per.iod", "#hash",
    "Unknown storage engine 'X'", "<xml>&amp;", "OK", "error    : Corrupt", "a OK", "%_", "select", "NULL",
)  # fmt: skip
"""Names that a server takes, and that something has stumbled over somewhere."""


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """In place of the sandbox that others share: what is suspect needs attention there."""
    with sandbox_with(tmp_path_factory.mktemp("tables") / "sandbox", SMALL_SHOP) as sandbox:
        if PLUGINS.is_dir():
            sandbox.add_options(*sandbox.database.plugin_options("ha_archive", "ha_sphinx", "provider_lz4"))
        yield Rig(sandbox)


@pytest.fixture(autouse=True)
def _tidied(rig: Rig) -> Iterator[None]:
    """Leave no table that another test would hear of."""
    yield
    if "keys.txt" in (rig.sandbox.root / "mariadb" / "my.cnf").read_text():
        return  # That was the last one, and its server does not start again.
    rig.everything_runs()
    with suppress(SandboxError):  # What was spoilt is in the way of its folder's end.
        rig.sandbox.sql("DROP DATABASE IF EXISTS old")
    shutil.rmtree(rig.data / "old", ignore_errors=True)
    databases = ("hidden", "packed", *NAMES)
    rig.sandbox.sql("".join(f"DROP DATABASE IF EXISTS {quoted(name)};" for name in databases))
    rig.sandbox.sql("".join(f"DROP VIEW IF EXISTS shop.{quoted(f'v {name}')};" for name in NAMES))
    rig.sandbox.sql(
        "DROP TABLE IF EXISTS shop.used; REVOKE ALL, GRANT OPTION FROM dbcalm_backup@localhost;"
        "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO dbcalm_backup@localhost"
    )


def log_of(rig: Rig, status: dict[str, Any]) -> str:
    """Return what a job's log says that is ours."""
    log = (rig.sandbox.root / "jobs" / "jobs" / status["link"].rsplit("/", 1)[1] / "output.log").read_text(
        errors="replace"
    )
    return "\n".join(line for line in log.splitlines() if line.startswith("dbcalm: "))


def test_tables_and_answers_of_any_script_are_as_good_as_others(rig: Rig) -> None:
    engines = ("InnoDB", "Aria", "MyISAM")
    for number, name in enumerate(NAMES):
        engine = engines[number % 3]
        rig.sandbox.sql(
            f"CREATE DATABASE {quoted(name)}; CREATE TABLE {quoted(name)}.{quoted(name)} (id INT) ENGINE={engine};"
            f"CREATE VIEW shop.{quoted(f'v {name}')} AS SELECT * FROM {quoted(name)}.{quoted(name)}"
        )
    rig.sandbox.sql(
        "CREATE TABLE shop.told (v TEXT) CHARSET utf8mb4;"
        r"INSERT INTO shop.told VALUES ('Żółć 漢字 😀'), ('one\ttwo\nthree\\'), ('NULL')"
    )
    rig.backup(id="scripts", form="folder")
    asked = [
        {"sql": "SELECT v FROM shop.told LIMIT 1", "equals": "Żółć 漢字 😀"},
        {"sql": "SELECT COUNT(*) FROM shop.told WHERE v = 'Żółć 漢字 😀'", "at_least": 1},
        {"sql": "SELECT v FROM shop.told LIMIT 1 OFFSET 1", "equals": "one\ttwo\nthree\\"},
        {"sql": "SELECT v FROM shop.told LIMIT 1 OFFSET 2", "equals": "NULL"},
        {"sql": "SELECT COUNT(*) FROM `заказы`.`заказы`", "at_most": 0},
    ]
    with rig.configured("dbcalm-mariadb-cmd", verify_assertions=asked):
        status = verified(rig, "scripts", 3)
    assert (status["status"], status["error"], status["note"]) == ("success", None, None)
    assert log_of(rig, status) == ""
    for wrong, words in (
        (
            {"sql": "SELECT v FROM shop.told LIMIT 1", "equals": "Zolc"},
            "the answer is Żółć 漢字 😀, not Zolc",
        ),
        ({"sql": "SELECT NULL", "equals": "NULL"}, "no answer"),
    ):
        with rig.configured("dbcalm-mariadb-cmd", verify_assertions=[wrong]):
            status = verified(rig, "scripts", 3)
        assert status["reason"] == "suspect"
        assert words in status["error"]


def spoil(path: Path) -> None:
    """Write over the end of a table's data."""
    with path.open("r+b") as file:
        file.seek(max(path.stat().st_size - 300, 0))
        file.write(bytes(range(200)))


def test_no_damaged_table_hides_behind_its_name_or_a_neighbour(rig: Rig) -> None:
    """Beside each stand tables that a server of our own cannot look at, before and behind it."""
    sql = rig.sandbox.sql
    remote = (
        "(id BIGINT UNSIGNED NOT NULL, weight INT NOT NULL, query VARCHAR(3072) NOT NULL, INDEX (query)) "
        "ENGINE=SPHINX CONNECTION='sphinx://127.0.0.1:1/nothing'"
    )
    folder = "hidden"
    sql(f"CREATE DATABASE {folder}")
    files: dict[str, str] = {}
    # The tool cannot lock a table outside InnoDB that has a backtick in its name.
    names = [name for name in NAMES if "`" not in name]
    for number, name in enumerate(names):
        before = {path.name for path in (rig.data / folder).iterdir()}
        sql(
            f"CREATE TABLE {folder}.{quoted(name)} (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=MyISAM;"
            f"INSERT INTO {folder}.{quoted(name)} SELECT seq, SHA1(seq) FROM shop.seq_1_to_200"
        )
        if PLUGINS.is_dir():
            sql(f"CREATE TABLE {folder}.{quoted(f'{name}{number}')} {remote}")
        made = {path.name for path in (rig.data / folder).iterdir()} - before
        [files[name]] = [one for one in made if one.endswith(".MYD")]
    sql("FLUSH TABLES")
    rig.backup(id="hides", form="folder")
    for file in files.values():
        path = rig.backups / "hides" / folder / file
        spoil(path)
        recompute(rig, "hides", f"{folder}/{file}")
    status = verified(rig, "hides", 3)
    assert status["reason"] == "suspect"
    damaged = [
        line for line in log_of(rig, status).splitlines() if line.startswith("dbcalm: damaged: hidden.")
    ]
    assert len(damaged) == len(names)
    assert f"and {len(names) - 3} more" in status["error"]
    unseen = [line for line in log_of(rig, status).splitlines() if "of engine SPHINX" in line]
    assert len(unseen) == (len(names) if PLUGINS.is_dir() else 0)


OLD_FAULTS = {
    "old.orphan": "DROP TABLE `old`.`orphan`",
    "old.gone": "DROP TABLE `old`.`gone`",
    "old.discarded": "DROP TABLE `old`.`discarded`",
    "old.merged": "ALTER TABLE `old`.`merged` UNION=(...)",
    "old.view of none": "DROP VIEW `old`.`view of none`",
    "old.view of nowhere": "DROP VIEW `old`.`view of nowhere`",
    "old.crashed": "mariadb-check --repair old crashed",
    "old.no data": "DROP TABLE `old`.`no data`",
    "old.parts": "DROP TABLE `old`.`parts`",
    "old.lines": "mariadb-check --repair old lines",
    "old.undefined": "its definition is broken in the server",
}
"""Tables that are bad in the server, and what puts each right."""


def spoil_the_server(rig: Rig) -> None:
    rig.sandbox.sql(
        "CREATE DATABASE old; CREATE DATABASE nowhere; USE old;"
        "CREATE TABLE whole (id INT); INSERT INTO whole VALUES (1);"
        "CREATE TABLE gone (id INT); CREATE TABLE discarded (id INT); ALTER TABLE discarded DISCARD TABLESPACE;"
        "CREATE TABLE one (id INT) ENGINE=MyISAM; CREATE TABLE two (id INT) ENGINE=MyISAM;"
        "CREATE TABLE merged (id INT) ENGINE=MERGE UNION=(one, two); DROP TABLE two;"
        "CREATE TABLE base (id INT); CREATE VIEW `view of none` AS SELECT * FROM base; DROP TABLE base;"
        "CREATE TABLE nowhere.base (id INT); CREATE VIEW `view of nowhere` AS SELECT * FROM nowhere.base;"
        "DROP DATABASE nowhere; CREATE TABLE `no data` (id INT) ENGINE=Aria;"
        "CREATE TABLE crashed (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=MyISAM;"
        "INSERT INTO crashed SELECT seq, SHA1(seq) FROM seq_1_to_200;"
        "CREATE TABLE parts (id INT) PARTITION BY HASH(id) PARTITIONS 3; INSERT INTO parts VALUES (1), (2), (3);"
        "CREATE TABLE `lines` (id INT NOT NULL) ENGINE=CSV; INSERT INTO `lines` VALUES (1);"
        "CREATE TABLE undefined (id INT) ENGINE=MyISAM; CREATE TABLE memory (id INT) ENGINE=MEMORY;"
        "CREATE VIEW `view of lost` AS SELECT id FROM parts; CREATE SEQUENCE counted;"
        "CREATE TABLE `column` (id INT, c INT); CREATE VIEW `view of column` AS SELECT c FROM `column`;"
        "ALTER TABLE `column` DROP COLUMN c; FLUSH TABLES"
    )
    rig.sandbox.stop_db()
    folder = rig.data / "old"
    (folder / "orphan.frm").write_bytes((folder / "whole.frm").read_bytes())
    os.chown(folder / "orphan.frm", folder.stat().st_uid, folder.stat().st_gid)
    (folder / "gone.ibd").unlink()
    for kind in ("MAI", "MAD"):
        (folder / f"no@0020data.{kind}").unlink()
    spoil(folder / "crashed.MYD")
    (folder / "parts#P#p1.ibd").unlink()
    (folder / "lines.CSV").write_text('garbage"\n')
    (folder / "undefined.frm").write_bytes(b"")
    rig.sandbox.start_db()


def test_what_is_as_old_as_the_server_spoils_no_backup(rig: Rig) -> None:
    spoil_the_server(rig)
    rig.backup(id="old-0", form="folder")
    for id in ("old-0", "old-1"):
        if id == "old-1":
            made = rig.backup(id=id, type="incremental", form="zstd")["resource_id"]
            assert rig.api.call("GET", f"/backups/{made}")["from_backup_id"] == "old-0"
        status = verified(rig, id, 3)
        assert (status["status"], status["error"]) == ("success", None)
        assert "bad in the server too, which is no fault of the backup: old.crashed" in status["note"]
        assert proof(rig, id) == (3, None)
        told = {line.partition(": ")[2] for line in log_of(rig, status).splitlines()}
        for table, remedy in OLD_FAULTS.items():
            assert any(f": {table}: " in f": {line}" and remedy in line for line in told), (table, told)
        assert {line for line in told if not any(table in line for table in OLD_FAULTS)} == {
            "of an engine that has no check: old.counted", "of an engine that has no check: old.memory",
            "not looked at: old.view of column: Unknown column 'old.column.c' in 'SELECT'; it is a view, which the "
            "server of our own cannot open",
            'not looked at: old.view of lost: Got error 194 "Tablespace is missing for a table" from storage engine '
            "InnoDB; it is a view, which the server of our own cannot open",
        }  # fmt: skip
    attention = rig.api.call("GET", "/ready")["attention"]
    assert sum("a table of the server is bad, and so it is in backup old-1" in one for one in attention) == 3
    assert not any("see whether the disk is good" in one and "old-" in one for one in attention)
    # They are the server's still where it does not run, and where somebody has put them right there meanwhile.
    rig.sandbox.stop_db()
    assert verified(rig, "old-0", 3)["status"] == "success"
    rig.sandbox.start_db()
    rig.sandbox.sql("DROP TABLE old.orphan; DROP VIEW old.`view of none`; REPAIR TABLE old.crashed")
    assert verified(rig, "old-0", 3)["status"] == "success"
    # A fault that the backup alone has is its own.
    path = rig.backups / "old-0" / "shop" / "log.MAD"
    spoil(path)
    recompute(rig, "old-0", "shop/log.MAD")
    status = verified(rig, "old-0", 3)
    assert status["reason"] == "suspect"
    assert "backup old-0 has damaged tables: shop.log" in status["error"]
    assert "old.crashed" not in status["error"]


def test_the_server_is_asked_where_the_account_may(rig: Rig) -> None:
    """Its files tell nothing any more where the table was used since."""
    sql = rig.sandbox.sql
    sql(
        "CREATE TABLE shop.used (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=MyISAM;"
        "INSERT INTO shop.used SELECT seq, SHA1(seq) FROM shop.seq_1_to_200; FLUSH TABLES"
    )
    spoil(rig.data / "shop" / "used.MYD")
    rig.backup(id="used", form="folder")
    with (rig.data / "shop" / "used.MYD").open("ab") as file:
        file.write(b"more")
    status = verified(rig, "used", 3)
    grant = "GRANT SELECT ON `shop`.`used` TO `dbcalm_backup`@`localhost`"
    assert status["reason"] == "suspect"
    assert (
        f"to have the server asked whether it has the same fault: {grant}, and verify again"
        in status["error"]
    )
    sql(f"FLUSH TABLES; {grant}")
    status = verified(rig, "used", 3)
    assert (status["status"], proof(rig, "used")) == ("success", (3, None))
    assert "mariadb-check --repair shop used" in status["note"]
    # A table that is good in the server is damaged in the backup.
    sql("TRUNCATE shop.used; REPAIR TABLE shop.used")
    assert verified(rig, "used", 3)["reason"] == "suspect"


def test_a_chain_that_was_proven_since_does_not_repeat_the_old_fault_of_its_link(rig: Rig) -> None:
    """Each backup has a whole copy of a table of Aria: that of the full one is bad, the other is not."""
    rig.backup(id="link-0", form="folder")
    rig.backup(id="link-1", type="incremental", from_backup_id="link-0", form="folder")
    path = rig.backups / "link-0" / "shop" / "log.MAD"
    spoil(path)
    recompute(rig, "link-0", "shop/log.MAD")
    assert verified(rig, "link-0", 3)["reason"] == "suspect"
    # What builds on it is suspect until it is looked at itself.
    assert proof(rig, "link-1")[1] is not None
    assert verified(rig, "link-1", 3)["status"] == "success"
    assert (proof(rig, "link-1"), proof(rig, "link-0")[1] is None) == ((3, None), False)
    protection = rig.api.call("GET", "/protection")
    assert (protection["proven_backup_id"], protection["measured_by"]) == ("link-1", "link-1")
    status = rig.end(rig.start("/restore", {"id": "link-1", "target": "folder"}))
    assert (status["status"], status["note"]) == ("success", None)
    made = rig.backup(id="link-2", type="incremental")["resource_id"]
    assert rig.api.call("GET", f"/backups/{made}")["from_backup_id"] == "link-1"


needs_plugins = pytest.mark.skipif(
    not PLUGINS.is_dir(), reason="needs the server's plugins, in build/plugins"
)


@needs_plugins
def test_a_server_of_our_own_has_the_plugins_of_theirs(rig: Rig) -> None:
    rig.sandbox.sql(
        "CREATE DATABASE packed; USE packed; SET GLOBAL innodb_compression_algorithm = 'lz4';"
        "CREATE TABLE archive (id INT) ENGINE=ARCHIVE; INSERT INTO archive VALUES (1);"
        "CREATE TABLE parts (id INT) ENGINE=ARCHIVE PARTITION BY HASH(id) PARTITIONS 2;"
        "INSERT INTO parts VALUES (1), (2);"
        "CREATE TABLE pages (id INT PRIMARY KEY, body TEXT) PAGE_COMPRESSED=1;"
        "INSERT INTO pages SELECT seq, REPEAT(SHA1(seq), 20) FROM seq_1_to_1000"
    )
    rig.sandbox.stop_db()  # Else its pages may not be written yet.
    rig.sandbox.start_db()
    rig.backup(id="plugged", form="folder")
    asked = [{"sql": "SELECT COUNT(*) FROM packed.parts", "at_least": 2}]
    with rig.configured("dbcalm-mariadb-cmd", verify_assertions=asked):
        status = verified(rig, "plugged", 3)
    assert (status["status"], status["error"], status["note"]) == ("success", None, None)
    # Where nobody says where they are, such tables are not looked at.
    rig.sandbox.stop_db()
    status = verified(rig, "plugged", 3)
    assert (status["status"], proof(rig, "plugged")) == ("success", (3, None))
    assert status["note"].startswith("not looked at: packed.archive: it is of engine ARCHIVE")
    assert "packed.parts: its partitions are of engine ARCHIVE" in status["note"]
    assert "packed.pages: it is compressed by LZ4" in status["note"]


def test_names_are_the_same_in_capitals_where_they_are_so_in_the_server(rig: Rig) -> None:
    """From here on the sandbox has another server."""
    rig.sandbox.renew_db("lower_case_table_names=1", "sql_mode=ANSI_QUOTES")
    rig.sandbox.sql(
        "CREATE DATABASE Shop; CREATE TABLE Shop.Orders (id INT PRIMARY KEY); INSERT INTO Shop.Orders VALUES (1)"
    )
    rig.backup(id="capitals")
    asked = [
        {"sql": "SELECT COUNT(*) FROM Shop.Orders", "at_least": 1},
        {"sql": 'SELECT COUNT(*) FROM "SHOP"."ORDERS"', "at_least": 1},
    ]
    with rig.configured("dbcalm-mariadb-cmd", verify_assertions=asked):
        status = verified(rig, "capitals", 3)
    assert (status["status"], status["error"], status["note"]) == ("success", None, None)


@needs_plugins
def test_a_server_that_encrypts_is_looked_at_with_its_keys(rig: Rig) -> None:
    """The last test of this server."""
    keys = rig.sandbox.root / "mariadb" / "keys.txt"
    keys.write_text(f"1;{'a7' * 32}\n")
    os.chown(keys, rig.data.stat().st_uid, rig.data.stat().st_gid)
    rig.sandbox.add_options(
        "plugin_load_add=file_key_management.so", f"file_key_management_filename={keys}",
        "innodb_encrypt_tables=ON", "innodb_encrypt_log=ON", "aria_encrypt_tables=ON",
    )  # fmt: skip
    rig.sandbox.sql(
        "CREATE DATABASE packed; CREATE TABLE packed.secret (id INT PRIMARY KEY, body TEXT) ENCRYPTED=YES;"
        "INSERT INTO packed.secret SELECT seq, SHA1(seq) FROM shop.seq_1_to_1000;"
        "CREATE TABLE packed.aria (id INT PRIMARY KEY) ENGINE=Aria SELECT seq AS id FROM shop.seq_1_to_1000"
    )
    rig.backup(id="secret-0", form="folder")
    rig.backup(id="secret-1", type="incremental", from_backup_id="secret-0")
    status = verified(rig, "secret-1", 3)
    assert (status["status"], status["error"], status["note"]) == ("success", None, None)
    assert proof(rig, "secret-1") == (3, None)
    # With other keys, what is encrypted looks like damage: that is no fault of the backup.
    keys.write_text(f"1;{'b8' * 32}\n")
    status = verified(rig, "secret-1", 2)
    assert (status["reason"], proof(rig, "secret-1")) == ("error", (3, None))
    assert "or the keys of the server are others than when it was made" in status["error"]
    # Without any, it is not looked at.
    keys.unlink()
    status = verified(rig, "secret-0", 3)
    assert (status["status"], proof(rig, "secret-0")) == ("success", (1, None))
    assert status["note"].startswith(
        "level 1 only: the server encrypts by itself, with keys that are in no backup"
    )
