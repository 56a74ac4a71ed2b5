"""Why a database server gives no answer, in one true sentence each, with what to type.

The numbers are the servers' own (MariaDB's and MySQL's error codes) and their client's.
"""

import re
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.server.asking import Error, NotAnswered
from dbcalm_mariadb_cmd.errors import Refused

NOT_RUNNING = "server is not running"

SETUP = "run: dbcalm setup"
LOGIN = "login"
"""The word for what is wrong with the account and ``dbcalm setup`` can put right."""

_NOT_REACHED = (2002, 2003)
_NOBODY_LISTENS = (2, 111, 115)
"""ENOENT, ECONNREFUSED, and what the client makes of a refused connection by network, EINPROGRESS."""

_SYSTEM = re.compile(r"\((\d+)\b[^()]*\)\s*$|system error: \"?(\d+)")
_NO_PERMISSION, _BUSY = 13, 11

_ACCOUNT = {
    1044: "the database refuses the user of {file}: {said}; {setup}",
    1045: "the database refuses the user of {file}: {said}; put right user and password there, or {setup}",
    1130: "the database refuses the user of {file}: {said}; {setup}",
    1698: "the database refuses the user of {file}: {said}; put right user and password there, or {setup}",
    1820: "the password of the user of {file} has expired: {setup}",
    1862: "the password of the user of {file} has expired: {setup}",
    3118: "the account of the user of {file} is locked: {setup}",
    4151: "the account of the user of {file} is locked: {setup}",
}
_SERVER = {
    1040: "the server has too many connections, and none left for the backup user: see SHOW PROCESSLIST, and type as "
    "the database's root: SET GLOBAL max_connections = a higher number",
    1053: "the server is shutting down: wait, and see that it starts again",
    1129: "the server has blocked this host after failed connections: type as the database's root: FLUSH HOSTS",
    1152: "the server ended the connection of the user of {file} at once: {said}",
    1184: "the server ended the connection of the user of {file} at once: {said}; where its init_connect is what "
    "fails, mend that, or let the account pass it by: GRANT CONNECTION ADMIN ON *.* TO that user",
    1203: "the user of {file} has too many connections: {said}; raise what it may, with ALTER USER ... WITH "
    "MAX_USER_CONNECTIONS, or SET GLOBAL max_user_connections",
    1226: "the user of {file} may ask no more: {said}; type as the database's root: ALTER USER ... WITH and the "
    "limit's name in capitals and 0",
    1251: "the user of {file} cannot log in that way: {said}; {setup}",
    1524: "the server cannot let the user of {file} in that way: {said}; {setup}",
    2005: "the host that {file} names is not known: {said}; let it say host=localhost",
    2026: "no encrypted connection to the server could be made: {said}; let {file} say host=localhost, or what TLS it "
    "needs",
    2059: "the client cannot log in as the user of {file}: {said}",
    3032: "the server is in offline mode, and lets the backup user in no more: type as the database's root: SET GLOBAL "
    "offline_mode = OFF",
}
_ENDED = (
    "the server ended the connection of the backup user in the middle of its questions ({said}): somebody killed it, "
    "or the server has stopped; see its error log, and try again"
)
_SILENT = (
    "the server takes connections and says nothing ({said}): it is starting, it is stopped by a signal, or it hangs; "
    "see its error log"
)


def refusal(silence: NotAnswered, credentials: Path) -> Refused:
    """Return what to tell of a server that did not answer."""
    error = silence.error
    if not silence.let_in and nobody_listens(silence):
        return Refused(503, NOT_RUNNING)
    known = {**_ACCOUNT, **_SERVER}.get(error.number)
    cause = {"cause": LOGIN} if error.number in _ACCOUNT else {}
    sentence = known or (_ENDED if silence.let_in else _unreached(error))
    return Refused(503, sentence.format(file=credentials, said=error, setup=SETUP), **cause)


def nobody_listens(silence: NotAnswered) -> bool:
    """Tell whether there is no server at all where the credentials file has it."""
    return silence.error.number in _NOT_REACHED and _system_error(silence.error) in _NOBODY_LISTENS


def _unreached(error: Error) -> str:
    system = _system_error(error)
    if error.number in _NOT_REACHED and system == _NO_PERMISSION:
        return "user mysql may not use the server's socket that {file} names: {said}; let it enter the socket's folder"
    if error.number in (2006, 2013) or (error.number in _NOT_REACHED and system == _BUSY):
        return _SILENT
    if error.number in _NOT_REACHED:
        return "the server that {file} names cannot be reached: {said}; let it say host=localhost, and the socket"
    return "the database does not let the user of {file} in: {said}"


def _system_error(error: Error) -> int | None:
    found = _SYSTEM.search(error.said)
    return int(found[1] or found[2]) if found else None
