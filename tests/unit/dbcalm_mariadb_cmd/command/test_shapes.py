"""What may enter: values that do not fit are refused in a sentence, whatever they are."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbcalm_mariadb_cmd.adapter.tool import read_checkpoints
from dbcalm_mariadb_cmd.builder.argv import ENGINES
from dbcalm_mariadb_cmd.command.shapes import Between, Time, Unfit, Upto, fitted, legible, parsed
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.store.history import History, unreadable
from dbcalm_mariadb_cmd.store.hold import stored_hold
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import HOLD, PROOF, Damaged, Manifest, encode_manifest
from dbcalm_mariadb_cmd.store.proof import proof_of
from tests.support.engine_lab import ORIGIN, Lab, manifest


@dataclass(frozen=True)
class Inner:
    names: dict[str, str]
    pair: tuple[int, int]


@dataclass(frozen=True)
class Outer:
    whole: int
    few: Annotated[int, Between(0, 9)]
    number: float
    flag: bool
    text: str
    short: Annotated[str, Upto(3)]
    at: Time | None
    kind: Literal["a", "b"]
    many: tuple[str, ...]
    inner: Inner
    later: int = 7


GOOD: dict[str, Any] = {
    "whole": -1, "few": 9, "number": 2, "flag": False, "text": "é\0", "short": "abc",
    "at": "2026-01-31T03:00:00.000000Z", "kind": "b", "many": ["x"], "inner": {"names": {"a": "b"}, "pair": [1, 2]},
}  # fmt: skip


def test_what_fits_becomes_the_dataclass() -> None:
    made = fitted(Outer, GOOD)
    assert (made.whole, made.many, made.inner.pair, made.later) == (-1, ("x",), (1, 2), 7)
    assert fitted(Outer, {**GOOD, "at": None}).at is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"whole": True}, "whole must be a whole number"),
        ({"whole": 1.0}, "whole must be a whole number"),
        ({"whole": 2**63}, "whole must be a whole number"),
        ({"whole": 10**30}, "whole must be a whole number"),
        ({"whole": "1"}, "whole must be a whole number"),
        ({"whole": None}, "whole must be a whole number"),
        ({"few": 10}, "few must be a whole number from 0 to 9"),
        ({"few": -1}, "few must be"),
        ({"few": False}, "few must be"),
        ({"number": float("nan")}, "number must be a number"),
        ({"number": float("inf")}, "number must be a number"),
        ({"number": 10**400}, "number must be a number"),
        ({"number": True}, "number must be a number"),
        ({"flag": 1}, "flag must be true or false"),
        ({"text": ["x"]}, "text must be a text"),
        ({"text": "caf\udce9"}, "text must be a text of at most"),
        ({"text": "x" * 2_000_000}, "text must be a text of at most"),
        ({"short": "abcd"}, "short must not be longer than 3"),
        ({"at": "never"}, "at must be a time"),
        ({"at": "9999-12-31T23:59:59.999999Z"}, "at must be a time"),
        ({"at": "0001-01-01T00:00:00.000000Z"}, "at must be a time"),
        ({"at": "2026-02-30T00:00:00.000000Z"}, "at must be a time"),
        ({"kind": "c"}, "kind must be one of a, b"),
        ({"kind": ["a"]}, "kind must be one of a, b"),
        ({"many": "text"}, "many must be a list"),
        ({"many": [1]}, "many must be a text"),
        ({"inner": []}, "inner must be an object"),
        ({"inner": {"names": {"a": "b"}}}, "inner.pair is missing"),
        ({"inner": {"names": {"a": 1}, "pair": [1, 2]}}, "inner.names.a must be a text"),
        ({"inner": {"names": {}, "pair": [1]}}, "inner.pair must be a list of 2"),
        ({"more": 1}, "more is unknown"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Unfit) as unfit:
        fitted(Outer, {**GOOD, **change})
    assert str(unfit.value).startswith(words)
    str(unfit.value).encode()


def test_others_may_be_passed_over() -> None:
    assert fitted(Outer, {**GOOD, "more": {"x": 1}}, others=True).whole == -1


@pytest.mark.parametrize(
    "stored", [b"", b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}', b"\xff", b"{" * 10_000]
)
def test_a_small_file_is_one_object_and_nothing_loose(stored: bytes) -> None:
    with pytest.raises(Unfit):
        parsed(stored)


def test_names_that_are_no_utf8_can_be_shown() -> None:
    assert legible({"caf\udce9": ["\ud800", 1, None]}) == {"caf\\xe9": ["\\ud800", 1, None]}


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\udce9", "x" * 5000, 2**70]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(manifest().facts())), ANY)
def test_no_value_of_a_manifest_does_anything_but_fit_or_not(name: str, value: Any) -> None:
    try:
        made = Manifest.from_facts({**manifest().facts(), name: value})
    except Unfit as unfit:
        str(unfit).encode()
    else:
        assert json.loads(json.dumps(made.facts())) is not None


HOSTILE: list[dict[str, Any]] = [
    {"seq": 2**70}, {"seq": True}, {"seq": "1"}, {"seq": 2**53 + 1}, {"size": "x"}, {"size": 2**64}, {"size": -1},
    {"note": "n" * 100_000}, {"note": "\udce9"}, {"type": "<x>"}, {"end_time": "never"},
    {"end_time": "9999-12-31T23:59:59.999999Z"}, {"type": "incremental", "from_backup_id": "bad"},
    {"type": "incremental"}, {"recipients": [1]}, {"recipients": "x"}, {"form": "../../x"}, {"schedule_id": {}},
    {"server": {}}, {"server": []}, {"binlog": {"file": 1}}, {"from_backup_id": "../x"}, {"job_id": None},
    {"data_size": -1}, {"from_lsn": 2**64}, {"format": "1"}, {"format": [[[[[[[[[[[]]]]]]]]]]]},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_a_backup_that_is_none_hides_no_other_and_is_told(lab: Lab, change: dict[str, Any]) -> None:
    for name in ("bad", "good"):
        lab.back_up(name)
    lab.rewrite("bad", **change)
    history = History(Journal(lab.jobs / "journal"), lab.backups)
    assert history.newest is not None
    assert history.newest.id == "good"
    (told,) = unreadable(lab.backups)
    assert "backup bad is damaged" in told
    assert str(lab.backups / "bad") in told


@pytest.mark.parametrize(
    "facts",
    [b"[]", b'{"level":9}', b'{"level":true,"at":"x"}', b"\xff", b'{"reason":[],"until":null,"since":""}',
     b'{"reason":"x","until":"never","since":""}', b'{"reason":"x","until":5,"since":""}', b"{" * 5000],
)  # fmt: skip
def test_a_proof_or_a_hold_that_is_none_counts_against_deleting(lab: Lab, facts: bytes) -> None:
    made = lab.back_up("full")
    for name in (PROOF, HOLD):
        (lab.backups / "full" / name).write_bytes(facts)
    assert proof_of(lab.backups / "full", made).fault == f"{PROOF} cannot be read"
    hold = stored_hold(lab.backups / "full")
    assert hold is not None
    assert hold.until is None


EVENTS: list[dict[str, Any]] = [
    {"event": "accepted"}, {"event": "accepted", "job_id": 5}, {"event": "accepted", "job_id": "a" * 32, "seq": 2**70},
    {"event": "accepted", "job_id": "a" * 32, "answer": []}, {"event": "ended", "job_id": {}},
    {"event": "ended", "job_id": "a" * 32, "backup": {"seq": 1}}, {"event": "undeleted", "backup": {"id": "x"}},
    {"event": "held", "backup_id": 5}, {"event": "deleted", "backup_id": "x", "trash": []}, {"event": 5}, {},
    {"event": "held", "backup_id": "x", "at": "9999-12-31T23:59:59.999999Z", "hold": None},
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_an_event_that_is_none_keeps_the_service_from_nothing(lab: Lab, event: dict[str, Any]) -> None:
    made = lab.back_up("full")
    journal = Journal(lab.jobs / "journal")
    with (lab.jobs / "journal").open("a") as file:
        file.write(json.dumps(event) + "\n")
    journal.append("held", backup_id="full", hold={"reason": "x", "until": None})
    history = History(journal, lab.backups)
    assert history.open is None
    assert history.held["full"] == {"reason": "x", "until": None}
    assert history.next_seq() == made.seq + 1
    history.clock.doubt(journal.now())


def test_a_manifest_that_nobody_could_read_is_not_written() -> None:
    with pytest.raises(Damaged, match=r"cannot be described: note must not be longer"):
        encode_manifest(manifest(note="x" * 5000))
    with pytest.raises(Damaged, match="too much lies elsewhere"):
        encode_manifest(
            manifest(server=replace(ORIGIN, elsewhere={str(number): "x" * 100 for number in range(9000)}))
        )
    stored = parsed(encode_manifest(manifest(note="caf\udce9")))
    assert stored["note"] == "caf\\xe9"


@pytest.mark.parametrize("lsn", ["-1", str(2**64), "9" * 5000, "x", ""])
def test_checkpoints_that_are_none_are_refused(tmp_path: Path, lsn: str) -> None:
    (tmp_path / "xtrabackup_checkpoints").write_text(
        f"backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = {lsn}\nlast_lsn = 5\n"
    )
    with pytest.raises(JobFailed, match="cannot be read"):
        read_checkpoints(tmp_path, ENGINES["mariadb"])
