"""The mark by which the folder of backups is known again: a file in it with a random id, which ``job_dir`` notes.

A mount point whose disk is not mounted is a folder like any other. A backup that is made in it lies on the wrong disk
and is out of sight as soon as the right one is mounted. So where the noted id is not found the folder is another one,
and nothing is made, deleted or believed there. Neither device numbers nor mount points are looked at: in a unit or a
container they say nothing of the host.

An administrator who means the other folder makes an empty file of this name in it.
"""

import json
import secrets
import shlex
from contextlib import suppress
from dataclasses import asdict, dataclass
from os import scandir
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import write_synced
from dbcalm_mariadb_cmd.adapter.small_files import read_small, small_text
from dbcalm_mariadb_cmd.command.shapes import Unfit, fitted, parsed
from dbcalm_mariadb_cmd.errors import describe
from dbcalm_mariadb_cmd.store.history import manifests
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest, read_manifest

MARK = ".dbcalm-folder"
NOTE = "backup-folder.json"

_MEANT = ""
"""The mark that an administrator makes."""


@dataclass(frozen=True)
class _Note:
    """The folder that backups were made in, as it was configured, and the id in its mark."""

    backup_dir: str
    id: str


def absence(backup_dir: Path, job_dir: Path) -> str | None:
    """Return why what is at this path is not the folder of backups, with what to type, or None."""
    named = shlex.quote(str(backup_dir))
    mounted = f"see that the disk of backup_dir is mounted: findmnt --target {named}"
    if problem := _unreadable(backup_dir):
        return f"{problem}: {mounted}"
    noted = _noted(job_dir)
    if noted is None or noted.backup_dir != str(backup_dir) or _mark(backup_dir) in (_MEANT, noted.id):
        return None
    return (
        f"backup_dir {backup_dir} is not the folder that backups were made in: {mounted}; "
        f"if they are to be made in this one from now on, type: touch {named}/{MARK}"
    )


def settle(backup_dir: Path, job_dir: Path, newest: Manifest | None) -> bool:
    """Mark the folder and note its mark, where backups are in it or an administrator means it; return whether anything
    was to be done; raise OSError. ``newest`` is the newest backup that the journal knows.

    An older DBCalm made neither, a mark may have been removed, and a note be lost. A folder with the newest backup in
    it is the right one. Where there is no note, so is one with any backup; but if the journal knows of backups, and
    neither one nor the place where they are made is there, the folder is taken for another one. What was configured
    anew is another folder on purpose.
    """
    if _unreadable(backup_dir):
        return False
    mark, noted = _mark(backup_dir), _noted(job_dir)
    if noted is not None and noted.backup_dir == str(backup_dir):
        if mark == noted.id or not (mark == _MEANT or _holds(backup_dir, newest)):
            return False
        if mark:
            _note(job_dir, backup_dir, mark)
        else:
            _set_mark(backup_dir, noted.id)
    elif mark is not None or any(manifests(backup_dir)):
        id = mark or secrets.token_hex(16)
        if id != mark:
            _set_mark(backup_dir, id)
        _note(job_dir, backup_dir, id)
    elif noted is None and newest is not None and not (backup_dir / ".work").is_dir():
        _note(job_dir, backup_dir, secrets.token_hex(16))
    else:
        return False
    return True


def _unreadable(backup_dir: Path) -> str | None:
    try:
        scandir(backup_dir).close()
    except OSError as error:
        return describe(error)
    return None


def _holds(backup_dir: Path, newest: Manifest | None) -> bool:
    if newest is None:
        return False
    try:
        return read_manifest(backup_dir / newest.id).job_id == newest.job_id
    except Damaged:
        return False


def _mark(backup_dir: Path) -> str | None:
    """Return the id in a folder's mark, None if it has no mark."""
    try:
        return small_text(backup_dir / MARK).strip()
    except OSError:
        return None


def _noted(job_dir: Path) -> _Note | None:
    with suppress(OSError, Unfit):
        return fitted(_Note, parsed(read_small(job_dir / NOTE)))
    return None


def _note(job_dir: Path, backup_dir: Path, id: str) -> None:
    write_synced(job_dir / NOTE, json.dumps(asdict(_Note(str(backup_dir), id))))


def _set_mark(backup_dir: Path, id: str) -> None:
    write_synced(backup_dir / MARK, f"{id}\n")
