"""People who may use the API."""

from collections.abc import Sequence

from dbcalm.domain.model import names
from dbcalm.domain.model.entities import User
from dbcalm.domain.ports import UserStore
from dbcalm.domain.rules.passwords import hash_password
from dbcalm.errors import Conflict, NotFound
from dbcalm.logger import audited
from dbcalm_cmd.process import utc_now


class Users:
    """Adds, lists, changes and deletes users; tokens of a deleted one, or of before a new password, end at once."""

    def __init__(self, store: UserStore) -> None:
        self._store = store

    def list(self) -> Sequence[User]:
        """Return all users in order of name."""
        return self._store.all()

    def require_free(self, username: str) -> str:
        """Return the name as it will be kept; raise InvalidField or Conflict if no user can have it."""
        name = names.text("username", username)
        if self._store.get(name) is not None:
            raise Conflict(f"user {name} exists already")
        return name

    def require(self, username: str) -> User:
        """Return the user of a name; raise NotFound."""
        user = self._store.get(username)
        if user is None:
            raise NotFound(f"there is no user {names.shown(username)}")
        return user

    def add(self, who: str, username: str, password: str) -> None:
        """Add a user; raise InvalidField or Conflict."""
        with audited(who, f"add user {names.shown(username)}"):
            name = self.require_free(username)
            if not self._store.add(name, hash_password(password), utc_now()):
                raise Conflict(f"user {name} exists already")

    def update_password(self, who: str, username: str, password: str) -> None:
        """Give a user a new password, and end the tokens of before; raise InvalidField or NotFound."""
        with audited(who, f"change the password of user {names.shown(username)}"):
            self.require(username)
            if not self._store.set_password(username, hash_password(password)):
                raise NotFound(f"there is no user {names.shown(username)}")

    def delete(self, who: str, username: str) -> None:
        """Delete a user, and end all tokens; raise NotFound."""
        with audited(who, f"delete user {names.shown(username)}"):
            if not self._store.delete(username):
                raise NotFound(f"there is no user {names.shown(username)}")
