"""What a caller in wrong hands can delete: the real socket of the mysql service, asked by the user of the API.

Nothing of the API is in between: no rule of its own, no check of what is sent.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from dev.sandbox_lib.services import MYSQL_SERVICE
from tests.integration.conftest import Rig

pytestmark = pytest.mark.integration

_CALLER = """\
import os, socket, sys
print(os.getuid())
for line in sys.stdin.buffer:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(300)
        connection.connect(sys.argv[1])
        connection.sendall(line)
        print(connection.makefile().readline(), end="")
"""


@pytest.fixture
def own(plain: Rig) -> Iterator[Rig]:
    """Give a sandbox with one backup, "last", which is whole. A test leaves this one, and no other."""
    if "last" not in plain.on_disk():
        plain.chain("last")
    if others := plain.on_disk() - {"last"}:
        ask_all(
            plain, *(("release_backup", {"id": id}) for id in others)
        )  # A test that failed may have held it.
        clean_up(plain, *others)
    assert plain.on_disk() == {"last"}
    yield plain
    assert plain.on_disk() == {"last"}


def ask_all(rig: Rig, *orders: tuple[str, dict[str, object]]) -> list[dict[str, Any]]:
    """Send commands with their arguments as the user of the API; return the answers."""
    caller, path = rig.sandbox.who.api, rig.sandbox.layout.mariadb_cmd_socket
    done = subprocess.run(
        [*caller.drop(), "/usr/bin/env", "python3", "-c", _CALLER, str(path)],
        input="".join(json.dumps({"cmd": name, "args": args}) + "\n" for name, args in orders),
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    )
    uid, *answers = done.stdout.splitlines()
    assert (int(uid), len(answers)) == (caller.uid, len(orders))
    return [dict(json.loads(answer)) for answer in answers]


def ask(rig: Rig, command: str, **args: object) -> dict[str, Any]:
    """Send one command as the user of the API; return the answer."""
    [answer] = ask_all(rig, (command, args))
    return answer


def clean_up(rig: Rig, *ids: str) -> dict[str, Any]:
    """Ask for a clean-up of these and wait for its end; return what was answered."""
    job_id = uuid.uuid4().hex
    answer = ask(rig, "cleanup_backups", job_id=job_id, ids=ids, schedule_id=None)
    assert answer["code"] == 202, answer
    assert rig.api.wait(f"/status/{job_id}")["status"] == "success"
    return answer


def assert_kept(rig: Rig, why: str, *ids: str) -> None:
    """Assert that neither a clean-up of these, leaf first, nor the deletion of any one of them removes anything, and
    that both say why; all of them are there."""
    before = {id: rig.stored(id) for id in ids}
    answer = clean_up(rig, *reversed(ids))
    assert answer["deleting"] == []
    assert answer["note"].startswith("not deleted: ")
    assert why in answer["note"]
    refused = ask(rig, "delete_backup", id=ids[-1])
    assert (refused["code"], why in refused["status"]) == (409, True), refused
    for id in ids[:-1]:
        refused = ask(rig, "delete_backup", id=id)
        assert (refused["code"], "backups depend on" in refused["status"]) == (409, True), refused
    assert {id: rig.stored(id) for id in ids} == before


def test_the_last_whole_chain(own: Rig) -> None:
    why = "last is the last whole chain, and min_full_chains is 1: make a full backup first"
    assert_kept(own, why, "last")
    own.backup(id="last-inc", type="incremental", from_backup_id="last")
    answer = clean_up(own, "last-inc", "last")
    assert (answer["deleting"], why in answer["note"]) == ([], True)
    assert own.on_disk() == {"last", "last-inc"}
    assert ask(own, "delete_backup", id="last-inc")["code"] == 200


def test_a_damaged_chain_does_not_count_as_a_whole_one(own: Rig) -> None:
    own.chain("hurt")
    os.truncate(own.backups / "hurt" / "backup.xbstream.zst", 4096)
    assert_kept(own, "last is the last whole chain", "last")
    assert clean_up(own, "hurt")["deleting"] == ["hurt"]
    assert own.on_disk() == {"last"}


def test_of_two_whole_chains_the_newer_one_stays(own: Rig) -> None:
    own.chain("newer", "newer-inc")
    answer = clean_up(own, "newer-inc", "newer", "last")
    assert answer["deleting"] == ["last"]
    assert "newer is the last whole chain" in answer["note"]
    assert own.api.call("POST", "/backups/last/undelete")["id"] == "last"
    assert clean_up(own, "newer-inc", "newer")["deleting"] == ["newer-inc", "newer"]


def test_more_chains_where_the_configuration_wants_more(own: Rig) -> None:
    own.chain("second")
    with own.configured(MYSQL_SERVICE, min_full_chains=2):
        for id in ("second", "last"):
            assert_kept(own, f"{id} is one of the last 2 whole chains, and min_full_chains is 2", id)
    assert ask(own, "delete_backup", id="second")["code"] == 200


def test_a_base_of_others(own: Rig) -> None:
    own.chain("base", "top")
    for answer in (clean_up(own, "base"), ask(own, "delete_backup", id="base")):
        assert "backups depend on base: top" in (answer.get("note") or answer["status"])
    away = (own.backups / "top").rename(own.sandbox.root / "away")
    assert own.on_disk() == {"last", "base"}
    away.rename(own.backups / "top")
    assert clean_up(own, "top", "base")["deleting"] == ["top", "base"]


def test_what_is_held(own: Rig) -> None:
    own.chain("held-0", "held-1", "held-2")
    own.api.call("PUT", "/backups/held-0/hold", {"reason": "audit of January"})
    assert_kept(own, "backup held-0 is held for good (audit of January), and held-2 is of its chain",
                "held-0", "held-1", "held-2")  # fmt: skip
    assert ask(own, "release_backup", id="held-0")["code"] == 200
    assert clean_up(own, "held-2", "held-1", "held-0")["deleting"] == ["held-2", "held-1", "held-0"]


def test_what_is_too_young(own: Rig) -> None:
    own.chain("young-0", "young-1")
    with own.configured(MYSQL_SERVICE, min_age="7d"):
        assert_kept(own, "is younger than min_age, which is 7 days", "young-0", "young-1")
        for id in ("young-0", "young-1"):
            own.rewrite(id, end_time="2020-01-01T00:00:00.000000Z")
        assert clean_up(own, "young-1", "young-0")["deleting"] == ["young-1", "young-0"]


@pytest.mark.parametrize(
    "id",
    [
        "../last", "..", ".", ".trash", ".work", "restores", "trash", "/etc", "last/", "a/b", "a\0b", "", "LAST",
        7, None,
    ],
)  # fmt: skip
def test_what_is_no_id(own: Rig, id: object) -> None:
    before = sorted(own.backups.rglob("*"))
    answers = ask_all(
        own,
        ("delete_backup", {"id": id}),
        ("undelete_backup", {"id": id, "deleted_at": None}),
        ("release_backup", {"id": id}),
        ("cleanup_backups", {"job_id": uuid.uuid4().hex, "ids": ["last", id], "schedule_id": None}),
    )
    for answer in answers:
        assert (answer["code"], "must be 1 to 64 of a-z" in answer["status"]) == (400, True), answer
    assert sorted(own.backups.rglob("*")) == before


@pytest.mark.parametrize(
    "args",
    [
        {"ids": "last"},
        {"ids": ["last", "last"]},
        {"ids": [["last"]]},
        {"ids": ["last"], "min_full_chains": 0},
        {"ids": ["last"], "min_age_seconds": 0},
    ],
)
def test_what_is_no_order(own: Rig, args: dict[str, object]) -> None:
    answer = ask(own, "cleanup_backups", job_id=uuid.uuid4().hex, schedule_id=None, **args)
    assert answer["code"] == 400, answer
    assert own.on_disk() == {"last"}
