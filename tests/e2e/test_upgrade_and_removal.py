"""Removed, installed again, purged, upgraded in the middle of a backup: nothing of the user's is lost. Comes last."""

from dev.sandbox_lib.api import Api
from tests.e2e import packages
from tests.e2e.machine import Machine, install, set_up, wait_for

SERVICES = ("dbcalm-cmd", "dbcalm-mariadb-cmd", "dbcalm-api")
SOCKETS = ("dbcalm-cmd.socket", "dbcalm-mariadb-cmd.socket")
KEPT = "/etc/dbcalm /var/lib/dbcalm /var/lib/dbcalm-mariadb-cmd"
RUNNER = "[d]bcalm-mariadb-cmd run"


def sums(machine: Machine, folders: str) -> str:
    """Return the checksums of all files in these folders; not of what a running program writes, nor of a configuration
    file that a new version has put beside the one in use."""
    apart = " ".join(f"-not -name '*{ending}'" for ending in ("-wal", "-shm", ".dpkg-dist"))
    return machine.run(f"find {folders} -type f {apart} -exec sha256sum {{}} + | sort")


def backups(machine: Machine) -> list[str]:
    """Return the backups that the catalogue has."""
    lines = machine.run("dbcalm backups list --per-page 1000").splitlines()[1:]
    return [line.split()[0] for line in lines]


def dbcalm_processes(machine: Machine) -> str:
    """Return the processes of the programs."""
    return machine.try_to("pgrep --list-full --full '^/usr/(bin|lib/dbcalm)/dbcalm'").stdout


def test_a_unit_that_was_disabled_stays_so(machine: Machine) -> None:
    machine.run("systemctl disable --now --quiet dbcalm-api")
    install(machine, packages.of_checkout())
    machine.run(f"apt-get install --reinstall --yes /srv/{packages.of_checkout().name}", seconds=180)
    assert machine.try_to("systemctl is-enabled dbcalm-api").stdout.strip() == "disabled"
    machine.run("systemctl enable --now --quiet dbcalm-api")


def test_removing_keeps_all_data_and_installing_finds_it(machine: Machine, api: Api) -> None:
    schedule = api.call(
        "POST", "/schedules", {"backup_type": "full", "frequency": "daily", "hour": 3, "minute": 0}
    )
    machine.run("printf '\\n# Mine.\\nlog_level: debug\\n' >> /etc/dbcalm/config.yml")
    had, cron = backups(machine), machine.run("cat /etc/cron.d/dbcalm")
    machine.run("systemctl stop 'dbcalm*'")
    before, kept = sums(machine, KEPT), sums(machine, "/var/backups/dbcalm")
    machine.run(
        "systemctl start dbcalm-cmd.socket dbcalm-mariadb-cmd.socket dbcalm-cmd dbcalm-mariadb-cmd dbcalm-api"
    )
    machine.run("apt-get remove --yes dbcalm", seconds=180)
    assert dbcalm_processes(machine) == ""
    assert machine.try_to("test -e /usr/bin/dbcalm -o -e /etc/cron.d/dbcalm").returncode == 1
    assert sums(machine, "/etc/dbcalm") == "\n".join(line for line in before.splitlines() if " /etc/" in line)
    assert sums(machine, "/var/backups/dbcalm") == kept
    assert machine.run("systemctl list-units --failed --plain --no-legend") == ""
    install(machine, packages.of_checkout())
    wait_for(lambda: machine.is_active(*SERVICES, *SOCKETS))
    assert backups(machine) == had
    assert wait_for(lambda: machine.try_to("cat /etc/cron.d/dbcalm").stdout.strip() == cron)
    assert machine.run("tail --lines=1 /etc/dbcalm/config.yml") == "log_level: debug"
    assert wait_for(lambda: machine.try_to("dbcalm schedules list").stdout.count("daily")) == 1
    api.call("DELETE", f"/schedules/{schedule['id']}")


def test_purging_takes_all_but_the_backups(machine: Machine) -> None:
    kept = sums(machine, "/var/backups/dbcalm")
    assert kept
    said = machine.run("apt-get purge --yes dbcalm 2>&1", seconds=180)
    assert "/var/backups/dbcalm" in said
    assert sums(machine, "/var/backups/dbcalm") == kept
    left = machine.run(
        "find /etc /usr /var /run -xdev -name '*dbcalm*' -not -path '/var/backups/dbcalm*' "
        "-not -path '/var/lib/mysql/*' -not -path '/var/cache/*' -not -path '/var/log/journal/*'"
    )
    assert left == ""
    assert machine.try_to("systemctl list-unit-files --no-legend 'dbcalm*'").stdout == ""
    assert machine.run("getent passwd dbcalm") != ""  # Whose files they were stays known.


def test_an_upgrade_spares_a_running_backup_and_keeps_everything(machine: Machine) -> None:
    """From the package of the commit before, in the middle of a backup, with settings and a catalogue of that time."""
    install(machine, packages.of_previous_commit())
    before_version = machine.run("dpkg-query --show --showformat='${Version}' dbcalm")
    machine.run("mariadb", "DROP USER IF EXISTS dbcalm_backup@localhost;")
    prepare(machine)
    machine.run("printf 'log_level: debug\\n' >> /etc/dbcalm/config.yml")
    machine.run("dbcalm schedules add --help >/dev/null; dbcalm users list")
    had = backups(machine)
    secrets = sums(machine, "/etc/dbcalm")
    machine.run("dbcalm backup full --id upgraded")
    wait_for(lambda: machine.try_to("pkill -STOP --exact mariadb-backup").returncode == 0, 10)
    runner = machine.run(f"pgrep --oldest --full '{RUNNER}'")
    try:
        install(machine, packages.of_checkout())
        assert machine.run("dpkg-query --show --showformat='${Version}' dbcalm") != before_version
        assert machine.run(f"pgrep --oldest --full '{RUNNER}'") == runner
        wait_for(lambda: machine.is_active(*SERVICES, *SOCKETS))
    finally:
        machine.run("pkill -CONT --exact mariadb-backup")
    wait_for(lambda: machine.try_to(f"pgrep --full '{RUNNER}'").returncode == 1, 60)
    assert sorted(backups(machine)) == sorted([*had, "upgraded"])
    assert sums(machine, "/etc/dbcalm") == secrets
    assert machine.run("dbcalm restore upgraded --target folder --wait")
    assert machine.run("systemctl list-units --failed --plain --no-legend") == ""


def prepare(machine: Machine) -> None:
    """Set up the installed version, which may not be the present one; wait until it runs."""
    if machine.try_to("dbcalm setup --help").returncode == 0:
        set_up(machine)
    else:
        machine.run("/usr/lib/dbcalm/backup-user | mariadb")
    wait_for(lambda: machine.is_active(*SERVICES, *SOCKETS))
