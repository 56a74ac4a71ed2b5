"""dbcalm-cmd, the service that runs as root.

It takes commands over a Unix socket from user ``dbcalm`` or root: to replace the cron file by a set of schedules and
say whether it is that set's; to stop, start and look at the database's unit. Schedules are bounded integers and closed
words. It never takes text or a path from a caller, runs only systemctl, and loads the standard library and itself.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from dbcalm_cmd.adapter import is_installed, render, replace_file, schedules_in
from dbcalm_cmd.command import (
    CheckCronSchedules,
    CronSchedule,
    QueryDatabase,
    StartDatabase,
    StopDatabase,
    UpdateCronSchedules,
)
from dbcalm_cmd.process import Answer, Handlers, Server, allowed_uids, listening_socket, log
from dbcalm_cmd.settings import Settings, SettingsError, default_path, load
from dbcalm_cmd.unit import DatabaseUnit, UnitError


def handlers(settings: Settings) -> Handlers:
    """Return the whitelist: what can be asked, and who answers."""
    path, one_at_a_time = Path(settings.cron_file), threading.Lock()
    unit, one_verb_at_a_time = DatabaseUnit(settings.systemctl, settings.database_unit), threading.Lock()

    def text_of(schedules: tuple[CronSchedule, ...]) -> str:
        return render(schedules, settings.dbcalm_user, settings.program, settings.config)

    def update_cron_schedules(command: UpdateCronSchedules) -> Answer:
        text, count = text_of(command.schedules), len(command.schedules)
        try:
            with one_at_a_time:
                if changed := not is_installed(path, text):
                    replace_file(path, text)
        except OSError as error:
            return {"code": 503, "status": f"cannot write {path}: {error.strerror or error}"}
        if changed:
            log("info", f"{path} now holds {count} schedules")
        return {"code": 200, "status": "ok", "schedules": count, "changed": changed}

    def check_cron_schedules(command: CheckCronSchedules) -> Answer:
        installed, (present, highest) = is_installed(path, text_of(command.schedules)), schedules_in(path)
        found = {"installed": installed, "present": present, "highest_id": highest}
        return {"code": 200, "status": "ok", **found}

    def database(do: Callable[[], object] | None, log_as: str = "") -> Answer:
        if not one_verb_at_a_time.acquire(
            timeout=1.0
        ):  # Not later: whoever asked may want something else by then.
            return {"code": 503, "status": "systemctl is busy with what was asked for before"}
        try:
            if do is not None:
                do()
                log("info", f"{settings.database_unit} is {log_as}, as was asked")
            return {"code": 200, "status": "ok", **unit.state()}
        except UnitError as error:
            return {"code": 503, "status": str(error)}
        finally:
            one_verb_at_a_time.release()

    return {
        UpdateCronSchedules: update_cron_schedules,
        CheckCronSchedules: check_cron_schedules,
        StopDatabase: lambda _command: database(unit.stop, "being stopped"),
        StartDatabase: lambda _command: database(unit.start, "being started"),
        QueryDatabase: lambda _command: database(None),
    }


def main() -> int:
    """Serve until SIGTERM; return 0, or 1 with one line on standard error if it cannot start."""
    try:
        settings = load(default_path(os.environ))
        uids = allowed_uids(settings.dbcalm_user)
        listener = listening_socket(Path(settings.socket), settings.dbcalm_user)
    except (SettingsError, LookupError, OSError) as error:
        print(f"dbcalm-cmd: {error}", file=sys.stderr)
        return 1
    Server(listener, handlers(settings), uids).run()
    return 0
