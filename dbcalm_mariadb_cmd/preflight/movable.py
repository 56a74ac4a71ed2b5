"""What in a data directory can leave it: told before anything is copied, not when the database has been stopped."""

import os
import shlex
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.linux import is_fixed, mount_points
from dbcalm_mariadb_cmd.builder.layout import LOST_AND_FOUND, OURS_IN_DATA_DIR


def stays(name: str) -> bool:
    """Tell whether an entry of a data directory is never moved, whoever has it: our own folders, and lost+found."""
    return name == LOST_AND_FOUND or name.startswith(OURS_IN_DATA_DIR)


def is_theirs(path: Path) -> bool:
    """Tell whether an entry belongs to another user. It stays, and is in the way only of what has its name."""
    return path.lstat().st_uid != os.geteuid()


def fixtures(data_dir: Path, coming: Collection[str] | None) -> Iterator[tuple[Path, str]]:
    """Yield each entry of a data directory that would have to leave it and cannot, with a sentence on why and what to
    type. ``coming`` are the names that are to take their places, None where they are not known yet: then each folder
    that the server takes for a database counts as one. What vanishes meanwhile is in nobody's way."""
    data_dir = data_dir.resolve()
    if is_fixed(data_dir):
        yield data_dir, f"is immutable or append-only; let it be changed: chattr -i -a {_typed(data_dir)}"
    mounted = mount_points()
    for path in sorted(data_dir.iterdir()):
        if stays(path.name):
            continue
        try:
            why = _why(path, coming, mounted, data_dir.stat().st_dev)
        except FileNotFoundError:
            continue
        if why:
            yield path, why


def _why(path: Path, coming: Collection[str] | None, mounted: Collection[str], device: int) -> str | None:
    status = path.lstat()
    if is_theirs(path):
        blocks = _may_be_a_database(path) if coming is None else path.name in coming
        give = f"give it to that user: chown --no-dereference mysql:mysql {_typed(path)}"
        return f"does not belong to user mysql and would have to be moved; {give}" if blocks else None
    if status.st_dev != device or str(path) in mounted:
        return "is a mount point, or on another file system, and would have to be moved; restore to a folder instead"
    if is_fixed(path):
        return f"is immutable or append-only and would have to be moved; let it: chattr -i -a {_typed(path)}"
    if stat.S_ISDIR(status.st_mode) and not os.access(path, os.W_OK):
        return f"may not be written to by user mysql and would have to be moved; let it: chmod u+rwx {_typed(path)}"
    return None


def _may_be_a_database(path: Path) -> bool:
    """Tell whether a server takes an entry for a database: a folder, or a link to one, whose name has no dot."""
    return path.is_dir() and not path.name.startswith(".")


def _typed(path: Path) -> str:
    return shlex.quote(str(path))
