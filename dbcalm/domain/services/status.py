"""Whether all is well: the answer at three in the morning, and what needs attention first.

Everything is looked at anew, by checks that know nothing of each other: each is given what was seen of the host, and
yields a sentence for each thing that needs attention, with the command to type where one helps. A part that cannot be
looked at is itself something that needs attention, and keeps nobody from hearing of the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from dbcalm.domain.model import times
from dbcalm.domain.model.advice import ADD_FULL, MAKE_FULL
from dbcalm.domain.model.entities import RUNNING, Backup, Process, Schedule
from dbcalm.domain.model.listing import Condition, Order, Query
from dbcalm.domain.ports import BackupStore, Clock, MysqlService, ProcessStore
from dbcalm.domain.rules.protection import Habits, Protection, measure
from dbcalm.domain.services import presence
from dbcalm.domain.services.backups import at_present
from dbcalm.domain.services.jobs.jobs import Jobs, asked, granted
from dbcalm.domain.services.processes import CANCELLED, CLEANUP, VERIFY
from dbcalm.domain.services.schedules import Overdue, Schedules, describe
from dbcalm.errors import DBCalmError
from dbcalm_mariadb_cmd.command.amounts import size

_LONGEST_WITHOUT = 48 * 3600
"""Seconds that the newest backup may be old where no schedule says how old it may be."""

_LONGEST_WITHOUT_CLEANUP = 50 * 3600
"""Seconds that the last clean-up may be ago: one that a long backup was in the way of may be left out."""

_TOLD_SUSPECTS = _TOLD_ALIKE = 3
_TOLD_JOBS = {"backup": "backup", "restore": "restore", VERIFY: "verification"}
_NO_FAILURES = (CANCELLED, "suspect")
_REMEMBERED = 7 * 86400
"""Seconds for which a failed job needs attention, unless a later one went well. One that was cancelled does not, and
one that found fault with a backup is told with that."""


_COUNTED_BY_HAND = 100
_TYPES = ("full", "incremental")
_NO_HABITS = Habits(makes=True, verifies=True, is_kept_warm=None)


@dataclass(frozen=True)
class Report:
    """``attention`` has a sentence for each thing that needs some, the most urgent first. ``engine`` is what the mysql
    service said of the host, None where it said nothing; ``services`` tells which of the three answer."""

    attention: Sequence[str]
    services: Mapping[str, bool]
    engine: Mapping[str, Any] | None
    newest: Mapping[str, Backup | None]
    ages: Mapping[str, float]
    running: Process | None
    enabled: int
    next_run: str | None
    overdue: Sequence[Overdue]
    timezone: str
    protection: Protection
    unruled: "Amount"

    @property
    def ok(self) -> bool:
        """Whether nothing needs attention."""
        return not self.attention


@dataclass(frozen=True)
class Amount:
    """So many backups, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Seen:
    """What was looked at once, for all checks. ``engine`` is what the mysql service said of the host, or None, and then
    ``silence`` says why; ``cron`` is what is wrong with the root service or its file; ``schedules`` are the enabled
    ones, and ``disk`` is how the backups were found there."""

    engine: Mapping[str, Any] | None
    silence: str | None
    cron: str | None
    services: Mapping[str, bool]
    newest: Mapping[str, Backup | None]
    schedules: Sequence[Schedule]
    overdue: Sequence[Overdue]
    disk: presence.Look


Check = Callable[[Seen], Iterable[str]]
"""Yields a sentence for each thing that needs attention. It may raise DBCalmError, which is told in its place."""


