"""The root service's commands, one method each."""

from collections.abc import Iterable
from pathlib import Path

from dbcalm_cmd.command import (
    CheckCronSchedules,
    CronSchedule,
    QueryDatabase,
    StartDatabase,
    StopDatabase,
    UpdateCronSchedules,
)
from dbcalm_cmd_client.transport import Answer, call


class CmdClient:
    """Calls the service at this socket. Methods raise ServiceUnreachable, or InvalidCommand before they send."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    def update_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        """Replace the cron file by these schedules. 200, with ``changed`` False where it was so already; 503 when the
        file cannot be written."""
        return call(self._path, UpdateCronSchedules(tuple(schedules)), self._timeout)

    def check_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        """Ask whether the cron file is as these schedules make it. 200, with ``installed``, and with ``present``, the
        number of schedules that it has, and ``highest_id`` of theirs; nothing is changed."""
        return call(self._path, CheckCronSchedules(tuple(schedules)), self._timeout)

    def stop_database(self) -> Answer:
        """Have the database's unit stopped; that it is is told by ``query_database``. As that."""
        return call(self._path, StopDatabase(), self._timeout)

    def start_database(self) -> Answer:
        """Have it started. As ``query_database``."""
        return call(self._path, StartDatabase(), self._timeout)

    def query_database(self) -> Answer:
        """Ask how it is. 200 with ``unit``, ``state`` (running, stopped, failed, or pending while it changes) and
        ``detail``; 503 if there is none or systemd does not tell."""
        return call(self._path, QueryDatabase(), self._timeout)
