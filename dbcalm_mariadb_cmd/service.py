"""dbcalm-mariadb-cmd, the service that runs as mysql.

It takes commands over a Unix socket from user ``dbcalm`` or root: ids, closed words and bounded numbers. It decides by
itself, at that moment and from the backups' own manifests, whether a job may start, and starts a runner for it. It
never opens the catalogue, never sees the API's keys, and never takes a path, an option or a program from a caller.
"""

import os
import pwd
import sys
from pathlib import Path

from dbcalm_cmd.process import Server, allowed_uids, listening_socket
from dbcalm_mariadb_cmd import runner
from dbcalm_mariadb_cmd.adapter.frozen import load_all
from dbcalm_mariadb_cmd.config_keys import DEFAULT_CONFIG, ConfigError, load
from dbcalm_mariadb_cmd.handlers import Desk
from dbcalm_mariadb_cmd.settings import Settings


def main() -> int:
    """Serve until SIGTERM; return 0, or 1 with one line on standard error if it cannot start."""
    if sys.argv[1:2] == ["run"]:  # The frozen program is its own runner.
        load_all()  # A job goes on while an upgrade replaces the program's files.
        return runner.main(Path(sys.argv[2]), int(sys.argv[3]))
    try:
        path = Path(os.environ.get("DBCALM_CONFIG") or DEFAULT_CONFIG)
        settings = load(Settings, path)
        uids = allowed_uids(settings.dbcalm_user)
        _require_folders(settings, path)
        listener = listening_socket(settings.mariadb_cmd_socket, settings.dbcalm_user)
        desk = Desk(settings)  # Only now: whoever has the socket is the one service that tidies up.
    except (ConfigError, LookupError, OSError) as error:
        print(f"dbcalm-mariadb-cmd: {error}", file=sys.stderr)
        return 1
    server = Server(listener, desk.handlers(), uids)
    desk.stopping = server.stopping
    server.run()
    return 0


def _require_folders(settings: Settings, config: Path) -> None:
    """Raise ConfigError unless this user can write where jobs are done."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    folders = {"backup_dir": settings.backup_dir, "job_dir": settings.job_dir}
    if settings.restore_dir is not None:  # It is made where it is missing.
        made = settings.restore_dir.exists()
        folders["restore_dir"] = settings.restore_dir if made else settings.restore_dir.parent
    mistakes = [
        f"{name}: user {user} cannot write in {folder}; it must be a folder of that user, and its unit must allow it"
        for name, folder in folders.items()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    ]
    if mistakes:
        raise ConfigError(config, mistakes)