class Status:
    """Puts the report together. ``damages`` tells of catalogues that were damaged."""

    def __init__(
        self,
        backups: BackupStore,
        processes: ProcessStore,
        service: MysqlService,
        schedules: Schedules,
        jobs: Jobs,
        clock: Clock,
        damages: Callable[[], Sequence[str]],
        looking: presence.Presence,
        more: Sequence[Check] = (),
        is_choosing: bool = False,
    ) -> None:
        self._looking = looking
        self._is_choosing = is_choosing
        self._more = tuple(more)
        self._damages = damages
        self._backups = backups
        self._processes = processes
        self._service = service
        self._schedules = schedules
        self._jobs = jobs
        self._clock = clock

    def _checks(self) -> Sequence[Check]:
        """Return all checks, that of the most urgent things first."""
        return (
            _of_silence,
            _of_engine,
            _of_unwritable,
            self._of_missing,
            self._of_faults_everywhere,
            self._of_backups,
            self._of_suspects,
            _of_server_faults,
            self._of_failures,
            self._of_damaged,
            _of_unreadable,
            self._of_set_aside,
            _of_journal,
            _of_overdue,
            _of_space,
            _of_cron,
            self._of_cleanup,
            _of_clock,
            _of_warm,
            _of_api,
            _of_configuration,
            *self._more,
        )

    def report(self, api_answers: Callable[[], bool]) -> Report:
        """Look at everything and return what was found. ``api_answers`` tells whether the API can be reached."""
        seen = self._look(api_answers)
        return Report(
            attention=[sentence for check in self._checks() for sentence in _told(check, seen)],
            services=seen.services,
            engine=seen.engine,
            newest=seen.newest,
            ages={type: self._age(one) for type, one in seen.newest.items() if one is not None},
            running=self._running(),
            enabled=len(seen.schedules),
            next_run=min(filter(None, map(self._schedules.next_run, seen.schedules)), default=None),
            overdue=seen.overdue,
            timezone=self._schedules.timezone,
            protection=self._protection(seen.schedules, seen.engine, seen.disk),
            unruled=self._unruled(),
        )

    def _look(self, api_answers: Callable[[], bool]) -> Seen:
        engine, silence = self._engine()
        cron, cron_problem = self._cron()
        disk = self._looking.look()
        return Seen(
            engine=engine,
            silence=silence,
            cron=cron_problem,
            services={
                "dbcalm-api": api_answers(),
                "dbcalm-cmd": cron,
                "dbcalm-mariadb-cmd": engine is not None,
            },
            newest={type: self._newest(type, disk) for type in _TYPES},
            schedules=[one for one in self._schedules.all() if one.enabled],
            overdue=self._schedules.overdue(),
            disk=disk,
        )

    def protection(self) -> Protection:
        """Return how well the data is protected; whether a chain is kept prepared is only known with the service."""
        engine, _ = self._engine()
        enabled = [one for one in self._schedules.all() if one.enabled]
        return self._protection(enabled, engine, self._looking.look())

    def _protection(
        self, enabled: Sequence[Schedule], engine: Mapping[str, Any] | None, disk: presence.Look
    ) -> Protection:
        habits = Habits(
            makes=any(one.backup_type != VERIFY for one in enabled),
            verifies=any(one.backup_type == VERIFY or one.verify_level is not None for one in enabled),
            is_kept_warm=None if engine is None else engine["warm"] is not None,
        )
        now = self._clock.now()
        if disk.silence is not None:
            unknown = f"nobody can tell which backups are on disk: {disk.silence}"
            return replace(measure((), habits, now), improve=(unknown,))
        found = measure(presence.usable(self._backups.points(), disk), habits, now)
        lost = tuple(presence.sentences(disk))
        return replace(found, improve=lost if lost and not found.chain else (*lost, *found.improve))

    def _engine(self) -> tuple[Mapping[str, Any] | None, str | None]:
        """Return what the mysql service says of the host, and what is wrong if it says nothing; the catalogue follows
        its journal first."""
        try:
            self._jobs.catch_up()
            return granted(asked(self._service.check)), None
        except DBCalmError as error:
            return None, f"{error}: no backup can be made or restored"

    def _cron(self) -> tuple[bool, str | None]:
        """Return whether the root service answers, and what is wrong with it or the cron file."""
        try:
            return True, self._schedules.cron_problem()
        except DBCalmError as error:
            return False, f"{error}: schedules cannot be changed"

    def _newest(self, type: str, disk: presence.Look) -> Backup | None:
        found = self._backups.list(Query((Condition("type", "eq", (type,)),), per_page=1)).items
        return at_present(presence.with_presence(found[0], disk), self._clock) if found else None

    def _running(self) -> Process | None:
        return self._process(Condition("status", "eq", (RUNNING,)))

    def _process(self, *conditions: Condition, first: bool = False) -> Process | None:
        """Return the newest process of which these conditions hold, or the first there was."""
        order = (Order("id", descending=not first),)
        found = self._processes.list(Query(conditions, order, per_page=1)).items
        return found[0] if found else None

    def _of_failures(self, _seen: Seen) -> Iterator[str]:
        """Tell why the newest job of a kind failed that somebody asked for; a schedule tells of its own."""
        since = times.written(times.at(self._clock.now() - _REMEMBERED))
        for type, name in _TOLD_JOBS.items():
            last = self._process(Condition("type", "eq", (type,)))
            if not _is_told(last) or last.reason in _NO_FAILURES:
                continue
            if last.args.get("schedule_id") is None and (last.end_time or last.start_time) > since:
                yield f"the last {name} failed at {times.short(last.start_time)}: {_failure(last)}"

    def _of_cleanup(self, _seen: Seen) -> Iterator[str]:
        """Tell of the last clean-up if it failed, or if it is long ago: cron runs one every day."""
        last = self._process(Condition("type", "eq", (CLEANUP,)))
        since = last or self._process(first=True)
        if _is_told(last):
            yield f"the last clean-up failed: {_failure(last)}"
        elif (
            since is not None
            and self._clock.now() - times.seconds(since.start_time) > _LONGEST_WITHOUT_CLEANUP
        ):
            yield f"nothing was cleaned up since {times.short(since.start_time)}; is cron running?"

    def _unruled(self) -> Amount:
        """Return how much was made by hand and stays until somebody deletes it: chains none of whose backups has a
        schedule with a retention, where no rule of the configuration chooses among all."""
        if self._is_choosing:
            return Amount()
        fulls = Query(
            (Condition("schedule_id", "isnull", ()), Condition("from_backup_id", "isnull", ())),
            per_page=_COUNTED_BY_HAND,
        )
        chains = [self._above(full) for full in self._backups.list(fulls).items]
        left = [chain for chain in chains if all(one.retention_value is None for one in chain)]
        return Amount(sum(map(len, left)), sum(one.size for chain in left for one in chain))

    def _above(self, full: Backup) -> Sequence[Backup]:
        """Return a backup and all that builds on it."""
        found, following = [full], [full.id]
        while following:
            for id in self._backups.dependents(following.pop()):
                if (one := self._backups.get(id)) is not None:
                    found.append(one)
                    following.append(id)
        return found

    def _age(self, backup: Backup) -> float:
        """Return how long ago a backup ended, in seconds."""
        return self._clock.now() - times.seconds(backup.end_time or backup.start_time)

    def _of_missing(self, seen: Seen) -> Iterator[str]:
        """Tell which backups are not on disk, or not whole there, and which the catalogue does not know."""
        told = str(seen.silence)
        if seen.engine is not None:
            told = f"{seen.engine['chain']['problem']} {seen.engine['database']['message']}"
            told += " ".join(seen.engine.get("unreadable", ()))
        yield from presence.sentences(seen.disk, told)
        if seen.engine is None:
            return
        for id in seen.engine["chain"]["ids"]:
            if self._backups.get(id) is None:
                yield f"backup {id} is on disk and not in the catalogue: dbcalm catalogue rebuild"

    def _of_faults_everywhere(self, seen: Seen) -> Iterator[str]:
        """Tell that no backup is left that can be counted on, where verifications have found fault with all that are
        there."""
        there = [point for point in self._backups.points() if point.id not in seen.disk.problems]
        if there and not any(measure(there, _NO_HABITS, self._clock.now()).chain):
            yield (
                "no backup is without a fault: clean-up keeps the newest of them all the same; see below what was "
                "found, then make a full backup and verify it: dbcalm backup full"
            )

    def _of_suspects(self, _seen: Seen) -> Iterator[str]:
        found = self._backups.list(Query((Condition("suspect", "isnotnull", ()),), per_page=_TOLD_SUSPECTS))
        for one in found.items:
            yield (
                f"backup {one.id} is suspect: {one.suspect}; see whether the disk is good, then look again with: "
                f"dbcalm verify {one.id}, or delete it with: dbcalm backups delete {one.id}"
            )
        if found.total > len(found.items):
            yield f"{found.total - len(found.items)} more are suspect: dbcalm backups list --query 'suspect|isnotnull'"

    def _of_backups(self, seen: Seen) -> Iterator[str]:
        if seen.newest["full"] is None:
            yield f"there is no full backup: make one with: {MAKE_FULL}"
            return
        known = [one for one in seen.newest.values() if one is not None]
        youngest = min(map(self._age, known))
        if any(one.backup_type != VERIFY for one in seen.schedules):
            return
        if any(one.schedule_id is not None for one in known):
            yield "no schedule is enabled, although one made the newest backups: see dbcalm schedules list"
        elif youngest > _LONGEST_WITHOUT:
            yield (
                f"the newest backup is {youngest / 86400:.0f} days old, and no schedule is enabled: "
                f"add one with: {ADD_FULL}"
            )

    def _of_set_aside(self, _seen: Seen) -> Iterator[str]:
        if aside := self._jobs.set_aside():
            number = "one event" if len(aside) == 1 else f"{len(aside)} events"
            yield (
                f"{number} of the journal of jobs could not be applied and is kept aside, the last: {aside[0]}; see "
                "that no backup or job is missing, and then forget it with: dbcalm catalogue rebuild"
            )

    def _of_damaged(self, _seen: Seen) -> Iterable[str]:
        return self._damages()


