"""Jobs of the mysql service."""

from sqlalchemy import bindparam

from dbcalm.domain.model.entities import Process
from dbcalm.repository.base import Repository
from dbcalm.repository.engine import Database
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.tables import ProcessRow, columns_of


class ProcessRepository(Repository[Process]):
    """Jobs of the mysql service."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Process, ProcessRow, key="command_id", sequence=("id",))
        self._by_id = Prepared(self.selected.where(columns_of(ProcessRow).id == bindparam("id")))

    def by_id(self, id: int) -> Process | None:
        """Return the process of a number."""
        return self.one(self._by_id, id=id)
