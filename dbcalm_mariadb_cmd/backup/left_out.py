"""Which of the server's tables a backup lacks, though the tool says that it has succeeded.

mariadb-backup leaves tables out without a word: an Aria table that is rebuilt or renamed while it is copied, and an
InnoDB table in whose file's place another one came since the last checkpoint (DISCARD and IMPORT TABLESPACE), which it
takes for dropped (seen with mariadb-backup 10.11). So what it has copied is compared with the data directory as it was
before and after. A table is defined by its .frm, so that of a MySQL 8, which has none, nothing can be told.

A table whose .frm is the very same before and after was there all the while, and all of its files must be in the
backup. Of one that was changed meanwhile the backup has another state than either: its .frm may be missing, but not
what belongs to it. What was missing in the server all the while, such as the data of an old .frm or of a discarded
tablespace, is none of the backup's faults.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.server.definitions import definition, engine_number, is_view, partition_engine
from dbcalm_mariadb_cmd.adapter.server.rows import quoted
from dbcalm_mariadb_cmd.adapter.server.running import Denied, Running, Silent
from dbcalm_mariadb_cmd.builder.layout import LOST_AND_FOUND
from dbcalm_mariadb_cmd.builder.tool_errors import Failure
from dbcalm_mariadb_cmd.errors import JobFailed

_FRM, _IBD = ".frm", ".ibd"
_PAIRS = {".MAI": ".MAD", ".MYI": ".MYD", ".CSM": ".CSV"}
_PARTNERS = {**_PAIRS, **{second: first for first, second in _PAIRS.items()}}
_DATA = {_IBD, ".ARZ", ".MRG", ".par", *_PARTNERS}

_LIVE = {".isl": _IBD}
"""How a server's files are counted: where there is a link file, InnoDB's data is elsewhere."""

_COPIED = {".new": _IBD, ".delta": _IBD}
"""How a backup's files are counted: .new is one that came while it was made, .ibd.delta what changed since a base."""

_UNFINISHED = ("#TMP#", "#REN#")
"""Are in the names of partitions that are being made."""

_OWN_FILES = {9: "MYISAM", 10: "MRG_MYISAM", 16: "ARCHIVE", 17: "CSV", 42: "ARIA"}
"""Engines of which a table has files of its own in any case, by their number in a .frm."""

_INNODB, _PARTITIONED = 12, 20
_NOT_DATABASES = {LOST_AND_FOUND, "performance_schema"}

_UNANSWERED = (Denied, Silent, ValueError, OSError)
"""Ways of a server, or of its client, to say nothing. An order from before has no client."""

_RENAMED = re.compile(r'.*DDL tracking : rename (\d+) "(.+)","(.+)"')
_COPIES = re.compile(
    r"\[\d+\] \S+ \S+ (?:Streaming (?P<streamed>.+?)(?: to <STDOUT>)?"
    r"|aria table file (?P<aria>.+) is copied successfully\."
    r"|Copied file (?P<other>.+?) for (?:log )?table .*)"
)
_UNDERSTOOD = ((_IBD,), (".MAI", ".MAD"), (".MYI", ".MYD", ".CSM", ".CSV"))
"""Kinds of files of which any server has some, and each of which the tool copies in its own way."""

_TOLD = 3

Parts = Mapping[str, Collection[str]]
"""How the names of each table's files go on after the table's own, such as ".ibd" or "#p#p0.MAI"."""


@dataclass
class Listing:
    """The tables of a data directory at a moment. ``definitions`` tell one .frm from any other, and from itself after
    it was renamed or written to."""

    parts: dict[str, set[str]] = field(default_factory=dict)
    definitions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def steady(self, table: str, other: "Listing") -> bool:
        """Tell whether this table has the same definition in both."""
        return table in self.definitions and self.definitions[table] == other.definitions.get(table)


