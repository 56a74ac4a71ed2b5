"""Stand-ins for what is outside of dbcalm: the two services, in memory, and a clock that is set by hand."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from dbcalm_cmd.command import CheckCronSchedules, CronSchedule, UpdateCronSchedules
from dbcalm_cmd.process import utc_now
from dbcalm_cmd.wire import Command, encode
from dbcalm_cmd_client import Answer, ServiceUnreachable

Event = dict[str, Any]

KEY = b"k" * 32
"""What signs the tokens of tests."""


class HandClock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def manifest(id: str, seq: int, **more: Any) -> dict[str, Any]:
    """Return the facts of a whole backup's manifest."""
    return {
        "format": 1,
        "id": id,
        "type": "full",
        "from_backup_id": None,
        "seq": seq,
        "job_id": None,
        "schedule_id": None,
        "note": None,
        "timeline": "one",
        "start_time": utc_now(),
        "end_time": utc_now(),
        "size": 1000,
        "engine": "mariadb",
        **more,
    }


class FakeRootService:
    """Keeps a set of schedules, and the state of the database's unit, and answers like the root service. ``installed``
    is the set, by id, or None while there is no file; ``refusal`` is given instead of work, ``lost_replies`` are of
    work that is done but not answered, and while ``down`` nothing is. What was asked of the unit is in ``verbs``, and
    ``after_stop`` and ``after_start`` are the states that it has then, one a look."""

    def __init__(self) -> None:
        self.installed: dict[int, CronSchedule] | None = None
        self.refusal: Answer | None = None
        self.down = False
        self.lost_replies = 0
        self.calls = 0
        self.unit_state = "running"
        self.after_stop = ["pending", "stopped"]
        self.after_start = ["pending", "running"]
        self.verbs: list[str] = []
        self._coming: list[str] = []

    def update_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        wanted = self._asked(command := UpdateCronSchedules(tuple(schedules)), command.schedules)
        if self.refusal is not None:
            return self.refusal
        changed, self.installed = wanted != self.installed, wanted
        if self.lost_replies:
            self.lost_replies -= 1
            raise ServiceUnreachable("the connection was closed before the answer")
        return Answer(200, "ok", {"schedules": len(wanted), "changed": changed})

    def check_cron_schedules(self, schedules: Iterable[CronSchedule]) -> Answer:
        wanted = self._asked(command := CheckCronSchedules(tuple(schedules)), command.schedules)
        return self.refusal or Answer(
            200,
            "ok",
            {
                "installed": wanted == self.installed,
                "present": len(self.installed or {}),
                "highest_id": max(self.installed or {}, default=0),
            },
        )

    def stop_database(self) -> Answer:
        return self._unit("stop", self.after_stop)

    def start_database(self) -> Answer:
        return self._unit("start", self.after_start)

    def query_database(self) -> Answer:
        return self._unit("query", None)

    def _unit(self, verb: str, coming: list[str] | None) -> Answer:
        self.verbs.append(verb)
        if self.down:
            raise ServiceUnreachable("the service does not answer: connection refused")
        if self.refusal is not None:
            return self.refusal
        if coming is not None and not self._coming:
            self._coming = list(coming)
        if self._coming:
            self.unit_state = self._coming.pop(0)
        detail = f"{self.unit_state} (fake), result {self.unit_state}"
        return Answer(200, "ok", {"unit": "mariadb.service", "state": self.unit_state, "detail": detail})

    def _asked(self, command: Command, schedules: tuple[CronSchedule, ...]) -> dict[int, CronSchedule]:
        encode({"cmd": command.wire_name, "args": asdict(command)})
        self.calls += 1
        if self.down:
            raise ServiceUnreachable("the service does not answer: connection refused")
        return {schedule.id: schedule for schedule in schedules}


