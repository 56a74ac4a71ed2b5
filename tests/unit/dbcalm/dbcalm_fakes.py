"""Stand-ins for what is outside of dbcalm: the mysql service, in memory, and a clock that is set by hand."""

import threading
from collections.abc import Callable
from typing import Any

from dbcalm_cmd.process import utc_now
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
        self._answers: dict[str, Answer] = {}
        self._change = threading.Condition()

    def full_backup(self, job_id: str, id: str | None, schedule_id: int | None) -> Answer:
        return self._backup(("full_backup", (job_id, id, schedule_id)), job_id, id, "full", None, schedule_id)

    def incremental_backup(
        self, job_id: str, id: str | None, from_backup_id: str, or_full: bool, schedule_id: int | None
    ) -> Answer:
        call = ("incremental_backup", (job_id, id, from_backup_id, or_full, schedule_id))
        return self._backup(call, job_id, id, "incremental", from_backup_id, schedule_id)

    def restore_backup(self, job_id: str, id: str, target: str) -> Answer:
        facts = {"restore_id": f"r-{job_id[:4]}", "target": target, "target_path": "/var/lib/mysql"}

        def work() -> Answer:
            if id not in self.on_disk:
                return Answer(404, f"unknown backup {id}", {})
            restore = {**facts, "backup_id": id, "backup_timestamp": self.on_disk[id]["start_time"]}
            self._accept(job_id, "restore", id, restore=restore)
            return Answer(202, "accepted", {"job_id": job_id, "id": id, "chain": [id], **facts})

        return self._once(("restore_backup", (job_id, id, target)), job_id, work)

    def delete_backup(self, id: str) -> Answer:
        def work() -> Answer:
            if self.on_disk.pop(id, None) is None:
                return Answer(404, f"there is no backup {id}", {})
            self.tell({"event": "deleted", "at": utc_now(), "backup_id": id})
            return Answer(200, "ok", {})

        return self._once(("delete_backup", (id,)), "", work)

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

    def list_backups(self, after: str) -> Answer:
        self._reach(("list_backups", (after,)))
        found = [self.on_disk[id] for id in sorted(self.on_disk) if id > after]
        return Answer(200, "ok", {"backups": found[:2], "more": len(found) > 2})

    def job_progress(self, job_id: str) -> Answer:
        self._reach(("job_progress", (job_id,)))
        if job_id not in self.progress:
            return Answer(404, "no progress", {})
        return Answer(200, "ok", dict(self.progress[job_id]))

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
            return Answer(202, "accepted", {"job_id": job_id, "note": None, **facts})

        return self._once(call, job_id, work)

    def _accept(self, job_id: str, type: str, id: str, **more: Any) -> None:
        self.tell(
            {
                "event": "accepted",
                "at": utc_now(),
                "job_id": job_id,
                "type": type,
                "command": "mariadb-backup …",
                "args": {"id": id},
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
