"""What the scripts of the packages do, in a folder with a Debian in which no systemd runs."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbcalm.repository.migrations.versions import MIGRATIONS
from dbcalm_mariadb_cmd.builder.argv import ENGINES
from dbcalm_mariadb_cmd.preflight.account import BACKUP_USER
from dev.package_lib import deb as debian
from dev.package_lib.release import CHECKOUT
from tests.e2e.machine import base
from tests.packages.conftest import said

pytestmark = [
    pytest.mark.packages,
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can install packages"),
]

SCRIPTS = [
    *(CHECKOUT / "packaging/debian" / name for name in debian.SCRIPTS),
    *(CHECKOUT / "packaging" / name for name in ("first-keys", "backup-user", "binaries")),
    CHECKOUT / "dev/prepare",
]
SECRETS = {
    "/etc/dbcalm/jwt.key": "root:dbcalm 640",
    "/etc/dbcalm/credentials.cnf": "root:mysql 640",
    "/etc/dbcalm/ssl/private-key.pem": "root:dbcalm 640",
    "/etc/dbcalm/ssl/fullchain-cert.pem": "root:root 644",
    "/etc/dbcalm/ssl/ca.pem": "root:root 644",
}
FOLDERS = {
    "/etc/dbcalm": "root:root 755",
    "/etc/dbcalm/ssl": "root:root 755",
    "/var/lib/dbcalm": "dbcalm:dbcalm 700",
    "/var/lib/dbcalm-copies": "dbcalm:dbcalm 700",
    "/var/log/dbcalm": "dbcalm:dbcalm 750",
    "/var/lib/dbcalm-mariadb-cmd": "mysql:mysql 700",
    "/var/backups/dbcalm": "mysql:mysql 700",
}
UNITS = sorted(path.name for path in (CHECKOUT / "packaging/systemd").iterdir())
CONFIG = "/etc/dbcalm/config.yml"
CATALOGUE = "/var/lib/dbcalm/db.sqlite3"


class Debian:
    """A folder with a whole Debian in which commands are run; no systemd runs in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def try_to(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a shell's command line in it; return how it ended."""
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            "--as-pid2",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ]
        done = subprocess.run(
            [*nspawn, "--pipe", f"--directory={self.root}", "/bin/sh", "-c", command],
            env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True,
        )  # fmt: skip
        done.stderr = re.sub(
            r"^Attempted to remove disk file system .*\n", "", done.stderr, flags=re.MULTILINE
        )
        return done

    def run(self, command: str) -> str:
        """Run a shell's command line, which must succeed; return what it said."""
        done = self.try_to(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def install(self, package: Path) -> str:
        """Install a Debian package; return what was said."""
        shutil.copy(package, self.root / "srv/dbcalm.deb")
        return self.run("DEBIAN_FRONTEND=noninteractive dpkg --install /srv/dbcalm.deb 2>&1 </dev/null")

    def rights(self, *paths: str) -> dict[str, str]:
        """Return owner, group and mode of files."""
        found = self.run(f"stat --format='%n=%U:%G %a' {' '.join(paths)}")
        return dict(line.split("=", 1) for line in found.splitlines())

    def file(self, path: str) -> Path:
        """Return where a file of it is."""
        return self.root / path.lstrip("/")

    def secrets(self) -> dict[str, bytes]:
        """Return what is in the files that are made once."""
        return {path: self.file(path).read_bytes() for path in SECRETS}


@pytest.fixture(scope="module")
def module_debian() -> Iterator[Debian]:
    folder = Path(tempfile.mkdtemp(prefix="dbcalm-packages-", dir="/var/tmp"))
    root = folder / "root"
    try:
        subprocess.run(["cp", "--archive", "--reflink=auto", base(), root], check=True)
        yield Debian(root)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def system(module_debian: Debian) -> Iterator[Debian]:
    """A Debian with what the package depends on, and nothing of it."""
    yield module_debian
    module_debian.try_to("dpkg --purge dbcalm; userdel dbcalm; rm -rf /var/backups/dbcalm /var/lib/dbcalm*")


@pytest.fixture
def installed(system: Debian, deb: Path) -> Debian:
    system.install(deb)
    return system


def test_every_script_is_clean(tmp_path: Path, rpm: Path) -> None:
    texts = re.split(
        r"^\w+ scriptlet \(using /bin/sh\):$",
        said("rpm", "--query", "--package", "--scripts", rpm),
        flags=re.MULTILINE,
    )
    assert len(texts) == 6
    scripts = list(SCRIPTS)
    for number, text in enumerate(texts[1:]):
        scripts.append(tmp_path / f"{number}.sh")
        scripts[-1].write_text(f"#!/bin/sh\n{text}")
    for script in scripts:
        said("sh", "-n", script)
    said("shellcheck", *scripts)


def test_an_installation_is_whole(system: Debian, deb: Path) -> None:
    told = system.install(deb)
    assert "  dbcalm setup " in told
    assert "/usr/lib/dbcalm/backup-user | mariadb" in told
    assert system.rights(*SECRETS, *FOLDERS) == SECRETS | FOLDERS
    secrets = system.secrets()
    assert not [value for value in secrets.values() if value.decode().strip() in told]
    assert len(secrets["/etc/dbcalm/jwt.key"].strip()) == 64
    assert re.fullmatch(
        rb"\[client-dbcalm\]\nuser=dbcalm_backup\npassword=[0-9a-f]{32}\nhost=localhost\n",
        secrets["/etc/dbcalm/credentials.cnf"],
    )
    assert system.run(f"systemctl is-enabled {' '.join(UNITS)}").split() == ["enabled"] * len(UNITS)
    assert system.run("dbcalm config check").splitlines()[-1] == "all is well"
    assert sorted(os.listdir(system.file("/etc/dbcalm"))) == sorted(
        ["cmd.toml", "config.yml", "credentials.cnf", "jwt.key", "ssl"]
    )
    assert "dbcalm" not in system.run("ls /etc/cron.d")
    assert "no user" not in told


def test_the_certificate_is_for_this_host_and_on_a_good_curve(installed: Debian) -> None:
    shown = installed.run(
        "cd /etc/dbcalm/ssl && openssl verify -CAfile ca.pem -verify_hostname localhost fullchain-cert.pem && "
        "openssl x509 -in fullchain-cert.pem -noout -text && uname -n"
    )
    assert "fullchain-cert.pem: OK" in shown
    assert "NIST CURVE: P-256" in shown
    name = shown.split()[-1]
    [names] = re.findall(r"Subject Alternative Name: *\n *(.*)", shown)
    assert {"DNS:localhost", f"DNS:{name}", "IP Address:127.0.0.1"} <= set(names.split(", "))
    assert "CA:FALSE" in shown
    assert installed.run("grep --recursive --files-with-matches 'PRIVATE KEY' /etc/dbcalm").split() == [
        "/etc/dbcalm/ssl/private-key.pem"
    ]


def test_installing_again_changes_nothing(installed: Debian, deb: Path) -> None:
    before, rights = installed.secrets(), installed.rights(*SECRETS, *FOLDERS)
    told = installed.install(deb)
    assert "What is left to do" not in told
    installed.run("/usr/lib/dbcalm/first-keys")
    assert installed.secrets() == before
    assert installed.rights(*SECRETS, *FOLDERS) == rights


def test_only_what_is_missing_is_made(installed: Debian) -> None:
    for path in ("/etc/dbcalm/jwt.key", "/etc/dbcalm/credentials.cnf"):
        before = installed.secrets()
        installed.file(path).unlink()
        installed.run("/usr/lib/dbcalm/first-keys")
        after = installed.secrets()
        assert {name for name in SECRETS if before[name] != after[name]} == {path}
        assert installed.rights(path) == {path: SECRETS[path]}


def test_what_an_administrator_put_there_is_left_alone(installed: Debian) -> None:
    installed.run(
        "cd /etc/dbcalm && rm ssl/* jwt.key && ln -s /nowhere ssl/fullchain-cert.pem && ln -s /no jwt.key"
    )
    installed.run("/usr/lib/dbcalm/first-keys")
    assert os.listdir(installed.file("/etc/dbcalm/ssl")) == ["fullchain-cert.pem"]
    assert os.readlink(installed.file("/etc/dbcalm/jwt.key")) == "/no"


AS_DBCALM = "setpriv --reuid=dbcalm --regid=dbcalm --clear-groups"


CREDENTIALS = "/etc/dbcalm/credentials.cnf"
REFUSED = [
    ("/usr/lib/dbcalm/first-keys now", "first-keys: it takes no argument"),
    (f"{AS_DBCALM} /usr/lib/dbcalm/first-keys", "first-keys: only root can run it"),
    (
        "rm /etc/dbcalm/jwt.key; PATH=/srv/few /usr/lib/dbcalm/first-keys",
        "first-keys: openssl has no random bytes",
    ),
    ("/usr/lib/dbcalm/backup-user now", "backup-user: it takes no argument"),
    (f"{AS_DBCALM} /usr/lib/dbcalm/backup-user", f"backup-user: cannot read {CREDENTIALS}"),
    (
        "script --quiet --return --command /usr/lib/dbcalm/backup-user /dev/null",
        "backup-user: a password would be on",
    ),
    (
        f'sed -i "s/^password=.*/password=it\'s/" {CREDENTIALS}; /usr/lib/dbcalm/backup-user',
        f"backup-user: the password in {CREDENTIALS} is empty, or has characters",
    ),
    (
        f"sed -i 's/^user=.*/user=a b/' {CREDENTIALS}; /usr/lib/dbcalm/backup-user",
        f"backup-user: {CREDENTIALS} names no user",
    ),
]


def test_what_cannot_be_done_is_one_line(installed: Debian) -> None:
    installed.run(
        "mkdir /srv/few && "
        "for name in id mktemp rm cat chown chmod sync ln; do ln -s /usr/bin/$name /srv/few/; done && "
        "printf '#!/bin/sh\nexit 1\n' >/srv/few/openssl && chmod 755 /srv/few/openssl"
    )
    for command, message in REFUSED:
        done = installed.try_to(command)
        shown = (done.stdout + done.stderr).strip()
        assert (done.returncode, shown.startswith(message)) == (1, True), (command, shown)
        assert len(shown.splitlines()) == 1
        assert not [name for name in os.listdir(installed.file("/etc/dbcalm")) if name.startswith(".")]
    installed.run("rm -r /srv/few")
    assert not installed.file("/etc/dbcalm/jwt.key").exists()


def test_the_backup_user_has_the_grants_and_the_password(installed: Debian) -> None:
    statements = installed.run("/usr/lib/dbcalm/backup-user")
    password = (
        installed.secrets()["/etc/dbcalm/credentials.cnf"].decode().partition("password=")[2].split()[0]
    )
    user = f"'{BACKUP_USER}'@'localhost'"
    assert statements.splitlines() == [
        f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{password}';",
        f"ALTER USER {user} IDENTIFIED BY '{password}';",
        f"GRANT {', '.join(ENGINES['mariadb'].grants)} ON *.* TO {user};",
    ]


CASES = [
    ("postinst", "configure ''"),
    ("postinst", "configure 0.0.1-1"),
    ("postinst", "abort-upgrade 0.0.1-1"),
    ("postinst", "abort-deconfigure in-favour other 1 removing third 1"),
    ("postinst", "abort-remove"),
    ("prerm", "upgrade 9.0-1"),
    ("prerm", "failed-upgrade 0.0.1-1 9.0-1"),
    ("prerm", "deconfigure in-favour other 1"),
    ("prerm", "remove"),
    ("prerm", "remove in-favour other 1"),
    ("postrm", "upgrade 9.0-1"),
    ("postrm", "failed-upgrade 0.0.1-1 9.0-1"),
    ("postrm", "abort-install"),
    ("postrm", "abort-upgrade 0.0.1-1 9.0-1"),
    ("postrm", "disappear other 1"),
    ("postrm", "remove"),
]


def test_every_case_of_a_script_can_come_twice(installed: Debian) -> None:
    before = installed.secrets()
    for script, arguments in CASES:
        command = f"/var/lib/dpkg/info/dbcalm.{script} {arguments}"
        installed.run(f"{command} && {command}")
    assert installed.secrets() == before
    assert installed.run(f"systemctl is-enabled {' '.join(UNITS)}").split() == ["enabled"] * len(UNITS)


def test_an_unknown_case_is_refused(installed: Debian) -> None:
    for script in debian.SCRIPTS:
        done = installed.try_to(f"/var/lib/dpkg/info/dbcalm.{script} dance")
        assert (done.returncode, done.stderr) == (1, f"{script} called with unknown argument `dance'\n")


def test_a_unit_that_was_disabled_or_masked_stays_so(installed: Debian, deb: Path) -> None:
    installed.run("systemctl disable --quiet dbcalm-api.service && systemctl mask --quiet dbcalm-cmd.service")
    installed.install(deb)
    states = installed.try_to("systemctl is-enabled dbcalm-api.service dbcalm-cmd.service").stdout.split()
    assert states == ["disabled", "masked"]
    installed.run("systemctl unmask --quiet dbcalm-cmd.service")


@pytest.fixture(scope="module")
def newer(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a later version, of the same programs."""
    folder = tmp_path_factory.mktemp("newer")
    shutil.copytree(unpacked, folder / "root", symlinks=True)
    control = folder / "root/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 9.0-1", control.read_text(), flags=re.MULTILINE))
    said("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "root", folder / "dbcalm.deb")
    return folder / "dbcalm.deb"


def version(catalogue: Path) -> int:
    """Return the version of a catalogue."""
    with contextlib.closing(sqlite3.connect(catalogue)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def put_old_catalogue(system: Debian) -> None:
    """Give it a catalogue of the first version, with one user."""
    catalogue = system.file(CATALOGUE)
    with contextlib.closing(sqlite3.connect(catalogue)) as connection:
        MIGRATIONS[0](connection)
        connection.execute("INSERT INTO users VALUES (1, 'alice', 'x', 1, '2026-01-01T00:00:00Z')")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    catalogue.chmod(0o600)
    system.run(f"chown dbcalm:dbcalm {CATALOGUE}")


def test_an_upgrade_keeps_settings_and_brings_the_catalogue_along(installed: Debian, newer: Path) -> None:
    before = installed.secrets()
    with installed.file(CONFIG).open("a") as config:
        config.write("log_level: debug\n")
    kept = installed.file(CONFIG).read_text()
    put_old_catalogue(installed)
    told = installed.install(newer)
    assert not [line for line in told.splitlines() if line.startswith("dbcalm: ")]
    assert installed.file(CONFIG).read_text() == kept
    assert installed.secrets() == before
    assert version(installed.file(CATALOGUE)) == len(MIGRATIONS)
    assert version(installed.file(f"{CATALOGUE}.version-1")) == 1
    assert set(installed.rights(CATALOGUE, f"{CATALOGUE}.version-1").values()) == {"dbcalm:dbcalm 600"}
    assert "alice" in installed.run("dbcalm users list")


def test_a_catalogue_that_cannot_be_brought_along_is_left_and_told(installed: Debian, newer: Path) -> None:
    with contextlib.closing(sqlite3.connect(installed.file(CATALOGUE))) as connection:
        connection.execute("PRAGMA user_version = 1000")
    installed.run(f"chown dbcalm:dbcalm {CATALOGUE} && chmod 600 {CATALOGUE}")
    told = installed.install(newer)
    assert "has version 1000, made by a newer DBCalm" in told
    assert "dbcalm: the catalogue was left as it was; see what dbcalm status says" in told
    assert version(installed.file(CATALOGUE)) == 1000


def test_a_removal_keeps_data_and_installing_again_goes_on(installed: Debian, deb: Path) -> None:
    before = installed.secrets()
    installed.file("/etc/cron.d/dbcalm").write_text("# of schedules\n")
    installed.file("/var/backups/dbcalm/one").mkdir()
    installed.run("dpkg --remove dbcalm")
    assert installed.secrets() == before
    assert sorted(name for name in os.listdir(installed.file("/etc/cron.d")) if "dbcalm" in name) == [
        "dbcalm.removed"
    ]
    assert not installed.file("/usr/lib/dbcalm").exists()
    installed.install(deb)
    assert installed.secrets() == before
    assert installed.file("/etc/cron.d/dbcalm").read_text() == "# of schedules\n"
    assert not installed.file("/etc/cron.d/dbcalm.removed").exists()
    assert installed.file("/var/backups/dbcalm/one").is_dir()


def left(system: Debian) -> set[str]:
    """Return what is left of the package, outermost paths only."""
    found = system.run(
        "find / -xdev -name '*dbcalm*' -not -path '/proc/*' -not -path '/srv/*' -prune"
    ).split()
    return set(found)


def test_a_purge_leaves_backups_and_nothing_else(installed: Debian) -> None:
    installed.run("echo 'a long and private sentence' | dbcalm users add alice --password-stdin")
    installed.file("/etc/cron.d/dbcalm").write_text("# of schedules\n")
    installed.file("/var/backups/dbcalm/one").mkdir()
    done = installed.try_to("dpkg --purge dbcalm")
    assert done.returncode == 0
    assert "the backups in /var/backups/dbcalm were kept" in done.stderr
    assert left(installed) == {"/var/backups/dbcalm"}
    assert installed.run("getent passwd dbcalm mysql").count("\n") == 2


def test_a_purge_without_backups_leaves_nothing(installed: Debian) -> None:
    installed.run("dpkg --purge dbcalm")
    assert left(installed) == set()


def test_a_purge_keeps_backups_wherever_they_were_put(installed: Debian) -> None:
    backup = installed.file("/var/lib/dbcalm-mariadb-cmd/mine/one")
    backup.mkdir(parents=True)
    (backup / "dbcalm-manifest.json").write_text("{}")
    done = installed.try_to("dpkg --purge dbcalm")
    assert done.returncode == 0
    assert "dbcalm: /var/lib/dbcalm-mariadb-cmd has backups in it, and was kept\n" in done.stderr
    assert (backup / "dbcalm-manifest.json").exists()
    shutil.rmtree(backup.parents[1])


def test_a_host_without_a_server_gets_the_servers_user(system: Debian, deb: Path) -> None:
    entry, group = system.run("getent passwd mysql; getent group mysql").splitlines()
    system.run("cp --archive /etc/passwd /etc/group /etc/shadow /etc/gshadow /root && userdel mysql")
    try:
        system.install(deb)
        made, _ = system.run("getent passwd mysql; getent group mysql").splitlines()
        assert made.split(":")[5:] == entry.split(":")[5:]
        assert group.startswith("mysql:")
        assert system.rights("/etc/dbcalm/credentials.cnf") == {
            "/etc/dbcalm/credentials.cnf": "root:mysql 640"
        }
    finally:
        system.run("dpkg --purge dbcalm; cd /root && mv passwd group shadow gshadow /etc")


def test_the_rpm_installs_upgrades_and_goes(system: Debian, rpm: Path) -> None:
    root = f"--root={system.root}"
    try:
        told = said("rpm", root, "--install", "--nodeps", rpm)
        assert "/usr/lib/dbcalm/backup-user | mariadb" in told
        assert system.rights(*SECRETS) == SECRETS
        before = system.secrets()
        system.file("/etc/cron.d/dbcalm").write_text("# of schedules\n")
        assert "What is left to do" not in said("rpm", root, "--upgrade", "--nodeps", "--force", rpm)
        assert system.secrets() == before
        assert said("rpm", root, "--verify", "--nodeps", "dbcalm") == ""
    finally:
        said("rpm", root, "--erase", "--nodeps", "dbcalm")
    assert system.secrets() == before
    assert not system.file("/usr/bin/dbcalm").exists()
    assert system.file("/etc/cron.d/dbcalm.removed").exists()
    system.run(
        "rm -rf /etc/dbcalm /etc/cron.d/dbcalm.removed /var/lib/rpm /usr/lib/sysimage/rpm /var/log/dbcalm"
    )
