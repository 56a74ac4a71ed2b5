"""Whose fault a bad table is: the backup's, or the server's, in which it was no better before.

The running server is asked the same question, if the account of the backup tool may ask it: that takes SELECT on the
table, which it is not granted by default. Else the files tell, which user mysql may read: where the server has of a
table, byte for byte, what the backup has, the backup has it as it was. What neither shows is the backup's fault.
"""

import hashlib
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.server.definitions import definition, is_view
from dbcalm_mariadb_cmd.adapter.server.rows import quoted
from dbcalm_mariadb_cmd.adapter.server.running import Denied, Running, Silent
from dbcalm_mariadb_cmd.adapter.small_files import open_regular, read_small
from dbcalm_mariadb_cmd.verify.table_checks import Ask, Checked, Table, asked, judge

_NOTED_IN = (".MYI", ".MAI", ".CSM", ".ARZ")
_HEAD = 1 << 16
"""Bytes at the beginning of such a file in which CHECK TABLE notes what it has found, and more."""

_CHUNK = 1 << 20
_SECONDS = 600.0
_LIMITS = "SET SESSION lock_wait_timeout = 10, SESSION max_statement_time = 300;\n"
_PASSES = re.compile(
    r"[Ll]ock wait|interrupted|max_statement_time|[Dd]eadlock|[Mm]emory|errno: (?:24|12|11)\b|Too many|[Ss]hutdown"
)
"""What a server may say of a table that has nothing: in doubt, as names are in it too, it has said nothing."""

_ACCOUNT = re.compile(r"to user '([^']*)'@'([^']*)'")
_NO_DEFINITION = "Incorrect information in file"
_NO_FILE = '"Tablespace is missing for a table" from storage engine InnoDB'
_PAIRS = re.compile(rb"`((?:[^`]|``)+)`\.`((?:[^`]|``)+)`")
_OF_INNODB = {".frm", ".par", ".ibd", ".isl", ".cfg"}
"""How the names of files end of a table of which more may lie in the system tablespace."""


@dataclass(frozen=True)
class Copy:
    """What was brought back: its folder, the server of our own on it, and the beginnings of files in which
    a check is noted, as they were before that server was started."""

    data: Path
    ask: Ask
    heads: Mapping[str, bytes]


@dataclass
class Blame:
    """Sentences on bad tables: those that are the fault of the ``backup``, those that are the ``server``'s, each with
    what to do, and views that a server of our own cannot open and whose tables it has (``unseen``). ``untold`` says why
    the server could not be asked for those of the backup, "" where it was."""

    backup: list[str] = field(default_factory=list)
    server: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    untold: str = ""


@dataclass(frozen=True)
class _Verdict:
    """Whether the server is no better, None if that cannot be told, and then why. ``spared``: it is a view, which has
    no data, and all that it names is there."""

    in_server: bool | None
    why: str = ""
    spared: bool = False


def heads(data: Path) -> dict[str, bytes]:
    """Return the checksum of the beginning of each file in which a check is noted."""
    return {
        str(path.relative_to(data)): _head(path)
        for path in data.glob("*/*")
        if path.suffix in _NOTED_IN and path.is_file()
    }


def blame(checked: Checked, copy: Copy, running: Running, live: Path, told_before: Iterable[str]) -> Blame:
    """Tell whose fault each bad table is. ``live`` is the data directory of the running server; ``told_before`` is what
    other proofs have told of the server's own faults."""
    blame, before = Blame(), set(told_before)
    for table, said in sorted(checked.bad.items()):
        sentence = f"{table}: {said}"
        remedy = f"{sentence}; {_remedy(table, said, copy.data / checked.files[table])}"
        verdict = _verdict(table, checked.files[table], said, copy, running, live)
        # It was the server's fault when it could be asked, whatever has become of it there since.
        if verdict.in_server or (verdict.in_server is None and remedy in before):
            blame.server.append(remedy)
        elif verdict.spared:
            blame.unseen.append(f"{sentence}; it is a view, which the server of our own cannot open")
        else:
            blame.backup.append(sentence)
            blame.untold = blame.untold or verdict.why
    return blame


def _verdict(table: Table, files: str, said: str, copy: Copy, running: Running, live: Path) -> _Verdict:
    """Tell whether the server is no better."""
    why = ""
    try:
        answered = Checked()
        judge(asked(lambda sql: running.rows(_LIMITS + sql, _SECONDS), [table]), answered)
    except Denied as denied:
        account = _ACCOUNT.search(str(denied))
        who = f" TO {quoted(account[1])}@{quoted(account[2])}" if account else ""
        name = f"{quoted(table.schema)}.{quoted(table.name)}"
        why = f"to have the server asked whether it has the same fault: GRANT SELECT ON {name}{who}, and verify again"
    except Silent:
        why = "the server, which may have the same fault, does not answer: start it, and verify again"
    else:
        if answered.good:
            return _Verdict(False)
        answer = answered.bad.get(table, "")
        is_there = (live / f"{files}.frm").exists()
        if is_there and answer and (answer == said or not _PASSES.search(answer)):
            return _Verdict(True)
    try:
        return _by_files(files, said, copy, running, live) or _Verdict(None, why)
    except (OSError, ValueError):
        return _Verdict(None, why)


