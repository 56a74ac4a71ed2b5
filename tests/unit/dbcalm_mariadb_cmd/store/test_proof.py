"""Proofs beside a backup, what is made of the programs that give them, and what administrators expect."""

import json
import struct
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import innochecksum
from dbcalm_mariadb_cmd.adapter.server.scratch import data_options
from dbcalm_mariadb_cmd.config.assertions import Assertion, problem
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.store.manifest import PROOF, sealed
from dbcalm_mariadb_cmd.store.proof import (
    APPLIES,
    INTACT,
    RUNS,
    WHOLE,
    faulted,
    of_making,
    proof_of,
    raised,
    standing_fault,
    store_proof,
    told_proof,
)
from tests.support.engine_lab import manifest

NOON, LATER = "2026-11-23T12:00:00.000000Z", "2026-11-24T12:00:00.000000Z"


def test_a_backup_is_whole_from_its_making_on(tmp_path: Path) -> None:
    made = manifest()
    found = proof_of(tmp_path, made)
    assert (found.level, found.at, found.restore_seconds, found.fault) == (WHOLE, made.end_time, None, None)
    assert told_proof(tmp_path, made) is None
    assert proof_of(tmp_path / "nowhere", made) == found


def test_what_was_reached_is_kept_and_told(tmp_path: Path) -> None:
    made = manifest()
    proof = raised(of_making(made), RUNS, NOON, "j", 4.5, RUNS)
    store_proof(tmp_path, proof)
    assert proof_of(tmp_path, made) == proof
    assert told_proof(tmp_path, made) == {
        "level": 3, "at": NOON, "restore_seconds": 4.5, "fault": None, "fault_level": None, "fault_at": None,
        "server_faults": (),
    }  # fmt: skip
    assert raised(proof, INTACT, LATER, "k", None, INTACT) == replace(proof, job_id="k")
    assert raised(proof, RUNS, LATER, "k", 5.0, RUNS) == replace(
        proof, at=LATER, job_id="k", restore_seconds=5.0
    )


def test_a_fault_goes_only_by_a_look_that_would_find_it_again() -> None:
    proof = faulted(raised(of_making(manifest()), RUNS, NOON, "j", 4.5, RUNS), APPLIES, LATER, "k", "a page")
    assert (proof.level, proof.at, proof.fault, proof.fault_level) == (INTACT, NOON, "a page", APPLIES)
    assert raised(proof, INTACT, LATER, "l", None, INTACT).fault == "a page"
    for clears in (APPLIES, RUNS):
        assert raised(proof, INTACT, LATER, "l", None, clears).fault is None


def test_what_is_bad_in_the_server_is_known_until_a_server_of_our_own_has_looked_again(
    tmp_path: Path,
) -> None:
    proof = raised(of_making(manifest()), RUNS, NOON, "j", 4.5, RUNS, ("shop.o: gone",))
    store_proof(tmp_path, proof)
    assert proof_of(tmp_path, manifest()) == proof
    assert raised(proof, INTACT, LATER, "k", None, INTACT).server_faults == ("shop.o: gone",)
    assert faulted(proof, APPLIES, LATER, "k", "a page").server_faults == ("shop.o: gone",)
    assert raised(proof, RUNS, LATER, "k", 5.0, RUNS, ()).server_faults == ()


def test_a_proof_that_was_stored_before_there_were_such_reads_on(tmp_path: Path) -> None:
    facts = asdict(raised(of_making(manifest()), RUNS, NOON, "j", 4.5, RUNS))
    del facts["server_faults"]
    (tmp_path / PROOF).write_bytes(sealed(facts))
    found = proof_of(tmp_path, manifest())
    assert (found.level, found.server_faults) == (RUNS, ())


def test_an_old_fault_of_a_link_is_not_that_of_a_chain_that_was_proven_since() -> None:
    fresh = of_making(manifest())
    bad = faulted(fresh, RUNS, NOON, "j", "a table")
    assert standing_fault([fresh, fresh]) is None
    assert standing_fault([bad, fresh]) == (0, "a table")
    assert standing_fault([bad, raised(fresh, APPLIES, LATER, "k", 1.0, APPLIES)]) == (0, "a table")
    proven = raised(fresh, RUNS, LATER, "k", 1.0, RUNS)
    assert standing_fault([bad, proven]) is None
    assert standing_fault([bad, proven, fresh]) is None
    assert standing_fault([proven, bad]) == (1, "a table")
    # It was proven before the fault was found, or was found bad itself since.
    assert standing_fault([faulted(fresh, INTACT, LATER, "l", "a file"), proven]) == (0, "a file")
    assert standing_fault([bad, faulted(proven, RUNS, LATER, "l", "another")]) == (0, "a table")
    assert standing_fault([replace(bad, fault_level=INTACT, fault_at=None), proven]) == (0, "a table")


def test_a_proof_of_other_content_says_nothing(tmp_path: Path) -> None:
    made = manifest()
    store_proof(tmp_path, raised(of_making(made), RUNS, NOON, "j", 4.5, RUNS))
    other = replace(made, files_sha256="0" * 64)
    assert proof_of(tmp_path, other) == of_making(other)


