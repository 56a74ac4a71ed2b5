"""Who answers which command of the mysql service."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dbcalm_cmd.process import Answer, Handlers, log
from dbcalm_mariadb_cmd import preflight
from dbcalm_mariadb_cmd.adapter.linux import rename_new
from dbcalm_mariadb_cmd.adapter.tree import remove_tree, sync_folder
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
from dbcalm_mariadb_cmd.control import JobControl
from dbcalm_mariadb_cmd.errors import Refused, describe
from dbcalm_mariadb_cmd.history import manifests
from dbcalm_mariadb_cmd.manifest import Damaged, Missing, read_manifest
from dbcalm_mariadb_cmd.plans import Planner
from dbcalm_mariadb_cmd.settings import Settings

C = TypeVar("C")

_LISTED_AT_ONCE = 200
_WAITERS_AT_ONCE = 8


class Desk:
    """Holds the one job control and answers commands with it. ``stopping`` ends calls that wait."""

    def __init__(self, settings: Settings) -> None:
        self.stopping = threading.Event()
        self._settings = settings
        self._restore_dir = settings.restore_dir or settings.backup_dir / "restores"
        self._trash = settings.backup_dir / ".trash"
        for folder in (settings.backup_dir / ".work", self._trash, self._restore_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._control = JobControl(settings.job_dir, settings.backup_dir)
        self._planner = Planner(settings, self._restore_dir, self._control.history)
        self._control.recover(self._remove_leftovers)
        self._waiters = threading.Semaphore(_WAITERS_AT_ONCE)
        threading.Thread(target=self._empty_trash, daemon=True).start()

    def handlers(self) -> Handlers:
        """Return the whitelist: what can be asked, and who answers."""
        return {
            FullBackup: _refusable(self.full_backup),
            IncrementalBackup: _refusable(self.incremental_backup),
            RestoreBackup: _refusable(self.restore_backup),
            DeleteBackup: _refusable(self.delete_backup),
            ReadEvents: _refusable(self.read_events),
            ListBackups: _refusable(self.list_backups),
            JobProgress: _refusable(self.job_progress),
            Check: _refusable(self.check),
        }

    def full_backup(self, command: FullBackup) -> Answer:
        """Start a full backup."""
        return self._control.accept(command.job_id, lambda: self._planner.full(command))

    def incremental_backup(self, command: IncrementalBackup) -> Answer:
        """Start an incremental backup, or a full one where the base cannot be trusted."""
        return self._control.accept(command.job_id, lambda: self._planner.incremental(command))

    def restore_backup(self, command: RestoreBackup) -> Answer:
        """Start a restore of a backup and its chain."""
        return self._control.accept(command.job_id, lambda: self._planner.restore(command))

    def delete_backup(self, command: DeleteBackup) -> Answer:
        """Move a backup into the trash, from where it is removed; refuse if another backup builds on it."""
        folder = self._settings.backup_dir / command.id
        with self._control.locked():
            try:
                read_manifest(folder)
                found = True
            except Missing as missing:
                if folder.exists():
                    raise Refused(404, str(missing)) from missing
                found = False
            except Damaged as damage:
                raise Refused(409, str(damage)) from damage
            if dependents := _dependents(self._settings.backup_dir, command.id):
                raise Refused(
                    409, f"backups depend on {command.id}: {', '.join(dependents)}", dependents=dependents
                )
            if found:
                self._trash.mkdir(mode=0o700, exist_ok=True)
                rename_new(folder, self._trash / f"{command.id}.{time.time_ns()}")
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
        later = manifests(self._settings.backup_dir, command.after)
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

    def _remove_leftovers(self) -> None:
        """Remove what no job works in any more: half-made backups and restores, and nothing else that lies there."""
        for folder in (
            *(self._settings.backup_dir / ".work").iterdir(),
            *self._restore_dir.glob(".*-restored-*"),
        ):
            _remove(folder)

    def _empty_trash(self) -> None:
        for folder in self._trash.iterdir():
            _remove(folder)


def _dependents(backup_dir: Path, backup_id: str) -> list[str]:
    """Return the ids of all backups on disk that build on this one, nearest first."""
    found = [backup_id]
    for other in sorted(manifests(backup_dir), key=lambda manifest: manifest.seq):
        if other.from_backup_id in found:
            found.append(other.id)
    return found[1:]


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
    except FileNotFoundError:
        pass  # Another deletion was quicker.
    except OSError as error:
        log("error", f"cannot remove {folder}: {error}")


def _ok(**fields: object) -> Answer:
    return {"code": 200, "status": "ok", **fields}


def _refusable(handler: Callable[[C], Answer]) -> Callable[[C], Answer]:
    def answer(command: C) -> Answer:
        try:
            return handler(command)
        except Refused as refused:
            return {"code": refused.code, "status": str(refused), **refused.data}
        except OSError as error:
            return {
                "code": 503,
                "status": f"cannot go on: {describe(error)}",
            }

    return answer