class FakeMysqlService:
    """Keeps a journal and answers like the mysql service. ``refusal`` is given to the next commands instead of work,
    ``lost_replies`` of them are done but not answered, and while ``down`` nothing is."""

    def __init__(self) -> None:
        self.journal = "first"
        self.events: list[Event] = []
        self.on_disk: dict[str, dict[str, Any]] = {}
        self.progress: dict[str, dict[str, Any]] = {}
        self.refusal: Answer | None = None
        self.down = False
        self.lost_replies = 0
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.batch = 100
        self.trash: dict[str, dict[str, Any]] = {}
        self.damaged: set[str] = set()
        self.logs: dict[str, str] = {}
        self.clock_doubt: str | None = None
        self.warm: dict[str, Any] | None = None
        self.database = {"ok": True, "message": "/usr/bin/mariadb-backup 10.11.19, server 10.11.19"}
        self.free = 10**12
        self.chain_problem: str | None = None
        self.replaced: list[dict[str, Any]] = []
        self.adoptable: list[dict[str, Any]] = []
        self.wanted: dict[str, Any] = {"job_id": None, "database": None, "want": None}
        self._answers: dict[str, Answer] = {}
        self._change = threading.Condition()

    def full_backup(
        self,
        job_id: str,
        id: str | None,
        schedule_id: int | None,
        form: str | None = None,
        synthetic: bool = False,
    ) -> Answer:
        call = ("full_backup", (job_id, id, schedule_id, form, synthetic))
        return self._backup(call, job_id, id, "full", None, schedule_id)

    def incremental_backup(
        self,
        job_id: str,
        id: str | None,
        from_backup_id: str,
        or_full: bool,
        schedule_id: int | None,
        form: str | None = None,
    ) -> Answer:
        call = ("incremental_backup", (job_id, id, from_backup_id, or_full, schedule_id, form))
        return self._backup(call, job_id, id, "incremental", from_backup_id, schedule_id)

    def restore_backup(
        self, job_id: str, id: str, target: str, replace: bool, identity: str | None
    ) -> Answer:
        facts = {"restore_id": f"r-{job_id[:4]}", "target": target, "target_path": "/var/lib/mysql"}

        def work() -> Answer:
            if id not in self.on_disk:
                return Answer(404, f"there is no backup {id!r}", {})
            restore = {**facts, "backup_id": id, "backup_timestamp": self.on_disk[id]["start_time"]}
            self._accept(job_id, "restore", id, restore=restore)
            return Answer(202, "accepted", {"job_id": job_id, "id": id, "chain": [id], **facts})

        return self._once(("restore_backup", (job_id, id, target, replace, identity)), job_id, work)

    def adopt_backup(self, job_id: str, id: str) -> Answer:
        def work() -> Answer:
            found = {row["name"]: row for row in self.adoptable}
            if id not in found:
                return Answer(404, f"there is no folder {id}", {})
            facts = manifest(id, -1, job_id=job_id)
            self.on_disk[id] = facts
            self._accept(job_id, "adopt", id)
            self.tell(
                {"event": "ended", "at": utc_now(), "job_id": job_id, "status": "success", "backup": facts}
            )
            data = {
                "job_id": job_id,
                "id": id,
                "type": "full",
                "from_backup_id": None,
                "note": "a full backup",
            }
            return Answer(202, "accepted", data)

        return self._once(("adopt_backup", (job_id, id)), job_id, work)

    def list_adoptable(self) -> Answer:
        self._reach(("list_adoptable", ()))
        return Answer(200, "ok", {"folders": self.adoptable, "backup_dir": "/var/backups/dbcalm"})

    def verify_backup(
        self, job_id: str, id: str, level: int, schedule_id: int | None, identity: str | None
    ) -> Answer:
        def work() -> Answer:
            if id not in self.on_disk:
                return Answer(404, f"there is no backup {id!r}", {})
            args = {"id": id, "level": level, "schedule_id": schedule_id}
            self._accept(job_id, "verify", id, args=args)
            return Answer(202, "accepted", {"job_id": job_id, "id": id, "chain": [id], "level": level})

        return self._once(("verify_backup", (job_id, id, level, schedule_id, identity)), job_id, work)

    def bring_back(self, job_id: str, id: str) -> Answer:
        def work() -> Answer:
            if id not in [kept["id"] for kept in self.replaced]:
                return Answer(404, f"nothing that was replaced is kept as {id}", {})
            self._accept(job_id, "bring_back", id)
            return Answer(202, "accepted", {"job_id": job_id, "id": id})

        return self._once(("bring_back", (job_id, id)), job_id, work)

    def list_restored(self) -> Answer:
        self._reach(("list_restored", ()))
        return Answer(200, "ok", {"restored": []})

    def remove_restored(self, id: str) -> Answer:
        self._reach(("remove_restored", (id,)))
        return self.refusal or Answer(200, "ok", {})

    def list_replaced(self) -> Answer:
        self._reach(("list_replaced", ()))
        return Answer(200, "ok", {"replaced": self.replaced})

    def database_wanted(self) -> Answer:
        self._reach(("database_wanted", ()))
        return Answer(200, "ok", dict(self.wanted))

    def report_database(self, job_id: str, want: str, state: str, problem: str) -> Answer:
        self._reach(("report_database", (job_id, want, state, problem)))
        return Answer(200, "ok", {})

    def delete_backup(self, id: str) -> Answer:
        def work() -> Answer:
            if id not in self.on_disk:
                return Answer(404, f"there is no backup {id}", {})
            self._delete(id)
            return Answer(200, "ok", {})

        return self._once(("delete_backup", (id,)), "", work)

    def undelete_backup(self, id: str, deleted_at: str | None) -> Answer:
        def work() -> Answer:
            facts = self.trash.pop(id, None)
            if facts is None:
                return Answer(404, f"there is no deleted backup {id}", {})
            self.on_disk[id] = facts
            self.tell({"event": "undeleted", "at": utc_now(), "backup": facts})
            return Answer(200, "ok", {})

        return self._once(("undelete_backup", (id, deleted_at)), "", work)

    def hold_backup(self, id: str, reason: str, until: str | None) -> Answer:
        return self._hold(("hold_backup", (id, reason, until)), id, {"reason": reason, "until": until})

    def release_backup(self, id: str) -> Answer:
        return self._hold(("release_backup", (id,)), id, None)

    def cleanup_backups(self, job_id: str, ids: tuple[str, ...], schedule_id: int | None) -> Answer:
        def work() -> Answer:
            deleting = [] if self.clock_doubt else [id for id in ids if id in self.on_disk]
            args = {"schedule_id": schedule_id, "ids": len(ids)}
            self._accept(job_id, "cleanup_backups", None, args=args, note=self.clock_doubt)
            for id in deleting:
                self._delete(id)
            data = {"job_id": job_id, "id": None, "deleting": deleting, "note": self.clock_doubt}
            return Answer(202, "accepted", data)

        return self._once(("cleanup_backups", (job_id, ids, schedule_id)), job_id, work)

    def read_events(self, journal: str, offset: int, wait: float) -> Answer:
        self._reach(("read_events", (journal, offset, wait)))
        start = offset if journal == self.journal else 0
        with self._change:
            if wait and len(self.events) == start:
                self._change.wait(wait)
            events = self.events[start : start + self.batch]
        end = start + len(events)
        data: dict[str, object] = {
            "journal": self.journal,
            "offset": end,
            "events": events,
            "more": end < len(self.events),
        }
        return Answer(200, "ok", data)

    def list_backups(self, after: str, examine: bool = False) -> Answer:
        self._reach(("list_backups", (after, examine)))
        found = [self.on_disk[id] for id in sorted(self.on_disk) if id > after]
        told: list[dict[str, Any]] = [
            {"hold": None, **facts, "intact": facts["id"] not in self.damaged if examine else None}
            for facts in found[:2]
        ]
        return Answer(200, "ok", {"backups": told, "more": len(found) > 2})

    def look_at_backups(self, after: str, within: float) -> Answer:
        self._reach(("look_at_backups", (after, within)))
        found = [
            [id, f"backup {id} is damaged" if id in self.damaged else None] for id in sorted(self.on_disk)
        ]
        rows = [row for row in found if str(row[0]) > after]
        data = {"backups": rows[:2], "more": len(rows) > 2, "backup_dir": "/backups", "problem": None}
        return Answer(200, "ok", data)

    def list_trash(self) -> Answer:
        self._reach(("list_trash", ()))
        times = {"deleted_at": utc_now(), "purge_at": utc_now()}
        return Answer(
            200, "ok", {"backups": [{**facts, **times} for facts in self.trash.values()], "more": False}
        )

    def acknowledge_job(self, job_id: str) -> Answer:
        self._reach(("acknowledge_job", (job_id,)))
        self.tell({"event": "acknowledged", "at": "2026-06-10T04:00:00.000000Z", "job_id": job_id})
        return Answer(200, "ok", {})

    def cancel_job(self, job_id: str) -> Answer:
        self._reach(("cancel_job", (job_id,)))
        if self.refusal:
            refusal, self.refusal = self.refusal, None
            return refusal
        self.finish(job_id, "failed", reason="cancelled", error="the job was cancelled", return_code=None)
        return Answer(202, "accepted", {})

    def job_progress(self, job_id: str) -> Answer:
        self._reach(("job_progress", (job_id,)))
        if job_id not in self.progress:
            return Answer(404, "no progress", {})
        unknown = dict.fromkeys(("percent", "bytes_per_second", "seconds_left"))
        return Answer(200, "ok", {**unknown, **self.progress[job_id]})

    def job_log(self, job_id: str, offset: int) -> Answer:
        self._reach(("job_log", (job_id, offset)))
        if job_id not in self.logs:
            return Answer(404, f"there is no log of job {job_id}", {})
        text = self.logs[job_id][offset : offset + 4]
        more = offset + 4 < len(self.logs[job_id])
        return Answer(200, "ok", {"text": text, "offset": offset + len(text), "more": more})

    def check(self) -> Answer:
        self._reach(("check", ()))
        data: dict[str, object] = {
            "database": self.database,
            "cause": None,
            "folders": [],
            "space": {"free_bytes": self.free, "needed_bytes": 10**9},
            "chain": {"ids": sorted(self.on_disk), "problem": self.chain_problem},
            "trash": {"count": len(self.trash), "bytes": 1000 * len(self.trash)},
            "clock": self.clock_doubt,
            "warm": self.warm,
        }
        return Answer(200, "ok", data)

    def tell(self, *events: Event) -> None:
        """Append to the journal."""
        with self._change:
            self.events += events
            self._change.notify_all()

    def finish(self, job_id: str, status: str = "success", **more: Any) -> None:
        """End a job; a backup that succeeds is on disk from then on."""
        accepted = next(event for event in self.events if event.get("job_id") == job_id)
        ended = {
            "event": "ended",
            "at": utc_now(),
            "job_id": job_id,
            "status": status,
            "return_code": 0,
            **more,
        }
        if status == "success" and accepted["type"] == "backup":
            facts = manifest(seq=len(self.on_disk) + 1, job_id=job_id, **accepted["backup"])
            self.on_disk[facts["id"]] = ended["backup"] = facts
        self.tell({"event": "started", "at": utc_now(), "job_id": job_id, "pid": 4711}, ended)

    def asked_for(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of the calls of one command."""
        return [arguments for called, arguments in self.calls if called == name]

    def _backup(
        self,
        call: tuple[str, tuple[Any, ...]],
        job_id: str,
        id: str | None,
        type: str,
        base: str | None,
        schedule_id: int | None,
    ) -> Answer:
        def work() -> Answer:
            name = id or f"2026-01-31-03-00-{len(self.events):02}"
            facts = {"id": name, "type": type, "from_backup_id": base, "schedule_id": schedule_id}
            self._accept(job_id, "backup", name, backup=facts)
            told = {"id": name, "type": type, "from_backup_id": base, "form": call[1][-1] or "zstd"}
            return Answer(202, "accepted", {"job_id": job_id, "note": None, **told})

        return self._once(call, job_id, work)

    def _delete(self, id: str) -> None:
        self.trash[id] = self.on_disk.pop(id)
        self.tell({"event": "deleted", "at": utc_now(), "backup_id": id, "trash": f"{id}.1"})

    def _hold(self, call: tuple[str, tuple[Any, ...]], id: str, hold: dict[str, Any] | None) -> Answer:
        def work() -> Answer:
            if id not in self.on_disk:
                return Answer(404, f"there is no backup {id}", {})
            self.on_disk[id] = {**self.on_disk[id], "hold": hold}
            told = {"event": "held", "hold": hold} if hold else {"event": "released"}
            self.tell({"at": utc_now(), "backup_id": id, **told})
            return Answer(200, "ok", {})

        return self._once(call, "", work)

    def _accept(self, job_id: str, type: str, id: str | None, **more: Any) -> None:
        self.tell(
            {
                "event": "accepted",
                "at": utc_now(),
                "job_id": job_id,
                "type": type,
                "command": "mariadb-backup …",
                "args": {"id": id, "schedule_id": more.get("backup", {}).get("schedule_id")},
                "resource_id": id,
                "note": None,
                **more,
            }
        )

    def _once(self, call: tuple[str, tuple[Any, ...]], job_id: str, work: Callable[[], Answer]) -> Answer:
        self._reach(call)
        if self.refusal is not None:
            return self.refusal
        answer = self._answers.get(job_id) or work()
        if job_id:
            self._answers[job_id] = answer
        if self.lost_replies:
            self.lost_replies -= 1
            raise ServiceUnreachable("the connection was closed before the answer")
        return answer

    def _reach(self, call: tuple[str, tuple[Any, ...]]) -> None:
        self.calls.append(call)
        if self.down:
            raise ServiceUnreachable("the service does not answer: connection refused")
