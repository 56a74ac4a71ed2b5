"""Who answers which command of the mysql service."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dbcalm_cmd.process import Answer, Handlers, caller, log, utc_now
from dbcalm_cmd.wire import Command
from dbcalm_mariadb_cmd.adapter.files import remove_tree
from dbcalm_mariadb_cmd.command.requests import (
    AcknowledgeJob,
    AdoptBackup,
    BringBack,
    CancelJob,
    Check,
    CleanupBackups,
    DatabaseWanted,
    DeleteBackup,
    FullBackup,
    HoldBackup,
    IncrementalBackup,
    JobLog,
    JobProgress,
    ListAdoptable,
    ListBackups,
    ListReplaced,
    ListRestored,
    ListTrash,
    LookAtBackups,
    ReadEvents,
    ReleaseBackup,
    RemoveReplaced,
    RemoveRestored,
    ReportDatabase,
    RestoreBackup,
    UndeleteBackup,
    VerifyBackup,
)
from dbcalm_mariadb_cmd.command.shapes import legible
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.dispatch import restored_folders
from dbcalm_mariadb_cmd.dispatch.lifecycle import Keeper
from dbcalm_mariadb_cmd.dispatch.queries import Reports
from dbcalm_mariadb_cmd.errors import Refused, describe
from dbcalm_mariadb_cmd.preflight import checks as preflight
from dbcalm_mariadb_cmd.restore import rollback_copies
from dbcalm_mariadb_cmd.store import mark
from dbcalm_mariadb_cmd.store.journal import PAGE, Journal, Page
from dbcalm_mariadb_cmd.store.proof import INTACT
from dbcalm_mariadb_cmd.supervisor.control import JobControl, Plan
from dbcalm_mariadb_cmd.supervisor.host_log import tell_refusal
from dbcalm_mariadb_cmd.supervisor.plans import Planner
from dbcalm_mariadb_cmd.supervisor.standby_manager import Warmer

C = TypeVar("C", bound=Command)
J = TypeVar("J", FullBackup, IncrementalBackup, RestoreBackup, AdoptBackup, VerifyBackup, CleanupBackups)

_ACCEPTED, _CONFLICT = 202, 409

_WAITERS_AT_ONCE = 8
_MOST_TOLD = 900_000
_PURGE_SECONDS, _PURGE_SECONDS_AT_ONCE = 60.0, 3.0
"""How often the trash is looked through; the latter without a delay, for what a clean-up deletes."""

_REMOVAL_SECONDS = 5.0
"""How long the end of the service waits for a removal under way."""


class Desk:
    """Holds the one job control and answers commands with it. ``stopping`` ends calls that wait; ``now`` tells the
    time that everything is timed by; ``config`` is the file that the settings are from."""

    def __init__(
        self, settings: Settings, now: Callable[[], str] = utc_now, config: Path | None = None
    ) -> None:
        self.stopping = threading.Event()
        self._settings = settings
        self._restore_dir = settings.restore_dir or settings.backup_dir / "restores"
        self._settling = threading.Lock()
        self._is_settled = self._is_tidy = False
        self._control = JobControl(settings.job_dir, settings.backup_dir, now)
        self._planner = Planner(settings, self._restore_dir, self._control.history)
        self._keeper = Keeper(settings, self._control)
        self._warmer = Warmer(settings, self._control, self._planner)
        self._reports = Reports(settings, self._control, self._warmer, config)
        self._settle()
        self._control.recover(self._tidy)
        self._waiters = threading.Semaphore(_WAITERS_AT_ONCE)
        self._look = threading.Event()
        self._upkeep = threading.Thread(target=self._keep_up, daemon=True)
        self._upkeep.start()

    def handlers(self) -> Handlers:
        """Return the whitelist: what can be asked, and who answers."""
        return {
            FullBackup: _told(self.full_backup),
            IncrementalBackup: _told(self.incremental_backup),
            RestoreBackup: _told(self.restore_backup),
            AdoptBackup: _told(self.adopt_backup),
            ListAdoptable: _refusable(lambda _command: self._reports.adoptable()),
            VerifyBackup: _told(self.verify_backup),
            BringBack: _told(self.bring_back),
            DeleteBackup: _refusable(self.delete_backup),
            UndeleteBackup: _refusable(self._changed(self._keeper.undelete)),
            HoldBackup: _refusable(self._changed(self._keeper.hold)),
            ReleaseBackup: _refusable(self._changed(self._keeper.release)),
            CleanupBackups: _told(self.cleanup_backups),
            ReadEvents: _refusable(self.read_events),
            ListBackups: _refusable(self._reports.backups),
            LookAtBackups: _refusable(self._seen(self._reports.presence)),
            ListRestored: _refusable(lambda _command: self._reports.restored()),
            RemoveRestored: _refusable(self.remove_restored),
            RemoveReplaced: _refusable(self.remove_replaced),
            ListReplaced: _refusable(lambda _command: self._reports.replaced()),
            DatabaseWanted: _refusable(lambda _command: self._reports.database_wanted()),
            ReportDatabase: _refusable(self._reports.take_database),
            ListTrash: _refusable(lambda _command: self._reports.trash()),
            CancelJob: _refusable(self.cancel_job),
            AcknowledgeJob: _refusable(self.acknowledge_job),
            JobProgress: _refusable(self._reports.progress),
            JobLog: _refusable(self._reports.log),
            Check: _refusable(self._seen(lambda _command: self._reports.check())),
        }

    def full_backup(self, command: FullBackup) -> Answer:
        """Start a full backup."""
        return self._accept(command, self._planner.full, "backup_dir")

    def incremental_backup(self, command: IncrementalBackup) -> Answer:
        """Start an incremental backup, or a full one where the base cannot be trusted."""
        return self._accept(command, self._planner.incremental, "backup_dir")

    def restore_backup(self, command: RestoreBackup) -> Answer:
        """Start a restore of a backup and its chain."""
        return self._accept(command, self._planner.restore, *self._aside(command.target == "folder"))

    def adopt_backup(self, command: AdoptBackup) -> Answer:
        """Start to take over a backup that somebody else has made."""
        return self._accept(command, self._planner.adopt, "backup_dir")

    def verify_backup(self, command: VerifyBackup) -> Answer:
        """Start to prove that a backup comes back."""
        return self._accept(command, self._planner.verify, "backup_dir", *self._aside(command.level > INTACT))

    def bring_back(self, command: BringBack) -> Answer:
        """Start to bring back what a restore replaced."""
        return self._control.accept(command.job_id, lambda: self._planner.bring_back(command))

    def delete_backup(self, command: DeleteBackup) -> Answer:
        """Move a backup into the trash, from where it is removed later; with ``trash_delay`` 0 at once."""
        answer = self._changed(self._keeper.delete)(command)
        if not self._settings.trash_delay:
            self._look.set()
        return answer

    def cleanup_backups(self, command: CleanupBackups) -> Answer:
        """Start to delete what has expired, as far as it may go."""
        return self._accept(command, self._planner.cleanup, "backup_dir")

    def remove_restored(self, command: RemoveRestored) -> Answer:
        """Remove a folder that a restore has made: it is gone at once, and its bytes soon."""
        if self._settings.restore_dir is None:
            preflight.require_folders(self._settings, "backup_dir")
        folder = restored_folders.condemn(self._restore_dir, self._control, command.id)
        threading.Thread(target=_remove, args=(folder,), daemon=True).start()
        return _ok()

    def remove_replaced(self, command: RemoveReplaced) -> Answer:
        """Remove what a restore replaced, before its time, for root alone: whoever has got hold of the API must not be
        able to take away the data that was there before."""
        if caller.uid != 0:
            raise Refused(403, "remove_replaced is for root alone")
        restored_folders.condemn_replaced(self._settings, self._control, command.id)
        self._look.set()
        return _ok()

    def cancel_job(self, command: CancelJob) -> Answer:
        """Have a running job end before its work is done; its end in the journal says whether that came in time."""
        self._control.cancel(command.job_id)
        return {"code": 202, "status": "accepted"}

    def acknowledge_job(self, command: AcknowledgeJob) -> Answer:
        """Keep it that somebody knows how a job ended."""
        self._control.acknowledge(command.job_id)
        return _ok()

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
        before = (command.journal, command.offset)
        self._control.followed = command.journal
        give_up = time.monotonic() + wait
        while True:
            page = _that_fit(journal, *before)
            remaining = give_up - time.monotonic()
            if (page.id, page.offset) != before or remaining <= 0 or self.stopping.is_set():
                return _ok(journal=page.id, offset=page.offset, events=page.events, more=page.more)
            self._control.wait_for_change(min(remaining, 1.0))

    def close(self) -> None:
        """End what is not to outlive this service. A removal that takes long is left to the next one."""
        self.stopping.set()
        self._look.set()
        self._upkeep.join(_REMOVAL_SECONDS)
        self._warmer.stop()

    def _accept(self, command: J, plan: Callable[[J], Plan], *folders: str) -> Answer:
        """Start a job that needs the folder of backups, and can write in these folders."""

        def when_here() -> Plan:
            self._settle()
            self._tidy()
            preflight.require_folders(self._settings, *folders)
            return plan(command)

        return self._control.accept(command.job_id, when_here)

    def _aside(self, is_wanted: bool) -> tuple[str, ...]:
        """Return the key of the folder that backups are brought back to aside, where that is wanted."""
        if not is_wanted:
            return ()
        return ("backup_dir" if self._settings.restore_dir is None else "restore_dir",)

    def _changed(self, change: Callable[[C], Answer]) -> Callable[[C], Answer]:
        """Return what changes a backup that is there, if it can be told that it is or is not there."""

        def changed(command: C) -> Answer:
            preflight.require_folders(self._settings, "backup_dir")
            return change(command)

        return changed

    def _seen(self, report: Callable[[C], Answer]) -> Callable[[C], Answer]:
        """Return what tells of the folder of backups, as it is now."""

        def seen(command: C) -> Answer:
            self._settle()
            return report(command)

        return seen

    def _settle(self) -> None:
        """Take in what lies in the folder of backups, when it is there at first and whenever it is there again."""
        settings = self._settings
        with self._settling:
            try:
                self._control.history.catch_up()
                if mark.settle(settings.backup_dir, settings.job_dir, self._control.history.newest):
                    self._is_settled = self._is_tidy = False
                if not self._is_here() or self._is_settled:
                    return
                for folder in (
                    settings.backup_dir / ".work",
                    settings.backup_dir / ".trash",
                    self._restore_dir,
                ):
                    with suppress(OSError):  # Whoever needs it says so.
                        folder.mkdir(mode=0o700, exist_ok=True)
                self._control.history.look_again()
                self._keeper.recover()
                self._is_settled = True
            except OSError as error:
                log("error", f"cannot take in what lies in {settings.backup_dir}: {describe(error)}")

    def _is_here(self) -> bool:
        """Tell whether the folder of backups is there; what it holds is taken in anew once it was not."""
        here = mark.absence(self._settings.backup_dir, self._settings.job_dir) is None
        self._is_settled &= here
        self._is_tidy &= here
        return here

    def _tidy(self) -> None:
        """Remove what no job works in any more: half-made backups and restores, and nothing else that lies there. The
        lock of jobs is held."""
        if self._is_tidy or not self._is_here():
            return
        for folder in (
            *(self._settings.backup_dir / ".work").glob("*"),
            *self._restore_dir.glob(".*-restored-*"),
        ):
            _remove(folder)
        self._is_tidy = True

    def _look_for_folder(self) -> None:
        """Take in what lies in the folder of backups if that has come, and tidy up unless a job runs."""
        self._settle()
        if not self._is_tidy and self._is_here():
            with suppress(Refused), self._control.locked():
                self._tidy()

    def _keep_up(self) -> None:
        """Do again and again what nobody asks for. What fails is told, and keeps neither the rest nor the next time
        from being done."""
        pause = _PURGE_SECONDS if self._settings.trash_delay else _PURGE_SECONDS_AT_ONCE
        duties: tuple[Callable[[], object], ...] = (
            self._look_for_folder,
            self._keeper.purge,
            lambda: rollback_copies.purge(self._settings, self._control.history, self._control.locked),
            self._warmer.look,
            self._control.shorten,
        )
        while not self.stopping.is_set():
            for duty in duties:
                try:
                    duty()
                except Exception as error:  # Else the trash would fill up, and nobody be told why.
                    why = describe(error) if isinstance(error, OSError) else repr(error)
                    log("error", f"upkeep of backups failed and is tried again in {pause:g} s: {why}")
            self._look.wait(pause)
            self._look.clear()


def _that_fit(journal: Journal, id: str, offset: int) -> Page:
    """Return events that come after an offset, as many as fit into an answer. What is too long by itself is not told:
    nobody ever wrote such an event but by mistake."""
    at_most = PAGE
    while True:
        page = journal.read_on(id, offset, at_most)
        if len(json.dumps(page.events)) <= _MOST_TOLD:
            return page
        if len(page.events) == 1:
            log("warning", f"an event of the journal is too long to be told: it ends at byte {page.offset}")
            return replace(page, events=[])
        at_most //= 2


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
    except FileNotFoundError:
        pass  # Another deletion was quicker.
    except OSError as error:
        log("error", f"cannot remove {folder}: {error}")


def _ok(**fields: object) -> Answer:
    return {"code": 200, "status": "ok", **fields}


def _told(begin: Callable[[C], Answer]) -> Callable[[C], Answer]:
    """Answer as ``_refusable`` does, and tell the log of a job that is not begun."""

    def answer(command: C) -> Answer:
        answered = _refusable(begin)(command)
        if (code := answered["code"]) != _ACCEPTED:
            tell_refusal(command, str(answered["status"]), passes=code == _CONFLICT and "job_id" in answered)
        return answered

    return answer


def _refusable(handler: Callable[[C], Answer]) -> Callable[[C], Answer]:
    def answer(command: C) -> Answer:
        told: Answer = legible(_answered(handler, command))  # Names of files need not be UTF-8.
        return told

    return answer


def _answered(handler: Callable[[C], Answer], command: C) -> Answer:
    try:
        return handler(command)
    except Refused as refused:
        return {"code": refused.code, "status": str(refused), **refused.data}
    except OSError as error:
        return {
            "code": 503,
            "status": f"cannot go on: {describe(error)}",
        }
