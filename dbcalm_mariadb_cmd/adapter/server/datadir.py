"""What lies in a server's data directory, as the backup tool will find it when it comes."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.builder.layout import LOST_AND_FOUND, OURS_IN_DATA_DIR

_NOT_COPIED = ("ib_logfile", "ibtmp", "#ib_redo", "#sql")
"""Begins the names of redo log and temporary files, which a full backup does not copy, or not as they are."""

_COPIED = (
    ".ibd", ".isl", ".frm", ".par", ".opt", ".MYD", ".MYI", ".MAD", ".MAI", ".MRG", ".TRG", ".TRN", ".ARM", ".ARZ",
    ".CSM", ".CSV",
)  # fmt: skip
"""Ends the names of what the tool copies of a database, and fails without."""

_ARIA = (".MAI", ".MAD")
_TOLD = 5


@dataclass(frozen=True)
class Found:
    """What was found. ``data_bytes`` is what a full backup copies of files, ``tablespaces`` how many of them it has
    open meanwhile. ``links`` has what is a link out of the data directory, with what it leads to, and ``unreadable``
    what the tool would fail on, as this user may not read it. ``uncopied`` are Aria's files that are links: the tool
    leaves some such tables out with exit code 0, and tries for ever to read others (mariadb-backup 10.11)."""

    data_bytes: int
    tablespaces: int
    links: dict[str, str]
    unreadable: list[Path]
    uncopied: list[Path]

    def problem(self) -> str | None:
        """Return a sentence on why no whole backup can be made, with what to type, or None."""
        if self.unreadable:
            return _unreadable(self.unreadable)
        return _uncopied(self.uncopied) if self.uncopied else None


def survey(data_dir: Path, binlogs: set[str]) -> Found:
    """Look at all that the tool will look at; ``binlogs`` are the names of binary logs, which it leaves out. What
    vanishes meanwhile is not there."""
    total = tablespaces = 0
    links: dict[str, str] = {}
    unreadable: list[Path] = []
    uncopied: list[Path] = []
    for path, is_folder in _entries(data_dir):
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                _note_link(data_dir, path, links)
                if path.name.endswith(_ARIA) and not path.name.startswith(_NOT_COPIED):
                    uncopied.append(path)
                status = path.stat()
        except OSError:
            continue  # It has gone, or it is a link to nothing.
        if is_folder:
            if path.parent == data_dir and not os.access(path, os.R_OK | os.X_OK):
                unreadable.append(path)
            continue
        if path.name in binlogs or path.name.startswith(_NOT_COPIED):
            continue
        total += status.st_size
        tablespaces += path.name.endswith(".ibd")
        if path.name.endswith(_COPIED) and not _is_readable(path, status):
            unreadable.append(path)
    return Found(total, tablespaces, links, unreadable, uncopied)


def _unreadable(paths: list[Path]) -> str:
    first = paths[0]
    what = "each folder in a data directory is a database to the server, and the backup tool ends at one that it cannot"
    why = f" ({what} enter)" if first.is_dir() else ""
    return (
        f"user mysql cannot read {_some(paths)}, so no backup can be made{why}; "
        f"give it to that user: chown -R mysql:mysql {first}; or move it out of the data directory"
    )


def _uncopied(paths: list[Path]) -> str:
    tables = sorted({f"`{path.parent.name}`.`{path.stem}`" for path in paths})
    return (
        f"the backup tool cannot copy an Aria table with DATA DIRECTORY or INDEX DIRECTORY: {_some(paths)} is a link; "
        "have its files in the data directory, as the database's root: "
        f"SET sql_mode = 'NO_DIR_IN_CREATE'; ALTER TABLE {tables[0]} FORCE;"
    )


def _some(paths: list[Path]) -> str:
    named = ", ".join(map(str, paths[:_TOLD]))
    return f"{named} and {len(paths) - _TOLD} more" if len(paths) > _TOLD else named


def _entries(data_dir: Path) -> Iterator[tuple[Path, bool]]:
    """Yield what is below the data directory, and whether it is a folder, but neither what is ours in it nor a
    lost+found. A link to a folder is one where a database may be, and is looked into there only."""
    for root, folders, files in os.walk(data_dir):
        here = Path(root)
        if here == data_dir:
            folders[:] = [
                name for name in folders if name != LOST_AND_FOUND and not name.startswith(OURS_IN_DATA_DIR)
            ]
        yield from ((here / name, True) for name in folders)
        yield from ((here / name, False) for name in files)
        if here == data_dir:
            for linked in [here / name for name in folders if (here / name).is_symlink()]:
                yield from ((linked / name, False) for name in _files(linked))


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except OSError:
        return []


def _note_link(data_dir: Path, path: Path, links: dict[str, str]) -> None:
    target = os.path.realpath(path)
    if not Path(target).is_relative_to(data_dir):
        links[str(path.relative_to(data_dir))] = target


def _is_readable(path: Path, status: os.stat_result) -> bool:
    if status.st_uid == os.geteuid():
        return bool(status.st_mode & stat.S_IRUSR)
    return os.access(path, os.R_OK)
