"""What CHECK TABLE answers, judged: each table is good, bad, or was not looked at, and nothing is taken for granted."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import at_once
from dbcalm_mariadb_cmd.adapter.server.definitions import definition, partition_engine
from dbcalm_mariadb_cmd.adapter.server.rows import Row, quoted

Ask = Callable[[str], list[Row]]
"""Asks a server; raises ValueError with what it said where it does not answer."""

Said = dict["Table", list[tuple[str, str]]]
"""What was said of each table: kinds of message, and their texts."""

_AT_ONCE = 2
_TABLES_AT_ONCE = 100
_RAW = "#mysql50#"
"""Begins the name of a table whose file has one that the server would not have given it; the rest is the file's."""

_TEMPORARY = "#sql"
"""Begins the names of files that are of no table, but of one on its way."""

_ALL_TABLES = """
SELECT TABLE_SCHEMA, TABLE_NAME, CAST(CONVERT(TABLE_SCHEMA USING filename) AS BINARY),
  CAST(CONVERT(TABLE_NAME USING filename) AS BINARY)
FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema');
"""

_FINE = ("OK", "Table is already up to date")
_HARMLESS = ("note", "info", "warning")
_NO_CHECK = "The storage engine for the table doesn't support check"
_ENGINES = "SELECT ENGINE FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT');\n"
_NOT_OURS = "which the server of our own has not"
_LACKING = (
    (re.compile(r"Unknown storage engine '([^']*)'"), f"it is of engine {{}}, {_NOT_OURS}"),
    (
        re.compile(r"MariaDB tried to use the (\S+) compression, but its provider plugin is not loaded"),
        f"it is compressed by {{}}, {_NOT_OURS}",
    ),
    (re.compile(r"Unknown data type: '([^']*)'"), f"it has a column of type {{}}, {_NOT_OURS}"),
    (re.compile(r"Unknown collation: '([^']*)'"), f"it has the collation {{}}, {_NOT_OURS}"),
    (re.compile(r"Plugin '([^']*)' is not loaded"), f"it needs the plugin {{}}, {_NOT_OURS}"),
    (
        re.compile(r"Table (upgrade|rebuild) required\..*", re.DOTALL),
        "it is of an older server, which takes its {} in the server: mariadb-upgrade",
    ),
)
"""What keeps a server from looking at a table that may be as good as any, and the words for it."""


@dataclass(frozen=True, order=True)
class Table:
    """A table or view: its schema and its name, as the server has them."""

    schema: str
    name: str

    def __str__(self) -> str:
        return printed(f"{self.schema}.{self.name}")


def printed(text: str) -> str:
    """Return a text of the server's on one line."""
    return text.translate(_ON_ONE_LINE)


_ON_ONE_LINE = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160), 0x2028, 0x2029)}


@dataclass
class Checked:
    """What was found: a few words for each table that is ``bad``, and for each that was not looked at (``unseen``).
    Those ``without`` are of an engine that has no check: nobody can look at them, as at those in memory and sequences.
    ``good`` counts the others. ``files`` are the files of each table, by the path that they all begin with."""

    good: int = 0
    bad: dict[Table, str] = field(default_factory=dict)
    unseen: dict[Table, str] = field(default_factory=dict)
    without: list[Table] = field(default_factory=list)
    files: dict[Table, str] = field(default_factory=dict)


def look(ask: Ask, data: Path) -> Checked:
    """Have a server check every table and view of its data; return what it found. A table of which it says
    nothing is bad. Raise what ``ask`` raises beside ValueError, or ValueError if it cannot list them."""
    checked = Checked(files=_listed(ask))
    answers: list[Said] = []
    at_once(lambda some: answers.append(asked(ask, some)), _portions(checked.files), _AT_ONCE)
    for said in answers:
        judge(said, checked)
    _spare_partitions(ask, data, checked)
    known = set(checked.files.values())
    for schema, name in _definitions(data):
        if f"{schema}/{name}" not in known:
            table = Table(schema, name)
            # The server goes by the names of files alone, as where a table's has capitals that it has been forbidden.
            checked.unseen[table] = "the server does not list it"
    return checked


