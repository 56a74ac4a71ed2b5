"""``dbcalm cleanup``: delete what has expired, or show what that would be."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dbcalm.cli.common import waiting
from dbcalm.cli.common.output import Row, say, show
from dbcalm.cli.common.patience import patiently
from dbcalm.cli.common.start import caller, settings
from dbcalm.cli.common.system import services
from dbcalm.domain.model import views
from dbcalm.domain.rules.retention import Verdict
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm.domain.services.processes import CLEANUP
from dbcalm_mariadb_cmd.command.amounts import size

ScheduleId = Annotated[
    int | None,
    typer.Option(
        "--schedule-id", min=1, max=2**63 - 1, help="Only chains that have a backup of this schedule."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Delete nothing: show what would go, and why the rest stays.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def cleanup(
    schedule_id: ScheduleId = None, dry_run: DryRun = False, wait: Wait = False, as_json: Json = False
) -> None:
    """Delete the chains of backups that have expired.

    By the rules of the configuration and of the schedules; never the last good ones."""
    loaded = settings()
    system = services(loaded)
    if dry_run:
        _show(system, schedule_id, as_json=as_json)
        return

    def start() -> Started:
        return system.cleanup.start(caller(), schedule_id)

    # On a terminal somebody wants an answer; cron, which asks once a day, wants it done.
    job = start() if sys.stdout.isatty() else patiently(system, loaded.schedule_patience, start)
    if as_json:
        print(json.dumps(views.started(job, CLEANUP)), flush=True)
    else:
        count, note = len(job.facts["deleting"]), job.facts["note"]
        print(f"clean-up: {_backups(count)}, job {job.job_id}" + (f"; {note}" if note else ""), flush=True)
    if wait:
        with waiting.detachable(job.job_id):
            waiting.wait(system, job.job_id, "clean-up")


def _show(system: Services, schedule_id: int | None, *, as_json: bool) -> None:
    verdicts = system.cleanup.verdicts(schedule_id)
    blocked = system.cleanup.blocked()
    if as_json:
        print(json.dumps({"blocked": blocked, "chains": [views.verdict(one) for one in verdicts]}))
        return
    show([_row(one) for one in verdicts], ("chain", "backups", "size", "newest", "verdict"), as_json=False)
    going = [one for one in verdicts if not one.kept]
    say(f"{_backups(sum(len(one.chain.points) for one in going))} would be deleted")
    if blocked:
        say(f"but nothing is deleted now: {blocked}")


def _row(one: Verdict) -> Row:
    return {
        "chain": one.chain.id,
        "backups": len(one.chain.points),
        "size": size(sum(point.size for point in one.chain.points)),
        "newest": f"{one.chain.newest.at:%Y-%m-%d %H:%M} UTC",
        "verdict": f"stays: {_sentences(one)}" if one.kept else f"goes: {one.why}",
    }


def _sentences(one: Verdict) -> str:
    told: Sequence[str] = [
        reason.sentence + (f", until {reason.until:%Y-%m-%d %H:%M} UTC" if reason.until else "")
        for reason in one.kept
    ]
    return "; ".join(told)


def _backups(count: int) -> str:
    return f"{count} backup" if count == 1 else f"{count} backups"
