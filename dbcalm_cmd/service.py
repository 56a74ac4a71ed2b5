"""dbcalm-cmd, the service that runs as root.

It takes one command over a Unix socket from user ``dbcalm`` or root: to replace the cron file by a set of schedules,
which arrive as bounded integers and closed words. It never takes text or a path from a caller, never deletes, never
runs a program, and loads nothing but the standard library and this package.
"""

import os
import sys
import threading
from pathlib import Path

from dbcalm_cmd.adapter import render, replace_file
from dbcalm_cmd.command import UpdateCronSchedules
from dbcalm_cmd.process import (
    Answer,
    Handlers,
    Server,
    allowed_uids,
    listening_socket,
    log,
)
from dbcalm_cmd.settings import Settings, SettingsError, default_path, load


def handlers(settings: Settings) -> Handlers:
    """Return the whitelist: what can be asked, and who answers."""

    one_at_a_time = threading.Lock()

    def update_cron_schedules(command: UpdateCronSchedules) -> Answer:
        text = render(command.schedules, settings.dbcalm_user, settings.program, settings.config)
        try:
            with one_at_a_time:
                replace_file(Path(settings.cron_file), text)
        except OSError as error:
            return {"code": 503, "status": f"cannot write {settings.cron_file}: {error.strerror or error}"}
        log("info", f"{settings.cron_file} now holds {len(command.schedules)} schedules")
        return {"code": 200, "status": "ok", "schedules": len(command.schedules)}

    return {UpdateCronSchedules: update_cron_schedules}


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
