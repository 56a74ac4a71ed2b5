"""What the services need from outside, as they see it. Each port says what its methods give, and what they raise.

Every store may raise Unavailable while the catalogue is locked by somebody else for seconds, and NoSpace.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from dbcalm.domain.model.entities import Backup, Client, Process, Restore, Run, Schedule, User
from dbcalm.domain.model.listing import Page, Query
from dbcalm.domain.rules.protection import Point
from dbcalm_cmd.command import CronSchedule
from dbcalm_cmd_client import Answer

Event = Mapping[str, object]
"""One line of the journal of jobs; ``event`` is its kind."""


class Clock(Protocol):
    """The time. ``now`` is in seconds since 1970, ``monotonic`` in seconds since whenever, never set back."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...


class MysqlService(Protocol):
    """The service that owns backups and jobs. Every method raises ServiceUnreachable if no answer comes."""

    def full_backup(
        self, job_id: str, id: str | None, schedule_id: int | None, form: str | None, synthetic: bool
    ) -> Answer: ...

    def incremental_backup(
        self,
        job_id: str,
        id: str | None,
        from_backup_id: str,
        or_full: bool,
        schedule_id: int | None,
        form: str | None,
    ) -> Answer: ...

    def restore_backup(
        self, job_id: str, id: str, target: str, replace: bool, identity: str | None
    ) -> Answer: ...

    def adopt_backup(self, job_id: str, id: str) -> Answer: ...

    def list_adoptable(self) -> Answer: ...

    def verify_backup(
        self, job_id: str, id: str, level: int, schedule_id: int | None, identity: str | None
    ) -> Answer: ...

    def bring_back(self, job_id: str, id: str) -> Answer: ...

    def list_replaced(self) -> Answer: ...
    def list_restored(self) -> Answer: ...
    def remove_restored(self, id: str) -> Answer: ...

    def database_wanted(self) -> Answer: ...

    def report_database(self, job_id: str, want: str, state: str, problem: str) -> Answer: ...

    def delete_backup(self, id: str) -> Answer: ...

    def undelete_backup(self, id: str, deleted_at: str | None) -> Answer: ...

    def hold_backup(self, id: str, reason: str, until: str | None) -> Answer: ...

    def release_backup(self, id: str) -> Answer: ...

    def cleanup_backups(self, job_id: str, ids: tuple[str, ...], schedule_id: int | None) -> Answer: ...

    def read_events(self, journal: str, offset: int, wait: float) -> Answer: ...

    def list_backups(self, after: str, examine: bool = False) -> Answer: ...

    def look_at_backups(self, after: str, within: float) -> Answer: ...

    def list_trash(self) -> Answer: ...

    def cancel_job(self, job_id: str) -> Answer: ...
    def acknowledge_job(self, job_id: str) -> Answer: ...

    def job_progress(self, job_id: str) -> Answer: ...

    def job_log(self, job_id: str, offset: int) -> Answer: ...

    def check(self) -> Answer: ...


class RootService(Protocol):
    """The service that owns the cron file and may stop and start the database. Its methods raise ServiceUnreachable if
    no answer comes, and WireError before they send what is too much for one call: InvalidCommand where its sentence
    says how much is."""

    def update_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        """Make the cron file hold exactly these; ``changed`` is False where it did already."""

    def check_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        """Tell in ``installed`` whether the cron file holds exactly these, and in ``present`` how many it holds."""

    def stop_database(self) -> Answer: ...

    def start_database(self) -> Answer: ...

    def query_database(self) -> Answer:
        """Tell in ``state`` whether the database's unit is running, stopped, failed, or pending while it changes."""


@dataclass(frozen=True)
class Cursor:
    """How far the journal has been applied: which journal, and the byte after the last event. "" and 0 at first."""

    journal: str
    offset: int


