"""What the file that defines a table (.frm) says of it without a server: a view is text, a table begins with a header
in which the engine of its partitions has a name (MariaDB's table.cc, extra2 segments)."""

from pathlib import Path

from dbcalm_mariadb_cmd.adapter.small_files import open_regular

_VIEW = b"TYPE=VIEW"
_TABLE = b"\xfe\x01"
_ENGINE_AT, _LENGTH_AT, _SEGMENTS_AT = 3, 4, 64
_PARTITION_ENGINE = 1
_READ = 1 << 16


def definition(files: Path) -> bytes:
    """Return the beginning of the definition of the table whose files' names begin like this; b"" if there is none."""
    try:
        with open(open_regular(files.with_name(f"{files.name}.frm")), "rb") as file:
            return file.read(_READ)
    except OSError:
        return b""


def is_view(found: bytes) -> bool:
    """Tell whether a definition is that of a view."""
    return found.startswith(_VIEW)


def engine_number(found: bytes) -> int | None:
    """Return the number by which a table's definition names its engine, None if it is none of a table."""
    return found[_ENGINE_AT] if found.startswith(_TABLE) and len(found) > _ENGINE_AT else None


def partition_engine(found: bytes) -> str | None:
    """Return the name of the engine of a table's partitions, None if it has none."""
    if not found.startswith(_TABLE):
        return None
    at, end = _SEGMENTS_AT, _SEGMENTS_AT + int.from_bytes(found[_LENGTH_AT : _LENGTH_AT + 2], "little")
    end = min(end, len(found))
    while at + 2 <= end:
        kind, length, at = found[at], found[at + 1], at + 2
        if length == 0:  # A long one has its length in the next two bytes; zero there, too, is no segment.
            length, at = int.from_bytes(found[at : at + 2], "little"), at + 2
        if kind == _PARTITION_ENGINE:
            return found[at : at + length].decode("utf-8", "replace")
        at += length
    return None
