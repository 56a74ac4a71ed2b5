"""What an administrator finds in the journal of a booted host about jobs, by the commands that the docs have.

It leaves jobs that failed, of which ``dbcalm status`` and setup tell: so it comes after what wants a host where all is
well, in the order of the files' names.
"""

import re

import pytest

from dev.sandbox_lib.api import Api
from tests.e2e.machine import CHECKOUT, Machine, wait_for

BY_UNIT = "journalctl --unit 'dbcalm*' --priority warning --output cat --no-pager"


def documented() -> str:
    """Return the command that the docs have for what was refused or failed."""
    page = (CHECKOUT / "docs/configuration.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^\$ (journalctl .*--priority warning.*)$", page, re.M)
    return f"{command} --output cat --no-pager"


def test_what_was_refused_and_what_failed_is_found(machine: Machine, api: Api) -> None:
    done = api.wait(str(api.call("POST", "/backups", {"type": "full"})["link"]), seconds=60)
    assert done["status"] == "success", done
    everything = machine.run("journalctl --unit 'dbcalm*' --output cat --no-pager")
    assert f"job {done['pid']}: full backup {done['resource_id']}: success" in everything
    assert f"make full backup: began, job {done['pid']}" in everything
    assert done["pid"] not in machine.run(f"{documented()}")
    machine.run("systemctl stop mariadb.socket mariadb")
    try:
        by_cron = machine.try_to("runuser -u dbcalm -- dbcalm backup full --schedule-id 901")
        assert by_cron.returncode == 1, by_cron
        by_root = machine.try_to("dbcalm backup full")
        assert by_root.returncode == 1, by_root
        assert api.request("POST", "/backups", {"type": "full", "schedule_id": 902}).status == 503
    finally:
        machine.run("systemctl start mariadb.socket mariadb")
    service = "full backup, schedule {}: refused: server is not running"
    wait_for(lambda: service.format(902) in machine.run(BY_UNIT))
    assert service.format(901) in machine.run(BY_UNIT)
    said = machine.run(documented())
    for line in (
        service.format(901),
        service.format(902),
        "command line, dbcalm: make full backup for schedule 901: refused: server is not running",
        "command line, dbcalm: make full backup: refused: server is not running",
        "make full backup for schedule 902: refused: server is not running",
    ):
        assert line in said, line


@pytest.mark.parametrize("service_stops", [False, True])
def test_an_end_is_found_whoever_tells_it(machine: Machine, api: Api, service_stops: bool) -> None:
    """The job's own process, after its service was stopped too, and the service that settles a killed one."""
    link = str(api.call("POST", "/backups", {"type": "full", "schedule_id": 903})["link"])
    stop = "pkill -STOP --exact mariadb-backup && pgrep --runstates T --exact mariadb-backup"
    wait_for(lambda: machine.try_to(stop).returncode == 0, 10)
    if service_stops:  # The tool is killed, and the job's own process tells that it failed.
        machine.run("systemctl stop dbcalm-mariadb-cmd.service dbcalm-mariadb-cmd.socket")
        machine.run("pkill -KILL --exact mariadb-backup")
        wait_for(lambda: machine.try_to("pgrep --full '[d]bcalm-mariadb-cmd run'").returncode == 1)
        said = machine.run(BY_UNIT)
        machine.run("systemctl start dbcalm-mariadb-cmd.socket dbcalm-mariadb-cmd.service")
        ended = api.wait(link, seconds=60)
    else:
        machine.run("pkill -KILL --oldest --full '[d]bcalm-mariadb-cmd run'")
        ended = api.wait(link, seconds=60)
        said = machine.run(BY_UNIT)
    assert ended["status"] == "failed"
    [line] = [line for line in said.splitlines() if ended["pid"] in line]
    kind = f"job {ended['pid']}: full backup {ended['resource_id']}, schedule 903"
    assert line == f"{kind}: failed ({ended['reason']}): {ended['error']}"
    errors = machine.run("journalctl --unit 'dbcalm*' --priority err --output cat --no-pager")
    assert line in errors
    assert line in machine.run(documented())
