"""Clean-up: which backups have expired, and having them deleted.

What there is is asked of the mysql service, which looks at the disk, and not of the catalogue. That service decides
once more what it deletes: never the last whole chains, nothing young, nothing held, and nothing while its clock is in
doubt, whoever asks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dbcalm.domain.model import times
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.model.zone import HostZone
from dbcalm.domain.ports import Clock, MysqlService
from dbcalm.domain.rules.retention import Hold, Point, Preview, Rules, Verdict, judge, preview
from dbcalm.domain.services.jobs.jobs import Jobs, Started, asked, granted
from dbcalm.domain.services.schedules import Schedules
from dbcalm.logger import audited
from dbcalm_mariadb_cmd.command.requests import MOST_CLEANED


class Cleanup:
    """Judges the chains on disk by the rules of configuration and schedules."""

    def __init__(
        self,
        service: MysqlService,
        schedules: Schedules,
        jobs: Jobs,
        clock: Clock,
        rules: Rules,
        zone: HostZone,
    ) -> None:
        self._service = service
        self._schedules = schedules
        self._jobs = jobs
        self._clock = clock
        self._rules = rules
        self._zone = zone

    def start(self, caller: Caller, schedule_id: int | None = None) -> Started:
        """Start to delete what has expired; with a schedule, only chains that have a backup of it. Raise NotFound if
        there is no such schedule, Conflict if a job runs, Unavailable if the service does not answer."""
        what = "clean up" + (f" after schedule {schedule_id}" if schedule_id else "")
        with audited(caller.name, what) as outcome:
            ids = tuple(self._as_many_as_fit(self.expired(schedule_id)))
            return self._jobs.start(
                lambda job_id: self._service.cleanup_backups(job_id, ids, schedule_id), outcome
            )

    def _as_many_as_fit(self, expired: Sequence[Verdict]) -> list[str]:
        """Return the backups of these chains, leaf first, as many as one clean-up takes: the next one goes on. A chain
        goes at once, unless it is longer than that."""
        ids: list[str] = []
        for verdict in expired:
            chain = [point.id for point in reversed(verdict.chain.points)]
            if ids and len(ids) + len(chain) > MOST_CLEANED:
                break
            ids += chain
        return ids[:MOST_CLEANED]

    def expired(self, schedule_id: int | None = None) -> list[Verdict]:
        """Return the verdicts on the chains that may go now, the oldest first."""
        return [verdict for verdict in self.verdicts(schedule_id) if not verdict.kept]

    def verdicts(self, schedule_id: int | None = None) -> list[Verdict]:
        """Return the verdicts on all chains, or on those with a backup of a schedule; raise NotFound if there is no
        such schedule, and Unavailable."""
        if schedule_id is not None:
            self._schedules.require(schedule_id)
        now = times.at(self._clock.now())
        found = judge(self._points(), self._rules, self._schedules.ages(), now, self._zone().rules)
        if schedule_id is None:
            return found
        return [one for one in found if any(point.schedule_id == schedule_id for point in one.chain.points)]

    def preview(self, days: int, asked: int | None = None) -> Preview:
        """Return what will go in the next days if nothing new is made, and why the rest stays; raise Unavailable."""
        now = times.at(self._clock.now())
        return preview(
            self._points(), self._rules, self._schedules.ages(), now, self._zone().rules, days, asked
        )

    def blocked(self) -> str | None:
        """Return why nothing at all would be deleted now, or None; raise Unavailable."""
        why: str | None = granted(asked(self._service.check))["clock"]
        return why

    def _points(self) -> list[Point]:
        return [_point(facts) for facts in self._jobs.on_disk(examine=True)]


def _point(facts: Mapping[str, Any]) -> Point:
    hold = facts["hold"]
    return Point(
        id=facts["id"],
        base=facts["from_backup_id"],
        seq=facts["seq"],
        at=datetime.fromisoformat(facts["end_time"]),
        schedule_id=facts["schedule_id"],
        size=facts["size"],
        hold=Hold(hold["reason"], datetime.fromisoformat(hold["until"]) if hold["until"] else None)
        if hold
        else None,
        intact=facts["intact"] is not False,
    )
