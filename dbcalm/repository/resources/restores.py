"""Restores, whatever became of them."""

from dbcalm.domain.model.entities import Restore
from dbcalm.repository.base import Repository
from dbcalm.repository.engine import Database
from dbcalm.repository.tables import RestoreRow


class RestoreRepository(Repository[Restore]):
    """Restores, whatever became of them."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Restore, RestoreRow, key="id", sequence=("id",))
