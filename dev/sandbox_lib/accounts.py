"""The users that the programs run as: three of them where root asks, else whoever asks."""

import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.sandbox_lib.errors import SandboxError


@dataclass(frozen=True)
class Account:
    """A user of the host with its own group."""

    name: str
    uid: int
    gid: int

    def drop(self) -> list[str]:
        """Return the words that, put before a command, run it as this user; none if that is who asks."""
        if self.uid == os.getuid():
            return []
        return [
            "setpriv",
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--init-groups",
            "--no-new-privs",
            "--",
        ]

    def may_enter(self, folder: Path) -> bool:
        """Tell whether this user can reach and enter a folder, by trying it."""
        command = [*self.drop(), "test", "-x", str(folder)]
        return subprocess.run(command, check=False, cwd="/", stderr=subprocess.DEVNULL).returncode == 0


@dataclass(frozen=True)
class Accounts:
    """Who runs what: ``database`` is for the mysql service and the database server."""

    api: Account
    database: Account
    root: Account

    @property
    def are_one(self) -> bool:
        """Tell whether all programs run as the one user who asks."""
        return self.api.uid == self.root.uid


def accounts() -> Accounts:
    """Return the accounts of an installation; root gets users dbcalm and mysql, made if they are missing."""
    try:
        me = _account(pwd.getpwuid(os.getuid()))
    except KeyError:
        raise SandboxError(f"uid {os.getuid()} has no name on this host, and the services need one") from None
    if me.uid != 0:
        return Accounts(me, me, me)
    return Accounts(_system_user("dbcalm"), _system_user("mysql"), me)


def _system_user(name: str) -> Account:
    with _only_one_at_a_time():
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            options = ["--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent"]
            command = ["useradd", *options, "--shell=/usr/sbin/nologin", name]
            made = subprocess.run(command, check=False, capture_output=True, text=True)
            if made.returncode:
                raise SandboxError(f"user {name} cannot be made: {made.stderr.strip()}") from None
            return _account(pwd.getpwnam(name))


@contextmanager
def _only_one_at_a_time() -> Iterator[None]:
    """Let one process of the host after the other look for a user and make it: tests run in several."""
    folder = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
