"""dbcalm-mariadb-cmd, the service that runs as mysql.

It takes commands over a Unix socket from user ``dbcalm`` or root: ids, closed words and bounded numbers. It decides by
itself, at that moment and from the backups' own manifests, whether a job may start, and starts a runner for it. It
never opens the catalogue, never sees the API's keys, and never takes a path, an option or a program from a caller.
"""

import os
import sys
from pathlib import Path

from dbcalm_cmd.process import Server, allowed_uids, listening_socket
from dbcalm_mariadb_cmd.adapter.frozen import load_all
from dbcalm_mariadb_cmd.config.keys import DEFAULT_CONFIG, ConfigError, load
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.dispatch.handlers import Desk
from dbcalm_mariadb_cmd.preflight.checks import unusable_folders
from dbcalm_mariadb_cmd.supervisor import runner, standby_worker


def main() -> int:
    """Serve until SIGTERM; return 0, or 1 with one line on standard error if it cannot start."""
    if sys.argv[1:2] == ["run"]:  # The frozen program is its own runner.
        load_all()  # A job goes on while an upgrade replaces the program's files.
        return runner.main(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    if sys.argv[1:2] == ["warm"]:
        load_all()
        return standby_worker.main(Path(sys.argv[2]), int(sys.argv[3]))
    try:
        path = Path(os.environ.get("DBCALM_CONFIG") or DEFAULT_CONFIG)
        settings = load(Settings, path)
        uids = allowed_uids(settings.dbcalm_user)
        _require_folders(settings, path)
        listener = listening_socket(settings.mariadb_cmd_socket, settings.dbcalm_user)
        desk = Desk(
            settings, config=path
        )  # Only now: whoever has the socket is the one service that tidies up.
    except (ConfigError, LookupError, OSError) as error:
        print(f"dbcalm-mariadb-cmd: {error}", file=sys.stderr)
        return 1
    server = Server(listener, desk.handlers(), uids)
    desk.stopping = server.stopping
    server.run()
    desk.close()
    return 0


def _require_folders(settings: Settings, config: Path) -> None:
    """Raise ConfigError unless this user can write where jobs are kept. Other folders may come later: their disks need
    not be mounted yet, and until then the service says so."""
    if mistakes := unusable_folders({"job_dir": settings.job_dir}):
        raise ConfigError(config, mistakes)
