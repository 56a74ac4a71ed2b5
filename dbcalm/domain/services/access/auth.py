"""Who may use the API: signing in, what earns a token, and whether its subject is still good."""

from dbcalm.domain.model.entities import Caller, Grant
from dbcalm.domain.model.names import shown
from dbcalm.domain.model.scopes import ALL
from dbcalm.domain.ports import ClientStore, Clock, CodeStore, UserStore
from dbcalm.domain.rules.passwords import hash_secret, new_secret, verify_password, verify_secret
from dbcalm.domain.rules.throttle import Throttle
from dbcalm.errors import InvalidGrant, NotAuthenticated, WrongCredentials
from dbcalm.logger import audit

CODE_SECONDS = 60
_ACCOUNT_FAILURES = 5
_ADDRESS_FAILURES = 20
_LONGEST_NUMBER = 18
"""Digits of a user's number, so that the catalogue can be asked for it."""


class Auth:
    """Signs people and programs in. A subject is ``user:<number>`` or ``client:<id>``."""

    def __init__(self, users: UserStore, clients: ClientStore, codes: CodeStore, clock: Clock) -> None:
        self._users = users
        self._clients = clients
        self._codes = codes
        self._clock = clock
        self._throttle = Throttle(clock)

    def authorize(self, username: str, password: str, address: str) -> str:
        """Return a code that earns one token within a minute; raise WrongCredentials or Throttled."""
        limits = {f"user {shown(username)}": _ACCOUNT_FAILURES, f"address {address}": _ADDRESS_FAILURES}
        self._throttle.check(limits)
        user = self._users.get(username)
        if not verify_password(password, self._users.password_hash(username)) or user is None:
            self._throttle.failed(limits)
            audit(f"{shown(username)} at {address}", "sign in", "refused: wrong user name or password")
            raise WrongCredentials("the user name or the password is wrong")
        self._throttle.succeeded(limits)
        code, now = new_secret(), self._clock.now()
        self._codes.add(hash_secret(code), user, now, now + CODE_SECONDS)
        audit(f"user {username} at {address}", "sign in", "done")
        return code

    def redeem(self, code: str, address: str) -> Grant:
        """Return what a code is worth and use it up; raise InvalidGrant or Throttled."""
        limits = {f"address {address}": _ADDRESS_FAILURES}
        self._throttle.check(limits)
        user = self._codes.take(hash_secret(code), self._clock.now())
        if user is None:
            self._throttle.failed(limits)
            raise InvalidGrant("the code is wrong, used or older than a minute; sign in again")
        return Grant(f"user:{user.id}", user.generation, (ALL,))

    def client_grant(self, client_id: str, secret: str, address: str) -> Grant:
        """Return what a client is worth; raise InvalidGrant or Throttled.

        A client's failures count for its own address only: its secret cannot be guessed, and nobody elsewhere shall be
        able to lock it out by failing in its name.
        """
        limits = {
            f"client {shown(client_id)} at {address}": _ACCOUNT_FAILURES,
            f"address {address}": _ADDRESS_FAILURES,
        }
        self._throttle.check(limits)
        client = self._clients.get(client_id)
        if not verify_secret(secret, self._clients.secret_hash(client_id)) or client is None:
            self._throttle.failed(limits)
            audit(f"{shown(client_id)} at {address}", "get a token", "refused: wrong client id or secret")
            raise InvalidGrant("the client id or the secret is wrong", "invalid_client")
        self._throttle.succeeded(limits)
        return Grant(f"client:{client.id}", 1, client.scopes)

    def caller(self, subject: str, generation: int) -> Caller:
        """Return who a good token speaks for; raise NotAuthenticated if its subject was deleted, or has changed the
        password since."""
        kind, _, id = subject.partition(":")
        if kind == "client" and (client := self._clients.get(id)):
            return Caller(f"client {client.id}", client.scopes)
        if (
            kind == "user"
            and id.isdecimal()
            and len(id) <= _LONGEST_NUMBER
            and (user := self._users.by_id(int(id)))
            and user.generation == generation
        ):
            return Caller(f"user {user.username}", (ALL,))
        raise NotAuthenticated("the token is no longer good: its user or client was changed or deleted")
