"""Pages of InnoDB, looked at by the server's own innochecksum: a prepare takes what the disk gives."""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import at_once
from dbcalm_mariadb_cmd.adapter.linux import die_with_parent
from dbcalm_mariadb_cmd.adapter.server.scratch import data_options
from dbcalm_mariadb_cmd.adapter.small_files import open_regular
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT
from dbcalm_mariadb_cmd.builder.tool_errors import is_of_host, known
from dbcalm_mariadb_cmd.errors import JobFailed

_AT_ONCE = 2
_SHORT = 64 << 20
"""Bytes that are read in a moment. Whatever ends us, that is over by itself; and a process that need not be tied to our
end is started in a quarter of the time, which counts where there are thousands of small tables."""

_PAGE_SIZE = 16 << 10
_SYSTEM_PAGE = 5
_DOUBLEWRITE, _MAGIC = 200, 536_853_855
_EXTENT_BYTES, _EXTENT_PAGES = 1 << 20, 64
"""In the system tablespace page 5 says, 200 bytes before its end and behind 10 bytes of other things, where two extents
with copies of pages on their way to their places begin, if the number before these is the one that marks them
(InnoDB's trx0sys.h). An extent is 1 MB, and at least 64 pages."""


class BadPage(Exception):
    """A page whose checksum does not hold; the message names the file, and has what innochecksum said."""


def check_pages(innochecksum: str, data: Path, on_bytes: Callable[[int], None]) -> None:
    """Have every page of the tablespaces in this folder looked at, the largest first; raise BadPage, or JobFailed if
    that could not be done."""
    tablespaces = [path for path in data.rglob("*.ibd") if path.stat().st_size]
    tablespaces += [path for path in data.glob("undo*") if path.is_file()]
    # Of several files of the system tablespace only the first begins with the page that innochecksum goes by.
    system = sorted(path for path in data.glob("ibdata*") if path.is_file())[:1]

    def check(path: Path) -> None:
        size = path.stat().st_size
        for first, last in _parts(path, _page_size(data)) if path in system else [(0, None)]:
            _check(innochecksum, path, path.relative_to(data), first, last, is_short=size <= _SHORT)
        on_bytes(size)

    at_once(check, sorted(tablespaces + system, key=lambda path: -path.stat().st_size), _AT_ONCE)


def _check(
    innochecksum: str, path: Path, name: Path, first: int, last: int | None, *, is_short: bool
) -> None:
    words = [f"--start-page={first}"] if first else []
    words += [] if last is None else [f"--end-page={last}"]
    asked = subprocess.run(
        [innochecksum, *words, str(path)],
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        preexec_fn=None if is_short else die_with_parent,
        check=False,
    )
    if not asked.returncode:
        return
    said = " ".join((asked.stderr or asked.stdout).split())[:200]
    if is_of_host(asked.returncode, known(said)):
        raise JobFailed(f"innochecksum failed with {asked.returncode} at {name}: {said}", asked.returncode)
    raise BadPage(f"{name}: innochecksum: {said}")


def _page_size(data: Path) -> int:
    named = [option.partition("=") for option in data_options(data)]
    return next((int(value) for name, _, value in named if name == "--innodb_page_size"), _PAGE_SIZE)


def _parts(path: Path, page_size: int) -> list[tuple[int, int | None]]:
    """Return the first and the last page of each part of the system tablespace that holds pages in their places; what
    lies in between are copies that may be half of one and half of another."""
    extent = max(_EXTENT_PAGES, _EXTENT_BYTES // page_size)
    parts: list[tuple[int, int | None]] = []
    first = 0
    for start in sorted(_copies(path, page_size)):
        if start > first:
            parts.append((first, start - 1))
        first = start + extent
    if path.stat().st_size > first * page_size:
        parts.append((first, None))
    return parts


def _copies(path: Path, page_size: int) -> tuple[int, ...]:
    descriptor = open_regular(path)
    try:
        noted = os.pread(descriptor, 12, (_SYSTEM_PAGE + 1) * page_size - _DOUBLEWRITE + 10)
    finally:
        os.close(descriptor)
    magic, *starts = struct.unpack(">III", noted) if len(noted) == 12 else (0,)
    return tuple(starts) if magic == _MAGIC else ()
