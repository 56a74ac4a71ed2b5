"""Taking over backups that were made by hand or by other tools with mariadb-backup or XtraBackup.

All that is believed is what the tool itself has written into the folder. An incremental is linked to the one backup
that ends where it begins: a wrong link would bring back wrong data without a word, so where two may be meant, and
the tool's own command line does not say which, it is left alone. Nothing in the folder changes but what we put beside.
"""

import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import FileState, at_once, file_state, size_of, walk, write_synced
from dbcalm_mariadb_cmd.adapter.linux import sync_file_system
from dbcalm_mariadb_cmd.backup.left_out import not_compared
from dbcalm_mariadb_cmd.backup.take import FOLDER_STATE, describe
from dbcalm_mariadb_cmd.builder.argv import ENGINES, Engine
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.command.requests import RESERVED_IDS, valid_id
from dbcalm_mariadb_cmd.errors import JobFailed, Refused
from dbcalm_mariadb_cmd.jobs.order import AdoptJob
from dbcalm_mariadb_cmd.jobs.progress import Progress
from dbcalm_mariadb_cmd.store.history import manifests
from dbcalm_mariadb_cmd.store.manifest import (
    FILES,
    INSTRUCTIONS,
    MANIFEST,
    Damaged,
    Manifest,
    encode_manifest,
    read_manifest,
)
from dbcalm_mariadb_cmd.store.timeline import series

_FULL = ("full-backuped", "log-applied", "full-prepared")
_PACKED = (".qp", ".zst", ".lz4", ".xbcrypt")
_LONG_AGO = 10**11
"""Adopted backups are numbered by their time, in seconds, less this: before all of ours, whose numbers begin at 1. An
incremental that was made on one of ours comes next after that. None is ever built on: nobody knows of which data
directory they are."""

_READERS = 2
_BASEDIR = re.compile(r"--incremental-basedir=(\S+)")
_DATADIR = re.compile(r"--datadir=(\S+)")


@dataclass(frozen=True)
class Found:
    """A folder that may be adopted, by what the tool says of it. Times are UTC text."""

    id: str
    type: Literal["full", "incremental"]
    start_time: str
    end_time: str
    server_version: str
    tool_version: str
    data_dir: str
    basedir: str
    is_prepared: bool
    checkpoints: tool.Checkpoints

    @property
    def seq(self) -> int:
        """Its number among all backups."""
        return int(datetime.fromisoformat(self.start_time).timestamp()) - _LONG_AGO


def candidates(backup_dir: Path, engine: Engine) -> list[tuple[str, Found | None, str | None]]:
    """Return (name, what it is, why it cannot be adopted) for each folder that is no backup of ours and may be one of
    the tool's, in the order in which each comes after what it may build on."""
    found: list[tuple[str, Found | None, str | None]] = []
    for folder in sorted(backup_dir.iterdir()):
        if folder.name.startswith(".") or folder.name in RESERVED_IDS or not folder.is_dir():
            continue
        if (folder / MANIFEST).exists():
            continue
        try:
            found.append((folder.name, read(folder, engine), None))
        except Refused as refused:
            found.append((folder.name, None, str(refused)))
    return sorted(found, key=lambda one: (_after_what_it_builds_on(one[1]), one[0]))


def _after_what_it_builds_on(found: Found | None) -> tuple[bool, str, int]:
    if found is None:
        return True, "~", 0
    return found.type != "full", found.start_time, found.checkpoints.to_lsn


def read(folder: Path, engine: Engine) -> Found:
    """Return what the tool says of the backup in this folder; raise Refused 409 if it cannot be adopted."""
    name = folder.name
    if not valid_id(name):
        raise Refused(409, f"{name}: rename the folder to 1 to 64 of a-z, 0-9 and -, then adopt it")
    try:
        checkpoints = tool.read_checkpoints(folder, engine)
        info = tool.read_info(folder, engine)
    except (JobFailed, OSError) as error:
        raise Refused(409, f"{name} is no backup as the tool writes it: {error}") from error
    if info.get("partial", "N").upper() != "N":
        raise Refused(409, f"{name} is a partial backup: it does not bring a server back")
    if (folder / tool.CORRUPTED).exists():
        raise Refused(409, f"{name} lists corrupted pages in {tool.CORRUPTED}")
    _require_plain(folder)
    is_full = checkpoints.backup_type in _FULL
    if not is_full and checkpoints.backup_type != "incremental":
        raise Refused(409, f"{name} has the unknown type {checkpoints.backup_type}")
    command = info.get("tool_command", "")
    try:
        start, end = (_in_utc(info[name]) for name in ("start_time", "end_time"))
        versions = [_version(info[name]) for name in ("server_version", "tool_version")]
    except (KeyError, ValueError, OverflowError) as error:
        raise Refused(409, f"{name}: its info file lacks times or versions ({error})") from error
    data_dir, basedir = _DATADIR.search(command), _BASEDIR.search(command)
    return Found(
        id=name,
        type="full" if is_full else "incremental",
        start_time=start,
        end_time=end,
        server_version=versions[0],
        tool_version=versions[1],
        data_dir=data_dir[1] if data_dir else "",
        basedir=basedir[1] if basedir else "",
        is_prepared=is_full and checkpoints.backup_type != "full-backuped",
        checkpoints=replace(checkpoints, from_lsn=0) if is_full else checkpoints,
    )