@pytest.mark.parametrize("harm", [b"", b"{", b"[]", b'{"level": 3}', b"\xff", None])
def test_one_that_cannot_be_read_makes_it_suspect(tmp_path: Path, harm: bytes | None) -> None:
    made = manifest()
    store_proof(tmp_path, raised(of_making(made), RUNS, NOON, "j", 4.5, RUNS))
    path = tmp_path / PROOF
    path.write_bytes(path.read_bytes().replace(b'"level": 3', b'"level": 2') if harm is None else harm)
    found = proof_of(tmp_path, made)
    assert (found.level, found.fault) == (WHOLE, f"{PROOF} cannot be read")


def test_only_what_innodb_needs_is_taken_from_what_the_tool_noted(tmp_path: Path) -> None:
    assert data_options(tmp_path) == []
    (tmp_path / "backup-my.cnf").write_text(
        "[mysqld]\ninnodb_page_size=8192\ninnodb_data_file_path=ibdata1:12M;ibdata2:5M:autoextend\n"
        "innodb_undo_tablespaces=3\nplugin_load=evil.so\ninit_file=/etc/passwd\ninnodb_undo_directory=/elsewhere\n"
        "innodb_page_size=$(id)\n"
    )
    assert data_options(tmp_path) == [
        "--innodb_page_size=8192",
        "--innodb_data_file_path=ibdata1:12M;ibdata2:5M:autoextend",
        "--innodb_undo_tablespaces=3",
    ]


@pytest.mark.parametrize(
    ("page_size", "starts", "parts"),
    [
        (16384, (64, 128), [(0, 63), (192, None)]),
        (16384, (100, 200), [(0, 99), (164, 199), (264, None)]),
        (4096, (256, 512), [(0, 255), (768, None)]),
        (16384, None, [(0, None)]),
    ],
)
def test_copies_of_pages_on_their_way_are_left_out(
    tmp_path: Path, page_size: int, starts: tuple[int, int] | None, parts: list[tuple[int, int | None]]
) -> None:
    path = tmp_path / "ibdata1"
    with path.open("wb") as file:
        file.truncate(1000 * page_size)
        if starts is not None:
            file.seek(6 * page_size - 200 + 10)
            file.write(struct.pack(">III", 536_853_855, *starts))
    assert innochecksum._parts(path, page_size) == parts


MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expectation", "expected", "answer", "words"),
    [
        ("at_least", "1000", "1000", None),
        ("at_least", "1000", "999", "the answer is 999, not at least 1000"),
        ("at_least", "10", "9.5", "the answer is 9.5, not at least 10"),
        ("at_least", "10", "many", "the answer is many, not a number"),
        ("at_most", "5", "5", None),
        ("at_most", "5", "6", "the answer is 6, not at most 5"),
        ("equals", "a", "a", None),
        ("equals", "a", "b", "the answer is b, not a"),
        ("equals", "a", None, "no answer"),
        ("newer_than", "7200", "today", "the answer is today, not a time"),
    ],
)
def test_an_answer_is_held_against_what_is_expected(
    expectation: str, expected: str, answer: str | None, words: str | None
) -> None:
    found = problem(Assertion("SELECT x", expectation, expected), answer, MOMENT)
    assert found == (None if words is None else f"SELECT x: {words}")


def test_the_age_of_the_newest_row_is_told_by_the_hosts_zone() -> None:
    local = MOMENT.astimezone().replace(tzinfo=None)
    asked = Assertion("SELECT MAX(at) FROM a", "newer_than", "7200")
    assert problem(asked, str(local.replace(hour=(local.hour - 1) % 24)), MOMENT) is None
    old = problem(asked, "2026-11-20 10:00:00", MOMENT)
    assert old is not None
    assert "not a time not older than 2 hours before the backup" in old


def test_a_proof_vouches_for_itself(tmp_path: Path) -> None:
    store_proof(tmp_path, of_making(manifest()))
    assert list(json.loads((tmp_path / PROOF).read_bytes()))[-1] == "sha256"


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("kill -KILL $$", JobFailed, "innochecksum failed with -9 at a.ibd"),
        ("kill -INT $$", JobFailed, "innochecksum failed with -2 at a.ibd"),
        ("echo 'Error: Cannot allocate memory' >&2; exit 1", JobFailed, "Cannot allocate memory"),
        (
            "echo 'Fail: page::5 invalid' >&2; exit 1",
            innochecksum.BadPage,
            "a.ibd: innochecksum: Fail: page::5 invalid",
        ),
        ("kill -SEGV $$", innochecksum.BadPage, "a.ibd: innochecksum"),
    ],
)
def test_what_ends_innochecksum_from_outside_is_no_bad_page(
    tmp_path: Path, script: str, error: type[Exception], words: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.ibd").write_bytes(b"x")
    program = tmp_path / "innochecksum"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(error, match=words):
        innochecksum.check_pages(str(program), data, lambda _count: None)
