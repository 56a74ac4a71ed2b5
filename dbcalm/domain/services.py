"""All that the system does, put together once."""

import time
from dataclasses import dataclass
from typing import Protocol

from dbcalm.domain.auth import Auth
from dbcalm.domain.backups import Backups
from dbcalm.domain.clients import Clients
from dbcalm.domain.jobs import Jobs
from dbcalm.domain.ports import (
    BackupStore,
    ClientStore,
    Clock,
    CodeStore,
    JobStore,
    MysqlService,
    ProcessStore,
    RestoreStore,
    UserStore,
)
from dbcalm.domain.processes import Processes
from dbcalm.domain.restores import Restores
from dbcalm.domain.users import Users


class Stores(Protocol):
    """The catalogue, as the services see it."""

    @property
    def backups(self) -> BackupStore: ...
    @property
    def restores(self) -> RestoreStore: ...
    @property
    def processes(self) -> ProcessStore: ...
    @property
    def clients(self) -> ClientStore: ...
    @property
    def users(self) -> UserStore: ...
    @property
    def codes(self) -> CodeStore: ...
    @property
    def jobs(self) -> JobStore: ...


class SystemClock:
    """The host's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(frozen=True)
class Services:
    """One service a resource, and the jobs that feed them."""

    auth: Auth
    backups: Backups
    clients: Clients
    jobs: Jobs
    processes: Processes
    restores: Restores
    users: Users


def assemble(stores: Stores, mysql: MysqlService, clock: Clock) -> Services:
    """Return the services over these ports."""
    jobs = Jobs(mysql, stores.jobs, clock)
    return Services(
        auth=Auth(stores.users, stores.clients, stores.codes, clock),
        backups=Backups(stores.backups, mysql, jobs),
        clients=Clients(stores.clients),
        jobs=jobs,
        processes=Processes(stores.processes, jobs),
        restores=Restores(stores.restores, mysql, jobs),
        users=Users(stores.users),
    )
