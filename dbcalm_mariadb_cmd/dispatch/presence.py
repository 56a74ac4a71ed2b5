"""Whether the backups are where they should be, and whole by the names and sizes of all their files. Reads no content.

What the catalogue promises is looked at here. A look at a thousand backups of a few files each takes a moment; at
millions of files it takes long, so one look ends after some seconds, and what it did not come to is told as it was
found last.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.command.requests import valid_id
from dbcalm_mariadb_cmd.store.manifest import (
    FILES,
    MANIFEST,
    Damaged,
    Missing,
    read_files,
    read_manifest,
    require_names_and_sizes,
)

_LOOKING_SECONDS = 5.0


@dataclass(frozen=True)
class _Found:
    """What was found of a backup, and when: its ``problem`` in a sentence, or None."""

    problem: str | None
    looked: float


class Presence:
    """Looks at backups, one look at a time."""

    def __init__(self, backup_dir: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._backup_dir = backup_dir
        self._monotonic = monotonic
        self._one = threading.Lock()
        self._found: dict[str, _Found] = {}
        self._began = float("-inf")

    def look(self, within: float) -> dict[str, str | None]:
        """Return for the id of each backup that is there what is wrong with it, or None, as it was this many seconds
        ago or later. Raise OSError if the folder of backups is not there."""
        wanted = self._monotonic() - within
        with self._one:
            if self._began < wanted:
                self._began = self._monotonic()
                self._look()
            return {id: found.problem for id, found in sorted(self._found.items())}

    def _look(self) -> None:
        """Look at what was looked at longest ago first, and at all there is if that is done in time."""
        try:
            names = {folder.name for folder in self._backup_dir.iterdir() if valid_id(folder.name)}
        except OSError:
            self._found, self._began = {}, float("-inf")
            raise
        self._found = {id: found for id, found in self._found.items() if id in names}
        give_up = self._began + _LOOKING_SECONDS
        by_age = sorted(names, key=lambda id: self._found[id].looked if id in self._found else float("-inf"))
        for id in by_age:
            folder = self._backup_dir / id
            late = self._monotonic() > give_up
            try:
                if not late or id not in self._found:
                    self._found[id] = _Found(_problem(folder, in_full=not late), self._monotonic())
                elif not (folder / MANIFEST).exists():
                    raise Missing
            except Missing:
                self._found.pop(id, None)


def _problem(folder: Path, *, in_full: bool) -> str | None:
    """Return what is wrong with a backup; raise Missing if it is none of ours, or gone."""
    try:
        made = read_manifest(folder)
        if in_full:
            require_names_and_sizes(folder, read_files(folder, made))
    except Missing:
        if (folder / FILES).is_file():
            return f"backup {folder.name} is damaged: {MANIFEST} is missing"
        raise
    except Damaged as damage:
        if not folder.is_dir():
            raise Missing(str(damage)) from damage  # It was deleted meanwhile.
        return str(damage)
    return None