def _spare_partitions(ask: Ask, data: Path, checked: Checked) -> None:
    """Move to those that were not looked at the partitioned tables of engines that the server has not: to it their
    definitions are just wrong."""
    engines: set[str] | None = None
    for table in list(checked.bad):
        engine = partition_engine(definition(data / checked.files[table]))
        if engine is None:
            continue
        if engines is None:
            engines = {(row[0] or "").upper() for row in ask(_ENGINES)}
        if engine.upper() not in engines:
            del checked.bad[table]
            checked.unseen[table] = f"its partitions are of engine {printed(engine)}, {_NOT_OURS}"


def _listed(ask: Ask) -> dict[Table, str]:
    rows = [[value or "" for value in row] for row in ask(_ALL_TABLES)]
    return {
        Table(schema, name): f"{_file(schema, schema_file)}/{_file(name, name_file)}"
        for schema, name, schema_file, name_file in rows
    }


def _file(name: str, as_file: str) -> str:
    return name.removeprefix(_RAW) if name.startswith(_RAW) else as_file


def _definitions(data: Path) -> list[tuple[str, str]]:
    """Return the folder and the name of each file that defines a table or view."""
    return [
        (path.parent.name, path.name.removesuffix(".frm"))
        for path in data.glob("*/*.frm")
        if not path.name.startswith(_TEMPORARY)
        and not path.parent.name.startswith((".", _TEMPORARY))
        and path.parent.name != "performance_schema"
    ]


def _portions(tables: Iterable[Table]) -> list[list[Table]]:
    """Return the tables in portions for one statement, each of one schema: "a.b.c" may be of a, or of a.b."""
    schemas: dict[str, list[Table]] = {}
    for table in sorted(tables):
        schemas.setdefault(table.schema, []).append(table)
    return [
        found[begin : begin + _TABLES_AT_ONCE]
        for found in schemas.values()
        for begin in range(0, len(found), _TABLES_AT_ONCE)
    ]


def asked(ask: Ask, tables: Sequence[Table]) -> Said:
    """Ask a server to check these tables of one schema; return what it says of each."""
    names = ", ".join(f"{quoted(table.schema)}.{quoted(table.name)}" for table in tables)
    try:
        rows = ask(f"CHECK TABLE {names};\n")
    except ValueError as error:
        if len(tables) == 1:
            return {tables[0]: [("error", str(error))]}
        # One that the statement cannot name keeps it from all of them.
        return {table: said for one in tables for table, said in asked(ask, [one]).items()}
    return _by_table(tables, rows)


def _by_table(tables: Iterable[Table], rows: Sequence[Row]) -> Said:
    """Return what was said of each of these tables. An answer that is of none of them is nobody's, and the table that
    it was meant for has none."""
    said: Said = {table: [] for table in tables}
    known = {f"{table.schema}.{table.name}": table for table in said}
    for row in rows:
        name, _, kind, text = row if len(row) == 4 else ("", "", "", "")
        if table := known.get(name or ""):
            said[table].append(((kind or "").lower(), text or ""))
    return said


def judge(said: Mapping[Table, Sequence[tuple[str, str]]], checked: Checked) -> None:
    """Add to what was found what these answers come to. Good is only what says so, and of which nothing else is said
    but notes and warnings."""
    for table, messages in said.items():
        lacking = next(filter(None, (_lacking(text) for _, text in messages)), None)
        grave = [(kind, text) for kind, text in messages if kind not in _HARMLESS]
        if lacking:
            checked.unseen[table] = lacking
        elif not grave and [text for _, text in messages] == [_NO_CHECK]:
            checked.without.append(table)
        elif len(grave) == 1 and grave[0][0] == "status" and grave[0][1] in _FINE:
            checked.good += 1
        else:
            checked.bad[table] = _words(messages)


def _lacking(text: str) -> str | None:
    """Return what the server of our own has not, if that is why it could not look at a table."""
    # The whole text is compared: others repeat the table's name, and that may be anything.
    for pattern, words in _LACKING:
        if found := pattern.fullmatch(text):
            return words.format(printed(found[1]))
    return None


def _words(messages: Sequence[tuple[str, str]]) -> str:
    """Return what is wrong with a table: the first that was said of it, not that it is corrupt, which comes last."""
    errors = [text for kind, text in messages if kind not in _HARMLESS] or [text for _, text in messages]
    return printed(errors[0]) if errors else "CHECK TABLE said nothing of it"
