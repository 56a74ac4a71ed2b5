"""The one-call restore on a real systemd: its database stopped and started, with the socket that would start it."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dev.sandbox_lib import SandboxError
from dev.sandbox_lib.api import Api
from tests.e2e.machine import Machine, wait_for

DATABASE = ("mariadb.service", "mariadb.socket")
RUNNER = "[d]bcalm-mariadb-cmd run"


def count(machine: Machine) -> int:
    """Return how many orders there are."""
    return int(machine.run("mariadb --batch --skip-column-names", "SELECT COUNT(*) FROM replaced.orders"))


def finish(api: Api, link: str, seconds: float = 90) -> dict[str, Any]:
    """Return how a job ended."""
    return api.wait(link, seconds=seconds)


def replace(api: Api, id: str) -> str:
    """Order a backup to take the place of the data; return the link to the job."""
    return str(api.call("POST", "/restore", {"id": id, "target": "database", "replace": True})["link"])


def folder_of(machine: Machine, link: str) -> Path:
    """Return the folder of a job, as this side sees it."""
    return machine.root / "var/lib/dbcalm-mariadb-cmd/jobs" / link.rpartition("/")[2]


def wait_for_stage(machine: Machine, link: str, *names: str) -> None:
    """Return as soon as a job has come to one of these stages."""
    file, give_up = folder_of(machine, link) / "stage.json", time.monotonic() + 60
    while time.monotonic() < give_up:
        if file.exists() and json.loads(file.read_text())["name"] in names:
            return
        time.sleep(0.001)
    raise AssertionError(f"the job never came to {names}")


@pytest.fixture(scope="module")
def backup(machine: Machine, api: Api) -> str:
    """A backup with 1,000 orders in it; the database has 1,500."""
    machine.run("mariadb", "CREATE DATABASE replaced; CREATE TABLE replaced.orders (id INT PRIMARY KEY);"
                "INSERT INTO replaced.orders SELECT seq FROM replaced.seq_1_to_1000;")  # fmt: skip
    status = finish(api, str(api.call("POST", "/backups", {"type": "full", "id": "thousand"})["link"]))
    assert status["status"] == "success", status
    machine.run("mariadb", "INSERT INTO replaced.orders SELECT seq FROM replaced.seq_1001_to_1500;")
    return "thousand"


def test_the_data_is_replaced_and_brought_back(machine: Machine, api: Api, backup: str) -> None:
    before, stop = machine.main_process("mariadb"), threading.Event()

    def connect() -> None:  # An application that will not wait: each connection would start the server again.
        while not stop.is_set():
            machine.try_to("mariadb --execute 'SELECT 1'")

    client = threading.Thread(target=connect)
    client.start()
    try:
        status = finish(api, replace(api, backup))
    finally:
        stop.set()
        client.join()
    assert status["status"] == "success", status
    assert machine.main_process("mariadb") not in (0, before)
    assert machine.is_active(*DATABASE)
    assert count(machine) == 1000
    [kept] = api.call("GET", "/replaced")["items"]
    assert kept["backup_id"] == backup
    status = finish(api, str(api.call("POST", f"/replaced/{kept['id']}/bring-back")["link"]))
    assert status["status"] == "success", status
    assert count(machine) == 1500
    assert machine.is_active(*DATABASE)
    assert "#sql" not in machine.run("mariadb --batch --skip-column-names", "SHOW DATABASES")


def test_a_server_that_does_not_start_gets_its_old_data_back(machine: Machine, api: Api, backup: str) -> None:
    had = count(machine)
    link = replace(api, backup)
    wait_for_stage(machine, link, "stopping")
    machine.run(f"pkill -STOP --full '{RUNNER}'")
    try:
        machine.run("truncate --size=100 '/var/lib/mysql/#sql-dbcalm-restore/data/ibdata1'")
    finally:
        machine.run(f"pkill -CONT --full '{RUNNER}'")
    status = finish(api, link, 180)
    assert status["status"] == "failed", status
    assert "mariadb.service did not start: failed" in status["error"]
    assert "the old data is back in place, and the database runs with it" in status["error"]
    assert count(machine) == had
    assert machine.is_active(*DATABASE)
    assert machine.run("ls /var/lib/mysql | grep --count '#sql-dbcalm-restore' || true") == "0"


@pytest.mark.parametrize("stage", ["stopping", "moving", "moved"])
def test_a_power_cut_leaves_one_or_the_other(machine: Machine, api: Api, backup: str, stage: str) -> None:
    had = count(machine)
    link = replace(api, backup)
    wait_for_stage(machine, link, stage, *(["moved"] if stage == "moving" else []))
    machine.cut_power()
    machine.boot()
    status = wait_for(lambda: ended(api, link), 120)
    wait_for(lambda: machine.is_active(*DATABASE), 30)
    assert status["status"] in ("success", "failed"), status
    assert count(machine) == (1000 if status["status"] == "success" else had), status


def test_a_killed_runner_is_followed_by_another(machine: Machine, api: Api, backup: str) -> None:
    link = replace(api, backup)
    wait_for_stage(machine, link, "moved")
    machine.run(f"pkill -KILL --full '{RUNNER}'")
    status = finish(api, link)
    assert status["status"] == "success", status
    assert count(machine) == 1000


def test_an_encrypted_chain_is_made_and_brought_back_by_the_units(machine: Machine, api: Api) -> None:
    key = machine.run("age-keygen 2> /dev/null")
    identity, public = key.splitlines()[-1], machine.run("age-keygen -y", key)
    config = (machine.root / "etc/dbcalm/config.yml").read_text()

    def configure(*lines: str) -> None:
        machine.write("etc/dbcalm/config.yml", "\n".join([config, *lines, ""]))
        machine.run("systemctl restart dbcalm-mariadb-cmd")

    configure(f"encryption_recipients: [{public}]")
    try:
        had = count(machine)
        for order in ({"type": "full", "id": "sealed"}, {"type": "incremental", "from_backup_id": "sealed"}):
            machine.run("mariadb", "INSERT INTO replaced.orders SELECT MAX(id) + 1 FROM replaced.orders;")
            status = finish(api, str(api.call("POST", "/backups", order)["link"]))
            assert status["status"] == "success", status
            made = api.call("GET", f"/backups/{status['resource_id']}")
            assert (made["type"], made["form"], made["recipients"]) == (order["type"], "zstd", [public])
        newest = str(made["id"])
        machine.run("mariadb", "DELETE FROM replaced.orders;")
        order = {"id": newest, "target": "folder"}
        assert api.request("POST", "/restore", order).status == 409
        accepted = api.call("POST", "/restore", {**order, "identity": identity})
        assert finish(api, str(accepted["link"]))["status"] == "success"
        assert machine.run(f"ls {accepted['target_path']}/replaced") == "db.opt\norders.frm\norders.ibd"
        machine.run(f"dbcalm restore {newest} --replace --confirm $(hostname) --identity-stdin", key)
        assert count(machine) == had + 2
        machine.write("etc/dbcalm/identity", key, 0o640)
        machine.run("chgrp mysql /etc/dbcalm/identity")
        configure("encryption_identity_file: /etc/dbcalm/identity")
        assert finish(api, replace(api, newest))["status"] == "success"
        assert count(machine) == had + 2
        for unit in ("dbcalm-api", "dbcalm-mariadb-cmd"):
            limits = machine.run(f"cat /proc/{machine.main_process(unit)}/limits")
            assert "Max core file size        0                    0 " in limits
        kept = "/var/lib/dbcalm /var/lib/dbcalm-mariadb-cmd /var/log /var/backups/dbcalm /run /tmp /var/tmp"
        assert machine.try_to(f"grep --recursive --files-with-matches {identity} {kept}").stdout == ""
        assert identity not in machine.run("journalctl --no-pager --output=cat")
    finally:
        configure()
        machine.run("rm --force /etc/dbcalm/identity")


def ended(api: Api, link: str) -> dict[str, Any] | None:
    """Return how a job ended, or None while it has not or nobody tells."""
    try:
        status = dict(api.call("GET", link))
    except SandboxError:
        return None
    return None if status["status"] == "running" else status
