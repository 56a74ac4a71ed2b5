"""Reading small files, where anything may lie in a file's place: a pipe, a device, a link, terabytes of nothing.

Whoever waits for a pipe waits for ever, and may hold the lock of jobs meanwhile. So every small file that this service
reads is opened without waiting, must be a regular file, and is read up to a bound.
"""

import errno
import os
import stat
from pathlib import Path

FACTS = 256 << 10
"""Bytes of a file with facts: a manifest, a proof, a hold, a stage, what a tool notes beside a backup."""

ORDER = 8 << 20
"""Bytes of what a runner is told to do, and of other lists of names: a thousand links, five thousand backups."""

LISTS = 1 << 30
"""Bytes of the list of a backup's files: about 150 for each, and so for seven million."""


def open_regular(path: Path, *, follow: bool = False) -> int:
    """Return a descriptor to read a file by; raise OSError, also where something else than a file is in its place. Only
    with ``follow`` that may be a link, as an administrator's configuration may be."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def read_small(path: Path, at_most: int = FACTS, *, follow: bool = False) -> bytes:
    """Return all of a small file; raise OSError, also where it has more bytes than ``at_most``."""
    with open(open_regular(path, follow=follow), "rb", buffering=0) as file:
        pieces, room = [], at_most + 1
        while room > 0 and (piece := file.read(min(room, 1 << 20))):
            pieces.append(piece)
            room -= len(piece)
    if not room:
        raise OSError(errno.EFBIG, f"it has more than {at_most} bytes", str(path))
    return b"".join(pieces)


def read_text(path: Path, at_most: int = FACTS, *, follow: bool = False) -> str:
    """Return the text of a small file, with what is no UTF-8 replaced; raise OSError."""
    return read_small(path, at_most, follow=follow).decode("utf-8", "replace")