def listing(data_dir: Path) -> Listing:
    """List the tables of a data directory. What vanishes meanwhile is not there."""
    found = Listing()
    for folder in _entries(data_dir):
        if (
            folder.name.startswith("#")
            or "." in folder.name
            or folder.name in _NOT_DATABASES
            or not folder.is_dir()
        ):
            continue
        for entry in _entries(Path(folder.path)):
            known = _file(f"{folder.name}/{entry.name}", _LIVE)
            if known is None:
                continue
            table, part = known
            if part == _FRM:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                found.definitions[table] = (status.st_ino, status.st_ctime_ns)
            else:
                found.parts.setdefault(table, set()).add(part)
    return found


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _file(path: str, also: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the table that a file is of, and how its name goes on; None if it is of no table. Only the last folder
    counts: a table's file may lie outside of the data directory, in a folder of its database's name."""
    *_, folder, name = ("", "", *path.split("/"))
    stem, _, kind = name.rpartition(".")
    kind = also.get(f".{kind}", f".{kind}")
    stem = stem.removesuffix(_IBD) if kind == _IBD else stem
    table, mark, partition = stem.partition("#")  # In a table's own name the server writes a "#" as @0023.
    if not folder or not table or (kind not in _DATA and kind != _FRM):
        return None
    partition = mark + partition
    if any(word in partition.upper() for word in _UNFINISHED):
        return None
    return f"{folder}/{table}", partition.lower() + kind


def lacking(before: Listing, after: Listing, copied: Parts, needs_data: Callable[[str], bool]) -> list[str]:
    """Return the tables that a backup lacks, wholly or in part, by the names of their files. ``needs_data`` is asked of
    a table that was changed meanwhile, and of which the backup has the definition only."""
    tables = {
        *before.definitions,
        *after.definitions,
        *(name for name, parts in copied.items() if _FRM in parts),
    }
    return [
        table
        for table in sorted(tables)
        if _lacks(table, before, after, set(copied.get(table, ())), needs_data)
    ]


def _lacks(
    table: str, before: Listing, after: Listing, has: set[str], needs_data: Callable[[str], bool]
) -> bool:
    steady = before.steady(table, after)
    if _FRM not in has:
        return steady
    earlier, later = before.parts.get(table, set()), after.parts.get(table, set())
    # Only InnoDB's files can go without a change of the .frm: their tablespaces are discarded.
    gone = {part for part in earlier - later if part.endswith(_IBD)}
    due = (earlier | later) - gone if steady else earlier & later
    # The tool need not take the half of a table that is all of it in the server.
    due = {part for part in due if not (mate := _mate(part)) or mate in due}
    alone = {part for part in has if (mate := _mate(part)) and mate not in has}
    if due - has or (alone and not (steady and alone <= later)):
        return True
    return not steady and not has - {_FRM, ".par"} and needs_data(table)


def _mate(part: str) -> str | None:
    """Return the file without which this one of a table is worth nothing."""
    stem, _, kind = part.rpartition(".")
    mate = _PARTNERS.get(f".{kind}")
    return stem + mate if mate else None


def not_compared(id: str) -> str:
    """Return the remark on a backup of which nobody knows whether it lacks a table."""
    return f"it was not compared with the server's tables: prove it with: dbcalm verify {id} --level 3"


class Watch:
    """Looks at a server's data directory while a backup is made of it, from now on."""

    def __init__(self, data_dir: Path) -> None:
        self._live = data_dir
        self._before = listing(data_dir)
        self._copied: dict[str, set[str]] = {}
        self._definitions: dict[str, bytes] = {}
        self._moves: list[tuple[str, str, str]] = []
        self._moved: set[str] = set()

    def follow(self, line: str) -> None:
        """Take a line of the tool's log: of tablespaces that got other names."""
        if "DDL tracking" in line and (renamed := _RENAMED.fullmatch(line)):
            self._moves.append((renamed[1], _plain(renamed[2]), _plain(renamed[3])))

    def follow_stream(self, line: str) -> None:
        """Take a line of the tool's log where all that is known of the backup is what the tool says."""
        self.follow(line)
        if not (copies := _COPIES.fullmatch(line)):
            return
        path = copies["streamed"] or copies["aria"] or copies["other"]
        self.add(path)
        if path.endswith(_FRM) and (known := _file(path, {})) and self._copied[known[0]] == {_FRM}:
            # The server lets no table be changed at this moment, so it is this very definition.
            self._definitions[known[0]] = definition(self._live / known[0])

    def add(self, path: str) -> None:
        """Note a file of the backup."""
        if path.endswith(".ren"):
            self._moved.add(_plain(path))
        elif known := _file(path, _COPIED):
            table, part = known
            self._copied.setdefault(table, set()).add(part)

    def require(self, running: Running, folder: Path | None = None) -> bool:
        """Raise JobFailed if the backup lacks a table; return False if that cannot be told. ``folder`` is where the
        files are that were noted, None where they are in a stream."""
        after = listing(self._live)
        self._follow_moves()
        if folder is None and not self._understood():
            return False  # A tool that words its log in another way: it says nothing of what is missing.

        def needs_data(table: str) -> bool:
            found = definition(folder / table) if folder else self._definitions.get(table, b"")
            return _has_data(table, found, running)

        found = lacking(self._before, after, self._copied, needs_data)
        if found:
            raise _failed(found, running)
        return True

    def _understood(self) -> bool:
        """Tell whether the tool's log has named files of each kind that it must."""
        kinds = {f".{part.rpartition('.')[2]}" for parts in self._copied.values() for part in parts}
        return all(not kinds.isdisjoint(some) for some in _UNDERSTOOD)

    def _follow_moves(self) -> None:
        """Count what the tool has copied under an earlier name, and notes in a .ren, as what it will be."""
        ids = {number for number, *names in self._moves if not self._moved.isdisjoint(names)}
        last = {number: target for number, _, target in self._moves if number in ids}
        for target in last.values():
            self.add(f"{target}{_IBD}")


def _plain(path: str) -> str:
    """Return the folder and name of a tablespace's file, without its kind."""
    folder, name = path.split("/")[-2:] if "/" in path else ("", path)
    return f"{folder}/{name.rpartition('.')[0]}"


def _has_data(table: str, found: bytes, running: Running) -> bool:
    """Tell whether a table with this definition has files of its own beside it, in doubt yes."""
    if is_view(found):
        return False
    number, within = engine_number(found), partition_engine(found)
    if number == _PARTITIONED and within:
        number = _INNODB if within.upper() == "INNODB" else 0
        if within.upper() in _OWN_FILES.values():
            return True
    if number == _INNODB:
        return not _in_system_tablespace(table, running)
    return number is None or number in _OWN_FILES


def _in_system_tablespace(table: str, running: Running) -> bool:
    """Tell whether a table of InnoDB may have its data in the system tablespace, which all share; in doubt no."""
    try:
        rows = running.rows(
            "SET SESSION sql_select_limit = 1000000;\nSELECT '', @@GLOBAL.innodb_file_per_table;\n"
            "SELECT NAME, SPACE FROM information_schema.INNODB_SYS_TABLES WHERE SPACE = 0;\n"
        )
    except _UNANSWERED:
        return False
    return any(
        name in ("", table) or (name or "").startswith(f"{table}#") for name, zero in rows if zero == "0"
    )


def _failed(tables: list[str], running: Running) -> JobFailed:
    names = [_name(table, running) for table in tables[:_TOLD]]
    more = f" and {len(tables) - _TOLD} more" if len(tables) > _TOLD else ""
    plural = "s" if len(tables) > 1 else ""
    failure = Failure(
        name="left-out",
        signature=re.compile(r"(?!)"),  # The tool does not say it.
        happened=f"the backup tool left out the data of table{plural} {', '.join(names)}{more} and said nothing",
        advice=f"rebuild {'each' if plural else 'it'} as the database's root, as with: ALTER TABLE {names[0]} FORCE; "
        "or back up when no table is altered or renamed",
        passes=True,
    )
    return JobFailed(str(failure), failure=failure)


def _name(table: str, running: Running) -> str:
    """Return what statements call a table, or what its files are called where the server does not tell."""
    words = (f"CONVERT(_filename x'{part.encode().hex()}' USING utf8mb4)" for part in table.split("/"))
    try:
        [row] = running.rows(f"SELECT {', '.join(words)};\n")
    except _UNANSWERED:
        return table
    return ".".join(quoted(word or "").translate(_PRINTED) for word in row)


_PRINTED = dict.fromkeys((*range(32), 127), "?")
