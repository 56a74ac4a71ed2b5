"""``dbcalm status``: whether all is well, and what needs attention first."""

import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

import dbcalm.api.certificate  # noqa: F401  # It is wanted when root has become another user, who may not load it.
from dbcalm.cli.common.output import printable
from dbcalm.cli.common.start import settings
from dbcalm.cli.common.system import services
from dbcalm.cli.common.waiting import duration
from dbcalm.config import Settings
from dbcalm.domain.model import times, views
from dbcalm.domain.rules.protection import Protection
from dbcalm.domain.services.status import Report
from dbcalm_mariadb_cmd.command.amounts import size, span

_CONNECT_SECONDS = 2.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_GREEN, _RED, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Tell whether all is well, and what needs attention first.

    Exit status 0: all is well, 1: something needs attention."""
    loaded = settings()
    report = services(loaded).status.report(lambda: api_answers(loaded))
    if as_json:
        print(json.dumps(views.report(report)))
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def api_answers(loaded: Settings) -> bool:
    """Tell whether a server speaks TLS where the API should; another program that has its port does not. With which
    certificate is not asked here: one that has expired, or was exchanged since, is another matter."""
    address = _ANYWHERE.get(loaded.api_host, loaded.api_host), loaded.api_port
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
            trusting.wrap_socket(connection).close()
    except ssl.SSLCertVerificationError:
        return True
    except OSError:
        return False
    return True


def _show(report: Report) -> None:
    count = len(report.attention)
    if report.ok:
        print(_coloured("all is well", _GREEN))
    else:
        print(_coloured(f"{count} thing{'s need' if count > 1 else ' needs'} attention:", _RED))
    for sentence in report.attention:
        print(f"  {_coloured('!', _RED)} {printable(sentence)}")
    for name, told in _lines(report):
        print(f"{name:12} {printable(told)}")


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    up = [
        f"{name} {'answers' if answers else 'DOES NOT ANSWER'}" for name, answers in report.services.items()
    ]
    yield "services", ", ".join(up)
    engine = report.engine
    if engine is not None:
        yield "database", engine["database"]["message"]
    for type, backup in report.newest.items():
        told = "none"
        if backup is not None:
            told = f"{backup.id}, {_ago(report.ages[type])}, {size(backup.size)}"
            told += "" if backup.presence in (None, "whole") else f", {backup.presence.upper()}"
        yield type, told
    if engine is not None and engine["chain"]["ids"]:
        chain = engine["chain"]
        yield "restore", chain["problem"] or "would use " + " > ".join(_shortened(chain["ids"]))
    yield (
        "protection",
        _of_protection(report.protection) if engine else "not known: nobody looked at the disk",
    )
    for advice in report.protection.improve[:1]:
        yield "better", advice
    due = f", the next at {times.short(report.next_run)}" if report.next_run else ""
    yield (
        "schedules",
        f"{report.enabled} enabled{due}, {len(report.overdue)} overdue; cron's zone is {report.timezone}",
    )
    if engine is not None:
        space, trash = engine["space"], engine["trash"]
        needed = f", a full backup needs about {size(space['needed_bytes'])}" if space["needed_bytes"] else ""
        yield "space", f"{size(space['free_bytes'])} free{needed}"
        if trash["count"]:
            yield "trash", f"{trash['count']} deleted, {size(trash['bytes'])}; dbcalm backups list --deleted"
        yield from _taking_space(report, engine)
        if engine["warm"] is not None:
            yield "warm copy", _of_warm(engine["warm"])
    if report.running is not None:
        running = report.running
        yield "running", f"{running.type}, job {running.command_id}, since {times.short(running.start_time)}"


def _taking_space(report: Report, engine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell what stays until somebody removes it, and what stays for a while; an older service does not tell it."""
    by_hand, restored, replaced = report.unruled, engine.get("restored"), engine.get("replaced")
    if by_hand.count:
        yield (
            "by hand",
            (
                f"{by_hand.count} backups, {size(by_hand.bytes)}, that no rule removes; see them with: "
                "dbcalm backups list --query 'schedule_id|isnull'; remove one with: dbcalm backups delete ID"
            ),
        )
    if restored and restored["count"]:
        yield (
            "restored",
            (
                f"{restored['count']} folders, {size(restored['bytes'])}; see them with: dbcalm restores folders; "
                "remove one with: dbcalm restores remove ID"
            ),
        )
    if replaced and replaced["count"]:
        yield (
            "replaced",
            (
                f"{replaced['count']} kept, {size(replaced['bytes'])}; see them with: dbcalm replaced list; "
                "remove one, as root, with: dbcalm replaced remove ID"
            ),
        )


def _of_protection(found: Protection) -> str:
    """Return how much would be lost, what of it is proven, how long a restore takes, and how many points there are."""
    if found.recovery_point_seconds is None:
        return "none: no backup can be restored"
    told = [f"a restore now goes back to {_ago(found.recovery_point_seconds)}"]
    if found.proven_point_seconds is None:
        told.append("none is proven to come back")
    else:
        told.append(f"the newest proven one is of {_ago(found.proven_point_seconds)}")
    if found.recovery_seconds is not None:
        told.append(f"it takes about {duration(max(1, round(found.recovery_seconds)))}")
    told.append("points: " + ", ".join(f"{count} in a {span}" for span, count in found.points.items()))
    return "; ".join(told)


def _of_warm(warm: Mapping[str, Any]) -> str:
    if warm["backup_id"]:
        return f"of {warm['backup_id']}: a restore of it into the database is a rename"
    if warm["is_being_made"]:
        return "is being made"
    return f"none: {warm['problem']}" if warm["problem"] else "none yet"


def _shortened(ids: list[str]) -> list[str]:
    """Return the chain's ids, those in the middle of a long one counted instead of named."""
    return ids if len(ids) <= 4 else [ids[0], f"({len(ids) - 2} more)", ids[-1]]


def _ago(seconds: float) -> str:
    return "in the future" if seconds < 0 else f"{span(timedelta(seconds=seconds))} ago"


def _coloured(text: str, colour: str) -> str:
    """Return the text in a colour where that is shown and wanted (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else f"{colour}{text}{_PLAIN}"
