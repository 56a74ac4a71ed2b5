"""The account by which the backup tool gets into the database: its option file, and the statements that make it.

``dbcalm setup`` does both as root; no service does. What root reads, writes and runs here must be root's, with every
folder above it, so that nobody who acts as ``dbcalm`` or ``mysql`` has a hand in it. The password is in the file and in
what the client reads from standard input: no argument, no message and no log has it.
"""

import grp
import os
import re
import secrets
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import sync_folder
from dbcalm_mariadb_cmd.adapter.linux import rename_new
from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT, find
from dbcalm_mariadb_cmd.builder.argv import (
    CREDENTIALS_SECTION,
    ENGINES,
    MYROCKS,
    MYROCKS_GRANT,
    administrator_argv,
)
from dbcalm_mariadb_cmd.errors import Refused

BACKUP_USER = "dbcalm_backup"
READER = "mysql"
"""The group that may read the option file: that of the service which runs the backup tool."""

CAUSES = ("credentials", "login", "grants")
"""What can be wrong with the account, in the service's words, and be put right here."""

_USER = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_PASSWORD = re.compile(r"[^\s'\"\\#;`]{1,200}", re.ASCII)
_SOCKET = re.compile(r"/[A-Za-z0-9_./+@-]{1,107}")
_SECONDS = 30
_MOST_LINKS = 40


class AccountError(Exception):
    """What keeps the account from being made, in one sentence without the password."""


@dataclass(frozen=True)
class Settings:
    """The keys of ``config.yml`` that say where the option file is, and which server and client it is for."""

    db_type: str
    client_bin: Path | None
    backup_credentials_file: Path


@dataclass(frozen=True)
class Account:
    """Who the backup tool is to the database, and by which socket it comes; "" is the client's own default."""

    user: str
    password: str
    socket: str = ""

    @property
    def name(self) -> str:
        """The account as statements have it."""
        return f"'{self.user}'@'localhost'"


def new(socket: str = "") -> Account:
    """Return the account with a new password of 256 random bits; raise AccountError if the socket's path can be none.

    Its last characters are of every kind that a server's rules for passwords may ask for.
    """
    if socket and not _SOCKET.fullmatch(socket):
        raise AccountError(
            "the database's socket must be an absolute path of letters, digits and _ . / + @ -"
        )
    return Account(BACKUP_USER, f"{secrets.token_urlsafe(32)}-Aa1", socket)


def option_file(account: Account) -> str:
    """Return the text of the option file."""
    lines = [
        f"[{CREDENTIALS_SECTION}]", f"user={account.user}", f"password={account.password}", "host=localhost",
    ]  # fmt: skip
    return "\n".join([*lines, *([f"socket={account.socket}"] if account.socket else []), ""])


def statements(account: Account, *, change: bool = False, myrocks: bool = False) -> str:
    """Return the statements that make the account with what it needs on MariaDB, one a line; with ``change`` one that
    is there gets this password, whatever else kept it out: a lock, or a password that had expired."""
    make = "ALTER USER" if change else "CREATE USER IF NOT EXISTS"
    open_to_it = " ACCOUNT UNLOCK PASSWORD EXPIRE NEVER" if change else ""
    grants = ", ".join([*ENGINES["mariadb"].grants, *([MYROCKS_GRANT] if myrocks else [])])
    return (
        f"{make} {account.name} IDENTIFIED BY '{account.password}'{open_to_it};\n"
        f"GRANT {grants} ON *.* TO {account.name};\n"
    )


def for_people(account: Account, path: Path, *, change: bool = False, myrocks: bool = False) -> str:
    """Return the statements with the place of the password instead of it."""
    return statements(replace(account, password=f"the password in {path}"), change=change, myrocks=myrocks)


def read(path: Path) -> Account | None:
    """Return the account of an option file, None if there is no such file; raise AccountError if it is not root's own,
    or not of the simple form that this reads."""
    try:
        require_own(path)
        text = read_small(path, follow=True).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise AccountError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    values = _section(text)
    if values is None:
        raise AccountError(f"{path} has no section [{CREDENTIALS_SECTION}]: add it, or remove the file")
    user, password, socket = (values.get(name, "") for name in ("user", "password", "socket"))
    if values.get("host", "localhost") != "localhost":
        raise AccountError(f"{path} names host {values['host']}: make its account by hand")
    if not (_USER.fullmatch(user) and _PASSWORD.fullmatch(password)):
        raise AccountError(
            f"{path} must have a user and a password without quotes, blanks, backslashes, # and ; in them: "
            "put that right, or make its account by hand"
        )
    if socket and not _SOCKET.fullmatch(socket):
        raise AccountError(
            f"{path} must name the socket by an absolute path of letters, digits and _ . / + @ -"
        )
    return Account(user, password, socket)


