"""What the package and ``dbcalm setup`` leave on a host."""

from dev.sandbox_lib.api import Api
from tests.e2e.machine import MADE, PASSWORD, Machine

SERVICE_USERS = r"\( -user dbcalm -o -user mysql \)"


def test_it_takes_less_than_five_minutes_to_a_first_backup(
    machine: Machine, api: Api, story: dict[str, str]
) -> None:
    assert float(story["seconds"]) < 300
    assert "dbcalm setup" in story["install"]
    [backup] = api.call("GET", "/backups")["items"]
    assert backup["type"] == "full"


def test_the_first_user_can_log_in_and_nobody_with_another_password(api: Api) -> None:
    right = api.request("POST", "/auth/authorize", {"username": "admin", "password": PASSWORD})
    wrong = api.request("POST", "/auth/authorize", {"username": "admin", "password": f"{PASSWORD}!"})
    assert (right.status, wrong.status) == (200, 401)
    assert right.body["code"]


def test_setup_harms_nothing_when_it_is_run_again(machine: Machine, api: Api) -> None:
    def everything() -> tuple[object, ...]:
        files = machine.run("find /etc/dbcalm /etc/cron.d/dbcalm -type f -exec sha256sum {} + | sort")
        grants = machine.run("mariadb", "SHOW GRANTS FOR dbcalm_backup@localhost;")
        kept = [api.call("GET", path)["items"] for path in ("/backups", "/schedules", "/clients")]
        return files, grants, kept, machine.run("dbcalm users list")

    before = everything()
    machine.run("dbcalm setup --yes --create-backup-user --schedule none 2>&1")
    assert everything() == before


def test_no_secret_is_in_what_was_said(machine: Machine, story: dict[str, str]) -> None:
    said = story["install"] + story["setup"] + machine.run("journalctl --no-pager --output=cat")
    for secret in (
        machine.run("cat /etc/dbcalm/jwt.key"),
        machine.run("sed -n 's/^password=//p' /etc/dbcalm/credentials.cnf"),
        PASSWORD,
    ):
        assert len(secret) > 16
        assert secret not in said


def test_every_file_that_was_made_has_its_owner_and_mode(machine: Machine) -> None:
    found = machine.run(
        "find /etc/dbcalm /etc/cron.d/dbcalm /run/dbcalm /var/lib/dbcalm /var/lib/dbcalm-copies /var/log/dbcalm "
        "/var/lib/dbcalm-mariadb-cmd /var/backups/dbcalm -printf '%u:%g %m %p\\n'"
    ).splitlines()
    missing = [line for line in MADE.splitlines() if line not in found]
    assert missing == []
    rest = [line for line in found if line not in MADE.splitlines()]
    # What a service makes in its own folders is its own, and closed to all others.
    for line in rest:
        owner, mode, path = line.split(" ", 2)
        mine = (
            "dbcalm:dbcalm"
            if path.startswith(("/var/lib/dbcalm/", "/var/lib/dbcalm-copies/", "/var/log/dbcalm/"))
            else "mysql:mysql"
        )
        assert owner == mine, line
        assert int(mode, 8) & 0o007 == 0, line
        assert path.startswith("/var/"), line


def test_no_file_of_the_package_belongs_to_a_service_or_can_be_changed_by_one(machine: Machine) -> None:
    shipped = "dpkg --listfiles dbcalm | xargs --delimiter='\\n' stat --format='%U:%G %a %n %F'"
    for line in machine.run(shipped).splitlines():
        owner, mode = line.split()[:2]
        assert owner == "root:root", line
        assert "symbolic link" in line or int(mode, 8) & 0o022 == 0, line
    assert (
        machine.run(f"find /usr /etc {SERVICE_USERS} -not -path '/etc/mysql/*' -not -path '/usr/lib/mysql/*'")
        == ""
    )
    assert machine.run("find / -xdev -nouser -o -xdev -nogroup") == ""


def test_the_package_is_as_it_was_made(machine: Machine) -> None:
    assert machine.run("dpkg --verify dbcalm") == ""
    assert machine.run("dbcalm --version").startswith("dbcalm ")
    assert "Manual" in machine.run("man --version; echo Manual")


def test_a_wrong_answer_is_one_clear_line(machine: Machine) -> None:
    done = machine.try_to("dbcalm setup --yes --at 25:00")
    assert done.returncode == 2
    assert "Invalid value for --at" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
