"""Looking after the warm copy: made where it is wanted, in idle time, and taken away where it is in the way."""

import subprocess

from dbcalm_mariadb_cmd.adapter.files import remove_tree
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused, describe
from dbcalm_mariadb_cmd.jobs.order import write_order
from dbcalm_mariadb_cmd.preflight import checks as preflight
from dbcalm_mariadb_cmd.storage import standby
from dbcalm_mariadb_cmd.store.manifest import Manifest
from dbcalm_mariadb_cmd.supervisor.control import JobControl, start_own
from dbcalm_mariadb_cmd.supervisor.plans import Planner


class Warmer:
    """Holds what is known of the warm copy. Nothing here raises: that there is none does no harm, and is told."""

    def __init__(self, settings: Settings, control: JobControl, planner: Planner) -> None:
        self._settings = settings
        self._control = control
        self._planner = planner
        self._process: subprocess.Popen[bytes] | None = None
        self._tried: tuple[str, int] | None = None
        self._problem: str | None = None

    def told(self) -> dict[str, object] | None:
        """Return how it stands: ``backup_id`` if it has the newest backup, ``is_being_made``, and the ``problem`` that
        is in its way; None where none is wanted."""
        if not self._settings.warm_restore:
            return None
        newest, data_dir = self._control.history.newest, self._settings.data_dir
        is_ready = newest is not None and standby.has(data_dir, newest)
        return {
            "backup_id": newest.id if newest and is_ready else None,
            "is_being_made": standby.is_being_made(data_dir),
            "problem": None if is_ready else self._problem,
        }

    def look(self) -> None:
        """Begin to make it, or take it away, as things are."""
        try:
            self._note_end()
            if not self._settings.warm_restore:
                self.remove()
            elif not preflight.has_room_beside(self._settings.data_dir):
                self._problem, self._tried = "the database's disk is nearly full", None
                self.remove()
            else:
                self._begin_if_wanted()
        except OSError as error:
            self._problem = describe(error)

    def remove(self) -> None:
        """Take it away, finished or not; raise OSError."""
        if standby.folders(self._settings.data_dir):
            with standby.alone(self._settings.job_dir):
                standby.remove(self._settings.data_dir)

    def stop(self) -> None:
        """End whoever makes it; raise OSError."""
        if standby.is_being_made(self._settings.data_dir):
            with standby.alone(self._settings.job_dir):
                pass

    def _begin_if_wanted(self) -> None:
        """Begin unless it has the newest backup, a job is running, or this was tried before: what failed will fail
        again, until there is a newer backup or a restore has used it up."""
        history = self._control.history
        history.catch_up()
        newest = history.newest
        if newest is None or history.open is not None or standby.has(self._settings.data_dir, newest):
            return
        trying = (newest.job_id, history.restored_seq)
        if trying == self._tried:
            return
        try:
            self._begin(newest)
            self._tried = trying
        except Refused as refused:
            self._problem = str(refused)

    def _begin(self, newest: Manifest) -> None:
        job = self._planner.warm(newest)
        folder = job.places.job(job.job_id)
        with standby.making(self._settings.job_dir) as lock:
            if lock is None:
                return  # An earlier life of this service has begun.
            if folder.exists():
                remove_tree(folder)
            write_order(job)
            self._problem = None
            self._process = start_own(
                "warm", "supervisor.standby_worker", folder, (lock,), stderr=subprocess.PIPE
            )

    def _note_end(self) -> None:
        process = self._process
        if process is None or process.poll() is None:
            return
        _, said = process.communicate()
        if process.returncode > 0:
            self._problem = said.decode("utf-8", "replace").strip() or "the process that makes it failed"
        self._process = None
