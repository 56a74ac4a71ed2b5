"""What becomes of a backup after it was made: held and released, deleted and brought back, purged."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from dbcalm_cmd.process import Answer, log
from dbcalm_mariadb_cmd.command.amounts import minute
from dbcalm_mariadb_cmd.command.requests import DeleteBackup, HoldBackup, ReleaseBackup, UndeleteBackup
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused, describe
from dbcalm_mariadb_cmd.retention.guard import Limits, Stock
from dbcalm_mariadb_cmd.store.history import manifests
from dbcalm_mariadb_cmd.store.hold import Hold, store_hold, stored_hold
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest, Missing, read_manifest
from dbcalm_mariadb_cmd.store.mark import absence
from dbcalm_mariadb_cmd.store.proof import of_making, proof_of
from dbcalm_mariadb_cmd.supervisor.control import JobControl

_OK: Answer = {"code": 200, "status": "ok"}


class Keeper:
    """Changes backups that are there, each change under the lock ``changing`` and told to the journal.

    Deleting and bringing back exclude jobs too, as a job may be building on what is deleted. Holding does not: it
    shall be possible in every hour of a long backup.
    """

    def __init__(self, settings: Settings, control: JobControl) -> None:
        self._settings = settings
        self._control = control
        self._trash = control.trash
        self._purging = threading.Lock()

    def delete(self, command: DeleteBackup) -> Answer:
        """Move a backup into the trash; raise Refused 404 or 409. One that is gone is told to be deleted, so that the
        catalogue, which may know it yet, forgets it."""
        settings, journal = self._settings, self._control.journal
        with self._control.locked(), self._trash.changing():
            self._require_clock()
            limits = Limits(settings.min_full_chains, settings.min_age)
            found = self._is_here(command.id)
            stock = Stock(settings.backup_dir, limits, journal.now())
            if found:
                stock.require_removable(command.id)
                self._trash.put(command.id)
            else:
                stock.require_leaf(command.id)
                journal.append("deleted", backup_id=command.id, trash=None)
        self._control.tell_change()
        return _OK

    def undelete(self, command: UndeleteBackup) -> Answer:
        """Bring back what was deleted last under this id, or at this time; raise Refused 404 or 409."""
        with self._control.locked(), self._trash.changing():
            entry = self._trash.newest(command.id, command.deleted_at)
            if entry is None:
                when = f" since {command.deleted_at}" if command.deleted_at else ""
                raise Refused(404, f"no backup {command.id} is in the trash{when}")
            try:
                made = entry.manifest()
            except Damaged as damage:
                raise Refused(409, f"{command.id} cannot be undeleted: {damage}") from damage
            if os.path.lexists(self._settings.backup_dir / command.id):
                raise Refused(409, f"the id {command.id} is taken")
            self._require_base(made)
            self._trash.take_back(entry, made)
        self._control.tell_change()
        return _OK

    def hold(self, command: HoldBackup) -> Answer:
        """Hold a backup, also instead of an earlier hold; raise Refused 404, or 409 if it is damaged or if the hold
        would be over already."""
        with self._trash.changing():
            folder = self._existing(command.id)
            hold = Hold(command.reason, command.until, since=self._control.journal.now())
            if hold.is_over(hold.since):
                raise Refused(409, f"until must be in the future, and {minute(str(hold.until))} is not")
            self._set_hold(folder, hold)
        self._control.tell_change()
        return _OK

    def release(self, command: ReleaseBackup) -> Answer:
        """End a hold, if there is one, also of a backup that is damaged; raise Refused 404."""
        with self._trash.changing():
            self._set_hold(self._existing(command.id, damaged_too=True), None)
        self._control.tell_change()
        return _OK

    def recover(self) -> None:
        """Tell the journal what an earlier life did and did not come to tell."""
        history = self._control.history
        self._trash.recover(history)
        for _, deleted in self._trash.readable():
            history.number_taken(deleted.seq)  # It may come back, and the journal may be a new one.
        with self._trash.changing():
            history.catch_up()
            for made in manifests(self._settings.backup_dir):
                hold = stored_hold(self._settings.backup_dir / made.id)
                if (hold.told() if hold else None) != history.held.get(made.id):
                    self._tell_hold(made.id, hold)
                self._tell_lost_proof(made)
        history.catch_up()

    def purge(self) -> None:
        """Remove for good what has been in the trash long enough, unless the clock is in doubt; and see to it that the
        journal knows the time, also where nothing happens for days: by its times the clock is judged."""
        history, journal = self._control.history, self._control.journal
        with self._purging:
            try:
                history.catch_up()
                now = journal.now()
                doubted = history.clock.doubt(now)
                if history.clock.wants_stamp(now):
                    journal.append("tick")
                settings = self._settings
                if absence(settings.backup_dir, settings.job_dir):
                    return
                self._trash.purge(settings.trash_delay, settings.min_full_chains, by_clock=doubted is None)
            except OSError as error:
                log("error", f"cannot purge the trash: {describe(error)}")
        self._control.tell_change()

    def _tell_lost_proof(self, made: Manifest) -> None:
        """Tell how far a backup is proven where the journal says otherwise: that line of it is lost."""
        unproven = of_making(made).told()
        proof = proof_of(self._settings.backup_dir / made.id, made).told()
        if proof != (self._control.history.proofs.get(made.id) or unproven):
            self._control.journal.append("proved", backup_id=made.id, proof=proof)

    def _set_hold(self, folder: Path, hold: Hold | None) -> None:
        """Hold a backup, or end its hold, and tell the journal; if that cannot be told, leave it as it was."""
        before = stored_hold(folder)
        if hold == before:
            return
        try:
            store_hold(folder, hold)
            self._tell_hold(folder.name, hold)
        except OSError:
            with suppress(OSError):  # What is then held and not told is told at the next start.
                store_hold(folder, before)
            raise

    def _tell_hold(self, id: str, hold: Hold | None) -> None:
        if hold is None:
            self._control.journal.append("released", backup_id=id)
        else:
            self._control.journal.append("held", backup_id=id, hold=hold.told())

    def _require_clock(self) -> None:
        """Raise Refused 409 where nobody knows how old a backup is, and that matters."""
        doubted = self._control.history.clock.doubt(self._control.journal.now())
        if self._settings.min_age and doubted:
            raise Refused(409, f"min_age cannot be kept by a clock that is in doubt: {doubted}")

    def _is_here(self, id: str) -> bool:
        folder = self._settings.backup_dir / id
        try:
            read_manifest(folder)
        except Missing as missing:
            if folder.exists():
                raise Refused(404, str(missing)) from missing
            return False
        except Damaged as damage:
            raise Refused(409, str(damage)) from damage
        return True

    def _existing(self, id: str, *, damaged_too: bool = False) -> Path:
        """Return a backup's folder; raise Refused 404, or 409 if it is damaged and that matters."""
        try:
            if not self._is_here(id):
                raise Refused(404, f"there is no backup {id!r}")
        except Refused as refused:
            if refused.code == 404 or not damaged_too:
                raise
        return self._settings.backup_dir / id

    def _require_base(self, made: Manifest) -> None:
        """Raise Refused 409 unless what this backup builds on is there."""
        if made.from_backup_id is None:
            return
        try:
            base = read_manifest(self._settings.backup_dir / made.from_backup_id)
        except Damaged as damage:
            first = f"undelete {made.from_backup_id} first"
            advice = first if self._trash.newest(made.from_backup_id) else "it is not in the trash either"
            raise Refused(409, f"{made.id} builds on {made.from_backup_id}: {damage}; {advice}") from damage
        if base.seq >= made.seq or base.to_lsn != made.from_lsn:
            raise Refused(409, f"{made.id} was not made on the {base.id} that is here now")