def _of_unreadable(seen: Seen) -> Iterator[str]:
    """Tell of backups on disk whose manifest cannot be used. An older service does not tell of them."""
    yield from _few((seen.engine or {}).get("unreadable", ()), "backups cannot be read")


def _of_unwritable(seen: Seen) -> Iterator[str]:
    """Tell of folders that the service cannot write in. An older service does not tell of them here."""
    yield from (seen.engine or {}).get("unwritable", ())


def _of_journal(seen: Seen) -> Iterator[str]:
    yield from _few((seen.engine or {}).get("journal", ()), "things are wrong with the journal of jobs")


def _few(sentences: Sequence[str], what: str) -> Iterator[str]:
    yield from sentences[:_TOLD_ALIKE]
    if len(sentences) > _TOLD_ALIKE:
        yield f"{len(sentences) - _TOLD_ALIKE} more {what}; see the log: journalctl -u dbcalm-mariadb-cmd"


def _told(check: Check, seen: Seen) -> Sequence[str]:
    """Return what a check says; what it could not look at is told in its place."""
    sentences: list[str] = []
    try:
        sentences.extend(check(seen))
    except DBCalmError as error:
        sentences.append(str(error))
    return sentences


def _is_told(last: Process | None) -> TypeGuard[Process]:
    """Tell whether a job has failed, and nobody has said yet that this is known."""
    return last is not None and last.status == "failed" and last.known_at is None


