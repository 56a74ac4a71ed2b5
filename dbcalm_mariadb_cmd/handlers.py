"""Who answers which command of the mysql service."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from dbcalm_cmd.process import Answer, Handlers, log
from dbcalm_mariadb_cmd import preflight
from dbcalm_mariadb_cmd.adapter.linux import rename_new
from dbcalm_mariadb_cmd.adapter.tree import remove_tree, sync_folder
from dbcalm_mariadb_cmd.builder import backup_argv, prepare_argvs
from dbcalm_mariadb_cmd.command import (
    Check,
    DeleteBackup,
    FullBackup,
    IncrementalBackup,
    JobProgress,
    ListBackups,
    ReadEvents,
    RestoreBackup,
)
from dbcalm_mariadb_cmd.control import JobControl, Plan
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.history import manifests
from dbcalm_mariadb_cmd.jobs import BackupJob, Places, RestoreJob
from dbcalm_mariadb_cmd.manifest import Damaged, Manifest, Missing, read_manifest
from dbcalm_mariadb_cmd.settings import Settings
from dbcalm_mariadb_cmd.timeline import doubt

C = TypeVar("C")

_LISTED_AT_ONCE = 200
_WAITERS_AT_ONCE = 8
_STAMP = "%Y-%m-%d-%H-%M-%S"


class Desk:
    """Holds the one job control and answers commands with it. ``stopping`` ends calls that wait."""

    def __init__(self, settings: Settings) -> None:
        self.stopping = threading.Event()
        self._settings = settings
        self._restore_dir = settings.restore_dir or settings.backup_dir / "restores"
        for folder in (settings.backup_dir / ".work", settings.backup_dir / ".trash", self._restore_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._control = JobControl(settings.job_dir, settings.backup_dir)
        self._control.recover(self._leftovers)
        self._waiters = threading.Semaphore(_WAITERS_AT_ONCE)
        threading.Thread(target=self._empty_trash, daemon=True).start()

    def handlers(self) -> Handlers:
        """Return the whitelist: what can be asked, and who answers."""
        return {
            FullBackup: _refusable(self.full_backup),
            IncrementalBackup: _refusable(self.incremental_backup),
            RestoreBackup: _refusable(self.restore_backup),
            DeleteBackup: _refusable(self.delete_backup),
            ReadEvents: self.read_events,
            ListBackups: self.list_backups,
            JobProgress: self.job_progress,
            Check: self.check,
        }

    def full_backup(self, command: FullBackup) -> Answer:
        """Start a full backup."""

        def plan() -> Plan:
            ready = preflight.ready_for_backup(self._settings, self._control.history.newest)
            return self._plan_backup(command, ready, None, None)

        return self._control.accept(command.job_id, plan)

    def incremental_backup(self, command: IncrementalBackup) -> Answer:
        """Start an incremental backup, or a full one where the base cannot be trusted."""

        def plan() -> Plan:
            base, why = self._base(command)
            ready = preflight.ready_for_backup(self._settings, base or self._control.history.newest)
            if base is not None:
                why = doubt(base, ready.server, self._control.history.restored_seq)
            note = f"a full backup is made instead: {why}" if why else None
            return self._plan_backup(command, ready, None if why else base, note)

        return self._control.accept(command.job_id, plan)

    def restore_backup(self, command: RestoreBackup) -> Answer:
        """Start a restore of a backup and its chain."""

        def plan() -> Plan:
            chain = preflight.chain_of(self._settings.backup_dir, command.id)
            restore_id, target_path = self._target(command)
            tool = preflight.ready_for_restore(self._settings, chain, command.target, target_path)
            return self._plan_restore(command, chain, restore_id, target_path, tool)

        return self._control.accept(command.job_id, plan)

    def delete_backup(self, command: DeleteBackup) -> Answer:
        """Move a backup into the trash, from where it is removed; refuse if another backup builds on it."""
        folder = self._settings.backup_dir / command.id
        with self._control.locked():
            try:
                read_manifest(folder)
                found = True
            except Missing:
                found = False
            except Damaged as damage:
                raise Refused(409, str(damage)) from damage
            built_on = [
                other for other in manifests(self._settings.backup_dir) if other.from_backup_id == command.id
            ]
            if dependents := [other.id for other in built_on]:
                raise Refused(
                    409, f"backups depend on {command.id}: {', '.join(dependents)}", dependents=dependents
                )
            if found:
                rename_new(folder, self._settings.backup_dir / ".trash" / f"{command.id}.{time.time_ns()}")
                sync_folder(self._settings.backup_dir)
            self._control.journal.append("deleted", backup_id=command.id)
        self._control.tell_change()
        threading.Thread(target=self._empty_trash, daemon=True).start()
        return {"code": 200, "status": "ok"}

    def read_events(self, command: ReadEvents) -> Answer:
        """Return what the journal has from an offset on; wait for it if there is nothing and few others wait."""
        if not self._waiters.acquire(blocking=False):
            return self._events(command, 0.0)
        try:
            return self._events(command, command.wait)
        finally:
            self._waiters.release()

    def _events(self, command: ReadEvents, wait: float) -> Answer:
        journal = self._control.journal
        offset = command.offset if command.journal == journal.id else 0
        give_up = time.monotonic() + wait
        while True:
            events, following = journal.read(offset)
            remaining = give_up - time.monotonic()
            if following != offset or remaining <= 0 or self.stopping.is_set():
                more = following < journal.size() and following != offset
                return _ok(journal=journal.id, offset=following, events=events, more=more)
            self._control.wait_for_change(min(remaining, 1.0))

    def list_backups(self, command: ListBackups) -> Answer:
        """Return the manifests of whole backups, some at a time."""
        later = (found for found in manifests(self._settings.backup_dir) if found.id > command.after)
        listed = [found.facts() for found, _ in zip(later, range(_LISTED_AT_ONCE + 1), strict=False)]
        return _ok(backups=listed[:_LISTED_AT_ONCE], more=len(listed) > _LISTED_AT_ONCE)

    def job_progress(self, command: JobProgress) -> Answer:
        """Return how far a job is."""
        try:
            stored = (self._settings.job_dir / "jobs" / command.job_id / "progress.json").read_text(
                encoding="utf-8"
            )
        except FileNotFoundError:
            return {"code": 404, "status": f"job {command.job_id} has told no progress"}
        return _ok(**json.loads(stored))

    def check(self, _command: Check) -> Answer:
        """Report on everything that a backup begins with."""
        try:
            ready = preflight.ready_for_backup(self._settings, None)
            preflight.require_space(self._settings.backup_dir, ready.server.data_bytes, "a full backup")
        except Refused as refused:
            return _ok(checks=[{"name": "backup", "ok": False, "message": str(refused)}])
        message = f"{ready.tool} {ready.tool_version}, server {ready.server.origin.version}"
        return _ok(checks=[{"name": "backup", "ok": True, "message": message}])

    def _base(self, command: IncrementalBackup) -> tuple[Manifest | None, str | None]:
        """Return the base, or None and why a full backup has to do."""
        try:
            return preflight.usable_base(self._settings.backup_dir, command.from_backup_id), None
        except Refused as refused:
            if not command.or_full:
                raise
            return None, str(refused)

    def _plan_backup(
        self,
        command: FullBackup | IncrementalBackup,
        ready: preflight.Ready,
        base: Manifest | None,
        note: str | None,
    ) -> Plan:
        history, needed = self._control.history, ready.server.data_bytes
        if base is not None:
            needed = max(0, ready.server.lsn - base.to_lsn)
        preflight.require_space(self._settings.backup_dir, needed, "the backup")
        kept = base or (None if note else history.newest)
        same = kept is not None and doubt(kept, ready.server, history.restored_seq) is None
        job = BackupJob(
            job_id=command.job_id,
            places=self._places(ready.tool),
            id=self._new_id(command.id),
            base=base.id if base else None,
            seq=history.next_seq(),
            schedule_id=command.schedule_id,
            timeline=kept.timeline if kept is not None and same else command.job_id[:12],
            note=note,
            server=ready.server.origin,
            tool_version=ready.tool_version,
            expected_bytes=0 if base else needed,
        )
        what: dict[str, object] = {
            "id": job.id,
            "type": "incremental" if base else "full",
            "from_backup_id": job.base,
        }
        argv = backup_argv(
            ready.tool,
            self._settings.backup_credentials_file,
            job.places.backup(job.id),
            job.places.backup(base.id) if base else None,
        )
        event: dict[str, object] = {
            "type": "backup",
            "seq": job.seq,
            "args": {name: value for name, value in asdict(command).items() if name != "job_id"},
            "resource_id": job.id,
            "note": note,
            "backup": {**what, "schedule_id": job.schedule_id},
        }
        return Plan(job, argv, event, _accepted(job_id=job.job_id, note=note, **what))

    def _plan_restore(
        self, command: RestoreBackup, chain: list[Manifest], restore_id: str, target_path: Path, tool: Path
    ) -> Plan:
        job = RestoreJob(
            job_id=command.job_id,
            places=self._places(tool),
            restore_id=restore_id,
            seq=self._control.history.next_seq(),
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
            "args": {"id": command.id, "target": command.target},
            "resource_id": command.id,
            "note": None,
            "restore": {**what, "backup_id": command.id, "backup_timestamp": chain[-1].start_time},
        }
        argv = prepare_argvs(job.places.engine, tool, target_path, [])[0]
        return Plan(
            job, argv, event, _accepted(job_id=job.job_id, id=command.id, chain=list(job.chain), **what)
        )

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
        if (self._settings.backup_dir / wanted).exists():
            raise Refused(409, f"the id {wanted} is taken")
        return wanted

    def _target(self, command: RestoreBackup) -> tuple[str, Path]:
        stamp = datetime.now(UTC).strftime(_STAMP)
        restore_id = _free_name(self._restore_dir, f"{command.id}-restored-{stamp}")
        in_place = command.target == "database"
        return restore_id, self._settings.data_dir if in_place else self._restore_dir / restore_id

    def _leftovers(self) -> list[Path]:
        """Return what no job works in any more: half-made backups and restores."""
        half_restored = self._restore_dir.glob(".*")
        return [*(self._settings.backup_dir / ".work").iterdir(), *half_restored]

    def _empty_trash(self) -> None:
        for folder in (self._settings.backup_dir / ".trash").iterdir():
            try:
                remove_tree(folder)
            except FileNotFoundError:
                continue  # Another deletion was quicker.
            except OSError as error:
                log("error", f"cannot remove {folder}: {error}")


def _free_name(folder: Path, name: str) -> str:
    number, free = 1, name
    while (folder / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free


def _ok(**fields: object) -> Answer:
    return {"code": 200, "status": "ok", **fields}


def _accepted(**fields: object) -> Answer:
    return {"code": 202, "status": "accepted", **fields}


def _refusable(handler: Callable[[C], Answer]) -> Callable[[C], Answer]:
    def answer(command: C) -> Answer:
        try:
            return handler(command)
        except Refused as refused:
            return {"code": refused.code, "status": str(refused), **refused.data}
        except OSError as error:
            return {
                "code": 503,
                "status": f"cannot go on: {error.filename or 'the journal'}: {error.strerror or error}",
            }

    return answer
