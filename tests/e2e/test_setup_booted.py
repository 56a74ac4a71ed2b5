"""``dbcalm setup`` on a booted system: inside the units' sandboxes, with Debian's own MariaDB, journal and cron."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.machine import Machine

PASSWORD = "a long and private sentence"
SETUP = "dbcalm setup --yes --user first --password-stdin"


@pytest.fixture
def bare(machine: Machine) -> Iterator[Machine]:
    """Give a machine whose database knows no backup user, and take away afterwards what was set up."""
    machine.run("mariadb", "DROP USER IF EXISTS dbcalm_backup@localhost")
    machine.run("rm --force /etc/dbcalm/credentials.cnf")
    yield machine
    machine.run("for id in $(grep -o 'schedule-id [0-9]*' /etc/cron.d/dbcalm | cut -d' ' -f2 | sort -r); do "
                "dbcalm schedules delete $id --yes; done; dbcalm users delete first --yes")  # fmt: skip


@contextmanager
def elsewhere(machine: Machine, key: str, folder: str) -> Iterator[None]:
    """Let the mysql service have one of its folders where the unit does not allow it."""
    config = (machine.root / "etc/dbcalm/config.yml").read_text()
    machine.run(f"install --directory --owner=mysql --group=mysql --mode=0700 {folder}")
    machine.write("etc/dbcalm/config.yml", f"{config}{key}: {folder}\n")
    machine.try_to("systemctl restart dbcalm-mariadb-cmd")
    try:
        yield
    finally:
        machine.write("etc/dbcalm/config.yml", config)
        machine.run(
            "systemctl reset-failed 'dbcalm*' && systemctl restart dbcalm-mariadb-cmd.socket dbcalm-mariadb-cmd"
        )


def test_it_makes_a_first_backup_and_leaves_all_as_it_is_the_second_time(bare: Machine) -> None:
    done = bare.try_to(SETUP, f"{PASSWORD}\n")
    assert done.returncode == 0, done
    assert "WRONG" not in done.stdout
    assert "created 'dbcalm_backup'@'localhost'" in done.stdout
    assert done.stdout.endswith("all is well\n")
    assert bare.run("stat --format='%U:%G %a' /etc/dbcalm/credentials.cnf") == "root:mysql 640"
    before = bare.run("mariadb", "SHOW GRANTS FOR dbcalm_backup@localhost")
    again = bare.try_to(SETUP, "")
    assert (again.returncode, again.stdout.count("already there")) == (0, 3), again
    assert "done " not in again.stdout
    assert bare.run("mariadb", "SHOW GRANTS FOR dbcalm_backup@localhost") == before
    secret = bare.run("sed -n s/^password=//p /etc/dbcalm/credentials.cnf")
    logged = bare.run("journalctl --boot --no-pager")
    assert "created 'dbcalm_backup'@'localhost' in the database: done" in logged
    for each in (secret, PASSWORD):
        assert each not in done.stdout + done.stderr + logged


def test_it_tells_what_the_log_of_a_service_says(machine: Machine) -> None:
    with elsewhere(machine, "job_dir", "/srv/elsewhere"):
        done = machine.try_to("dbcalm setup --check")
    assert done.returncode == 1
    assert (
        "WRONG  dbcalm-mariadb-cmd  does not answer; see: systemctl status dbcalm-mariadb-cmd" in done.stdout
    )
    assert "user mysql cannot write in /srv/elsewhere" in done.stdout
    assert "its unit must allow it" in done.stdout
    assert machine.try_to("dbcalm setup --check").returncode == 0


def test_a_service_that_cannot_use_the_folder_of_backups_runs_and_says_so(machine: Machine) -> None:
    with elsewhere(machine, "backup_dir", "/srv/backups"):
        done = machine.try_to("dbcalm setup --check")
    assert done.returncode == 1
    assert "ok     dbcalm-mariadb-cmd  answers" in done.stdout
    assert "WRONG" in done.stdout
    assert "/srv/backups" in done.stdout, done.stdout
    assert machine.try_to("dbcalm setup --check").returncode == 0
