"""A schedule fires: Debian's own cron runs what the root service has installed, while the API is down."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbcalm_cmd.command import CronSchedule
from dbcalm_cmd_client import CmdClient
from dbcalm_mariadb_cmd.store.manifest import MANIFEST
from dev.private_cron import PrivateCron, why_not
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.services import API
from tests.integration.conftest import Rig
from tests.support.patience import eventually

pytestmark = pytest.mark.integration

EVERY_MINUTE = CronSchedule(77, "full", "interval", interval_value=1, interval_unit="minutes")
"""Seconds until cron has fired and a backup of the test's database is made."""


@pytest.fixture
def able(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where cron cannot be run in a view of its own, which only trying it tells."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        with PrivateCron(tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("cron")):
            pass
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture
def install(able: None, rig: Rig) -> Iterator[Callable[..., dict[str, object]]]:
    """Have the root service install schedules, and none when the test is over."""
    client = CmdClient(Path(rig.sandbox.facts.cmd_sock))

    def send(*schedules: CronSchedule) -> dict[str, object]:
        answer = client.update_cron_schedules(schedules)
        assert answer.code == 200, answer
        assert client.check_cron_schedules(schedules).data["installed"] is True
        return answer.data

    yield send
    assert send()["schedules"] == 0


def manifests(rig: Rig) -> dict[str, dict[str, Any]]:
    """Return what the whole backups on disk say of themselves."""
    return {path.parent.name: json.loads(path.read_text()) for path in rig.backups.glob(f"*/{MANIFEST}")}


def of_schedule(rig: Rig) -> list[dict[str, Any]]:
    """Return the whole backups on disk that were made for our schedule."""
    return [facts for facts in manifests(rig).values() if facts["schedule_id"] == EVERY_MINUTE.id]


def test_cron_makes_a_backup_while_the_api_is_down(
    install: Callable[..., dict[str, object]], rig: Rig, tmp_path: Path
) -> None:
    rig.sandbox.services.end(API)
    assert install(EVERY_MINUTE) == {"schedules": 1, "changed": True}
    table = rig.sandbox.layout.cron_file
    words = f"{rig.sandbox.who.api.name} {rig.sandbox.layout.launch}"
    *_, fires, cleans_up = table.read_text().splitlines()
    assert fires == f"* * * * * {words} backup full --schedule-id 77"
    assert cleans_up == f"20 4 * * * {words} cleanup"

    with PrivateCron(table.parent, tmp_path) as cron:
        eventually(lambda: bool(of_schedule(rig)))
        install()
    assert cron.complaints == []
    assert cron.has_said(f"(dbcalm) CMD ({rig.sandbox.layout.launch} backup full --schedule-id 77)"), (
        cron.said
    )

    rig.sandbox.restart(API)
    [made] = of_schedule(rig)
    backup = rig.api.call("GET", f"/backups/{made['id']}")
    assert (backup["type"], backup["schedule_id"]) == ("full", 77)
    rig.api.wait(f"/status/{made['job_id']}")
    [process] = rig.api.call("GET", f"/processes?query=command_id|{made['job_id']}")["items"]
    assert (process["status"], process["resource_id"]) == ("success", made["id"])
    assert process["args"]["schedule_id"] == 77
    assert (rig.backups / made["id"]).owner() == rig.sandbox.who.database.name
