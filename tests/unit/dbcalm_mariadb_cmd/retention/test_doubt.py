"""When is an incremental backup made into a full one? On every sign of other data, and on nothing else."""

from dataclasses import replace

import pytest

from dbcalm_mariadb_cmd.adapter.server.facts import ServerFacts
from dbcalm_mariadb_cmd.builder.argv import Binlog
from dbcalm_mariadb_cmd.store.manifest import Manifest
from dbcalm_mariadb_cmd.store.timeline import comparable, doubt, series
from tests.support.engine_lab import ORIGIN, manifest

SAME = ServerFacts(
    origin=ORIGIN,
    lsn=9000,
    binlogs={"bin.000003": 700, "bin.000004": 100},
    gtid_at_base="0-1-7",
    data_bytes=1,
    tablespaces=1,
)


def base(gtid: str = "0-1-7", position: int = 512, file: str = "bin.000003", to_lsn: int = 5000) -> Manifest:
    """Return a backup that ends at LSN 5000 and at byte 512 of the third binary log."""
    return manifest(seq=5, to_lsn=to_lsn, last_lsn=to_lsn, binlog=Binlog(file, position, gtid))


def now(**changes: object) -> ServerFacts:
    return replace(SAME, **changes)  # type: ignore[arg-type]


def origin(**changes: object) -> ServerFacts:
    return replace(SAME, origin=replace(ORIGIN, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("present", "then"),
    [
        pytest.param(SAME, base(), id="nothing happened"),
        pytest.param(now(binlogs={**SAME.binlogs, "bin.000005": 50}), base(), id="a restart begins a new binary log"),  # type: ignore[dict-item]
        pytest.param(now(lsn=20_000), base(), id="a crash, the log is applied and goes on"),
        pytest.param(now(lsn=5000), base(), id="nothing was written"),
        pytest.param(origin(version="10.11.20"), base(), id="a minor upgrade"),
        pytest.param(origin(elsewhere={"innodb_undo_directory": "/undo"}), base(), id="other folders"),
        pytest.param(now(binlogs={"bin.000004": 100}, gtid_at_base=None), base(), id="purged"),
        pytest.param(now(binlogs={"bin.000010": 1}, gtid_at_base=None), base(file="bin.000009"), id="9 to 10"),
        pytest.param(now(binlogs={"bin.1000000": 1}, gtid_at_base=None), base(file="bin.999999"), id="7 digits"),
        pytest.param(now(binlogs=None, gtid_at_base=None), base(), id="log_bin is off now"),
        pytest.param(SAME, manifest(to_lsn=5000, last_lsn=5000), id="log_bin was off then"),
        pytest.param(now(gtid_at_base=None), base(), id="the server cannot tell the GTID"),
        pytest.param(now(gtid_at_base=""), base(gtid=""), id="there was no GTID"),
        pytest.param(now(binlogs={"bin.000003": 512}), base(), id="the log ends where the backup did"),
        pytest.param(
            now(gtid_at_base="9-1-1,0-1-7,3-1-2"), base("0-1-7,3-1-2,9-1-1"), id="the domains in another order"
        ),
        pytest.param(now(gtid_at_base="0-1-7"), base("0-1-7,11-2-77"), id="a replica that logs only its own writes"),
        pytest.param(now(gtid_at_base=""), base("11-2-77"), id="a replica that wrote nothing of its own"),
    ],
)  # fmt: skip
def test_no_false_alarm(present: ServerFacts, then: Manifest) -> None:
    assert doubt(then, present, restored_seq=0) is None


@pytest.mark.parametrize(
    ("present", "words"),
    [
        pytest.param(origin(version="10.12.1"), "was upgraded from 10.11.19 to 10.12.1", id="series"),
        pytest.param(origin(version="11.4.2"), "upgraded from 10.11.19 to 11.4.2", id="major"),
        pytest.param(origin(version="10.1.1"), "upgraded from 10.11.19 to 10.1.1", id="a prefix of the series"),
        pytest.param(origin(version="8.4.1", server_uuid="a-b"), "another server_uuid", id="another vendor"),
        pytest.param(origin(data_dir="/srv/mysql"), "data directory is /srv/mysql and was /var/lib/mysql", id="folder"),
        pytest.param(origin(ibdata=(12, ORIGIN.ibdata[1])), "InnoDB's first file is another one", id="inode"),
        pytest.param(origin(ibdata=(11, ORIGIN.ibdata[1] + 1)), "InnoDB's first file is another one", id="birth"),
        pytest.param(now(lsn=4999), "log sequence number 4999 is lower than 5000", id="LSN went back"),
        pytest.param(now(lsn=0), "log sequence number 0", id="no LSN"),
        pytest.param(now(binlogs={"bin.000001": 300}), "the binary log began anew", id="RESET MASTER"),
        pytest.param(now(binlogs={"bin.000001": 3, "bin.000004": 3}), "began anew", id="not the base's log"),
        pytest.param(now(binlogs={"bin.000003": 511}), "bin.000003 has another history", id="the log is too short"),
        pytest.param(now(gtid_at_base="0-1-6"), "bin.000003 has another history", id="an older GTID"),
        pytest.param(now(gtid_at_base="0-2-7"), "bin.000003 has another history", id="another server's GTID"),
        pytest.param(now(gtid_at_base="0-1-7,1-1-1"), "bin.000003 has another history", id="a GTID more"),
    ],
)  # fmt: skip
def test_doubt(present: ServerFacts, words: str) -> None:
    reason = doubt(base(), present, restored_seq=0)
    assert words in str(reason)
    assert "\n" not in str(reason)


@pytest.mark.parametrize(("restored_seq", "doubted"), [(0, False), (4, False), (6, True)])
def test_our_own_restores_into_the_data_directory(restored_seq: int, doubted: bool) -> None:
    reason = doubt(base(), SAME, restored_seq)
    assert (reason is not None) == doubted
    if doubted:
        assert reason == "a backup was restored into the data directory after base was made"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("10.11.19", "10.11"), ("8.4.0", "8.4"), ("11.8.6", "11.8"), ("9", "9"), ("", "")],
)
def test_series(version: str, expected: str) -> None:
    assert series(version) == expected


@pytest.mark.parametrize("file", ["bin'; DROP", "a b", "a\\", 'a"', "a`"])
def test_a_name_that_could_leave_its_quotes_is_not_asked_for(file: str) -> None:
    assert comparable(Binlog(file, 1, "")) is None


def test_a_plain_name_is_asked_for() -> None:
    plain = Binlog("mysql-bin_1.000003", 1, "")
    assert comparable(plain) is plain
    assert comparable(None) is None


def test_a_server_that_lost_its_newest_log_is_noticed() -> None:
    """After a power cut the server may be past the base's checkpoint and yet lack what the base has copied."""
    then = manifest(seq=5, to_lsn=5000, last_lsn=9500)
    assert "log sequence number 9000 is lower than 9500" in str(doubt(then, SAME, restored_seq=0))
    assert doubt(then, now(lsn=9500), restored_seq=0) is None
