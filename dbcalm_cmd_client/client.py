"""The root service's commands, one method each."""

from collections.abc import Iterable
from pathlib import Path

from dbcalm_cmd.command import CronSchedule, UpdateCronSchedules
from dbcalm_cmd_client.transport import Answer, call


class CmdClient:
    """Calls the service at this socket. Methods raise ServiceUnreachable, or InvalidCommand before they send."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    def update_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        """Replace the cron file by these schedules. 200, or 503 when the file cannot be written."""
        return call(self._path, UpdateCronSchedules(tuple(schedules)), self._timeout)
