"""All that the system does, put together once."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from dbcalm.domain.model.zone import HostZone
from dbcalm.domain.ports import (
    BackupStore,
    ClientStore,
    Clock,
    CodeStore,
    JobStore,
    MysqlService,
    ProcessStore,
    RestoreStore,
    RootService,
    ScheduleStore,
    UserStore,
)
from dbcalm.domain.rules.retention import Rules
from dbcalm.domain.services.access.auth import Auth
from dbcalm.domain.services.access.clients import Clients
from dbcalm.domain.services.access.users import Users
from dbcalm.domain.services.backups import Backups
from dbcalm.domain.services.cleanup import Cleanup
from dbcalm.domain.services.jobs.database_unit import Database
from dbcalm.domain.services.jobs.jobs import Jobs
from dbcalm.domain.services.presence import Presence
from dbcalm.domain.services.processes import Processes
from dbcalm.domain.services.restores import Restores
from dbcalm.domain.services.schedules import Schedules
from dbcalm.domain.services.status import Check, Status


class Stores(Protocol):
    """The catalogue, as the services see it."""

    @property
    def backups(self) -> BackupStore: ...
    @property
    def restores(self) -> RestoreStore: ...
    @property
    def processes(self) -> ProcessStore: ...
    @property
    def schedules(self) -> ScheduleStore: ...
    @property
    def clients(self) -> ClientStore: ...
    @property
    def users(self) -> UserStore: ...
    @property
    def problems(self) -> Callable[[], Sequence[str]]:
        """Returns a sentence for each time that the catalogue was damaged, until somebody has seen to it."""

    @property
    def keep_copied(self) -> Callable[[threading.Event], None]:
        """Makes a copy of the catalogue each day, until told to stop."""

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
    cleanup: Cleanup
    clients: Clients
    database: Database
    jobs: Jobs
    processes: Processes
    restores: Restores
    keep_copied: Callable[[threading.Event], None]
    schedules: Schedules
    status: Status
    users: Users


def assemble(
    stores: Stores,
    mysql: MysqlService,
    root: RootService,
    clock: Clock,
    rules: Rules,
    patience: timedelta,
    zone: HostZone | None = None,
    checks: Sequence[Check] = (),
) -> Services:
    """Return the services over these ports. ``patience`` is how long a scheduled backup waits for a job in its way; the
    zone is the host's where no other is given; status looks at what ``checks`` look at too."""
    zone = zone or HostZone()
    jobs = Jobs(mysql, stores.jobs, clock)
    database = Database(mysql, root)
    presence = Presence(stores.backups, mysql, clock)
    schedules = Schedules(stores.schedules, root, clock, zone, patience, jobs.add_found)
    return Services(
        auth=Auth(stores.users, stores.clients, stores.codes, clock),
        backups=Backups(stores.backups, mysql, jobs, schedules, clock, presence),
        cleanup=Cleanup(mysql, schedules, jobs, clock, rules, zone),
        clients=Clients(stores.clients),
        database=database,
        jobs=jobs,
        processes=Processes(stores.processes, mysql, jobs),
        restores=Restores(stores.restores, mysql, jobs, database),
        keep_copied=stores.keep_copied,
        schedules=schedules,
        status=Status(
            stores.backups,
            stores.processes,
            mysql,
            schedules,
            jobs,
            clock,
            stores.problems,
            presence,
            checks,
            is_choosing=bool(rules.choosing),
        ),
        users=Users(stores.users),
    )
