"""The trash: deleted backups, each in a folder ``<id>.<time in ns>`` beside the backups, until they are purged.

Every method that moves a backup is called while ``changing`` is held. A move and its line in the journal cannot be one
step; what is killed in between is told by ``recover``, from what lies where.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dbcalm_cmd.process import log
from dbcalm_mariadb_cmd.adapter.files import remove_tree, sync_folder
from dbcalm_mariadb_cmd.adapter.linux import rename_new
from dbcalm_mariadb_cmd.clock import from_ns, moment, text_of, to_ns
from dbcalm_mariadb_cmd.command.last_chains import last_chains
from dbcalm_mariadb_cmd.command.requests import valid_id
from dbcalm_mariadb_cmd.jobs import order as jobs
from dbcalm_mariadb_cmd.retention.guard import is_intact
from dbcalm_mariadb_cmd.store.history import History, manifests
from dbcalm_mariadb_cmd.store.hold import stored_hold
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest, read_manifest
from dbcalm_mariadb_cmd.store.mark import absence
from dbcalm_mariadb_cmd.store.proof import told_proof

_ENTRY = re.compile(r"([a-z0-9-]{1,64})\.([0-9]{1,20})")
_PURGING = "purging."
"""Begins the name of what is being removed. No id has a dot, so no entry that can be undeleted begins like this."""


@dataclass(frozen=True)
class Entry:
    """One deleted backup."""

    path: Path
    backup_id: str
    time_ns: int

    @property
    def deleted_at(self) -> str:
        """When it was deleted."""
        return text_of(from_ns(self.time_ns))

    def purge_at(self, delay: timedelta) -> str:
        """When it may be removed."""
        return text_of(from_ns(self.time_ns + delay // timedelta(microseconds=1) * 1000))

    def manifest(self) -> Manifest:
        """Return the facts of the backup; raise Damaged."""
        return read_manifest(self.path, self.backup_id)


class Trash:
    """The trash of one folder of backups. What lies in it and is not named as an entry is not ours and is left."""

    def __init__(self, backup_dir: Path, job_dir: Path, journal: Journal) -> None:
        self.folder = backup_dir / ".trash"
        self._backup_dir = backup_dir
        self._job_dir = job_dir
        self._journal = journal

    def changing(self) -> AbstractContextManager[None]:
        """Hold the lock under which backups are moved."""
        return jobs.changing(self._job_dir)

    def entries(self) -> list[Entry]:
        """Return what was deleted, the last first."""
        return sorted(_entries(self.folder), key=lambda entry: entry.time_ns, reverse=True)

    def newest(self, backup_id: str, deleted_at: str | None = None) -> Entry | None:
        """Return what was deleted last under this id, or at this time."""
        named = (entry for entry in self.entries() if entry.backup_id == backup_id)
        return next((entry for entry in named if deleted_at in (None, entry.deleted_at)), None)

    def size(self) -> int:
        """Return the bytes of what can be undeleted."""
        return sum(made.size for _, made in self.readable())

    def readable(self) -> Iterator[tuple[Entry, Manifest]]:
        """Yield what can be undeleted, the last deleted first, with its facts."""
        for entry in self.entries():
            with suppress(Damaged):
                yield entry, entry.manifest()

    def put(self, backup_id: str, job_id: str | None = None) -> None:
        """Move a backup here and tell the journal; if that cannot be told, move it back and raise OSError."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        time_ns = to_ns(moment(self._journal.now()))
        while (entry := self.folder / f"{backup_id}.{time_ns}").exists():
            time_ns += 1
        told = {"job_id": job_id} if job_id else {}
        self._move(
            self._backup_dir / backup_id,
            entry,
            lambda: self._journal.append("deleted", backup_id=backup_id, trash=entry.name, **told),
        )

    def take_back(self, entry: Entry, made: Manifest) -> None:
        """Give a deleted backup its place again and tell the journal; raise FileExistsError if that is taken."""
        self._move(
            entry.path,
            self._backup_dir / entry.backup_id,
            lambda: self._tell_undeleted(entry.path.name, made),
        )

    def purge(self, delay: timedelta, spare: int, *, by_clock: bool) -> None:
        """Remove for good what was deleted so long ago, if the clock can be trusted, and what a purge that was killed
        has left. Takes the lock by itself, and holds it only while it decides: removing can take minutes.

        Nothing of the newest ``spare`` whole chains is removed, wherever they lie, nor of the newest others where the
        whole ones are fewer: whoever deletes them all, newest first, has only moved them here, until as many newer ones
        are made.
        """
        if by_clock:
            self._condemn(delay, spare)
        for folder in _listed(self.folder):
            if not folder.name.startswith(_PURGING):
                continue
            try:
                remove_tree(folder)
            except FileNotFoundError:
                continue  # Somebody else was quicker.
            except OSError as error:
                log("error", f"cannot remove {folder}: {error}")
                continue
            self._journal.append("purged", trash=folder.name.removeprefix(_PURGING))

    def recover(self, history: History) -> None:
        """Tell the journal what somebody did and was killed before telling. Takes the lock by itself."""
        if absence(self._backup_dir, self._job_dir) or not self.folder.is_dir():
            return  # Its disk is not mounted: there is nothing to see, not even that something is gone.
        with self.changing():
            history.catch_up()
            found = {entry.path.name: entry for entry in self.entries()}
            for name, entry in found.items():
                if name not in history.trashed and not (self._backup_dir / entry.backup_id).exists():
                    self._journal.append("deleted", backup_id=entry.backup_id, trash=name)
            being_removed = {folder.name.removeprefix(_PURGING) for folder in _listed(self.folder)}
            for name in history.trashed.keys() - found.keys() - being_removed:
                try:
                    self._tell_undeleted(name, read_manifest(self._backup_dir / history.trashed[name]))
                except Damaged:
                    self._journal.append("purged", trash=name)
        history.catch_up()

    def _move(self, old: Path, new: Path, tell: Callable[[], None]) -> None:
        rename_new(old, new)
        try:
            sync_folder(new.parent)
            sync_folder(old.parent)
            tell()
        except OSError:
            rename_new(new, old)
            raise

    def _tell_undeleted(self, name: str, made: Manifest) -> None:
        folder = self._backup_dir / made.id
        hold = stored_hold(folder)
        facts = {**made.facts(), "hold": hold.told() if hold else None, "proof": told_proof(folder, made)}
        self._journal.append("undeleted", backup=facts, trash=name)

    def _condemn(self, delay: timedelta, spare: int) -> None:
        """Rename what is due, so that from then on it cannot be undeleted."""
        now, condemned = self._journal.now(), False
        due = [entry for entry in _entries(self.folder) if entry.purge_at(delay) <= now]
        spared = self._of_newest_chains(spare) if due else frozenset()
        for entry in due:
            if entry.path in spared:
                continue
            with self.changing():
                try:
                    rename_new(entry.path, entry.path.with_name(_PURGING + entry.path.name))
                    condemned = True
                except FileNotFoundError:
                    continue  # It was undeleted.
        if condemned:
            sync_folder(self.folder)

    def _of_newest_chains(self, count: int) -> frozenset[Path]:
        """Return the folders, here and among the backups, that belong to the chains that must stay, or may: what builds
        on a backup whose manifest cannot be read is of a chain that nobody can tell."""
        found = [(self._backup_dir / made.id, made) for made in manifests(self._backup_dir)]
        found += [(entry.path, made) for entry, made in self.readable()]
        unread = self._unread({folder for folder, _ in found})
        oldest_first = sorted(found, key=lambda one: one[1].seq)
        root: dict[Path, Path] = {}
        last_of: dict[str, Path] = {}  # A base was the last of its id when what builds on it was made.
        in_doubt: set[Path] = set()
        for folder, made in oldest_first:
            below = last_of.get(made.from_backup_id or "", folder)
            root[folder] = root.get(below, folder)
            last_of[made.id] = folder
            if made.from_backup_id in unread or below in in_doubt:
                in_doubt.add(folder)
        fulls = (one for one in reversed(oldest_first) if one[1].type == "full")
        newest = {path for path, _ in last_chains(fulls, lambda one: is_intact(*one), count)}
        return frozenset(in_doubt.union(folder for folder in root if root[folder] in newest))

    def _unread(self, read: set[Path]) -> set[str]:
        """Return the ids of the backups, here and among the others, that are not among those that could be read."""
        backups = [folder for folder in _listed(self._backup_dir) if valid_id(folder.name)]
        ids = {folder.name for folder in backups if folder not in read}
        return ids | {entry.backup_id for entry in self.entries() if entry.path not in read}


def _entries(folder: Path) -> list[Entry]:
    found = ((path, _ENTRY.fullmatch(path.name)) for path in _listed(folder))
    return [Entry(path, match[1], int(match[2])) for path, match in found if match and path.is_dir()]


def _listed(folder: Path) -> list[Path]:
    """Return what lies in the trash; nothing if it is not there, as when its disk is not mounted."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
