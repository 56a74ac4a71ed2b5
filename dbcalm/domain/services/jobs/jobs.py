"""Jobs of the mysql service: starting one, and keeping the catalogue up with their journal."""

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dbcalm.domain.ports import Clock, Cursor, JobStore, MysqlService
from dbcalm.errors import (
    Busy,
    Conflict,
    DBCalmError,
    InvalidRequest,
    NoSpace,
    NotFound,
    ServiceFailed,
    Unavailable,
)
from dbcalm.logger import Outcome, log
from dbcalm_cmd_client import Answer, ServiceUnreachable

HOLD_SECONDS = 20.0
"""How long the service may keep the follower waiting for news."""

_WANTING_SECONDS = 0.5
"""The same while a job waits for something that others have to do."""

_TOLD_OF_PROGRESS = ("phase", "bytes_done", "bytes_total", "percent", "bytes_per_second", "seconds_left")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_REFUSALS: Mapping[int, type[DBCalmError]] = {
    400: InvalidRequest,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
    507: NoSpace,
}


@dataclass(frozen=True)
class Started:
    """A job that was accepted. ``facts`` is what the service said of it, ``id`` (the backup's) among it."""

    job_id: str
    facts: Mapping[str, Any]


def asked(call: Callable[[], Answer]) -> Answer:
    """Return what the mysql service answered; raise Unavailable if it did not."""
    try:
        return call()
    except ServiceUnreachable as error:
        raise Unavailable("the service dbcalm-mariadb-cmd does not answer; see that it runs") from error


def granted(answer: Answer) -> Mapping[str, Any]:
    """Return the data of a good answer; raise the error that fits its code and has its sentence."""
    if answer.code < 300:
        return answer.data
    refusal = _REFUSALS.get(answer.code)
    if refusal is None:
        log.error("the mysql service answered %d: %s", answer.code, answer.status)
        raise ServiceFailed("the service dbcalm-mariadb-cmd failed; its log says why")
    if refusal is Conflict and "job_id" in answer.data:
        running = answer.data["job_id"]
        raise Busy(answer.status, None if running is None else str(running))
    raise refusal(answer.status)


class Jobs:
    """Starts jobs and applies the journal to the catalogue; safe to use from many threads and programs at once."""

    def __init__(self, service: MysqlService, store: JobStore, clock: Clock) -> None:
        self._service = service
        self._store = store
        self._clock = clock

    def start(self, command: Callable[[str], Answer], outcome: Outcome) -> Started:
        """Send a command with a job id of ours and return once its process stands in the catalogue; the outcome is told
        that it began.

        A lost reply is asked for once more: the service does a command of a known job id only once.
        """
        job_id = uuid.uuid4().hex
        try:
            answer = command(job_id)
        except ServiceUnreachable:
            answer = asked(lambda: command(job_id))
        facts = granted(answer)
        outcome.began(job_id)
        try:
            self.catch_up()
        except Unavailable as error:
            raise Unavailable(f"job {job_id} was accepted and goes on, but {error}") from error
        return Started(job_id, facts)

    def catch_up(self) -> None:
        """Apply all that the journal has; raise Unavailable if the service does not answer."""
        while self._advance(0.0):
            pass

    def _advance(self, wait: float) -> bool:
        """Apply one batch of events, waiting up to ``wait`` seconds for the first; False if there is no more."""
        before = self._store.cursor()
        data = granted(asked(lambda: self._service.read_events(before.journal, before.offset, wait)))
        after = Cursor(data["journal"], data["offset"])
        if after == before:
            return False
        # Where somebody else was faster, what they have not applied is asked for once more.
        return not self._store.apply(before, after, data["events"]) or bool(data["more"])

    def add_found(self) -> None:
        """Add the whole backups on disk that the catalogue lacks; raise Unavailable if the service does not answer, or
        cannot see the backups."""
        if unseen := self._add_found():
            raise unseen

    def _add_found(self) -> Unavailable | None:
        """Add the whole backups on disk that the catalogue lacks; return why the service cannot see the backups, as
        where their disk is not mounted; raise Unavailable if it does not answer."""
        while True:
            self.catch_up()
            cursor = self._store.cursor()
            try:
                backups = self.on_disk()
            except Unavailable as unseen:
                return unseen
            added = self._store.add_found(cursor, backups)
            if (
                added is not None
            ):  # Else something happened since the look at the disk, which may be out of date.
                break
        if added:
            log.warning("%d backups on disk were not in the catalogue and were added to it", added)
        return None

    def rebuild(self) -> int:
        """Have the catalogue know just the backups on disk, by their manifests, and all that the journal has of jobs;
        return how many backups those are. Raise Unavailable."""
        while True:
            self.catch_up()
            cursor = self._store.cursor()
            backups = self.on_disk()
            if self._store.replace_backups(cursor, backups):
                return len(backups)

    def set_aside(self) -> Sequence[str]:
        """Return why events of the journal could not be applied, the last first."""
        return self._store.set_aside()

    def on_disk(self, *, examine: bool = False) -> list[Mapping[str, object]]:
        """Return the manifests of the whole backups on disk with their holds; with ``examine`` also whether each is
        ``intact``. Raise Unavailable."""
        found: list[Mapping[str, object]] = []
        last, more = "", True
        while more:
            data = granted(asked(partial(self._service.list_backups, last, examine)))
            found += data["backups"]
            more = bool(data["more"])
            last = data["backups"][-1]["id"] if more else ""
        return found

    def progress(self, job_id: str) -> Mapping[str, Any] | None:
        """Return ``phase, bytes_done, bytes_total, percent, bytes_per_second, seconds_left`` of a job, or None
        where that cannot be told."""
        try:
            data = granted(self._service.job_progress(job_id))
        except (ServiceUnreachable, DBCalmError):
            return None
        # A job that an older version of the service has started does not tell the later ones.
        return {name: data.get(name) for name in _TOLD_OF_PROGRESS}

    def follow(self, stop: threading.Event, serve: Callable[[], bool] = bool) -> None:
        """Keep the catalogue up with the journal until told to stop, whatever happens to the service meanwhile.

        ``serve`` is called after each look at the journal; while it says that something is wanted, the next comes soon.
        """
        ready, failed, pause, wanting = False, False, 0.0, True
        while not stop.wait(pause):
            began = self._clock.monotonic()
            try:
                if not ready:
                    ready = self._add_found() is None  # The journal is followed all the same.
                    if failed:
                        log.info("the journal of jobs is followed again")
                    failed = False
                self._advance(_WANTING_SECONDS if wanting else HOLD_SECONDS)
                wanting = serve()
            except Exception as error:  # Whatever it is, a later round may go well.
                if not failed:
                    trace = not isinstance(error, DBCalmError)
                    log.warning("the journal of jobs cannot be followed: %s", error, exc_info=trace)
                ready, failed = False, True
                pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * pause))
            else:
                # A service that does not hold the call, because it stops, must not be asked in a tight loop.
                pause = 0.0 if self._clock.monotonic() - began > _FIRST_PAUSE else _FIRST_PAUSE
