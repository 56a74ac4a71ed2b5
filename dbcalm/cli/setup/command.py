"""``dbcalm setup``: check the host, and make what is missing for a first backup.

As root it begins as root, for the account in the database; then it becomes ``dbcalm`` and stays so, for the catalogue.
Everything is loaded before that, as what is loaded later might be out of that user's reach.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dbcalm import config
from dbcalm.api.certificate import Certificate
from dbcalm.cli.commands.host.status import api_answers
from dbcalm.cli.common.output import say
from dbcalm.cli.common.start import caller, settings
from dbcalm.cli.common.system import services
from dbcalm.cli.setup import first, host
from dbcalm.cli.setup.account import Mender, Wish, require_root_or
from dbcalm.cli.setup.first import Scheme, Wishes
from dbcalm.cli.setup.talk import Findings, Questions, clock
from dbcalm.config import Settings
from dbcalm.domain.rules import passwords
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import CannotStart
from dbcalm.logger import audit
from dbcalm_mariadb_cmd.config.keys import load

_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Places:
    """The keys of ``config.yml`` that other programs read, and whose values are told at the end."""

    backup_dir: Path


def setup(
    check: Annotated[
        bool, typer.Option("--check", help="Only check this host: ask nothing and change nothing.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "--non-interactive", help="Do not ask: take what is given, else the defaults."),
    ] = False,
    create_backup_user: Annotated[
        bool | None,
        typer.Option(
            "--create-backup-user/--no-create-backup-user",
            help="Make the backup tool's account in the database, as root.",
        ),
    ] = None,
    database_socket: Annotated[
        str,
        typer.Option(
            "--database-socket", help="The database's socket, where it is not the client's default."
        ),
    ] = "",
    user: Annotated[str | None, typer.Option("--user", help="The first user of the API.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the user's password from standard input.")
    ] = False,
    schedule: Annotated[
        Scheme | None, typer.Option("--schedule", help="Which schedules to begin with.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help=f"When the schedules make backups; {first.DEFAULT_TIME} by default."),
    ] = None,
    backup: Annotated[
        bool | None,
        typer.Option(
            "--backup/--no-backup",
            help="Make a full backup and wait for it; by default where there is none yet.",
        ),
    ] = None,
) -> None:
    """Check this host, and set up what a first backup needs.

    What is there already stays as it is, so it can be run again and again.

    Exit status 0: all is well, 1: something needs attention."""
    _require_usable(user, password_stdin, at)
    passwords.load()
    findings, questions = Findings(), Questions(yes)
    path = config.config_path(os.environ)
    loaded = host.configuration(path, findings)
    if loaded is None:
        raise typer.Exit(1)
    require_root_or(_user_id(loaded.dbcalm_user), loaded.dbcalm_user)
    told = host.services(loaded, findings)
    mender = Mender(path, findings, questions, Wish(create_backup_user, database_socket))
    if told is not None and not check:
        told = mender.mend(told, lambda: host.engine(loaded))
    ready = told is not None and host.database(told, findings)
    system = services(settings())
    for done in mender.done:
        audit(caller().name, done, "done")
    certificate = host.files(loaded, findings)
    host.cron(system, findings)
    if not check:
        _make(ready, system, Wishes(user, password_stdin, schedule, at, backup), questions, findings)
        if ready:
            _sum_up(system, loaded, load(Places, path), certificate, findings)
    raise typer.Exit(_verdict(findings))


def _require_usable(user: str | None, password_stdin: bool, at: str | None) -> None:
    """Raise BadParameter where options do not go together, before anything is done."""
    if password_stdin and user is None:
        raise typer.BadParameter("must be given with --password-stdin", param_hint="--user")
    if at is not None:
        clock(at)


def _user_id(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise CannotStart(f"dbcalm_user is {name!r}, and the host has no such user") from error


def _make(ready: bool, system: Services, wishes: Wishes, questions: Questions, findings: Findings) -> None:
    """Make what is missing, each thing if it can be."""
    with findings.step("user"):
        first.add_user(system, wishes, questions, findings)
    if not ready:
        findings.note("schedules, backup", "nothing is made before what is wrong above is put right")
        return
    with findings.step("schedules"):
        first.add_schedules(system, wishes, questions, findings)
    with findings.step("backup"):
        first.make_backup(system, wishes, questions, findings)


def _sum_up(
    system: Services, loaded: Settings, places: Places, certificate: Certificate | None, findings: Findings
) -> None:
    """Say what needs attention now, and where everything is."""
    report = system.status.report(lambda: api_answers(loaded))
    if findings.wrong == 0:  # Else it is said above.
        for sentence in report.attention:
            findings.problem("status", sentence)
    print()
    for name, sentence in (
        ("API", f"{_address(loaded, certificate)}/docs"),
        ("catalogue", str(loaded.database_file)),
        ("backups", f"{places.backup_dir}; dbcalm backups list"),
        ("is all well?", "dbcalm status"),
        ("to restore", "dbcalm restore ID --target folder"),
    ):
        print(f"{name:14} {sentence}")


def _address(loaded: Settings, certificate: Certificate | None) -> str:
    """Return the API's address, by a name that its certificate is for."""
    name = loaded.api_host
    if certificate is not None and (name in _EVERYWHERE or name not in certificate.names):
        name = certificate.names[0]
    return f"https://{f'[{name}]' if ':' in name else name}:{loaded.api_port}"


def _verdict(findings: Findings) -> int:
    """Say in one line how it went; return the exit status."""
    if not findings.wrong:
        print("all is well")
        return 0
    what = "1 thing is" if findings.wrong == 1 else f"{findings.wrong} things are"
    say(f"dbcalm: {what} not right: see WRONG above, mend that, and then run once more: dbcalm setup")
    return 1
