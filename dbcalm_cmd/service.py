"""dbcalm-cmd, the service that runs as root.

It takes two commands over a Unix socket from user ``dbcalm`` or root: to replace the cron file by a set of schedules,
and to say whether it is that set's. Schedules arrive as bounded integers and closed words. It never takes text or a
path from a caller, never deletes, never runs a program, and loads nothing but the standard library and this package.
"""

import os
import sys
import threading
from pathlib import Path

from dbcalm_cmd.adapter import count_schedules, is_installed, render, replace_file
from dbcalm_cmd.command import CheckCronSchedules, CronSchedule, UpdateCronSchedules
from dbcalm_cmd.process import Answer, Handlers, Server, allowed_uids, listening_socket, log
from dbcalm_cmd.settings import Settings, SettingsError, default_path, load


def handlers(settings: Settings) -> Handlers:
    """Return the whitelist: what can be asked, and who answers."""
    path, one_at_a_time = Path(settings.cron_file), threading.Lock()

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
        installed, present = is_installed(path, text_of(command.schedules)), count_schedules(path)
        return {"code": 200, "status": "ok", "installed": installed, "present": present}

    return {UpdateCronSchedules: update_cron_schedules, CheckCronSchedules: check_cron_schedules}


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
