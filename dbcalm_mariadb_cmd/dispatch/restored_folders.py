"""The folders that restores have made, which are their user's: they stay until somebody has them removed.

Only what the journal says that a restore has made is removed, and only while nobody works in it.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import size_of
from dbcalm_mariadb_cmd.adapter.server.holders import holder
from dbcalm_mariadb_cmd.builder.layout import REMOVING
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.restore.rollback_copies import kept_in
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.supervisor.control import JobControl

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*-restored-[0-9-]+", re.ASCII)


@dataclass(frozen=True)
class Made:
    """A folder that a restore has made, of which backup, and when that began."""

    id: str
    path: str
    backup_id: str
    made_at: str


def summed(restore_dir: Path) -> dict[str, int]:
    """Return how many restored folders there are, and their bytes."""
    folders = _folders(restore_dir)
    return {"count": len(folders), "bytes": sum(map(size_of, folders))}


def summed_replaced(data_dir: Path) -> dict[str, int]:
    """Return how many of what restores have replaced is kept, and their bytes."""
    kept = kept_in(data_dir)
    return {"count": len(kept), "bytes": sum(size_of(one.folder) for one in kept)}


def told(restore_dir: Path, journal: Journal) -> list[dict[str, object]]:
    """Return what is told of each folder that is there, the newest first."""
    made = _made(restore_dir, journal)
    there = [(folder, made.get(folder.name)) for folder in _folders(restore_dir)]
    return sorted(
        (
            {
                "id": folder.name,
                "path": str(folder),
                "backup_id": one.backup_id if one else None,
                "made_at": one.made_at if one else None,
                "size": size_of(folder),
            }
            for folder, one in there
        ),
        key=lambda row: str(row["made_at"] or ""),
        reverse=True,
    )


def condemn(restore_dir: Path, control: JobControl, id: str) -> Path:
    """Take a restored folder away and return where it is to be removed; raise Refused: 404 if there is none of this
    name, 409 if the journal does not say that a restore has made it, a process works in it or a job runs; or OSError.
    """
    with control.locked():
        folder = restore_dir / id
        if folder not in _folders(restore_dir):
            raise Refused(404, f"there is no restored folder {id} in {restore_dir}")
        if id not in _made(restore_dir, control.journal):
            raise Refused(
                409, f"the journal does not say that a restore has made {folder}: remove it by hand, as root"
            )
        _require_left_alone(folder)
        # Begun with a dot it is what every start of the service removes, should this end half-way.
        hidden = folder.with_name(f".{id}")
        folder.rename(hidden)
    return hidden


def condemn_replaced(settings: Settings, control: JobControl, id: str) -> None:
    """Take away what a restore replaced, to be removed at the next look; raise Refused: 404 if nothing is kept as that,
    409 if the restore failed and it may be the only data, a process works in it or a job runs; or OSError."""
    with control.locked():
        kept = next((one for one in kept_in(settings.data_dir) if one.facts.id == id), None)
        if kept is None:
            raise Refused(404, f"nothing that was replaced is kept as {id}")
        if not kept.facts.succeeded:
            raise Refused(
                409,
                f"{kept.folder} could not be put back after a failure: see what is in it, and remove it as root",
            )
        _require_left_alone(kept.folder)
        kept.folder.rename(kept.folder.with_name(REMOVING + id))


def _require_left_alone(folder: Path) -> None:
    if working := holder(folder):
        raise Refused(409, f"{working} works in {folder}: {working.how_to_stop}")


def _folders(restore_dir: Path) -> list[Path]:
    try:
        with os.scandir(restore_dir) as entries:
            found = [
                one.name for one in entries if one.is_dir(follow_symlinks=False) and _NAME.fullmatch(one.name)
            ]
    except OSError:
        return []  # Its disk is not mounted.
    return [restore_dir / name for name in sorted(found)]


def _made(restore_dir: Path, journal: Journal) -> dict[str, Made]:
    """Return what restores have made in this folder, by its name, as the journal has it."""
    found: dict[str, Made] = {}
    for event in journal.all():
        restore = event.get("restore")
        if (
            event.get("event") != "accepted"
            or not isinstance(restore, dict)
            or restore.get("target") != "folder"
        ):
            continue
        path = Path(str(restore.get("target_path")))
        if path.parent == restore_dir:
            found[path.name] = Made(path.name, str(path), str(restore.get("backup_id")), str(event.get("at")))
    return found