def _failure(job: Process) -> str:
    """Return why a job failed, and how to say that this is known."""
    return f"{job.error or job.reason}; once that is known: dbcalm processes acknowledge {job.command_id}"


def _of_silence(seen: Seen) -> Iterator[str]:
    if seen.silence:
        yield seen.silence


def _of_server_faults(seen: Seen) -> Iterator[str]:
    found = seen.engine.get("server_faults") if seen.engine is not None else None
    if not found:
        return
    id, faults = found["backup_id"], found["faults"]
    for fault in faults[:_TOLD_SUSPECTS]:
        yield f"a table of the server is bad, and so it is in backup {id}: {fault}"
    if len(faults) > _TOLD_SUSPECTS:
        yield f"{len(faults) - _TOLD_SUSPECTS} more tables of the server are bad: see the log of the last verification"


def _of_engine(seen: Seen) -> Iterator[str]:
    if seen.engine is not None and not seen.engine["database"]["ok"]:
        yield f"no backup can be made now: {seen.engine['database']['message']}"
    if seen.engine is not None and seen.engine["chain"]["problem"]:
        yield f"the newest backup cannot be restored: {seen.engine['chain']['problem']}"


def _of_overdue(seen: Seen) -> Iterator[str]:
    for one in seen.overdue:
        why = one.error or "it did not run; is cron running, was the host asleep?"
        since = times.short(one.since)
        yield f"schedule {one.schedule.id} ({describe(one.schedule)}) is overdue since {since}: {why}"


def of_space(engine: Mapping[str, Any] | None) -> Iterator[str]:
    """Tell whether the next full backup has too little space."""
    space = engine["space"] if engine else None
    if space and space["needed_bytes"] is not None and space["free_bytes"] < space["needed_bytes"]:
        yield (
            f"too little space: the next full backup needs about {size(space['needed_bytes'])}, "
            f"{size(space['free_bytes'])} are free"
        )


def _of_space(seen: Seen) -> Iterator[str]:
    return of_space(seen.engine)


def _of_cron(seen: Seen) -> Iterator[str]:
    if seen.cron:
        yield seen.cron


def _of_clock(seen: Seen) -> Iterator[str]:
    if seen.engine is not None and seen.engine["clock"]:
        yield f"nothing is cleaned up: {seen.engine['clock']}"


def _of_warm(seen: Seen) -> Iterator[str]:
    warm = seen.engine["warm"] if seen.engine else None
    if warm and warm["problem"]:
        yield f"warm_restore is on, and the newest backup cannot be kept prepared: {warm['problem']}"


def _of_configuration(seen: Seen) -> Iterator[str]:
    """Tell that the mysql service runs with another configuration than its file has now."""
    found = (seen.engine or {}).get("config")  # An older version of the service does not tell it.
    if found and found["on_disk"] not in (None, found["digest"]):
        yield (
            f"{found['path']} was changed after dbcalm-mariadb-cmd had loaded it: "
            "systemctl restart dbcalm-mariadb-cmd"
        )


def _of_api(seen: Seen) -> Iterator[str]:
    if not seen.services["dbcalm-api"]:
        yield "the API does not answer; see that dbcalm-api runs"
