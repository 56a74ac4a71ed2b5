"""The part of ``dbcalm setup`` that is done as root: the backup tool's account in the database, and its option file.

It runs before root becomes ``dbcalm``, opens no catalogue and no log, and takes what it does from root's own files
alone. Everything about the account itself stands in ``dbcalm_mariadb_cmd.preflight.account``.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbcalm.cli.setup.talk import Findings, Questions
from dbcalm.errors import CannotStart
from dbcalm_mariadb_cmd.config.keys import load
from dbcalm_mariadb_cmd.preflight.account import (
    BACKUP_USER,
    CAUSES,
    Account,
    AccountError,
    Administrator,
    Settings,
    for_people,
    new,
    read,
    require_own,
    write,
)

NAME = "backup user"


@dataclass(frozen=True)
class Wish:
    """What was asked for: whether to create the user, None where that is to be asked, and by which socket the database
    is reached, "" for the client's own."""

    create: bool | None
    socket: str


class Mender:
    """Puts the account right. ``done`` has what was changed, for the log that is opened later."""

    def __init__(self, path: Path, findings: Findings, questions: Questions, wish: Wish) -> None:
        self.done: list[str] = []
        self._path = path
        self._settings = load(Settings, path)
        self._findings = findings
        self._questions = questions
        self._wish = wish

    def mend(
        self, engine: Mapping[str, Any], look_again: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Return how things stand once the account was put right, or is what it was because it cannot be, or need not:
        then what to do is said. ``engine`` is what the mysql service says of the host."""
        if engine["cause"] not in CAUSES:
            return engine
        try:
            if os.geteuid() != 0:
                self._explain(Account(BACKUP_USER, ""), "or to be done by root with: dbcalm setup")
            else:
                self._put_right(engine["cause"])
        except AccountError as error:
            self._findings.problem(NAME, str(error))
        return look_again() if self.done else engine

    def _put_right(self, cause: str) -> None:
        """Put it right if that is wished; raise AccountError."""
        require_own(self._path)
        there = read(self._file)
        account = self._same_socket(there) if there else new(self._wish.socket)
        if self._wish.create is False:
            self._write(there, account)
            self._explain(account, "then once more: dbcalm setup")
            return
        root = Administrator(self._settings, account)
        myrocks = root.has_myrocks()
        known = root.knows()  # Before the file is written: it names the socket by which this was heard.
        self._write(there, account)
        change = known and cause != "grants"
        if change and account.user != BACKUP_USER:
            raise AccountError(
                f"the database has a user {account.name} already, with another password than {self._file} has; "
                f"put that right with ALTER USER {account.name} IDENTIFIED BY the password in it, or remove the file "
                f"for a user of DBCalm's own, {BACKUP_USER}"
            )
        print("as the database's root:")
        self._print(account, change, myrocks=myrocks)
        if self._questions.sure(_question(account, known, change), "--create-backup-user", self._wish.create):
            root.make(change=change, myrocks=myrocks)
            self._tell(f"{'changed' if known else 'created'} {account.name} in the database")
        else:
            self._explain(account, "then once more: dbcalm setup", change=change, myrocks=myrocks)

    def _same_socket(self, there: Account) -> Account:
        if self._wish.socket not in ("", there.socket):
            raise AccountError(
                f"{self._file} names the socket {there.socket or 'of the default'}: change it there"
            )
        return there

    def _write(self, there: Account | None, account: Account) -> None:
        if there is None:
            write(self._file, account)
            self._tell(f"wrote {self._file}, with a new password")

    @property
    def _file(self) -> Path:
        return self._settings.backup_credentials_file

    def _tell(self, what: str) -> None:
        self.done.append(what)
        self._findings.done(NAME, what)

    def _explain(self, account: Account, then: str, *, change: bool = False, myrocks: bool = False) -> None:
        print(f"to be typed by the database's root; {then}:")
        self._print(account, change, myrocks=myrocks)

    def _print(self, account: Account, change: bool, *, myrocks: bool) -> None:
        for line in for_people(account, self._file, change=change, myrocks=myrocks).splitlines():
            print(f"  {line}", flush=True)


def require_root_or(user_id: int, user: str) -> None:
    """Raise CannotStart unless root runs this, or the user who owns the catalogue."""
    if os.geteuid() not in (0, user_id):
        raise CannotStart(f"setup is run by root, or by user {user} as far as that goes: sudo dbcalm setup")


def _question(account: Account, known: bool, change: bool) -> str:
    if change:
        return f"{account.name} exists with another password. Change it to that of the file?"
    return f"Give {account.name} these grants?" if known else f"Create {account.name}?"
