"""The units on a booted system: sockets, watchdog, restarts, jobs that outlive them, cron, and a reboot."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dev.sandbox_lib import SandboxError
from dev.sandbox_lib.api import Api
from tests.e2e.machine import CHECKOUT, MADE, Machine, wait_for

RUNNERS = "pgrep --oldest --full '[d]bcalm-mariadb-cmd run'"
"""Not its children, which look like it until they have become another program."""

SERVICES = ("dbcalm-cmd", "dbcalm-mariadb-cmd", "dbcalm-api")


def everything_runs(machine: Machine) -> None:
    """Fail unless all is as it is after the installation."""
    assert machine.is_active(*SERVICES, "dbcalm-cmd.socket", "dbcalm-mariadb-cmd.socket")
    paths = " ".join(line.split()[-1] for line in MADE.splitlines())
    assert machine.run(f"stat --format='%U:%G %a %n' {paths}") == MADE


def start(api: Api, **order: str) -> str:
    """Start a backup; return the link to its status."""
    return str(api.call("POST", "/backups", order)["link"])


def finish(api: Api, link: str) -> dict[str, Any]:
    """Wait for the end of a job, which must be good."""
    status = api.wait(link, seconds=60)
    assert status["status"] == "success", status
    return status


@contextmanager
def long_backup(machine: Machine, api: Api) -> Iterator[str]:
    """Start a full backup that goes on until the block ends: its tool is stopped meanwhile. Yield its link."""
    link = start(api, type="full")
    stop = "pkill -STOP --exact mariadb-backup && pgrep --runstates T --exact mariadb-backup"
    wait_for(lambda: machine.try_to(stop).returncode == 0, 10)
    try:
        yield link
    finally:
        machine.try_to("pkill -CONT --exact mariadb-backup")


def test_the_installation_is_as_designed(machine: Machine) -> None:
    wait_for(lambda: machine.try_to("test -e /etc/cron.d/dbcalm").returncode == 0)
    everything_runs(machine)
    assert machine.run("systemctl list-units --failed --plain --no-legend 'dbcalm*'") == ""
    assert machine.run("id --name --groups mysql") == "mysql"
    assert (
        machine.run("getent passwd dbcalm | cut --delimiter=: --fields=6,7")
        == "/var/lib/dbcalm:/usr/sbin/nologin"
    )


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_runs_with_nothing_that_it_does_not_need(machine: Machine, unit: str) -> None:
    status = machine.run(f"cat /proc/{machine.main_process(unit)}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    assert machine.show(unit, "WatchdogUSec", "Type") == {"Type": "notify", "WatchdogUSec": "1min"}


def test_backups_and_a_restore_through_the_api(machine: Machine, api: Api) -> None:
    machine.run("mariadb", "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY);"
                "INSERT INTO shop.orders SELECT seq FROM shop.seq_1_to_1000;")  # fmt: skip
    finish(api, start(api, type="full", id="first"))
    machine.run("mariadb", "INSERT INTO shop.orders SELECT seq FROM shop.seq_1001_to_2000;")
    finish(api, start(api, type="incremental", id="second"))
    finish(api, str(api.call("POST", "/restore", {"id": "second", "target": "folder"})["link"]))
    restore = api.call("GET", "/restores")["items"][0]
    assert machine.run(f"stat --format=%U {restore['target_path']}/shop/orders.ibd") == "mysql"


def test_the_running_server_is_seen_and_left_alone(machine: Machine, api: Api) -> None:
    reply = api.request("POST", "/restore", {"id": "second", "target": "database"})
    assert (reply.status, reply.body["detail"].partition(":")[0]) == (503, "server is not stopped")
    # Deaf, it is known by its process alone.
    machine.run("pkill -STOP --exact mariadbd")
    try:
        reply = api.request("POST", "/restore", {"id": "second", "target": "database"})
    finally:
        machine.run("pkill -CONT --exact mariadbd")
    assert (reply.status, reply.body["detail"].partition(":")[0]) == (503, "server is not stopped")


def test_a_backup_is_proven_by_a_server_of_its_own_in_the_units_confines(machine: Machine, api: Api) -> None:
    """What the unit allows and what it takes away suffices for the tool, innochecksum, and a server without network."""
    proven = machine.run("dbcalm verify second --wait")
    assert "backup second is proven: a server runs on it, and every table is good" in proven
    shown = api.call("GET", "/backups/second")
    assert (shown["proof"]["level"], shown["suspect"]) == (3, None)
    assert machine.run("ls -A /var/backups/dbcalm/restores | grep -c '^\\.' || true") == "0"


def test_a_restore_into_the_data_directory(machine: Machine, api: Api) -> None:
    machine.run("systemctl stop mariadb.socket mariadb && mv /var/lib/mysql /var/lib/mysql.broken")
    machine.run("install --directory --owner=mysql --group=mysql --mode=755 /var/lib/mysql")
    reply = api.request("POST", "/restore", {"id": "second", "target": "database"})
    assert reply.status == 503
    assert "restart dbcalm-mariadb-cmd" in reply.body["detail"]
    machine.run("systemctl restart dbcalm-mariadb-cmd")
    finish(api, str(api.call("POST", "/restore", {"id": "second", "target": "database"})["link"]))
    machine.run("systemctl start mariadb.socket mariadb && rm --recursive /var/lib/mysql.broken")
    assert machine.run("mariadb --batch --skip-column-names", "SELECT COUNT(*) FROM shop.orders") == "2000"


@pytest.mark.parametrize(
    "unit", ["dbcalm-cmd", "dbcalm-mariadb-cmd", "dbcalm-api", "dbcalm-mariadb-cmd.socket"]
)
def test_a_backup_outlives_the_restart_of_a_unit(machine: Machine, api: Api, unit: str) -> None:
    with long_backup(machine, api) as link:
        runner = machine.run(RUNNERS)
        machine.run(f"systemctl restart {unit}")
        assert machine.run(RUNNERS) == runner
        wait_for(lambda: machine.is_active(*SERVICES))
        assert wait_for(lambda: answer(api, link))["status"] == "running"
    finish(api, link)
    everything_runs(machine)


def test_a_restore_goes_on_after_a_restart_and_still_has_its_temporary_folders(
    machine: Machine, api: Api
) -> None:
    link = str(api.call("POST", "/restore", {"id": "second", "target": "folder"})["link"])
    machine.run("until pkill -STOP --full '[d]bcalm-mariadb-cmd run'; do :; done")
    try:
        runner = machine.run(RUNNERS).split()[0]
        machine.run("systemctl restart dbcalm-mariadb-cmd")
        for folder in ("/tmp", "/var/tmp"):
            machine.run(f"touch /proc/{runner}/root{folder}/file")
            assert machine.run(f"ls -A /proc/{runner}/root{folder}") == "file"
    finally:
        machine.run("pkill -CONT --full '[d]bcalm-mariadb-cmd run'")
    finish(api, link)


def test_a_backup_outlives_a_stop_of_all(machine: Machine, api: Api) -> None:
    with long_backup(machine, api) as link:
        machine.run("systemctl stop 'dbcalm*'")
    wait_for(lambda: machine.try_to(RUNNERS).returncode == 1)
    machine.run("systemctl start 'dbcalm-*.socket' dbcalm-cmd dbcalm-mariadb-cmd dbcalm-api")
    finish(api, link)


@pytest.mark.parametrize("unit", SERVICES)
def test_what_is_killed_comes_back(machine: Machine, api: Api, unit: str) -> None:
    with long_backup(machine, api) as link:
        killed = machine.main_process(unit)
        machine.run(f"systemctl kill --kill-whom=main --signal=KILL {unit}")
        wait_for(lambda: machine.main_process(unit) not in (0, killed) and machine.is_active(unit))
        assert wait_for(lambda: answer(api, link))["status"] == "running"
    finish(api, link)
    everything_runs(machine)


def test_a_backup_that_is_killed_with_its_service_has_failed(machine: Machine, api: Api) -> None:
    had = {item["id"] for item in api.call("GET", "/backups?per_page=100")["items"]}
    with long_backup(machine, api) as link:
        killed = machine.main_process("dbcalm-mariadb-cmd")
        machine.run("systemctl kill --kill-whom=all --signal=KILL dbcalm-mariadb-cmd")
        wait_for(lambda: machine.main_process("dbcalm-mariadb-cmd") not in (0, killed))
    status = api.wait(link, seconds=60)
    assert (status["status"], status["reason"]) == ("failed", "interrupted")
    assert {item["id"] for item in api.call("GET", "/backups?per_page=100")["items"]} == had
    assert machine.run("ls -A /var/backups/dbcalm/.work") == ""
    everything_runs(machine)


@pytest.mark.parametrize("unit", SERVICES)
def test_what_hangs_is_restarted_and_what_does_not_is_left_alone(machine: Machine, unit: str) -> None:
    drop_in = f"/run/systemd/system/{unit}.service.d"
    machine.run(f"mkdir -p {drop_in}; printf '[Service]\\nWatchdogSec=2s\\n' > {drop_in}/quick.conf")
    try:
        machine.run(f"systemctl daemon-reload && systemctl restart {unit}")
        process = machine.main_process(unit)
        time.sleep(5)
        assert machine.main_process(unit) == process
        machine.run(f"kill -STOP {process}")
        wait_for(lambda: machine.main_process(unit) not in (0, process) and machine.is_active(unit))
        assert "Watchdog timeout" in machine.run(f"journalctl --unit {unit} --lines 20")
    finally:
        machine.run(f"rm -r {drop_in} && systemctl daemon-reload && systemctl restart {unit}")


def test_the_drop_in_of_the_page_opens_other_folders(machine: Machine, api: Api) -> None:
    page = (CHECKOUT / "docs/configuration.md").read_text()
    [drop_in] = [
        block for block in re.findall(r"```ini\n(.*?)```", page, re.DOTALL) if "ReadWritePaths" in block
    ]
    config = (machine.root / "etc/dbcalm/config.yml").read_text()
    folder, unit = "/run/systemd/system/dbcalm-mariadb-cmd.service.d", "dbcalm-mariadb-cmd"
    machine.run("install --directory --owner=mysql --group=mysql --mode=700 /srv/backups/dbcalm /srv/mysql")
    machine.write("etc/dbcalm/config.yml", f"{config}backup_dir: /srv/backups/dbcalm\n")
    try:
        machine.run(f"systemctl restart {unit}")
        assert "cannot write in /srv/backups/dbcalm" in machine.try_to("dbcalm status").stdout
        refused = machine.try_to("dbcalm backup full")
        assert refused.returncode != 0
        assert "cannot write in /srv/backups/dbcalm" in refused.stderr
        machine.run(f"mkdir -p {folder} && cat > {folder}/page.conf", drop_in)
        machine.run(f"systemctl daemon-reload && systemctl restart {unit}")
        finish(api, start(api, type="full", id="elsewhere"))
        assert "elsewhere" in machine.run("ls /srv/backups/dbcalm").split()
    finally:
        machine.write("etc/dbcalm/config.yml", config)
        machine.run(f"rm -rf {folder} && systemctl daemon-reload && systemctl restart {unit}")


def test_cron_makes_a_backup(machine: Machine, api: Api) -> None:
    schedule = api.call("POST", "/schedules", {
        "backup_type": "full", "frequency": "interval", "interval_value": 1, "interval_unit": "minutes",
    })  # fmt: skip
    try:
        lines = machine.run("cat /etc/cron.d/dbcalm").splitlines()
        assert "20 4 * * * dbcalm /usr/bin/dbcalm cleanup" in lines
        assert f"* * * * * dbcalm /usr/bin/dbcalm backup full --schedule-id {schedule['id']}" in lines
        made = wait_for(lambda: api.call("GET", f"/backups?query=schedule_id|{schedule['id']}")["items"], 130)
        assert made[0]["type"] == "full"
    finally:
        api.call("DELETE", f"/schedules/{schedule['id']}")


def test_all_of_it_is_there_after_a_reboot(machine: Machine, api: Api) -> None:
    before = {item["id"] for item in api.call("GET", "/backups?per_page=100")["items"]}
    link = start(api, type="full")
    wait_for(lambda: machine.try_to("pkill -STOP --exact mariadb-backup").returncode == 0, 10)
    machine.power_off()
    machine.boot()
    wait_for(lambda: machine.is_active(*SERVICES))
    everything_runs(machine)
    assert wait_for(lambda: answer(api, link), 60)["status"] == "failed"
    assert {item["id"] for item in api.call("GET", "/backups?per_page=100")["items"]} == before
    assert machine.run("ls -A /var/backups/dbcalm/.work") == ""
    finish(api, start(api, type="incremental"))


def answer(api: Api, path: str) -> dict[str, Any] | None:
    """Return what the API says, or None while it does not answer or cannot ask."""
    try:
        return dict(api.call("GET", path))
    except SandboxError:
        return None
