"""How passwords and secrets are kept. The one module that knows the password library."""

import hashlib
import hmac
import secrets
from typing import Any

from dbcalm.errors import InvalidField

LONGEST_PASSWORD = 1024
"""Characters."""

LONG_ENOUGH = 12
"""Characters below which a password is weak."""

_LEAST_DIFFERENT = 5
_GUESSED_FIRST = (
    "password", "passwort", "motdepasse", "contrase", "changeme", "letmein", "welcome", "qwerty", "qwertz", "azerty",
    "asdfgh", "12345", "54321", "abcdef", "iloveyou", "administrator", "dbcalm", "mariadb", "mysql", "backup",
)  # fmt: skip
"""What lists of stolen passwords begin with, and what stands here on the door."""

_NOBODY = "$bcrypt-sha256$v=2,t=2b,r=12$uJ2.sJKQd9EEmVp4FrE6/O$FLpY6D7xprpA8/iEfhy5IHmr2StwFYe"
"""A hash that no password here belongs to; comparing with it costs what comparing with a real one does."""


def load() -> None:
    """Load the password library now. Most commands need none, so it is not loaded with this module; a program that is
    about to give up its right to read its own folder calls this first."""
    _scheme().using(rounds=4).hash("")


def hash_password(password: str) -> str:
    """Return what is kept of a password of whatever many bytes; raise InvalidField if it is none."""
    if not 1 <= len(password) <= LONGEST_PASSWORD or "\0" in password:
        raise InvalidField("password", f"must have 1 to {LONGEST_PASSWORD} characters, none of them NUL")
    return str(_scheme().hash(password))


def weakness(password: str, username: str) -> str | None:
    """Return why a password is easily guessed, or None where nothing says so. It is taken all the same: who has always
    signed in with it goes on."""
    plain = password.casefold()
    if len(password) < LONG_ENOUGH:
        return f"it has fewer than {LONG_ENOUGH} characters"
    if username.casefold() in plain and len(password) - len(username) < LONG_ENOUGH:
        return "it is made of the user's name"
    if any(word in plain for word in _GUESSED_FIRST) and len(password) < 2 * LONG_ENOUGH:
        return "it is made of what is guessed first"
    if len(set(plain)) < _LEAST_DIFFERENT:
        return f"it is made of fewer than {_LEAST_DIFFERENT} different characters"
    return None


def verify_password(password: str, kept: str | None) -> bool:
    """Tell whether this is the password. Takes a quarter of a second, also where nothing is kept."""
    try:
        return bool(_scheme().verify(password, kept or _NOBODY)) and kept is not None
    except ValueError:  # A NUL in the password, or a hash that is none.
        return False


def _scheme() -> Any:
    """Return the way passwords are hashed; see ``load``."""
    from passlib.hash import bcrypt_sha256

    return bcrypt_sha256


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return what is kept of a secret that we made: it has too many bits to be guessed, so one round is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def verify_secret(secret: str, kept: str | None) -> bool:
    """Tell in constant time whether this is the secret."""
    return hmac.compare_digest(hash_secret(secret), kept or "") and kept is not None
