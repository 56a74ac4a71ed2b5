"""Stopping and starting the database for a job that replaces its data: the job wants it, and only root can do it."""

from collections.abc import Callable, Mapping
from typing import Any

from dbcalm.domain.ports import MysqlService, RootService
from dbcalm.domain.services.jobs.jobs import asked, granted
from dbcalm.errors import Unavailable
from dbcalm.logger import log
from dbcalm_cmd_client import Answer, ServiceUnreachable

_MOST_REFUSALS = 20
"""So many rounds of one want the root service may fail or be silent before the job is told; a round is about half a
second."""

_LONGEST_PROBLEM = 200


class Database:
    """Passes on what the running job wants, one round a call, until it has it. Any number of programs may do that at
    once: to stop what is stopped changes nothing."""

    def __init__(self, mysql: MysqlService, root: RootService) -> None:
        self._mysql = mysql
        self._root = root
        self._served = ""
        self._refused = ""
        self._refusals = 0

    def require_unit(self) -> None:
        """Raise Unavailable unless the root service can stop and start the database."""
        try:
            answer = self._root.query_database()
        except ServiceUnreachable as error:
            raise Unavailable("the service dbcalm-cmd does not answer; see that it runs") from error
        if answer.code >= 300:
            raise Unavailable(answer.status)

    def serve(self) -> bool:
        """Do what is wanted next, and tell the job; return whether anything is wanted. Raise Unavailable."""
        wanted = granted(asked(self._mysql.database_wanted))
        job_id, want, goal = wanted["job_id"], wanted["want"], wanted["database"]
        if want is None:
            return False
        state, problem = self._step(want, goal)
        granted(asked(lambda: self._mysql.report_database(job_id, want, state, problem)))
        return True

    def _step(self, want: str, goal: str) -> tuple[str, str]:
        """Return how far it is: the state and, where that is "failed", what the problem is."""
        act = self._root.stop_database if goal == "stopped" else self._root.start_database
        begins = want != self._served
        try:
            if begins and want == self._refused and _told(self._root.query_database)["state"] == goal:
                self._served = want  # It was done, and only its answer was lost.
                return goal, ""
            unit = _told(act if begins else self._root.query_database)
            if not begins and goal == "stopped" and unit["state"] in ("running", "pending"):
                unit = _told(act)  # Somebody has started it again.
        except (ServiceUnreachable, Unavailable) as error:
            silent = isinstance(error, ServiceUnreachable)
            why = "the service dbcalm-cmd does not answer; see that it runs" if silent else str(error)
            self._refusals = self._refusals + 1 if want == self._refused else 1
            self._refused = want
            return ("failed", _cut(why)) if self._refusals > _MOST_REFUSALS else ("pending", "")
        self._refusals = 0
        if begins:
            log.info("the database is to be %s, as a job wants", goal)
            self._served = want
            return "pending", ""
        if goal == "stopped":
            return ("stopped" if unit["state"] in ("stopped", "failed") else "pending"), ""
        if unit["state"] in ("stopped", "failed"):
            return "failed", _cut(f"{unit['unit']} did not start: {unit['detail']}")
        return str(unit["state"]), ""


def _told(call: Callable[[], Answer]) -> Mapping[str, Any]:
    answer = call()
    if answer.code >= 300:
        raise Unavailable(answer.status)
    return answer.data


def _cut(sentence: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in sentence)[:_LONGEST_PROBLEM]
