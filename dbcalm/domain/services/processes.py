"""Processes: what jobs were run, and how each one stands."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dbcalm.domain.model.chosen import beginning, chosen
from dbcalm.domain.model.entities import RUNNING, Caller, Process
from dbcalm.domain.model.listing import INTEGER, TEXT, TIME, Listing, Order, Page, Query
from dbcalm.domain.model.names import shown
from dbcalm.domain.ports import MysqlService, ProcessStore
from dbcalm.domain.services.jobs.job_feed import Following
from dbcalm.domain.services.jobs.jobs import Jobs, asked, granted
from dbcalm.errors import Conflict, DBCalmError, NotFound
from dbcalm.logger import audited
from dbcalm_mariadb_cmd.command.requests import valid_job_id

LISTING = Listing(
    query={
        "id": INTEGER,
        "command": TEXT,
        "command_id": TEXT,
        "pid": INTEGER,
        "status": TEXT,
        "return_code": INTEGER,
        "start_time": TIME,
        "end_time": TIME,
        "type": TEXT,
    },
    order=("id", "start_time", "end_time", "status"),
)

CLEANUP = "cleanup_backups"
VERIFY = "verify"

CANCELLED = "cancelled"
"""The reason of a job that was ended before its work was done."""

_NUMBER = re.compile(r"[0-9]{1,18}")


class Processes:
    """Lists processes, and tells the status of one as the journal has it."""

    def __init__(self, store: ProcessStore, service: MysqlService, jobs: Jobs) -> None:
        self._store = store
        self._service = service
        self._jobs = jobs

    def list(self, query: Query) -> Page[Process]:
        """Return one page of processes."""
        return self._store.list(query)

    def chosen(self, given: str) -> str:
        """Return the id of the job that is meant by an id, by the beginning of one, or by ``latest``; raise Conflict if
        several begin so. The catalogue is brought up to the journal first, if that can be."""
        with contextlib.suppress(DBCalmError):
            self._jobs.catch_up()

        def begin(start: str) -> Sequence[str]:
            return [one.command_id for one in self._store.list(beginning("command_id", start)).items]

        def newest() -> str | None:
            found = self._store.list(Query(order=(Order("id", descending=True),), per_page=1)).items
            return found[0].command_id if found else None

        return chosen(given, "jobs", lambda id: self._store.get(id) is not None, begin, newest)

    def status(self, job_id: str) -> tuple[Process, Mapping[str, Any] | None]:
        """Return a job's process, no older than the journal, and its progress while it runs; raise NotFound."""
        process = self._store.get(job_id)
        if process is None or process.status == RUNNING:
            with contextlib.suppress(
                DBCalmError
            ):  # Without the service, what is known is the best that there is.
                self._jobs.catch_up()
            process = self._store.get(job_id)
        if process is None:
            raise NotFound(f"there is no job {shown(job_id)}")
        return process, self._jobs.progress(job_id) if process.status == RUNNING else None

    def require(self, key: str) -> Process:
        """Return a process, named by its job's id or its number, as the journal has it; raise NotFound."""
        return self.status(self._job_id(key))[0]

    def cancel(self, caller: Caller, key: str) -> Process:
        """Have a running job, named by its id or its process's number, end before its work is done, and return its
        process, which is running for seconds still; its end tells whether that came in time.

        Raise NotFound; Conflict if it has ended or is putting its data in place; Unavailable."""
        with audited(caller.name, f"cancel job {shown(key)}") as outcome:
            process, _ = self.status(self._job_id(key))
            if process.status != RUNNING:
                raise Conflict(f"job {process.command_id} has ended: {process.status}")
            granted(asked(partial(self._service.cancel_job, process.command_id)))
            outcome.result = "asked for"
        return process

    def acknowledge(self, caller: Caller, key: str) -> Process:
        """Keep it that the failure of a job, named by its id or its process's number, is known, and return its process:
        status does not tell of it any more. Raise NotFound; Conflict if it has not failed; Unavailable."""
        with audited(caller.name, f"acknowledge job {shown(key)}"):
            process, _ = self.status(self._job_id(key))
            if process.status != "failed":
                how = "has not ended" if process.status == RUNNING else "has not failed"
                raise Conflict(f"job {process.command_id} {how}")
            granted(asked(partial(self._service.acknowledge_job, process.command_id)))
            self._jobs.catch_up()
        return self.status(process.command_id)[0]

    def _job_id(self, key: str) -> str:
        """Return the id of the job whose process has this number, or what was given."""
        if valid_job_id(key) or not _NUMBER.fullmatch(key):
            return key
        process = self._store.by_id(int(key))
        return key if process is None else process.command_id

    def log(self, job_id: str) -> Iterator[str]:
        """Yield what a job's tool has said so far, piece by piece; raise NotFound if there is no such job or its log is
        not kept any more, or Unavailable."""
        offset, more = 0, True
        while more:
            text, offset, more = self._log_from(job_id, offset)
            yield text

    def follow(self, key: str, offset: int = 0) -> Following:
        """Return what follows a job, named by its id or its process's number, from a byte of its log on; raise
        NotFound."""
        job_id = self._job_id(key)
        self.status(job_id)
        return Following(partial(self.status, job_id), partial(self._log_from, job_id), offset)

    def _log_from(self, job_id: str, offset: int) -> tuple[str, int, bool]:
        if not valid_job_id(job_id):
            raise NotFound(f"there is no job {shown(job_id)}")
        data = granted(asked(partial(self._service.job_log, job_id, offset)))
        return str(data["text"]), int(data["offset"]), bool(data["more"])
