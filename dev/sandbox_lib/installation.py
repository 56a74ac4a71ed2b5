"""An installation's folders, secrets and configuration: the same for a sandbox and for a developer's host.

What exists is never overwritten, so that making an installation twice changes nothing.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.preflight import account
from dev.sandbox_lib import certificates, programs
from dev.sandbox_lib.accounts import Account, Accounts


@dataclass(frozen=True)
class Layout:
    """Where an installation keeps what. ``programs`` is the copy of the code that its users can read."""

    etc: Path
    state: Path
    jobs: Path
    backups: Path
    run: Path
    log: Path
    cron_file: Path
    data: Path
    programs: Path

    @classmethod
    def below(cls, root: Path) -> "Layout":
        """Return the layout of an installation in one folder."""
        return cls(
            etc=root / "etc",
            state=root / "state",
            jobs=root / "jobs",
            backups=root / "backups",
            run=root / "run",
            log=root / "log",
            cron_file=root / "cron" / "dbcalm",
            data=root / "data",
            programs=root / "programs",
        )

    @property
    def config(self) -> Path:
        """The file that DBCALM_CONFIG names."""
        return self.etc / "config.yml"

    @property
    def credentials(self) -> Path:
        """The backup tool's way into the database."""
        return self.etc / "credentials.cnf"

    @property
    def authority(self) -> Path:
        """The certificate that verifies the API's."""
        return self.etc / "ssl" / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The API's certificate, with its chain."""
        return self.etc / "ssl" / "fullchain-cert.pem"

    @property
    def private_key(self) -> Path:
        """The key of the API's certificate."""
        return self.etc / "ssl" / "private-key.pem"

    @property
    def token_key(self) -> Path:
        """The key that signs tokens."""
        return self.etc / "jwt.key"

    @property
    def cmd_socket(self) -> Path:
        """The root service's socket."""
        return self.run / "cmd.sock"

    @property
    def mariadb_cmd_socket(self) -> Path:
        """The mysql service's socket."""
        return self.run / "mariadb-cmd.sock"

    @property
    def launch(self) -> str:
        """The command line of ``dbcalm``, as cron runs it."""
        return " ".join(programs.launcher(self.programs, "dbcalm"))


HOST = Layout(
    etc=Path("/etc/dbcalm"),
    state=Path("/var/lib/dbcalm"),
    jobs=Path("/var/lib/dbcalm-mariadb-cmd"),
    backups=Path("/var/backups/dbcalm"),
    run=Path("/var/run/dbcalm"),
    log=Path("/var/log/dbcalm"),
    cron_file=Path("/etc/cron.d/dbcalm"),
    data=Path("/var/lib/mysql"),
    programs=Path("/usr/local/lib/dbcalm-dev"),
)


def make_folders(layout: Layout, who: Accounts) -> None:
    """Make the folders with the owners and modes that keep the three users apart."""
    for folder, owner, mode in (
        (layout.etc, who.root, 0o755),
        (layout.etc / "ssl", who.root, 0o755),
        (layout.run, who.root, 0o755),
        (layout.cron_file.parent, who.root, 0o755),
        (layout.state, who.api, 0o700),
        (layout.state.with_name(f"{layout.state.name}-copies"), who.api, 0o700),
        (layout.log, who.api, 0o750),
        (layout.jobs, who.database, 0o700),
        (layout.backups, who.database, 0o700),
    ):
        make_folder(folder, owner, mode)


def make_folder(folder: Path, owner: Account, mode: int) -> None:
    """Make a folder with those above it, unless it exists."""
    if folder.is_dir():
        return
    make_folder(folder.parent, Account("", os.getuid(), os.getgid()), 0o755)
    folder.mkdir(0o700)
    os.chown(folder, owner.uid, owner.gid)
    folder.chmod(mode)


def make_keys(layout: Layout, who: Accounts) -> None:
    """Make the API's certificate and the key that signs tokens."""
    write_new(layout.token_key, secrets.token_hex(32) + "\n", who.root, who.api, 0o640)
    if not layout.private_key.exists():
        authority, chain, key = certificates.issue()
        write_new(layout.authority, authority, who.root, who.root, 0o644)
        write_new(layout.certificate, chain, who.root, who.root, 0o644)
        write_new(layout.private_key, key, who.root, who.api, 0o640)


def write_credentials(layout: Layout, who: Accounts, database_socket: Path | None) -> None:
    """Write the backup tool's account with a new password."""
    made = account.new(str(database_socket or ""))
    write_new(layout.credentials, account.option_file(made), who.root, who.database, 0o640)


def account_sql(layout: Layout) -> str:
    """Return the statements that make the backup tool's account, with the password of the credentials file."""
    password = layout.credentials.read_text().partition("password=")[2].splitlines()[0]
    return account.statements(account.Account(account.BACKUP_USER, password))


def write_configuration(layout: Layout, who: Accounts, port: int, systemctl: Path | None = None) -> None:
    """Write the two configuration files, for an API on the loopback address. ``systemctl`` is what the root service
    runs to have the database stopped and started, if not the host's own."""
    values: dict[str, str | int] = {
        "db_type": "mariadb",
        "backup_dir": str(layout.backups),
        "data_dir": str(layout.data),
        "backup_credentials_file": str(layout.credentials),
        "job_dir": str(layout.jobs),
        "api_host": "127.0.0.1",
        "api_port": port,
        "ssl_cert": str(layout.certificate),
        "ssl_key": str(layout.private_key),
        "jwt_secret_key_file": str(layout.token_key),
        "database_file": str(layout.state / "db.sqlite3"),
        "cmd_socket": str(layout.cmd_socket),
        "mariadb_cmd_socket": str(layout.mariadb_cmd_socket),
        "dbcalm_user": who.api.name,
    }
    config = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    write_new(layout.config, config, who.root, who.root, 0o644)
    orders = {
        "socket": str(layout.cmd_socket),
        "cron_file": str(layout.cron_file),
        "dbcalm_user": who.api.name,
        "program": layout.launch,
        "config": str(layout.config),
    }
    if systemctl is not None:
        orders["systemctl"] = str(systemctl)
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in orders.items())
    write_new(layout.etc / "cmd.toml", text, who.root, who.root, 0o644)


def write_new(path: Path, text: str, owner: Account, group: Account, mode: int) -> None:
    """Write a file that nobody else ever sees with wrong rights, unless it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchown(descriptor, owner.uid, group.gid)
        os.fchmod(descriptor, mode)
        file.write(text)
