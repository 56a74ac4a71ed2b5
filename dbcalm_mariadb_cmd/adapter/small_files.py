"""Small files, read and written where anything may lie in their place: a pipe, a device, a link, terabytes of nothing.

Whoever waits for a pipe waits for ever, and may hold the lock of jobs meanwhile. So every small file that this service
reads is opened without waiting, must be a regular file, and is read up to a bound; and what it writes is a new file.
"""

import errno
import os
import stat
from contextlib import suppress
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
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_small(path: Path, at_most: int = FACTS, *, follow: bool = False) -> bytes:
    """Return all of a small file; raise OSError, also where it has more bytes than ``at_most``."""
    with open(open_regular(path, follow=follow), "rb", buffering=0) as file:
        # What says that it is too large is not read first; what grows, or has no size as in /proc, is counted.
        pieces, room = [], at_most + 1 if os.fstat(file.fileno()).st_size <= at_most else 0
        while room > 0 and (piece := file.read(min(room, 1 << 20))):
            pieces.append(piece)
            room -= len(piece)
    if not room:
        raise OSError(errno.EFBIG, f"it has more than {at_most} bytes", str(path))
    return b"".join(pieces)


def small_text(path: Path, at_most: int = FACTS, *, follow: bool = False) -> str:
    """Return the text of a small file, with what is no UTF-8 replaced; raise OSError."""
    return read_small(path, at_most, follow=follow).decode("utf-8", "replace")


def append_to(path: Path) -> int:
    """Return a descriptor to write at the end of a file by, which is made if it is missing; raise OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o666)


def new_file(path: Path, mode: int = 0o666) -> int:
    """Return a descriptor to write a file by, which takes the place of whatever had this name; raise OSError. Nothing
    is written through a link, or into a pipe that somebody has put there."""
    with suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def write_new(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file in the place of whatever had this name; raise OSError."""
    with open(new_file(path, mode), "wb") as file:
        file.write(content)
