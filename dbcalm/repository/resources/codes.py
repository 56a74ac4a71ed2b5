"""Authorization codes that were given out, by their hash."""

from sqlmodel import Session, col, delete, select

from dbcalm.domain.model.entities import User
from dbcalm.repository.engine import Database
from dbcalm.repository.tables import CodeRow, UserRow


class CodeRepository:
    """Authorization codes that were given out, by their hash."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, code_hash: str, user: User, now: float, expires_at: float) -> None:
        """Keep a code, and forget those that nobody used in time."""
        with self._database.session() as session:
            session.exec(delete(CodeRow).where(col(CodeRow.expires_at) < now))
            session.add(
                CodeRow(
                    code_hash=code_hash, user_id=user.id, generation=user.generation, expires_at=expires_at
                )
            )

    def take(self, code_hash: str, now: float) -> User | None:
        """Use a code up and return whose it was, unless it is unknown, too old, or older than the user's password."""
        with self._database.session() as session:
            code = session.get(CodeRow, code_hash)
            if code is None:
                return None
            session.delete(code)
            return None if code.expires_at < now else _owner(session, code)


def _owner(session: Session, code: CodeRow) -> User | None:
    found = session.exec(
        select(UserRow).where(UserRow.id == code.user_id, UserRow.generation == code.generation)
    ).first()
    return None if found is None else User(**found.model_dump(exclude={"password_hash"}))