def _section(text: str) -> dict[str, str] | None:
    """Return the options of our section, None if there is none."""
    values: dict[str, str] | None = None
    ours = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            ours = line == f"[{CREDENTIALS_SECTION}]"
            values = values or ({} if ours else None)
        elif ours and values is not None and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            values[name.strip()] = value.strip()
    return values


def write(path: Path, account: Account) -> None:
    """Write the option file, which must not exist, at once whole and for nobody but root and ``mysql`` to read; raise
    AccountError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        require_own(path.parent)
        reader = grp.getgrnam(READER).gr_gid
        beside.unlink(missing_ok=True)  # Left by a run that was killed; nobody else can write here.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(beside, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(option_file(account))
            file.flush()
            os.fchown(file.fileno(), os.geteuid(), reader)
            os.fchmod(file.fileno(), 0o640)
            os.fsync(file.fileno())
        rename_new(beside, path)
        sync_folder(path.parent)
    except KeyError as error:
        raise AccountError(f"the host has no group {READER}: install the database server first") from error
    except OSError as error:
        raise AccountError(f"{path} cannot be written: {error.strerror}") from error


class Administrator:
    """The database's root, who is let in by the socket because it is the host's root that asks."""

    def __init__(self, settings: Settings, account: Account) -> None:
        """Raise AccountError where there is no client that root may run."""
        if settings.db_type != "mariadb":
            raise AccountError(
                "the account is made by hand where db_type is mysql: see docs/configuration.md"
            )
        try:
            self._client = find(settings.client_bin, ENGINES[settings.db_type].clients)
            require_own(self._client)
        except Refused as refused:
            raise AccountError(str(refused)) from refused
        except OSError as error:
            raise AccountError(f"{settings.client_bin}: {error.strerror}") from error
        self._account = account

    def knows(self) -> bool:
        """Tell whether the database has the account; raise AccountError."""
        # The name has no character that could end the text.
        where = f"User = '{self._account.user}' AND Host = 'localhost'"
        return self._run(f"SELECT COUNT(*) FROM mysql.user WHERE {where};\n").strip() != "0"  # noqa: S608  # see above

    def has_myrocks(self) -> bool:
        """Tell whether the database has the engine for which the backup tool needs more; raise AccountError."""
        return self._run(f"{MYROCKS};\n").strip() not in ("", "0")

    def make(self, *, change: bool, myrocks: bool = False) -> None:
        """Run the statements; raise AccountError."""
        self._run(statements(self._account, change=change, myrocks=myrocks))

    def _run(self, sql: str) -> str:
        try:
            done = subprocess.run(
                administrator_argv(self._client, self._account.socket),
                input=sql,
                env=ENVIRONMENT,
                cwd="/",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AccountError(f"the database does not answer within {_SECONDS} s") from error
        except OSError as error:
            raise AccountError(f"{self._client} cannot be run: {error.strerror}") from error
        if done.returncode:
            # A server that does not understand a statement repeats some of it.
            said = " ".join(done.stderr.split()).replace(self._account.password, "...")
            raise AccountError(f"the database's root is refused: {said[:300]}")
        return done.stdout


def require_own(path: Path) -> None:
    """Raise AccountError unless only this user, or root, could have put there what is there: each folder and link on
    the way, and what stands at the end. Raise FileNotFoundError if that is nothing.

    A folder that others may write to is good enough if it is sticky: they cannot move what is not theirs.
    """
    seen, parts, links = Path("/"), list(path.absolute().parts[1:]), 0
    _require_own(seen, seen.lstat())
    while parts:
        part = parts.pop(0)
        seen = seen.parent if part == ".." else seen / part
        status = seen.lstat()
        _require_own(seen, status)
        if stat.S_ISLNK(status.st_mode):
            target, links = seen.readlink(), links + 1
            if links > _MOST_LINKS:
                raise AccountError(f"{path} is a link in a circle")
            parts = [*target.parts[1 if target.is_absolute() else 0 :], *parts]
            seen = Path("/") if target.is_absolute() else seen.parent


def _require_own(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    shared = mode & 0o022 and not stat.S_ISLNK(mode) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)
    if status.st_uid not in (0, os.geteuid()) or shared:
        raise AccountError(f"{path} must be owned by root and not be writable by others")
