"""How a job has the database stopped and started, which neither it nor this service may do.

It says in the journal what it wants. A program of user ``dbcalm`` reads that, has the root service do it, and reports
back how the database's unit is, again and again until the want is met. So whichever of them dies, the next one goes on.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dbcalm_cmd.process import Answer
from dbcalm_mariadb_cmd.adapter.files import write_synced
from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.command.requests import ReportDatabase
from dbcalm_mariadb_cmd.command.shapes import Unfit, fitted, parsed
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.store.journal import Journal

REACHED_SECONDS = 960.0
"""How long a stop or a start may take: MariaDB's own units allow 15 minutes for each."""

SILENT_SECONDS = 120.0
"""How long nobody may report: the API, if it died, is back after seconds."""

_POLL_SECONDS = 0.1
_REPORT = "database.json"


@dataclass(frozen=True)
class _Report:
    """What was passed on of the database: which want it answers, and when."""

    want: str
    state: str
    problem: str
    at: float


class Switch:
    """What one job wants, one thing at a time."""

    def __init__(self, folder: Path, job_id: str, journal: Journal) -> None:
        self._file = folder / _REPORT
        self._job_id = job_id
        self._journal = journal
        self._want = ""
        self._asked_at = 0.0

    def ask(self, database: str) -> None:
        """Want the database "stopped" or "running" from now on."""
        self._want = os.urandom(8).hex()
        self._asked_at = time.monotonic()
        self._journal.append("wants", job_id=self._job_id, database=database, want=self._want)

    def is_met(self, state: str) -> bool:
        """Tell whether that was reported; raise JobFailed if it failed or takes too long."""
        told, problem, at = self._report()
        if told == "failed":
            raise JobFailed(problem)
        waited = time.monotonic() - self._asked_at
        if told != state and waited - max(0.0, at) > SILENT_SECONDS:
            raise JobFailed(
                "nobody passes it on that the database is to be stopped or started; see that dbcalm-api runs"
            )
        if waited > REACHED_SECONDS:
            seen = "does not answer, though its unit is running" if told == state else f"is not {state}"
            raise JobFailed(f"after {REACHED_SECONDS / 60:g} minutes the database {seen}")
        return told == state

    def pause(self) -> None:
        """Wait a moment before looking again."""
        time.sleep(_POLL_SECONDS)

    def _report(self) -> tuple[str, str, float]:
        """Return the state, the problem, and how many seconds after our asking the last report came."""
        try:
            told = fitted(_Report, parsed(read_small(self._file)))
        except (OSError, Unfit):
            return "", "", 0.0
        if told.want == self._want:
            return told.state, told.problem, told.at - self._asked_at
        return "", "", 0.0


def report(folder: Path, command: ReportDatabase) -> Answer:
    """Hand a report to the job of this folder."""
    told = _Report(command.want, command.state, command.problem, time.monotonic())
    write_synced(folder / _REPORT, json.dumps(asdict(told)))
    return {"code": 200, "status": "ok"}
