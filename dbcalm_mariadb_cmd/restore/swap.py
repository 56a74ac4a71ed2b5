"""Exchanging what is in a data directory for other data on the same file system, name by name.

The directory itself can neither be moved nor given another's place: its parent is root's, and in a unit it is a mount
of its own. So each name moves by itself, in an order that keeps every server from starting on a mixture, also after a
power cut: InnoDB's first file leaves first and comes last, and the redo log of one or the other is always there.
Without the first and with the second MariaDB 10.11 refuses to start ("Creating system tablespace with existing redo
log file").

What starts before InnoDB does write, so these leave right after that file and come right before it: the schema mysql,
in whose tables Aria would mark another control file; and Aria's logs, which are never there without their control file:
it would write over them. What such a start makes anew is told by its name being taken, and put aside.

Which entry is of which data is told by inode numbers that were written down once the server had stopped, so an exchange
that was cut short at any step can be turned back.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import sync_folder, write_synced
from dbcalm_mariadb_cmd.adapter.linux import exchange_names, rename_new
from dbcalm_mariadb_cmd.adapter.small_files import ORDER, read_small
from dbcalm_mariadb_cmd.command.shapes import Time, Unfit, fitted, parsed
from dbcalm_mariadb_cmd.preflight.movable import fixtures, is_theirs, stays

FACTS = ".dbcalm.json"
"""In the folder of what was replaced: what and when it was. It stays there when the rest leaves."""

_REDO = "ib_logfile0"
_OUT = ("ibdata1", "mysql", "aria_log.", "aria_log_control")
"""What leaves first, in this order: names, and with a dot at the end beginnings of names."""

_IN = ("aria_log_control", "aria_log.", "mysql", "ibdata1")
"""What comes last."""

_LOCKED_BY_A_SERVER = ("aria_log_control", "ibdata1")


@dataclass(frozen=True)
class Facts:
    """What a folder of replaced data is: under which id it can be brought back, the backup that took its place (None:
    it was no backup), when that was, by which job, and whether that has succeeded."""

    id: str
    backup_id: str | None
    replaced_at: Time
    job_id: str
    succeeded: bool = False


def read_facts(folder: Path) -> Facts | None:
    """Return what a folder of replaced data is, or None if that cannot be told."""
    try:
        return fitted(Facts, parsed(read_small(folder / FACTS)))
    except (OSError, Unfit):
        return None


class Exchange:
    """One exchange: ``coming`` is the data that comes, ``leaving`` the folder that is made for what goes, ``strays``
    one for what a server made in the middle. The inode numbers are written down in ``record``."""

    def __init__(self, data_dir: Path, coming: Path, leaving: Path, strays: Path, record: Path) -> None:
        self.leaving = leaving
        self._data_dir = data_dir
        self._coming = coming
        self._strays = strays
        self._record = record

    def require_movable(self) -> None:
        """Raise OSError where something that has to leave cannot be moved."""
        for path, why in fixtures(self._data_dir, _names(self._coming)):
            raise PermissionError(errno.EPERM, why, str(path))

    def begin(self, facts: Facts) -> None:
        """Make the folder, and write down what there is, of which nothing may change from now on; raise OSError."""
        self.require_movable()
        self.leaving.mkdir(0o700)
        write_synced(self.leaving / FACTS, json.dumps(asdict(facts)))
        here = {name: (self._data_dir / name).lstat().st_ino for name in _names(self._data_dir)}
        write_synced(self._record, json.dumps(here))
        sync_folder(self._data_dir)

    def is_worth_keeping(self) -> bool:
        """Tell whether anything was there to be replaced."""
        return bool(self._recorded())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the locks that a server takes on its files (fcntl(2)), so that none starts in this block before the
        first file is gone; raise BlockingIOError if one has them."""
        held = []
        try:
            for name in _LOCKED_BY_A_SERVER:
                with suppress(FileNotFoundError):
                    held.append(os.open(self._data_dir / name, os.O_RDWR | os.O_CLOEXEC))
                    fcntl.lockf(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            for descriptor in held:
                os.close(descriptor)

    def forward(self) -> None:
        """Put what comes into the place of what is there; raise OSError, with the exchange half done."""
        before = self._recorded()
        self._exchange(self._coming, self.leaving, lambda name, inode: before.get(name) == inode)

    def back(self) -> None:
        """Put everything back, from wherever it was cut short, with what a server has made since in the other folder.
        Raise OSError; it can be called again."""
        before = self._recorded()
        redo, aside = self._data_dir / _REDO, self._coming / _REDO
        if os.path.lexists(aside) and before.get(_REDO) == aside.lstat().st_ino:
            # It was cut short after this one had left, and before it came to the others.
            exchange_names(redo, aside)
        self._exchange(self.leaving, self._coming, lambda name, inode: before.get(name) != inode)

    def succeed(self) -> None:
        """Write down that what was replaced may be removed after its time."""
        if facts := read_facts(self.leaving):
            write_synced(self.leaving / FACTS, json.dumps(asdict(replace(facts, succeeded=True))))

    def forget(self) -> None:
        """Remove the folder that was made, once it is empty but for the facts, or if it was never used."""
        with suppress(FileNotFoundError):
            (self.leaving / FACTS).unlink()
            self.leaving.rmdir()

    def _recorded(self) -> dict[str, int]:
        return dict(json.loads(read_small(self._record, ORDER)))

    def _exchange(self, source: Path, sink: Path, leaves: Callable[[str, int], bool]) -> None:
        """Let what ``leaves`` go to the sink, and what is in the source and does not leave come."""
        home = self._data_dir

        def goes(path: Path) -> bool:
            return leaves(path.name, path.lstat().st_ino)

        for path in _ordered(home, _OUT):
            if path.name != _REDO and goes(path):
                self._leave(path, sink)
                if _place(path.name, _OUT) < len(_OUT):
                    sync_folder(home)
        redo = home / _REDO
        if os.path.lexists(redo) and goes(redo):
            self._exchange_redo(redo, source, sink)
        sync_folder(sink)
        sync_folder(home)
        for path in reversed(_ordered(source, _IN[::-1])):
            if _place(path.name, _IN) < len(_IN):
                sync_folder(home)
            rename_new(path, (sink if goes(path) else home) / path.name)
        sync_folder(home)
        sync_folder(source)
        sync_folder(sink)

    def _exchange_redo(self, redo: Path, source: Path, sink: Path) -> None:
        """Put the redo log that comes in the place of the one that leaves, at once where the file system can."""
        try:
            exchange_names(redo, source / _REDO)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
            self._leave(redo, sink)

    def _leave(self, path: Path, sink: Path) -> None:
        """Move an entry to the sink. On the way back its name is taken there, by the real one, if a server made this
        one in the middle: then put it aside."""
        try:
            rename_new(path, sink / path.name)
        except FileExistsError:
            if sink != self._coming:
                raise
            self._strays.mkdir(0o700, exist_ok=True)
            rename_new(path, self._strays / f"{path.name}.{os.urandom(4).hex()}")


def _ordered(folder: Path, first: Sequence[str]) -> list[Path]:
    """Return the entries, those that are named first in this order and before all others."""
    return [folder / name for name in sorted(_names(folder), key=lambda name: (_place(name, first), name))]


def _place(name: str, order: Sequence[str]) -> int:
    """Return where a name stands in an order, its length if nowhere."""
    found = (
        number
        for number, one in enumerate(order)
        if name == one or (one.endswith(".") and name.startswith(one))
    )
    return next(found, len(order))


def _names(folder: Path) -> set[str]:
    """Return what is to be moved in a folder: not our own folders, and not what belongs to another user."""
    return {
        path.name
        for path in folder.iterdir()
        if path.name != FACTS and not stays(path.name) and not is_theirs(path)
    }
