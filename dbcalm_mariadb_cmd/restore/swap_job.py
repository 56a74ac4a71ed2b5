"""Restoring over a server that is there: its data is exchanged for other data, and kept.

All that takes long is done while the old server runs: the chain is copied and prepared in a hidden folder of the data
directory. Only then the database is stopped, the names are exchanged, and it is started and asked how it is. Whatever
fails, the old data gets its place back and is started again.

How far it has come is written down before each step, so that a job whose process died goes on from there: it is never
left with half of each.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import remove_tree, write_synced
from dbcalm_mariadb_cmd.adapter.server import facts
from dbcalm_mariadb_cmd.adapter.server.holders import holder
from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.builder.layout import REMOVING, REPLACED
from dbcalm_mariadb_cmd.command.shapes import fitted, parsed
from dbcalm_mariadb_cmd.errors import JobFailed, Refused, describe
from dbcalm_mariadb_cmd.jobs.order import Job, ReplacingJob, RestoreJob
from dbcalm_mariadb_cmd.jobs.progress import Progress
from dbcalm_mariadb_cmd.preflight import login
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.restore.server_control import Switch
from dbcalm_mariadb_cmd.restore.swap import Exchange, Facts
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import read_manifest

STOPPING, MOVING, MOVED, RETURNING, RETURNED, DONE, FAILED = (
    "stopping", "moving", "moved", "returning", "returned", "done", "failed",
)  # fmt: skip
_MOST_LIVES = 5
_HEALTHY_SECONDS = 3.0
"""How long the server must have answered without a restart in between."""

_OUTLIVES_SECONDS = 15.0
"""How long a server may outlive its unit."""

_OF_ANOTHER_UNIT = (
    "{working} works in the data directory, though the unit that cmd.toml names as database_unit is stopped: "
    "name the unit of that server, or stop it; {how_to_stop}"
)
_TRIES, _TRY_AGAIN_SECONDS = 3, 1.0


@dataclass(frozen=True)
class Stage:
    """How far a job has come, and in how many processes it was worked on since it first touched the server."""

    name: str
    lives: int = 1


def replaces(job: Job) -> bool:
    """Tell whether this is a job of this module."""
    return job.replaces if isinstance(job, RestoreJob) else hasattr(job, "brings_back")


def stage_of(job: Job) -> Stage | None:
    """Return how far a job has come, None before it touches the server."""
    try:
        return fitted(Stage, parsed(read_small(_stage_file(job))))
    except FileNotFoundError:
        return None


def goes_on(job: Job) -> bool:
    """Tell whether this job, whose process is gone, needs another one to go on with it; that counts as one."""
    stage = stage_of(job) if replaces(job) else None
    if stage is None or stage.name in (DONE, FAILED) or stage.lives >= _MOST_LIVES:
        return False
    write_synced(_stage_file(job), json.dumps({"name": stage.name, "lives": stage.lives + 1}))
    return True


def undo(job: ReplacingJob) -> bool:
    """Clean up after a job that needs no process any more: return True if its data is in place, else remove what it
    had made and return False. Raise OSError if the server's data is left half exchanged."""
    stage = stage_of(job)
    if stage is not None and stage.name not in (DONE, FAILED):
        raise OSError(
            f"it was left in the middle ({stage.name}); the old data is in {_exchange(job).leaving}"
        )
    if stage is None:
        _exchange(job).forget()
    if isinstance(job, RestoreJob) and job.working.exists():
        remove_tree(job.working)
    return stage is not None and stage.name == DONE


def carry_out(
    job: ReplacingJob, output: tool.Output, lock: int, journal: Journal, identity: int | None = None
) -> str | None:
    """Replace the data; return what is to be done yet, if anything; raise JobFailed, Damaged or OSError. Before the
    server is stopped that changes nothing; after it, the error says what was done about it. ``identity`` is as
    ``restore.bring_back`` takes it.

    That the backup user is not let in is no reason to go back: the data is what was asked for, and `dbcalm setup` puts
    the account right in a moment. But it is the last question, and what is found is told."""
    stage = stage_of(job)
    if stage is None and isinstance(job, RestoreJob):
        restore.make_whole(job, output, lock, identity)
    work = _Work(job, journal)
    if stage is None:
        work.require_movable()
    try:
        if stage is None:
            work.stop_and_exchange()
        elif stage.name != MOVED:
            raise JobFailed("the job was interrupted: its process ended before its work was done")
        work.start()
    except (JobFailed, OSError) as failure:
        raise JobFailed(work.go_back(failure)) from failure
    work.finish()
    if remark := login.found(job.places):
        output.add(f"dbcalm: {remark}\n".encode())
    return remark