def _require_plain(folder: Path) -> None:
    """Raise Refused 409 unless the folder holds files that this user can read, packed by nobody."""
    try:
        for name, _ in walk(folder):
            if name.endswith(_PACKED):
                raise Refused(
                    409, f"{folder.name} is packed or encrypted by the tool ({name}): unpack it first"
                )
            if not name.endswith("/") and not os.access(folder / name, os.R_OK):
                raise Refused(
                    409, f"{folder.name}: user mysql cannot read {name}: chown -R mysql:mysql {folder}"
                )
    except OSError as error:
        raise Refused(409, f"{folder.name}: {error}") from error
    if not os.access(folder, os.W_OK):
        raise Refused(409, f"{folder.name}: user mysql cannot write there: chown -R mysql:mysql {folder}")


def link(found: Found, backup_dir: Path, engine: Engine) -> tuple[Manifest | None, str]:
    """Return the backup that this one was made on, None for a full one, and how sure that is; raise Refused 409 if
    none fits, or more than one."""
    if found.type == "full":
        return None, "a full backup" + (", prepared already" if found.is_prepared else "")
    fitting = [
        made
        for made in manifests(backup_dir)
        if made.engine == engine.name
        and made.to_lsn == found.checkpoints.from_lsn
        and made.end_time <= found.end_time
        and series(made.server.version) == series(found.server_version)
    ]
    if not fitting:
        raise Refused(
            409,
            f"{found.id} begins at LSN {found.checkpoints.from_lsn}, and no backup here ends there: "
            "adopt what it was made on first",
        )
    named = [made for made in fitting if Path(found.basedir).name == made.id]
    if len(named) == 1:
        return named[0], f"certain: its command names {named[0].id}, and the positions fit"
    if len(fitting) == 1:
        return fitting[0], f"high: {fitting[0].id} alone ends where it begins"
    ids = ", ".join(made.id for made in fitting)
    raise Refused(409, f"{found.id} may build on any of {ids}, which all end where it begins: left alone")


def make(job: AdoptJob) -> Manifest:
    """Take the checksums of a folder's files, and put list and manifest beside them; return the manifest. Raise
    JobFailed, Damaged or OSError, and then leave clean-up to ``undo``."""
    places, folder = job.places, job.places.backup(job.id)
    engine = ENGINES[places.engine_name]
    try:
        found = read(folder, engine)
        base, sure = link(found, Path(places.backup_dir), engine)
    except Refused as refused:
        raise JobFailed(str(refused)) from refused
    files = _checksums(job, folder)
    made = Manifest(
        id=job.id,
        type=found.type,
        from_backup_id=base.id if base else None,
        seq=max(found.seq, base.seq + 1) if base else found.seq,
        job_id=job.job_id,
        schedule_id=None,
        timeline=base.timeline if base else job.job_id[:12],
        note=f"adopted; {sure}; {not_compared(job.id)}",
        start_time=found.start_time,
        end_time=found.end_time,
        size=0,
        file_count=0,
        files_sha256="",
        engine=places.engine_name,
        tool_version=found.tool_version,
        server=Origin(found.server_version, found.data_dir, (0, 0), "", {}),
        from_lsn=found.checkpoints.from_lsn,
        to_lsn=found.checkpoints.to_lsn,
        last_lsn=found.checkpoints.last_lsn,
        binlog=tool.read_binlog(folder, engine),
        data_size=sum(state.size for state in files.values()),
    )
    made = describe(folder, made, files, places)
    sync_file_system(folder)  # With its manifest it is a backup: all else must be on the disk before.
    write_synced(folder / MANIFEST, encode_manifest(made).decode())
    return made


def _checksums(job: AdoptJob, folder: Path) -> dict[str, FileState]:
    names = [name for name, _ in walk(folder) if name not in _OURS]
    size = size_of(folder)
    progress = Progress(job.places.job(job.job_id), size)
    progress.phase("checksumming", size, size)
    states: dict[str, FileState] = {}

    def read_one(name: str) -> None:
        states[name] = file_state(folder / name)
        progress.add(states[name].size)

    at_once(read_one, [name for name in names if not name.endswith("/")], _READERS)
    return {name: states.get(name, FOLDER_STATE) for name in names}


def undo(job: AdoptJob) -> Manifest | None:
    """Clean up after a job that did not report its end: return the manifest if the backup has got it; else remove what
    we had put beside it and return None."""
    folder = job.places.backup(job.id)
    try:
        made = read_manifest(folder)
    except Damaged:
        for name in _OURS:
            (folder / name).unlink(missing_ok=True)
        return None
    return made if made.job_id == job.job_id else None


_OURS = (f"{MANIFEST}.new", FILES, INSTRUCTIONS)


def _in_utc(text: str) -> str:
    """Return a time of the tool, which is of the host's zone, as UTC text."""
    moment = datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S").astimezone()  # made aware here
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def _version(text: str) -> str:
    found = re.match(r"\d+\.\d+\.\d+", text)
    if found is None:
        raise ValueError(f"no version: {text}")
    return found[0]
