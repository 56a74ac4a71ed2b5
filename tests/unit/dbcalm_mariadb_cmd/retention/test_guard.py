"""The guard of every deletion: what may go, what may not, and with which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.clock import text_of
from dbcalm_mariadb_cmd.command.amounts import minute
from dbcalm_mariadb_cmd.retention import guard
from dbcalm_mariadb_cmd.retention.guard import Limits, Stock, permitted
from dbcalm_mariadb_cmd.store.hold import Hold, store_hold
from dbcalm_mariadb_cmd.store.manifest import MANIFEST, read_manifest
from dbcalm_mariadb_cmd.store.proof import INTACT, faulted, of_making, store_proof
from tests.support.engine_lab import Lab
from tests.support.engine_tiny import DATA, Shelf, refusal

HOUR = timedelta(hours=1)


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    return Shelf(lab)


def stock(shelf: Shelf, least: int = 1, age: timedelta = timedelta(0)) -> Stock:
    return Stock(shelf.lab.backups, Limits(least, age), shelf.clock())


def refused(shelf: Shelf, backup_id: str, **limits: object) -> str:
    code, said = refusal(stock(shelf, **limits).require_removable, backup_id)  # type: ignore[arg-type]
    assert code == 409
    return said


def hold(shelf: Shelf, backup_id: str, until: str | None = None) -> None:
    store_hold(shelf.lab.backups / backup_id, Hold("audit", until, ""))


class TestDependents:
    def test_are_named_in_their_order(self, shelf: Shelf) -> None:
        shelf.chain("a")
        shelf.add("aside", "a0")
        shelf.chain("b", 1)
        assert refused(shelf, "a0") == "backups depend on a0: a1, a2, aside"
        assert refused(shelf, "a1") == "backups depend on a1: a2"
        stock(shelf).require_removable("a2")

    def test_of_a_base_that_is_gone_count_too(self, shelf: Shelf) -> None:
        shelf.chain("a", 2)
        (shelf.lab.backups / "a0").rename(shelf.lab.root / "elsewhere")
        assert refusal(stock(shelf).require_leaf, "a0") == (409, "backups depend on a0: a1")
        stock(shelf).require_removable("a1")  # It cannot be restored, and may go.


class TestHolds:
    @pytest.mark.parametrize("held", ["a0", "a1", "a2", "aside"])
    @pytest.mark.parametrize("leaf", ["a2", "aside"])
    def test_are_for_the_whole_chain(self, shelf: Shelf, held: str, leaf: str) -> None:
        shelf.chain("a")
        shelf.add("aside", "a0")
        shelf.chain("b", 1)
        hold(shelf, held)
        chain = "" if leaf == held else f", and {leaf} is of its chain"
        assert refused(shelf, leaf) == f"backup {held} is held for good (audit){chain}; release it first"
        stock(shelf).require_removable("b0")

    def test_are_over_when_their_time_is(self, shelf: Shelf) -> None:
        shelf.chain("a", 2)
        end = shelf.clock.time + HOUR
        hold(shelf, "a0", text_of(end))
        assert f"is held until {minute(text_of(end))}" in refused(shelf, "a1")
        shelf.clock.time = end
        stock(shelf).require_removable("a1")

    @pytest.mark.parametrize("text", ["", "{}", "null", '{"reason": 1}', "\0"])
    def test_that_cannot_be_read_hold(self, shelf: Shelf, text: str) -> None:
        shelf.chain("a", 2)
        (shelf.lab.backups / "a1/dbcalm-hold.json").write_text(text)
        assert "is held for good (dbcalm-hold.json cannot be read)" in refused(shelf, "a1")

    def test_of_a_base_whose_manifest_cannot_be_read(self, shelf: Shelf) -> None:
        shelf.chain("a", 2)
        hold(shelf, "a0")
        (shelf.lab.backups / "a0" / MANIFEST).write_text("{")
        assert "backup a0 is held" in refused(shelf, "a1")


class TestAge:
    def test_counts_from_the_backup_s_end(self, shelf: Shelf) -> None:
        shelf.chain("a", 2)
        said = refused(shelf, "a1", age=2 * HOUR)
        assert said.startswith("backup a1 of 2026-11-23T03:00:00.")
        assert said.endswith(" is younger than min_age, which is 2 hours")
        shelf.clock.time += 2 * HOUR
        stock(shelf, age=2 * HOUR).require_removable("a1")

    def test_of_the_future_is_young(self, shelf: Shelf) -> None:
        shelf.chain("a", 1)
        shelf.add("odd", "a0", end_time="2036-01-01T00:00:00.000000Z")
        assert "is younger" in refused(shelf, "odd", age=HOUR)
        stock(shelf).require_removable("odd")  # Without min_age nothing is too young.


class TestLastChains:
    def test_stay(self, shelf: Shelf) -> None:
        shelf.chain("a", 1)
        words = "and min_full_chains is {}: make a full backup first"
        assert refused(shelf, "a0") == "a0 is the last whole chain, " + words.format(1)
        shelf.chain("b", 1)
        stock(shelf).require_removable("a0")
        assert refused(shelf, "a0", least=2) == "a0 is one of the last 2 whole chains, " + words.format(2)
        assert refused(shelf, "a0", least=3) == "a0 is one of the last 2 whole chains, " + words.format(3)

    def test_are_no_matter_of_incrementals(self, shelf: Shelf) -> None:
        shelf.chain("a", 2)
        stock(shelf).require_removable("a1")

    @pytest.mark.parametrize("what", [DATA, "dbcalm-files.json", MANIFEST])
    def test_are_counted_without_those_that_are_damaged(self, shelf: Shelf, what: str) -> None:
        shelf.chain("a", 1)
        shelf.chain("b", 1)
        (shelf.lab.backups / "b0" / what).write_text("{")
        assert "a0 is the last whole chain" in refused(shelf, "a0")
        if what != MANIFEST:
            stock(shelf).require_removable("b0")

    def test_are_counted_without_those_with_which_a_verification_found_fault(self, shelf: Shelf) -> None:
        shelf.chain("a", 1)
        shelf.chain("b", 1)
        folder = shelf.lab.backups / "b0"
        good = of_making(read_manifest(folder))
        store_proof(folder, faulted(good, INTACT, "2026-11-23T12:00:00.000000Z", "j", "a page"))
        assert "a0 is the last whole chain" in refused(shelf, "a0")
        stock(shelf).require_removable("b0")
        store_proof(folder, good)
        stock(shelf).require_removable("a0")


class TestFaults:
    """Where too few chains are without one, the newest with one count and stay."""

    def spoil(self, shelf: Shelf, *ids: str) -> None:
        for id in ids:
            folder = shelf.lab.backups / id
            good = of_making(read_manifest(folder))
            store_proof(folder, faulted(good, INTACT, "2026-11-23T12:00:00.000000Z", "j", "an old .frm"))

    def test_of_all_let_the_newest_stay(self, shelf: Shelf) -> None:
        chains = [shelf.chain(name, 2) for name in "abc"]
        self.spoil(shelf, "a0", "b0", "c0")
        assert refused(shelf, "c0", least=1).startswith("backups depend on c0")
        allowed, reasons = permitted(stock(shelf, 2), [id for chain in chains for id in chain])
        assert allowed == ["a1", "a0"]
        assert reasons == [
            f"{id} is one of the newest chains, of which none is without a fault, and min_full_chains is 2: "
            "make a full backup first"
            for id in ("b0", "c0")
        ]

    def test_of_some_let_the_others_and_as_many_as_are_missing_stay(self, shelf: Shelf) -> None:
        for name in ("a0", "b0", "c0", "d0"):
            shelf.add(name)
        self.spoil(shelf, "a0", "c0", "d0")
        assert permitted(stock(shelf), ["a0", "b0", "c0", "d0"])[0] == ["a0", "c0", "d0"]
        assert permitted(stock(shelf, 2), ["a0", "b0", "c0", "d0"])[0] == ["a0", "c0"]
        assert permitted(stock(shelf, 3), ["a0", "b0", "c0", "d0"])[0] == ["a0"]
        assert "of which 1 is without a fault" in refused(shelf, "d0", least=2)
        assert "b0 is the last whole chain" in refused(shelf, "b0", least=2)

    def test_that_are_gone_let_them_go(self, shelf: Shelf) -> None:
        for name in ("a0", "b0"):
            shelf.add(name)
        self.spoil(shelf, "a0")
        stock(shelf).require_removable("a0")

    def test_of_what_cannot_be_read_keep_what_builds_on_it(self, shelf: Shelf) -> None:
        a = shelf.chain("a")
        (shelf.lab.backups / "a0" / MANIFEST).write_text("{")
        assert permitted(stock(shelf), a[1:])[0] == []
        shelf.add("b0")
        assert permitted(stock(shelf), [*a, "b0"])[0] == ["a2", "a1"]


class TestManyAtOnce:
    def test_go_chain_by_chain_from_leaf_to_root(self, shelf: Shelf) -> None:
        a, b, c = (shelf.chain(name) for name in "abc")
        assert permitted(stock(shelf), [*b, "nonsense", *a]) == ([*reversed(a), *reversed(b)], [])
        assert c

    def test_the_newest_chain_is_the_one_that_stays_and_it_stays_whole(self, shelf: Shelf) -> None:
        a, b = shelf.chain("a"), shelf.chain("b")
        allowed, reasons = permitted(stock(shelf), [*a, *b])
        assert allowed == [*reversed(a)]
        assert reasons == ["b0 is the last whole chain, and min_full_chains is 1: make a full backup first"]

    def test_what_stays_keeps_what_it_builds_on_without_more_words(self, shelf: Shelf) -> None:
        a = shelf.chain("a", 2)
        shelf.clock.time += 3 * HOUR
        shelf.add("a2", "a1")
        shelf.add("aside", "a0", end_time=shelf.facts["a0"]["end_time"])
        shelf.chain("b", 1)
        allowed, reasons = permitted(stock(shelf, age=HOUR), [*a, "a2", "aside"])
        assert allowed == ["aside"]
        assert len(reasons) == 1
        assert reasons[0].startswith("backup a2 of")

    def test_what_others_need_stays(self, shelf: Shelf) -> None:
        shelf.chain("a")
        shelf.chain("b", 1)
        assert permitted(stock(shelf), ["a0", "a1"]) == ([], ["backups depend on a1: a2"])

    def test_a_held_chain_gives_one_reason(self, shelf: Shelf) -> None:
        shelf.chain("a")
        shelf.add("aside", "a0")
        shelf.chain("b", 1)
        hold(shelf, "a2")
        allowed, reasons = permitted(stock(shelf), ["a0", "a1", "a2", "aside"])
        assert allowed == []
        assert len(reasons) == 2

    def test_the_work_grows_with_the_chain_and_not_with_its_square(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked: list[str] = []
        monkeypatch.setattr(guard, "hold_of", lambda folder, _now: looked.append(folder.name))
        chain = shelf.chain("a", 40)
        shelf.chain("b", 1)
        assert permitted(stock(shelf), chain)[0] == [*reversed(chain)]
        assert sorted(looked) == sorted(chain)


def test_a_chain_that_bites_its_tail_ends(lab: Lab) -> None:
    """Manifests are files: somebody may have written nonsense into them."""
    shelf = Shelf(lab)
    shelf.chain("a", 2)
    lab.rewrite("a0", type="incremental", from_backup_id="a1")
    assert set(stock(shelf).chain_below("a1")) == {"a0", "a1"}
    assert "backups depend on a1: " in refused(shelf, "a1")
    assert permitted(stock(shelf), ["a0", "a1"])[0] == []
    assert Path(lab.backups / "a0").exists()