class _Work:
    def __init__(self, job: ReplacingJob, journal: Journal) -> None:
        self._job = job
        self._journal = journal
        self._places = job.places
        self._data_dir = Path(job.places.data_dir)
        self._exchange = _exchange(job)
        self._switch = Switch(job.places.job(job.job_id), job.job_id, journal)
        self._progress = Progress(job.places.job(job.job_id), 0)

    def require_movable(self) -> None:
        self._exchange.require_movable()

    def stop_and_exchange(self) -> None:
        self._enter(STOPPING, "stopping the database")
        self._require_stopped()
        job = self._job
        backup_id = job.chain[-1] if isinstance(job, RestoreJob) else None
        with self._exchange.locked():
            self._exchange.begin(Facts(job.restore_id, backup_id, self._journal.now(), job.job_id))
            self._enter(MOVING, "exchanging the data")
            self._exchange.forward()
        self._enter(MOVED, "starting the database")

    def start(self) -> None:
        self._progress.phase("starting the database")
        self._switch.ask("running")
        self._require_health(self._lowest_lsn())

    def finish(self) -> None:
        if self._exchange.is_worth_keeping():
            self._exchange.succeed()
        else:
            self._exchange.forget()
        emptied = self._job.working if isinstance(self._job, RestoreJob) else self._job.data
        if emptied.exists():
            remove_tree(emptied)
        self._enter(DONE, "done")

    def go_back(self, failure: Exception) -> str:
        """Put the old data back and start it again; return the whole story."""
        why = describe(failure) if isinstance(failure, OSError) else str(failure)
        stage = stage_of(self._job)
        touched = stage is not None and stage.name not in (STOPPING, RETURNED)
        try:
            if touched:
                self._enter(RETURNING, "putting the old data back")
                self._require_stopped()
                self._turn_back()
                self._enter(RETURNED, "the old data is back")
        except (JobFailed, OSError) as error:
            self._enter(FAILED, "failed")
            return f"{why}; and the old data, which is in {self._exchange.leaving}, could not be put back: {error}"
        self._exchange.forget()
        again = self._start_again()
        self._enter(FAILED, "failed")
        return f"{why}; {'the old data is back in place' if touched else 'nothing was changed'}, and {again}"

    def _start_again(self) -> str:
        if not self._job.was_running:
            return "the database is stopped, as it was before"
        self._progress.phase("starting the database again")
        self._switch.ask("running")
        try:
            self._require_health(0)
        except (JobFailed, OSError) as error:
            if self._pulse() is None:
                return f"the database did not start with it: {error}; see its own log"
        return "the database runs with it"

    def _require_stopped(self) -> None:
        """Have the database stopped, and wait until it is: by its unit's word, and by ours."""
        self._switch.ask("stopped")
        stopped_since: float | None = None
        while True:
            if not self._switch.is_met("stopped"):
                stopped_since = None
            elif (working := holder(self._data_dir)) is None:
                return
            else:
                stopped_since = stopped_since or time.monotonic()
                if time.monotonic() - stopped_since > _OUTLIVES_SECONDS:
                    told = _OF_ANOTHER_UNIT.format(working=working, how_to_stop=working.how_to_stop)
                    raise JobFailed(told)
            self._switch.pause()

    def _turn_back(self) -> None:
        for _ in range(_TRIES - 1):
            with suppress(OSError):
                self._exchange.back()
                return
            time.sleep(_TRY_AGAIN_SECONDS)
        self._exchange.back()

    def _require_health(self, lowest_lsn: int) -> None:
        """Wait until the server answers for a while, as one that works in our data directory and has all of its log."""
        places = self._places
        since: float | None = None
        uptime, met = 0, False
        while not met or since is None or time.monotonic() - since < _HEALTHY_SECONDS:
            met = self._switch.is_met("running")
            pulse = self._pulse()
            if pulse is None or pulse.uptime < uptime or not self._is_ours(pulse):
                since = None
            elif since is None:
                since = time.monotonic()
            uptime = pulse.uptime if pulse else 0
            if pulse is not None and (problem := _problem(pulse, places.data_dir, lowest_lsn)):
                raise JobFailed(problem)
            self._switch.pause()

    def _is_ours(self, pulse: facts.Pulse) -> bool:
        """Tell whether the server that answers is that of our data directory. Where it lets us in it says so."""
        if pulse.data_dir:
            return True
        working = holder(self._data_dir)
        return working is not None and working.sure

    def _pulse(self) -> facts.Pulse | None:
        """Return how a server is that answers, None if none does."""
        places = self._places
        client = tool.find(Path(places.client) if places.client else None, places.engine.clients)
        try:
            return facts.pulse(client, Path(places.credentials))
        except Refused:
            return None  # It accepted the connection and says nothing, as while it recovers.

    def _lowest_lsn(self) -> int:
        job = self._job
        return read_manifest(self._places.backup(job.chain[-1])).to_lsn if isinstance(job, RestoreJob) else 0

    def _enter(self, name: str, words: str) -> None:
        stage = stage_of(self._job)
        write_synced(_stage_file(self._job), json.dumps({"name": name, "lives": stage.lives if stage else 1}))
        self._progress.phase(words)


def _problem(pulse: facts.Pulse, data_dir: str, lowest_lsn: int) -> str | None:
    """Return what is wrong with a server that answers, or None. One that does not let the backup user in has its own
    reasons: the restored data may be from before that user's password was changed."""
    if pulse.data_dir and pulse.data_dir != data_dir:
        return f"the server that was started works in {pulse.data_dir}, and data_dir is {data_dir}"
    if pulse.lsn is not None and pulse.lsn < lowest_lsn:
        return f"the server that was started is at LSN {pulse.lsn}, and the backup ends at {lowest_lsn}"
    return None


def _exchange(job: ReplacingJob) -> Exchange:
    data_dir = Path(job.places.data_dir)
    record = job.places.job(job.job_id) / "exchange.json"
    leaving, strays = data_dir / (REPLACED + job.restore_id), data_dir / (REMOVING + job.restore_id)
    return Exchange(data_dir, job.data, leaving, strays, record)


def _stage_file(job: Job) -> Path:
    return job.places.job(job.job_id) / "stage.json"
