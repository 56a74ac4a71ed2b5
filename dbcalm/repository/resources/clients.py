"""Programs that may use the API."""

from sqlalchemy import bindparam
from sqlmodel import col, select

from dbcalm.domain.model.entities import Client
from dbcalm.repository.base import Repository
from dbcalm.repository.engine import Database
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.tables import ClientRow


class ClientRepository(Repository[Client]):
    """Programs that may use the API."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Client, ClientRow, key="id", sequence=("number",))
        self._hash = Prepared(select(ClientRow.secret_hash).where(col(ClientRow.id) == bindparam("id")))

    def add(self, client: Client, secret_hash: str, created_at: str) -> None:
        """Add a client."""
        with self.database.session() as session:
            session.add(ClientRow(**vars(client), secret_hash=secret_hash, created_at=created_at))

    def rename(self, key: str, label: str) -> bool:
        """Change a client's label; False if there is no such client."""
        with self.database.session() as session:
            row = session.exec(select(ClientRow).where(ClientRow.id == key)).first()
            if row is None:
                return False
            row.label = label
        return True

    def secret_hash(self, key: str) -> str | None:
        """Return the hash of a client's secret."""
        row = self.database.first(self._hash, id=key)
        return None if row is None else str(row[0])
