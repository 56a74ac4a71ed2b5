"""The catalogue: all repositories over one database."""

from dbcalm.repository.engine import Database
from dbcalm.repository.journal.apply import JournalRepository
from dbcalm.repository.recovery.remains import Remains
from dbcalm.repository.resources.backups import BackupRepository
from dbcalm.repository.resources.clients import ClientRepository
from dbcalm.repository.resources.codes import CodeRepository
from dbcalm.repository.resources.processes import ProcessRepository
from dbcalm.repository.resources.restores import RestoreRepository
from dbcalm.repository.resources.schedules import ScheduleRepository
from dbcalm.repository.resources.users import UserRepository


class Catalogue:
    """All repositories of one database, and what it says of itself."""

    def __init__(self, database: Database) -> None:
        self.backups = BackupRepository(database)
        self.restores = RestoreRepository(database)
        self.processes = ProcessRepository(database)
        self.schedules = ScheduleRepository(database)
        self.clients = ClientRepository(database)
        self.users = UserRepository(database)
        self.codes = CodeRepository(database)
        self.jobs = JournalRepository(database)
        remains = Remains(database)
        self.set_aside = remains.paths
        self.problems = remains.problems
        self.keep_copied = remains.keep_copied
        self.close = database.close
