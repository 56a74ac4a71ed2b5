"""From a command to a job that may start: what is checked, what is decided, and what is told of it."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from dbcalm_cmd.process import Answer
from dbcalm_mariadb_cmd import backup, preflight, restore
from dbcalm_mariadb_cmd.command import FullBackup, IncrementalBackup, RestoreBackup
from dbcalm_mariadb_cmd.control import Plan
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.history import History
from dbcalm_mariadb_cmd.jobs import BackupJob, Places, RestoreJob
from dbcalm_mariadb_cmd.manifest import Manifest
from dbcalm_mariadb_cmd.settings import Settings
from dbcalm_mariadb_cmd.timeline import doubt

_STAMP = "%Y-%m-%d-%H-%M-%S"
_NOT_TOLD = ("job_id", "or_full")


class Planner:
    """Plans jobs. Its methods are called under the lock and raise Refused where a job may not start."""

    def __init__(self, settings: Settings, restore_dir: Path, history: History) -> None:
        self._settings = settings
        self._restore_dir = restore_dir
        self._history = history

    def full(self, command: FullBackup) -> Plan:
        """Plan a full backup."""
        return self._backup(
            command, preflight.ready_for_backup(self._settings, self._history.newest), None, None
        )

    def incremental(self, command: IncrementalBackup) -> Plan:
        """Plan an incremental backup, or a full one where the base cannot be trusted."""
        base, why = self._base(command)
        ready = preflight.ready_for_backup(self._settings, base or self._history.newest)
        if base is not None:
            why = doubt(base, ready.server, self._history.restored_seq)
        note = f"a full backup is made instead: {why}" if why else None
        return self._backup(command, ready, None if why else base, note)

    def restore(self, command: RestoreBackup) -> Plan:
        """Plan a restore of a backup and its chain."""
        chain = preflight.chain_of(self._settings.backup_dir, command.id)
        restore_id, target_path = self._target(command)
        tool = preflight.ready_for_restore(self._settings, chain, command.target, target_path)
        job = RestoreJob(
            job_id=command.job_id,
            places=self._places(tool),
            restore_id=restore_id,
            seq=self._history.next_seq(),
            chain=tuple(link.id for link in chain),
            target=command.target,
            target_path=str(target_path),
        )
        what: dict[str, object] = {
            "restore_id": restore_id,
            "target": job.target,
            "target_path": job.target_path,
        }
        event: dict[str, object] = {
            "type": "restore",
            "seq": job.seq,
            "breaks_timeline": command.target == "database",
            "args": _told(command),
            "resource_id": command.id,
            "note": None,
            "restore": {**what, "backup_id": command.id, "backup_timestamp": chain[-1].start_time},
        }
        answer = _accepted(job_id=job.job_id, id=command.id, chain=list(job.chain), **what)
        return Plan(job, restore.prepares(job), event, answer)

    def _base(self, command: IncrementalBackup) -> tuple[Manifest | None, str | None]:
        """Return the base, or None and why a full backup has to do."""
        try:
            return preflight.usable_base(self._settings.backup_dir, command.from_backup_id), None
        except Refused as refused:
            if not command.or_full:
                raise
            return None, str(refused)

    def _backup(
        self,
        command: FullBackup | IncrementalBackup,
        ready: preflight.Ready,
        base: Manifest | None,
        note: str | None,
    ) -> Plan:
        needed = max(0, ready.server.lsn - base.to_lsn) if base else ready.server.data_bytes
        preflight.require_space(self._settings.backup_dir, needed, "the backup")
        job = BackupJob(
            job_id=command.job_id,
            places=self._places(ready.tool),
            id=self._new_id(command.id),
            base=base.id if base else None,
            seq=self._history.next_seq(),
            schedule_id=command.schedule_id,
            timeline=self._timeline(base, ready, note) or command.job_id[:12],
            note=note,
            server=ready.server.origin,
            tool_version=ready.tool_version,
            expected_bytes=0 if base else needed,
        )
        made = "incremental" if base else "full"
        what: dict[str, object] = {"id": job.id, "type": made, "from_backup_id": job.base}
        event: dict[str, object] = {
            "type": "backup",
            "seq": job.seq,
            "args": _told(command),
            "resource_id": job.id,
            "note": note,
            "backup": {**what, "schedule_id": job.schedule_id},
        }
        return Plan(job, [backup.copying(job)], event, _accepted(job_id=job.job_id, note=note, **what))

    def _timeline(self, base: Manifest | None, ready: preflight.Ready, note: str | None) -> str | None:
        """Return the timeline that this backup goes on with, or None if it begins one."""
        if base is not None:
            return base.timeline
        newest = self._history.newest
        if newest is None or note or doubt(newest, ready.server, self._history.restored_seq):
            return None
        return newest.timeline

    def _places(self, tool: Path) -> Places:
        settings = self._settings
        return Places(
            engine_name=settings.db_type,
            tool=str(tool),
            credentials=str(settings.backup_credentials_file),
            backup_dir=str(settings.backup_dir),
            data_dir=str(settings.data_dir),
            restore_dir=str(self._restore_dir),
            job_dir=str(settings.job_dir),
        )

    def _new_id(self, wanted: str | None) -> str:
        if wanted is None:
            return _free_name(self._settings.backup_dir, datetime.now(UTC).strftime(_STAMP))
        if os.path.lexists(self._settings.backup_dir / wanted):
            raise Refused(409, f"the id {wanted} is taken")
        return wanted

    def _target(self, command: RestoreBackup) -> tuple[str, Path]:
        stamp = datetime.now(UTC).strftime(_STAMP)
        restore_id = _free_name(self._restore_dir, f"{command.id}-restored-{stamp}")
        in_place = command.target == "database"
        self._restore_dir.mkdir(mode=0o700, exist_ok=True)
        return restore_id, self._settings.data_dir if in_place else self._restore_dir / restore_id


def _told(command: FullBackup | IncrementalBackup | RestoreBackup) -> dict[str, object]:
    """Return what was asked for, without what the programs say among themselves."""
    return {name: value for name, value in asdict(command).items() if name not in _NOT_TOLD}


def _free_name(folder: Path, name: str) -> str:
    number, free = 1, name
    while os.path.lexists(folder / free):
        number += 1
        free = f"{name}-{number}"
    return free


def _accepted(**fields: object) -> Answer:
    return {"code": 202, "status": "accepted", **fields}
