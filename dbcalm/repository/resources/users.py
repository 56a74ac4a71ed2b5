"""People who may use the API."""

from collections.abc import Sequence

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from dbcalm.domain.model.entities import User
from dbcalm.repository.base import Repository
from dbcalm.repository.engine import Database
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.tables import UserRow


class UserRepository(Repository[User]):
    """People who may use the API."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, User, UserRow, key="username", sequence=("id",))
        self._by_id = Prepared(self.selected.where(col(UserRow.id) == bindparam("id")))
        self._all = Prepared(self.selected.order_by(col(UserRow.username)))
        self._hash = Prepared(
            select(UserRow.password_hash).where(col(UserRow.username) == bindparam("username"))
        )

    def by_id(self, id: int) -> User | None:
        """Return the user of a number."""
        return self.one(self._by_id, id=id)

    def all(self) -> Sequence[User]:
        """Return all users in order of name."""
        return [self.made(row) for row in self.database.all(self._all)]

    def add(self, username: str, password_hash: str, created_at: str) -> bool:
        """Add a user; False if the name is taken."""
        with self.database.session() as session:
            if _row(session, username) is not None:
                return False
            session.add(UserRow(username=username, password_hash=password_hash, created_at=created_at))
        return True

    def set_password(self, key: str, password_hash: str) -> bool:
        """Replace a password and begin a new generation; False if there is no such user."""
        with self.database.session() as session:
            if (row := _row(session, key)) is None:
                return False
            row.password_hash = password_hash
            row.generation += 1
        return True

    def password_hash(self, key: str) -> str | None:
        """Return the hash of a user's password."""
        row = self.database.first(self._hash, username=key)
        return None if row is None else str(row[0])


def _row(session: Session, username: str) -> UserRow | None:
    return session.exec(select(UserRow).where(UserRow.username == username)).first()
