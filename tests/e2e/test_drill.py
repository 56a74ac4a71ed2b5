"""The escape drill: what each program could do if it fell, against what it is meant to be able to do."""

import json
from pathlib import Path

import pytest

from tests.e2e.machine import CHECKOUT, Machine

UNITS = ("dbcalm-api", "dbcalm-cmd", "dbcalm-mariadb-cmd")
_REPLACED = ("Type=", "ExecStart=", "Restart=", "WatchdogSec=", "Also=", "WantedBy=")

EXPECTED = {  # API, root service, mysql service
    "read the passwords of the host":              (False, False, False),
    "read root's home":                            (False, False, False),
    "read the database's files":                   (False, False, True),
    "read the database's credentials":             (False, False, True),
    "read the key that signs tokens":              (True, False, False),
    "read the key of the certificate":             (True, False, False),
    "read the catalogue":                          (True, False, False),
    "read the journal of jobs":                    (False, False, True),
    "read another user's process":                 (False, True, True),
    "list the backups":                            (False, False, True),
    "write in /usr":                               (False, False, False),
    "write in /etc":                               (False, False, False),
    "write in /etc/dbcalm":                        (False, False, False),
    "write in /etc/cron.d":                        (False, True, False),
    "write in /var/lib":                           (False, False, False),
    "write in /var/lib/dbcalm":                    (True, False, False),
    "write in /var/lib/dbcalm-mariadb-cmd":        (False, False, True),
    "write in /var/lib/mysql":                     (False, False, True),
    "write in /var/backups/dbcalm":                (False, False, True),
    "write in /var/log":                           (False, False, False),
    "write in /run/dbcalm":                        (False, False, False),
    "write a kernel setting":                      (False, False, False),
    "run a file from /tmp":                        (False, False, False),
    "run a file from /dev/shm":                    (False, False, False),
    "run a file from what it writes to":           (False, False, False),
    "run a program of the system":                 (True, True, True),
    "make memory that can be written and run":     (False, False, False),
    "give a file the set-user bit":                (False, False, False),
    "trace a process":                             (False, False, False),
    "make a namespace":                            (False, False, False),
    "mount":                                       (False, False, False),
    "become another user":                         (False, False, False),
    "open a socket of AF_UNIX":                    (True, True, True),
    "open a socket of AF_INET":                    (True, False, False),
    "open a socket of AF_INET6":                   (True, False, False),
    "open a socket of AF_PACKET":                  (False, False, False),
    "open a socket of AF_NETLINK":                 (False, False, False),
    "connect to the root service's socket":        (True, False, False),
    "connect to the mysql service's socket":       (True, False, False),
    "connect to the database":                     (False, False, True),
    "connect to systemd":                          (False, True, False),
    "connect to the system bus":                   (False, False, False),
    "signal a process of root":                    (False, True, False),
    "see the files that a process of root sees":   (False, False, False),
    "signal a process of mysql":                   (False, False, True),
    "see the files that a process of mysql sees":  (False, False, False),
    "signal a process of dbcalm":                  (True, False, False),
    "see the files that a process of dbcalm sees": (True, False, False),
    "see the database server":                     (False, True, True),
}  # fmt: skip


def drill(machine: Machine, unit: str) -> dict[str, bool]:
    """Run the drill in place of a unit's program, under all else that the unit says."""
    machine.run("mkdir -p /run/drill; install -m 644 /dev/null /run/drill/out")
    machine.write("usr/local/lib/drill.py", Path(__file__).with_name("drill.py").read_text())
    pids = {
        "root": machine.main_process("cron"),
        "mysql": machine.main_process("mariadb"),
        "dbcalm": machine.main_process("dbcalm-api"),
    }
    lines = (CHECKOUT / "packaging/systemd" / f"{unit}.service").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(_REPLACED)]
    number = json.dumps(pids).replace('"', '\\"')
    start = [
        "Type=oneshot",
        f'ExecStart=/usr/bin/python3 -I /usr/local/lib/drill.py "{number}"',
        "StandardOutput=truncate:/run/drill/out",
        "StandardError=journal",
    ]
    where = kept.index("[Service]") + 1
    machine.write("run-drill.service", "\n".join([*kept[:where], *start, *kept[where:], ""]))
    machine.run("mv /run-drill.service /run/systemd/system/drill.service && systemctl daemon-reload")
    try:
        done = machine.try_to("systemctl start drill")
        assert done.returncode == 0, machine.run("journalctl --unit drill --lines 30")
    finally:
        machine.run("rm /run/systemd/system/drill.service && systemctl daemon-reload")
    return dict(json.loads(machine.run("cat /run/drill/out")))


@pytest.mark.parametrize("unit", UNITS)
def test_a_fallen_program_can_do_what_it_needs_and_no_more(machine: Machine, unit: str) -> None:
    column = UNITS.index(unit)
    assert drill(machine, unit) == {what: allowed[column] for what, allowed in EXPECTED.items()}
