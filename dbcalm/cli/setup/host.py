"""What ``dbcalm setup`` looks at on the host. What the services can tell is asked of them, and judged nowhere else."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbcalm import config
from dbcalm.api.certificate import RELOAD, Certificate, presented
from dbcalm.api.listener import tls_context
from dbcalm.cli.commands.host.config import problems_of_files
from dbcalm.cli.commands.host.status import api_answers
from dbcalm.cli.setup.talk import Findings
from dbcalm.config import Settings
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.jobs.jobs import asked, granted
from dbcalm.domain.services.status import of_space
from dbcalm.errors import CannotStart, DBCalmError, InvalidConfig
from dbcalm_cmd_client import CmdClient
from dbcalm_mariadb_cmd.command.amounts import size
from dbcalm_mariadb_cmd_client import MariadbCmdClient

API, ROOT_SERVICE, MYSQL_SERVICE = "dbcalm-api", "dbcalm-cmd", "dbcalm-mariadb-cmd"

_CRON = ("cron", "crond")
_PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEMD = Path("/run/systemd/system")
_SECONDS = 10

Engine = Mapping[str, Any]


def configuration(path: Path, findings: Findings) -> Settings | None:
    """Return the settings, None where they have mistakes, which are told."""
    try:
        loaded = config.load(path)
    except InvalidConfig as error:
        findings.judge("configuration", list(error.mistakes), "")
        return None
    for warning in config.warnings(loaded):
        findings.note("configuration", warning)
    findings.ok("configuration", str(path))
    return loaded


def engine(loaded: Settings) -> Engine:
    """Return what the mysql service says of the host; raise Unavailable."""
    return granted(asked(MariadbCmdClient(loaded.mariadb_cmd_socket).check))


def services(loaded: Settings, findings: Findings) -> Engine | None:
    """Tell which of the three services answer; return what the mysql service says of the host, None if nothing."""
    found: list[Engine] = []
    root = CmdClient(loaded.cmd_socket)
    probes: Mapping[str, Callable[[], object]] = {
        MYSQL_SERVICE: lambda: found.append(engine(loaded)),
        ROOT_SERVICE: lambda: asked(lambda: root.check_cron_schedules(())),
        API: lambda: _require_api(loaded),
    }
    for name, probe in probes.items():
        try:
            probe()
        except DBCalmError:
            findings.problem(name, f"does not answer; see: systemctl status {name}{_last_words(name)}")
        else:
            findings.ok(name, "answers")
    return found[0] if found else None


def _require_api(loaded: Settings) -> None:
    if not api_answers(loaded):
        raise CannotStart("nothing listens")


def _last_words(unit: str) -> str:
    """Return the last line of a unit's log, which says why it does not run, where systemd runs it and we may read."""
    if not _SYSTEMD.is_dir():
        return ""
    own = f"_SYSTEMD_UNIT={unit}.service"  # What the program said, and not what systemd says of it.
    try:
        done = subprocess.run(
            ["/usr/bin/journalctl", own, "--lines=1", "--output=cat", "--no-pager", "--quiet"],
            env={"PATH": _PROGRAMS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = " ".join(done.stdout.split())
    return f"; its log ends with: {said[:500]}" if said else ""


def database(told: Engine, findings: Findings) -> bool:
    """Tell how the database, its folders and the space for it stand; return whether a backup can be made."""
    before = findings.wrong
    state = told["database"]
    findings.judge("database", [] if state["ok"] else [state["message"]], state["message"])
    findings.judge("folders", list(told["folders"]), "are mysql's, and nobody else's")
    space = told["space"]
    needed = f", a full backup needs about {size(space['needed_bytes'])}" if space["needed_bytes"] else ""
    findings.judge("space", list(of_space(told)), f"{size(space['free_bytes'])} free{needed}")
    if told.get("advice"):
        findings.note("keys", told["advice"])
    if told["clock"]:
        findings.note("clock", f"nothing is cleaned up: {told['clock']}")
    return findings.wrong == before


def files(loaded: Settings, findings: Findings) -> Certificate | None:
    """Tell whether the API could use its files, as the user that it runs as; return its certificate if it is valid."""
    problems = list(problems_of_files(loaded, tls_context))
    findings.judge("keys", problems, "the API can use its keys and its folder")
    if problems:
        return None
    try:
        found = presented(tls_context(loaded.ssl_cert, loaded.ssl_key), loaded.ssl_cert)
    except CannotStart as error:
        findings.problem("certificate", str(error))
        return None
    _certificate(found, findings)
    return found


def _certificate(found: Certificate, findings: Findings) -> None:
    until = f"for {', '.join(found.names)} until {found.expires:%Y-%m-%d}"
    if found.expires_soon(datetime.now(UTC)):
        findings.note("certificate", f"{until}: renew it, and then: {RELOAD}")
    else:
        findings.ok("certificate", until)


def cron(system: Services, findings: Findings) -> None:
    """Tell whether schedules would run, and by which clock."""
    if not any(shutil.which(name, path=_PROGRAMS) for name in _CRON):
        findings.problem("cron", "is not installed, so no schedule runs; on Debian: apt install cron")
    elif not _runs(_CRON):
        findings.problem("cron", "does not run, so no schedule does; on Debian: systemctl enable --now cron")
    else:
        findings.ok("cron", "runs")
    with findings.step("cron file"):
        problem = system.schedules.cron_problem()
        findings.judge("cron file", [problem] if problem else [], "is as the schedules make it")
    findings.ok("time zone", f"{system.schedules.timezone}; schedules run by it")


def _runs(names: tuple[str, ...]) -> bool:
    """Tell whether a process of one of these names runs."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if Path(entry.path, "comm").read_text().strip() in names:
                    return True
            except OSError:
                continue  # It has ended.
    return False
