"""Processes: what jobs were run, and how each one stands."""

import contextlib
from collections.abc import Mapping
from typing import Any

from dbcalm.domain.entities import Process
from dbcalm.domain.jobs import Jobs
from dbcalm.domain.listing import INTEGER, TEXT, TIME, Listing, Page, Query
from dbcalm.domain.names import shown
from dbcalm.domain.ports import ProcessStore
from dbcalm.errors import DBCalmError, NotFound

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

RUNNING = "running"


class Processes:
    """Lists processes, and tells the status of one as the journal has it."""

    def __init__(self, store: ProcessStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    def list(self, query: Query) -> Page[Process]:
        """Return one page of processes."""
        return self._store.list(query)

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
