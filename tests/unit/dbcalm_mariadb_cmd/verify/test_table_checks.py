"""What CHECK TABLE answers: each table is good, bad or not looked at, and what is not understood is no pass."""

from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.server.definitions import is_view, partition_engine
from dbcalm_mariadb_cmd.adapter.server.rows import Row, quoted, rows
from dbcalm_mariadb_cmd.verify.table_checks import Checked, Table, judge, look

FINE = ("status", "OK")
NO_CHECK = ("note", "The storage engine for the table doesn't support check")


@pytest.mark.parametrize(
    ("said", "where", "words"),
    [
        ([FINE], "good", ""),
        ([("status", "Table is already up to date")], "good", ""),
        ([("warning", "1 client is using or hasn't closed the table properly"), FINE], "good", ""),
        ([("note", "something"), FINE], "good", ""),
        ([NO_CHECK], "without", ""),
        (
            [("error", "Unknown storage engine 'ROCKSDB'"), ("error", "Corrupt")],
            "unseen",
            "it is of engine ROCKSDB, which the server of our own has not",
        ),
        (
            [
                (
                    "warning",
                    "MariaDB tried to use the LZ4 compression, but its provider plugin is not loaded",
                ),
                ("error", "Table `a`.`b` is corrupted. Please drop the table and recreate."),
                ("error", "Corrupt"),
            ],
            "unseen",
            "it is compressed by LZ4, which the server of our own has not",
        ),
        ([("error", "Unknown data type: 'MYSQL_JSON'"), ("error", "Corrupt")], "unseen", "MYSQL_JSON"),
        (
            [
                (
                    "error",
                    'Table rebuild required. Please do "ALTER TABLE `t` FORCE" or dump/reload to fix it!',
                )
            ],
            "unseen",
            "it is of an older server, which takes its rebuild in the server: mariadb-upgrade",
        ),
        # What is bad.
        (
            [("warning", "Size of indexfile"), ("error", "Found 3 keys"), ("error", "Corrupt")],
            "bad",
            "Found 3 keys",
        ),
        (
            [("error", "Table 's.t' doesn't exist in engine"), ("status", "Operation failed")],
            "bad",
            "doesn't exist",
        ),
        ([("error", "something"), FINE], "bad", "something"),
        ([FINE, FINE], "bad", "OK"),
        ([("status", "Operation failed")], "bad", "Operation failed"),
        # A name can say anything.
        (
            [("error", "Table 's.Unknown storage engine 'X'' doesn't exist in engine"), ("error", "Corrupt")],
            "bad",
            "doesn't exist in engine",
        ),
        # What is not understood is no pass.
        ([], "bad", "CHECK TABLE said nothing of it"),
        ([("status", "Fine")], "bad", "Fine"),
        ([("", "OK")], "bad", "OK"),
        ([("warning", "something")], "bad", "something"),
        ([NO_CHECK, ("note", "more")], "bad", "support check"),
        ([("error", "two\nlines")], "bad", "two\\x0alines"),
    ],
)
def test_an_answer_is_understood_or_no_pass(said: list[tuple[str, str]], where: str, words: str) -> None:
    checked, table = Checked(), Table("s", "t")
    judge({table: said}, checked)
    found = {
        "good": checked.good, "bad": len(checked.bad), "unseen": len(checked.unseen), "without": len(checked.without),
    }  # fmt: skip
    assert found == {"good": 0, "bad": 0, "unseen": 0, "without": 0, where: 1}
    assert words in {**checked.bad, **checked.unseen}.get(table, "")


class Asked:
    """A server that lists these tables and gives these answers; it fails where a statement has the name ``evil``."""

    def __init__(self, tables: dict[tuple[str, str], list[Row]]) -> None:
        self.tables = tables

    def __call__(self, sql: str) -> list[Row]:
        if "information_schema.TABLES" in sql:
            return [(schema, name, schema, name) for schema, name in self.tables]
        assert sql.startswith("CHECK TABLE")
        if "`evil`" in sql:
            raise ValueError("ERROR 1103 (42000) at line 1: Incorrect table name 'evil'")
        named = [key for key in self.tables if f"{quoted(key[0])}.{quoted(key[1])}" in sql]
        assert len({schema for schema, _ in named}) == 1
        return [row for key in named for row in self.tables[key]]


def test_every_table_is_accounted_for(tmp_path: Path) -> None:
    fine: Row = ("check", "status", "OK")
    tables: dict[tuple[str, str], list[Row]] = {
        ("a", "b.c"): [("a.b.c", *fine)],
        ("a.b", "c"): [("a.b.c", "check", "error", "Corrupt")],
        ("a", "evil"): [],
        ("a", "silent"): [],
        ("a", "two words"): [("a.two words", *fine)],
        ("a", "odd"): [("a.odd", "check", "status")],
        ("a", "another"): [("a.somebody else", *fine), ("a.another", *fine)],
    }
    for schema, name in [*tables, ("a", "unlisted"), ("a", "#sql-alter-1")]:
        (tmp_path / schema).mkdir(exist_ok=True)
        (tmp_path / schema / f"{name}.frm").write_bytes(b"")
    checked = look(Asked(tables), tmp_path)
    assert checked.good == 3
    assert {str(table): words[:20] for table, words in checked.bad.items()} == {
        "a.b.c": "Corrupt",
        "a.evil": "ERROR 1103 (42000) a",
        "a.silent": "CHECK TABLE said not",
        "a.odd": "CHECK TABLE said not",
    }
    assert checked.unseen == {Table("a", "unlisted"): "the server does not list it"}


def test_the_clients_xml_is_read_as_it_was_meant() -> None:
    printed = """<?xml version="1.0"?>

<resultset statement="SELECT &quot;&lt;row&gt;&quot;" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <row>
\t<field name="a &quot;b&quot;">one\ttwo
three &amp;lt; &lt;/field&gt; \r</field>
\t<field name="c" xsi:nil="true" />
  </row>

  <row>
\t<field name="a"></field>
\t<field name="c">NULL</field>
  </row>
</resultset>
"""
    assert rows(printed) == [("one\ttwo\nthree &lt; </field> \r", None), ("", "NULL")]
    assert rows("") == []


def test_a_definition_tells_what_it_is_of() -> None:
    segments = bytes([0, 3]) + b"xyz" + bytes([1, 7]) + b"ARCHIVE"
    table = b"\xfe\x01\x0a\x14" + len(segments).to_bytes(2, "little") + bytes(58) + segments + b"\x01\x03bad"
    assert partition_engine(table) == "ARCHIVE"
    assert partition_engine(table[:66]) is None
    assert partition_engine(b"\xfe\x01" + bytes(62)) is None
    assert partition_engine(b"") is None
    assert is_view(b"TYPE=VIEW\nquery=")
    assert not is_view(table)
