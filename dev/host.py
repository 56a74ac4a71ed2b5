"""DBCalm on a developer's own host, at the paths of a real installation, run from the checkout. For root.

``install`` makes users, folders, certificate, keys and configuration, and overwrites nothing. ``run`` runs the three
services as their users in the foreground, and again whenever their code changes, until Ctrl-C.
"""

import fcntl
import signal
import sys
import time
from pathlib import Path

from dev.sandbox_lib import SandboxError, installation, programs
from dev.sandbox_lib.accounts import Accounts, accounts
from dev.sandbox_lib.installation import HOST
from dev.sandbox_lib.services import SERVICES, Services, api_port

_PIDS = Path("/run/dbcalm-dev")
_DEFAULT_PORT = 8335
_WATCH_SECONDS = 0.5


def install() -> None:
    """Make what is missing, and say what is left to do by hand."""
    who = _three_users()
    installation.make_folders(HOST, who)
    programs.install(HOST.programs)
    installation.make_keys(HOST, who)
    installation.write_credentials(HOST, who, None)
    installation.write_configuration(HOST, who, _DEFAULT_PORT)
    print(f"Everything is in place; {HOST.config} says where. The database must know the backup user:\n")
    print(installation.account_sql(HOST))
    print("Then: make dev, and in another terminal:")
    print(f"  {HOST.launch} users add")


def run() -> None:
    """Run the services until Ctrl-C."""
    who = _three_users()
    if not HOST.config.exists():
        raise SandboxError(f"{HOST.config} is missing: make dev-install comes first")
    installation.make_folders(HOST, who)  # the folder of the sockets is gone after a reboot
    installation.make_folder(_PIDS, who.root, 0o755)
    services = Services(HOST, who, _PIDS, None)
    with (_PIDS / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError("make dev runs already") from None
        _run_until_interrupted(services)


def _run_until_interrupted(services: Services) -> None:
    try:
        while True:
            seen = _newest()
            _restart(services)
            while _newest() == seen:
                time.sleep(_WATCH_SECONDS)
            print("make dev: the code has changed", file=sys.stderr)
    except KeyboardInterrupt:
        print("", file=sys.stderr)
    finally:
        _end(services)


def _restart(services: Services) -> None:
    """Start the services with the present code; one that does not start waits for the next change."""
    _end(services)
    programs.install(HOST.programs)
    try:
        for name in SERVICES:
            services.start(name)
    except SandboxError as error:
        print(f"make dev: {error}", file=sys.stderr)
    else:
        print(f"make dev: all run; https://dbcalm.localhost:{api_port(HOST)}/docs", file=sys.stderr)


def _end(services: Services) -> None:
    for name in reversed(SERVICES):
        services.end(name)


def _newest() -> tuple[int, int]:
    """Return the number of source files and the newest of their times, which change together with the code."""
    times = [
        (programs.CHECKOUT / package / path).stat().st_mtime_ns
        for package in programs.PACKAGES
        for path in programs.sources(programs.CHECKOUT / package)
    ]
    return len(times), max(times)


def _three_users() -> Accounts:
    who = accounts()
    if who.are_one:
        raise SandboxError("only root can run the services as their users; dev/sandbox works for everybody")
    return who


def main() -> int:
    """Do what the argument says; return 0, or 1 with one line on standard error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    actions = {"install": install, "run": run}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print("usage: python -m dev.host install|run", file=sys.stderr)
        return 2
    try:
        actions[sys.argv[1]]()
    except (SandboxError, OSError) as error:
        print(f"dev/host: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
