"""Everything that DBCalm refuses or fails at, by cause. What each means over HTTP is one table in ``dbcalm.api``.

DBCalmError
├── InvalidRequest         what was asked does not have the right form
│   ├── InvalidQuery       a list's query or order
│   └── InvalidField       one field of a request; knows its name
├── RuleBroken             what was asked has the right form, but would leave things that do not go together
├── NotFound               there is no such thing
├── Conflict               it exists already, is in use, or something that excludes it is running
│   └── Busy               a job that excludes it is running: the same will do later
├── Unavailable            something that the request needs is down, missing or busy; asking again may work
├── NoSpace                the disk is too full
├── ServiceFailed          a service gave an answer that it should not give
├── AccessError
│   ├── NotAuthenticated   no token, or one that is no longer good
│   ├── NotAllowed         a good token without the scope
│   ├── WrongCredentials   a user name and password that do not belong together
│   ├── InvalidGrant       a code, client or grant type that earns no token
│   └── Throttled          too many failures; knows in how many seconds to come back
└── CannotStart            the host is not set up so that a program could run
    ├── InvalidConfig
    └── CatalogueError     the SQLite file cannot be used
        └── CatalogueDamaged

The message of each is one sentence that a person can act on, without a secret, an SQL text or a path of the program.
"""

from collections.abc import Sequence


class DBCalmError(Exception):
    """Base of all; never raised itself. ``is_logged`` says that the log has it."""

    is_logged = False


class InvalidRequest(DBCalmError):
    """What was asked does not have the right form."""


class InvalidQuery(InvalidRequest):
    """A list's query or order that cannot be read; the message names what is valid."""


class InvalidField(InvalidRequest):
    """A field of a request whose value cannot be used."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class RuleBroken(DBCalmError):
    """What was asked has the right form, but would leave things that do not go together."""


class NotFound(DBCalmError):
    """There is no such thing."""


class Conflict(DBCalmError):
    """It exists already, is in use, or something that excludes it is running."""


class Busy(Conflict):
    """A job that excludes it is running: the same will do later. ``job_id`` names it where it is known."""

    def __init__(self, message: str, job_id: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class Unavailable(DBCalmError):
    """Something that the request needs is down, missing or busy; asking again may work."""


class NoSpace(DBCalmError):
    """The disk is too full."""


class ServiceFailed(DBCalmError):
    """A service gave an answer that it should not give."""


class AccessError(DBCalmError):
    """Base of what concerns who may do what."""


class NotAuthenticated(AccessError):
    """No token, or one that is no longer good."""


class NotAllowed(AccessError):
    """A good token without the scope that is needed."""


class WrongCredentials(AccessError):
    """A user name and a password that do not belong together."""


class InvalidGrant(AccessError):
    """A request for a token that earns none. ``reason`` is the word that RFC 6749 has for it."""

    def __init__(self, message: str, reason: str = "invalid_grant") -> None:
        super().__init__(message)
        self.reason = reason


class Throttled(AccessError):
    """Too many failures; ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CannotStart(DBCalmError):
    """The host is not set up so that a program could run."""


class InvalidConfig(CannotStart):
    """A configuration that cannot be used; the message names the file, the key and what is allowed.

    ``mistakes`` has one line for each.
    """

    def __init__(self, message: str, mistakes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.mistakes = tuple(mistakes) or (message,)


class CatalogueError(CannotStart):
    """The catalogue's file cannot be opened as it is."""


class CatalogueDamaged(CatalogueError):
    """The catalogue's file is no database, or one that fails its own check."""