def _by_files(files: str, said: str, copy: Copy, running: Running, live: Path) -> _Verdict | None:
    """Tell by the server's files whether it is no better; None if they do not show it. Raise OSError or ValueError."""
    ours = _parts(copy.data / files)
    if ours != _parts(live / files) or ".frm" not in ours:
        return None
    kinds = {part[part.rfind(".") :] for part in ours}
    # What InnoDB writes to its files meanwhile says nothing of one that is missing.
    if not all(_same(files + part, copy, live) for part in ours if not part.endswith(".ibd")):
        return None
    found = definition(live / files)
    if is_view(found):
        return _of_view(_named_in(found, copy.ask), said, copy.data, live)
    if ".MRG" in ours:
        missing = _missing(_merged(live / f"{files}.MRG"), copy.data)
        return _Verdict(True) if missing and not set(missing) - set(_missing(missing, live)) else None
    if kinds - _OF_INNODB:
        return _Verdict(True)  # All of its data lies in files of its own.
    return _Verdict(True) if _is_lost(files, running, live) else None


def _of_view(named: Mapping[str, str], said: str, data: Path, live: Path) -> _Verdict | None:
    missing = _missing(named.values(), data)
    if set(missing) - set(_missing(missing, live)):
        return None
    # What looks like a table may be a column's: what the server has said tells.
    lost = any(said == f"Table '{name}' doesn't exist" for name, files in named.items() if files in missing)
    return _Verdict(True) if lost else _Verdict(None, spared=True)


def _missing(files: Iterable[str], data: Path) -> list[str]:
    return [name for name in files if not (data / f"{name}.frm").exists()]


def _parts(files: Path) -> set[str]:
    """Return how the names of a table's files go on."""
    try:
        names = [path.name for path in files.parent.iterdir()]
    except OSError:
        return set()
    rests = [name.removeprefix(files.name) for name in names if name.startswith(files.name)]
    return {rest for rest in rests if rest.startswith((".", "#P#", "#p#")) and not rest.endswith(".TRG")}


def _same(name: str, copy: Copy, live: Path) -> bool:
    """Tell whether a file is the same in the copy, before the server of our own has touched it, and in the server."""
    if not stat.S_ISREG((live / name).lstat().st_mode):
        return False
    if name.endswith(_NOTED_IN):
        return copy.heads.get(name) == _head(live / name) and _equal(copy.data / name, live / name, _HEAD)
    return _equal(copy.data / name, live / name, 0)


def _head(path: Path) -> bytes:
    with open(open_regular(path), "rb") as file:
        return hashlib.sha256(file.read(_HEAD)).digest()


def _equal(one: Path, other: Path, begin: int) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with open(open_regular(one), "rb") as ours, open(open_regular(other), "rb") as theirs:
        ours.seek(begin)
        theirs.seek(begin)
        while piece := ours.read(_CHUNK):
            if piece != theirs.read(_CHUNK):
                return False
    return True


def _named_in(view: bytes, ask: Ask) -> dict[str, str]:
    """Return all that a view may ask for, and columns that look like it: what the server calls it, and its files."""
    query = next((line for line in view.splitlines() if line.startswith(b"query=")), b"")
    pairs = {(pair[1].replace(b"``", b"`"), pair[2].replace(b"``", b"`")) for pair in _PAIRS.finditer(query)}
    found: dict[str, str] = {}
    for pair in pairs:
        words = (
            f"CAST(CONVERT(CONVERT(x'{part.hex()}' USING utf8mb3) USING filename) AS BINARY)" for part in pair
        )
        [row] = ask(f"SELECT {', '.join(words)};\n")
        name = ".".join(part.decode("utf-8", "replace") for part in pair)
        found[name] = "/".join(part or "" for part in row)
    return found


def _merged(merge: Path) -> set[str]:
    """Return the files of the tables that a MERGE table is made of."""
    lines = read_small(merge).decode("utf-8", "surrogateescape").splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    return {name.removeprefix("./") if "/" in name else f"{merge.parent.name}/{name}" for name in names}


def _is_lost(files: str, running: Running, live: Path) -> bool:
    """Tell whether InnoDB in the server does not know this table, or misses a file of it."""
    # The name is the one that its file has, in hexadecimal: nothing in it can end a text.
    name, begins = files.encode().hex(), len(files) + 3
    try:
        rows = running.rows(
            "SET SESSION sql_select_limit = 1000000;\n"
            "SELECT NAME, SPACE FROM information_schema.INNODB_SYS_TABLES "
            f"WHERE NAME = x'{name}' OR LEFT(NAME, {begins}) IN (x'{name}235023', x'{name}237023');\n"
        )
    except (Denied, Silent, ValueError):
        return False
    return not rows or any(space != "0" and not (live / f"{known}.ibd").exists() for known, space in rows)


def _remedy(table: Table, said: str, files: Path) -> str:
    """Return what puts a table of the server right."""
    name, parts = f"{quoted(table.schema)}.{quoted(table.name)}".translate(_PRINTED), _parts(files)
    kinds = {part[part.rfind(".") :] for part in parts}
    or_drop = f"restore it from an earlier backup, or remove it with: DROP TABLE {name}"
    if is_view(definition(files)):
        return f"create what it asks for, or remove it with: DROP VIEW {name}"
    if said.startswith(_NO_DEFINITION):
        return f"its definition is broken in the server: {or_drop}"
    if ".MRG" in kinds:
        return (
            f"give it other tables with ALTER TABLE {name} UNION=(...), or remove it with: DROP TABLE {name}"
        )
    if kinds - _OF_INNODB:
        return f"put it right in the server with: mariadb-check --repair {shlex.join([table.schema, table.name])}"
    if ".ibd" in kinds and not said.endswith(_NO_FILE):
        return f"rebuild it in the server with ALTER TABLE {name} FORCE, or restore it from an earlier backup"
    return f"its data is missing in the server: {or_drop}"


_PRINTED = dict.fromkeys((*range(32), 127), "?")