class JobStore(Protocol):
    """The one way by which jobs and backups get into the catalogue."""

    def cursor(self) -> Cursor: ...

    def apply(self, before: Cursor, after: Cursor, events: Sequence[Event]) -> bool:
        """Apply the events and move the cursor, together or not at all; False if the cursor is no longer ``before``."""

    def replace_backups(self, cursor: Cursor, backups: Sequence[Mapping[str, Any]]) -> bool:
        """Have the catalogue know the backups of these manifests and no others; False, and nothing is done, if the
        cursor is no longer this one."""

    def add_found(self, cursor: Cursor, backups: Sequence[Mapping[str, object]]) -> int | None:
        """Add the backups of these manifests that the catalogue lacks and return how many those were; None if the
        cursor is no longer this one."""

    def set_aside(self) -> Sequence[str]:
        """Return why events could not be applied, the last first."""


class BackupStore(Protocol):
    def get(self, key: str) -> Backup | None: ...

    def list(self, query: Query) -> Page[Backup]: ...

    def newest(self) -> Backup | None: ...

    def points(self) -> Sequence[Point]:
        """Return all backups, as protection sees them."""

    def unproven(self, level: int) -> Backup | None:
        """Return the newest backup on which no other builds, and which is neither proven to this level nor suspect."""

    def dependents(self, id: str) -> Sequence[str]: ...

    def delete(self, key: str) -> bool: ...


class RestoreStore(Protocol):
    def list(self, query: Query) -> Page[Restore]: ...


class ProcessStore(Protocol):
    def get(self, key: str) -> Process | None:
        """Return the process of a job."""

    def by_id(self, id: int) -> Process | None:
        """Return the process of a number."""

    def list(self, query: Query) -> Page[Process]: ...


class ScheduleDraft(Protocol):
    """The schedules inside one transaction, in which nobody else can change them."""

    def get(self, key: int) -> Schedule | None: ...

    def all(self) -> Sequence[Schedule]: ...

    def add(self, schedule: Schedule, above: int = 0) -> Schedule:
        """Add a schedule, and return it with the id that it got, which is above this one."""

    def replace(self, schedule: Schedule) -> None:
        """Give the schedule of this id these values."""

    def delete(self, key: int) -> None: ...


class ScheduleStore(Protocol):
    def get(self, key: int) -> Schedule | None: ...

    def all(self) -> Sequence[Schedule]: ...

    def list(self, query: Query) -> Page[Schedule]: ...

    def draft(self) -> AbstractContextManager[ScheduleDraft]:
        """Give a draft for a block: kept if the block ends well, and as if it had never been otherwise."""

    def note_refusal(self, key: int, at: str, sentence: str) -> None:
        """Remember that a backup of this schedule was refused; nothing happens if there is no such schedule."""

    def job_runs(self) -> bool:
        """Tell whether any job is running."""

    def never_had_any(self) -> bool:
        """Tell whether no schedule was ever kept here, as in a catalogue that was begun anew."""

    def runs(self, ids: Iterable[int]) -> Sequence[Run]:
        """Return of each of these schedules the newest run of each status, the newest of all first."""


class ClientStore(Protocol):
    def get(self, key: str) -> Client | None: ...

    def list(self, query: Query) -> Page[Client]: ...

    def add(self, client: Client, secret_hash: str, created_at: str) -> None: ...

    def rename(self, key: str, label: str) -> bool: ...

    def delete(self, key: str) -> bool: ...

    def secret_hash(self, key: str) -> str | None: ...


class UserStore(Protocol):
    def get(self, key: str) -> User | None:
        """Return the user of a name."""

    def by_id(self, id: int) -> User | None: ...

    def all(self) -> Sequence[User]: ...

    def add(self, username: str, password_hash: str, created_at: str) -> bool:
        """Add a user; False if the name is taken."""

    def set_password(self, key: str, password_hash: str) -> bool:
        """Replace the password and begin a new generation; False if there is no such user."""

    def delete(self, key: str) -> bool: ...

    def password_hash(self, key: str) -> str | None: ...


class CodeStore(Protocol):
    """Authorization codes that were given out, by their hash. ``expires_at`` and ``now`` are in seconds since 1970."""

    def add(self, code_hash: str, user: User, now: float, expires_at: float) -> None: ...

    def take(self, code_hash: str, now: float) -> User | None:
        """Use a code up and return whose it was; None if it is unknown, used, or older than it may be. Of several
        that come at once, one gets it."""
