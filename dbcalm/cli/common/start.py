"""What commands do first: become the right user, read the configuration, open the catalogue."""

import os
import pwd
from typing import TYPE_CHECKING

from dbcalm import config
from dbcalm.config import Settings
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.model.scopes import ALL
from dbcalm.errors import CannotStart
from dbcalm.logger import start_logging

if TYPE_CHECKING:
    from dbcalm.domain.services.access.clients import Clients
    from dbcalm.domain.services.access.users import Users


def caller() -> Caller:
    """Return who runs this command, as the log names them: they may do everything."""
    name = os.environ.get("SUDO_USER") or _user_name(os.getuid())
    return Caller(f"command line, {name}", (ALL,))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def become(user: str) -> None:
    """Where root runs this, go on as the user that owns the catalogue, so that no file of root's appears beside it;
    raise CannotStart if there is no such user."""
    if os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise CannotStart(f"dbcalm_user is {user!r}, and the host has no such user") from error
    if entry.pw_uid == 0:
        return
    os.setgid(entry.pw_gid)
    os.initgroups(user, entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def settings(*, terminal: bool = True) -> Settings:
    """Return the settings, as the user of the configuration, with the log started; raise CannotStart."""
    loaded = config.load(config.config_path(os.environ))
    become(loaded.dbcalm_user)
    try:
        start_logging(loaded.log_level, loaded.log_file, terminal=terminal)
    except OSError as error:
        raise CannotStart(f"log_file: cannot write {loaded.log_file}: {error.strerror}") from error
    return loaded


# SQLModel takes most of the time to load, and not all commands open a catalogue; nor do those of users and clients need
# the rest of it. What root loads, it loads before it is somebody else, who may not be able to.


def users() -> "Users":
    """Return the users of the catalogue; raise CannotStart."""
    from dbcalm.domain.services.access.users import Users
    from dbcalm.repository.recovery.opening import open_database
    from dbcalm.repository.resources.users import UserRepository

    return Users(UserRepository(open_database(settings().database_file)))


def clients() -> "Clients":
    """Return the clients of the catalogue; raise CannotStart."""
    from dbcalm.domain.services.access.clients import Clients
    from dbcalm.repository.recovery.opening import open_database
    from dbcalm.repository.resources.clients import ClientRepository

    return Clients(ClientRepository(open_database(settings().database_file)))
