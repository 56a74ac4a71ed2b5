"""Schedules over HTTPS, and the cron file that the root service makes of them."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.sandbox_lib.services import API, ROOT_SERVICE
from tests.integration.conftest import Rig
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

DAILY = {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 10}
HOURLY = {"backup_type": "incremental", "frequency": "hourly", "minute": 40}


@pytest.fixture
def cron_file(rig: Rig) -> Iterator[Path]:
    """Give the cron file of a sandbox without schedules, and leave none behind."""
    assert schedules(rig) == []
    yield rig.sandbox.layout.cron_file
    rig.everything_runs()
    for one in sorted(schedules(rig), key=lambda one: str(one["backup_type"]), reverse=True):
        rig.api.call("DELETE", f"/schedules/{one['id']}")  # Incremental ones first: they need a full one.
    assert lines(rig) == [cleans_up(rig)]


def schedules(rig: Rig) -> list[dict[str, Any]]:
    return list(rig.api.call("GET", "/schedules?per_page=1000")["items"])


def lines(rig: Rig) -> list[str]:
    """Return what the cron file has cron run."""
    every = rig.sandbox.layout.cron_file.read_text().splitlines()
    return [line for line in every if line[:1] == "*" or line[:1].isdigit()]


def words(rig: Rig) -> str:
    return f"{rig.sandbox.who.api.name} {rig.sandbox.layout.launch}"


def cleans_up(rig: Rig) -> str:
    return f"20 4 * * * {words(rig)} cleanup"


def add_both(rig: Rig) -> tuple[int, int]:
    """Add a daily full and an hourly incremental schedule; return their ids."""
    full, incremental = (rig.api.call("POST", "/schedules", plan)["id"] for plan in (DAILY, HOURLY))
    return full, incremental


def test_the_cron_file_has_a_line_for_each_and_the_one_that_cleans_up(cron_file: Path, rig: Rig) -> None:
    full, incremental = add_both(rig)
    assert lines(rig) == [
        f"10 3 * * * {words(rig)} backup full --schedule-id {full}",
        f"40 * * * * {words(rig)} backup incremental --schedule-id {incremental}",
        cleans_up(rig),
    ]
    status = cron_file.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (rig.sandbox.who.root.uid, 0o644)

    rig.api.call("PUT", f"/schedules/{incremental}", {**HOURLY, "enabled": False})
    assert lines(rig) == [f"10 3 * * * {words(rig)} backup full --schedule-id {full}", cleans_up(rig)]


def test_what_cron_cannot_be_told_is_not_saved(cron_file: Path, rig: Rig) -> None:
    full, _ = add_both(rig)
    saved, written = schedules(rig), cron_file.read_bytes()
    rig.sandbox.kill(ROOT_SERVICE)
    for method, path, body in (
        ("POST", "/schedules", {**DAILY, "hour": 5}),
        ("PUT", f"/schedules/{full}", {**DAILY, "hour": 5}),
    ):
        status, line = rig.refused(method, path, body)
        assert (status, "dbcalm-cmd" in line, "nothing was saved" in line) == (503, True, True)
    assert (schedules(rig), cron_file.read_bytes()) == (saved, written)

    rig.sandbox.restart(ROOT_SERVICE)
    added = rig.api.call("POST", "/schedules", {**DAILY, "hour": 5})["id"]
    assert f"10 5 * * * {words(rig)} backup full --schedule-id {added}" in lines(rig)


def test_a_cron_file_that_is_gone_or_edited_comes_back_when_the_api_starts(cron_file: Path, rig: Rig) -> None:
    add_both(rig)
    written = cron_file.read_bytes()
    cron_file.unlink()
    rig.sandbox.restart(API)
    eventually(cron_file.exists)
    assert cron_file.read_bytes() == written
    assert stat.S_IMODE(cron_file.stat().st_mode) == 0o644

    cron_file.write_bytes(written.replace(b"10 3 ", b"59 23 "))
    rig.sandbox.restart(API)
    eventually(lambda: cron_file.read_bytes() == written)


def test_incremental_schedules_keep_the_last_full_one(cron_file: Path, rig: Rig) -> None:
    status, line = rig.refused("POST", "/schedules", HOURLY)
    assert (status, "full" in line) == (400, True)
    full, incremental = add_both(rig)
    saved, written = schedules(rig), cron_file.read_bytes()
    for method, body, word in (
        ("DELETE", None, f"schedule {incremental}"),
        ("PUT", {**DAILY, "enabled": False}, f"schedule {incremental}"),
        ("PUT", HOURLY, "add or enable a full one first"),
    ):
        status, line = rig.refused(method, f"/schedules/{full}", body)
        assert (status, word in line) == (400, True)
    assert (schedules(rig), cron_file.read_bytes()) == (saved, written)

    another = rig.api.call("POST", "/schedules", {**DAILY, "hour": 4})["id"]
    assert rig.api.request("DELETE", f"/schedules/{full}").status == 200
    assert [one["id"] for one in schedules(rig)] == [another, incremental]
