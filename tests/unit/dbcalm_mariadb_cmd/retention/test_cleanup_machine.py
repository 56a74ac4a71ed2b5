"""Whatever is done with backups, in whatever order, by whomever, and wherever it is cut off: no chain is broken, and
nothing that must not go is gone.

Random histories on real files: the functions of the service and of its runner, in this process. The model beside them
knows each backup by the inode of its folder, and the past by the journal, which it reads as the catalogue does.
"""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.command.requests import (
    CleanupBackups,
    DeleteBackup,
    HoldBackup,
    ReleaseBackup,
    UndeleteBackup,
)
from dbcalm_mariadb_cmd.dispatch import handlers
from dbcalm_mariadb_cmd.dispatch.lifecycle import Keeper
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.order import write_order
from dbcalm_mariadb_cmd.store.hold import stored_hold
from dbcalm_mariadb_cmd.store.manifest import MANIFEST
from dbcalm_mariadb_cmd.supervisor import runner
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from dbcalm_mariadb_cmd.supervisor.plans import Planner
from tests.support.engine_fuse import Fuse, PowerCut
from tests.support.engine_lab import Lab
from tests.support.engine_tiny import DATA, Clock, tiny_backup

pytestmark = pytest.mark.slow

RUNS, STEPS = 2000, 50
IDS = tuple(f"b{number}" for number in range(9))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JUMPS = (HOUR, -HOUR, -timedelta(seconds=30), 3 * DAY, -3 * DAY, 400 * DAY, -400 * DAY, 47 * HOUR)
ANY = st.integers(0, 8)
REACH, FAR = 14, 45
CUT, LATE_CUT = st.integers(0, 3 * REACH), st.integers(0, 3 * FAR)
"""Before which change of a file a step is cut off: a third by a power cut, a third by a full disk, the rest not."""


@dataclass
class Made:
    """One backup, wherever its folder is by now."""

    facts: dict[str, object]
    seq: int
    root: int
    base: int | None
    made_at: datetime
    good: bool = True
    readable: bool = True
    held_until: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """What lies where: inodes of folders by their names."""

    visible: dict[str, int]
    trash: dict[str, int]


class Retention(RuleBasedStateMachine):
    """One installation. ``steps`` and ``done`` count over all runs what was done, so that the test can tell that it
    tested something."""

    fuse: ClassVar[Fuse]
    steps: ClassVar[int] = 0
    runs: ClassVar[int] = 0
    done: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.steps_here = -1  # The first look is before the first step.
        shared = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(prefix="dbcalm-", dir=shared if shared.is_dir() else None))
        self.backups, self.jobs, self.trash = (
            self.root / name for name in ("backups", "jobs", "backups/.trash")
        )
        for folder in (self.backups, self.jobs, self.trash, self.backups / ".work"):
            folder.mkdir()
        self.clock = Clock()
        self.made: dict[int, Made] = {}
        self.story: dict[str, object] = {}
        self.stamps: list[datetime] = []
        self.told = 0
        self.seq = 0

    @initialize(
        chains=st.sampled_from([1, 1, 2, 3]),
        age=st.sampled_from([0, 0, 2, 30]),
        delay=st.sampled_from([0, 24, 100]),
    )
    def install(self, chains: int, age: int, delay: int) -> None:
        lab = Lab.__new__(Lab)
        lab.root, lab.backups, lab.data, lab.jobs = self.root, self.backups, self.root / "data", self.jobs
        lab.tool = lab.credentials = self.root / "none"
        self.settings = replace(
            lab.settings, min_full_chains=chains, min_age=age * HOUR, trash_delay=delay * HOUR
        )
        self.start()
        self.back_up(None)

    def teardown(self) -> None:
        Retention.steps += self.steps_here
        Retention.runs += self.steps_here >= STEPS
        shutil.rmtree(self.root)

    def start(self) -> None:
        """Begin a life of the service."""
        control = JobControl(self.jobs, self.backups, self.clock)
        self.keeper = Keeper(self.settings, control)
        self.planner = Planner(self.settings, self.root, control.history)
        self.control = control
        self.keeper.recover()
        control.recover(lambda: [handlers._remove(path) for path in (self.backups / ".work").iterdir()])
        assert not list((self.backups / ".work").iterdir())
        assert control.history.open is None

    # What is made, and what becomes of it

    def back_up(self, base: Made | None) -> None:
        taken = set(os.listdir(self.backups))
        free = next((name for name in IDS if name not in taken), None)
        if free is None:
            return
        self.seq = self.control.history.next_seq()
        made_at = self.clock()
        facts = tiny_backup(self.backups, free, self.seq, base.facts if base else None, made_at)
        inode = os.stat(self.backups / free).st_ino
        below = os.stat(self.backups / str(base.facts["id"])).st_ino if base else None
        self.made[inode] = Made(facts, self.seq, base.root if base else inode, below, self.clock.time)
        self.control.journal.append("ended", job_id="0" * 32, status="success", backup=facts)

    def seen(self) -> Seen:
        def inodes(folder: Path) -> dict[str, int]:
            return {entry.name: entry.inode() for entry in os.scandir(folder) if entry.name[0] != "."}

        return Seen(inodes(self.backups), inodes(self.trash))

    def pick(self, number: int) -> str:
        names = sorted(name for name in os.listdir(self.backups) if name[0] != ".")
        return names[number % len(names)] if names else "b0"

    def at(self, name: str) -> Made | None:
        try:
            return self.made[os.stat(self.backups / name).st_ino]
        except FileNotFoundError:
            return None

    @contextmanager
    def judged(self, kind: str, cut: int = 0, reach: int = REACH) -> Iterator[None]:
        """Do a step, cut off where this says, and judge what it has made of what was there."""
        before, doubted, held = self.seen(), self.in_doubt(), self.held_roots()
        self.fuse.arm(0 if cut > 2 * reach else (cut - 1) % reach + 1 if cut else 0, full_disk=cut > reach)
        outcome = kind
        try:
            yield
        except Refused:
            outcome = f"{kind} refused"
        except OSError:
            assert self.fuse.blown
            outcome = f"{kind} without space"
        except PowerCut:
            outcome = f"{kind} cut off"
            self.after_power_cut(cut)
        finally:
            self.fuse.arm(0)
        Retention.done[outcome] = Retention.done.get(outcome, 0) + 1
        self.judge(kind, before, doubted, held)

    def after_power_cut(self, cut: int) -> None:
        """Start again, which may be cut off too."""
        self.fuse.arm(cut % 7)
        try:
            self.start()
        except PowerCut:
            self.fuse.arm(0)
            self.start()

    def judge(self, kind: str, before: Seen, doubted: bool, held: set[int]) -> None:
        after = self.seen()
        gone = {
            inode: self.made[inode] for inode in set(before.visible.values()) - set(after.visible.values())
        }
        for inode, made in gone.items():
            assert kind in ("delete", "clean up"), f"{made.facts['id']} was lost by {kind}"
            assert inode in after.trash.values(), "what is deleted is in the trash"
            assert made.root not in held, f"{made.facts['id']} is of a held chain"
            assert made.made_at + self.settings.min_age <= self.clock.time or not self.settings.min_age
        least = min(self.good_fulls(before), self.settings.min_full_chains)
        assert self.good_fulls(after) >= least, "too few whole chains are left"
        least = min(self.fulls(before), self.settings.min_full_chains)
        assert self.fulls(after) >= least, "too few chains are left"
        if kind in ("delete", "clean up"):
            self.judge_faulty(before, gone)
        purged = {
            name for name, inode in before.trash.items()
            if name[0] == "b" and name not in after.trash and inode not in after.visible.values()
        }  # fmt: skip
        if kind == "clean up" and gone:
            assert not doubted, "the clock is in doubt"
            Retention.done["backups cleaned up"] = Retention.done.get("backups cleaned up", 0) + len(gone)
        if kind != "root empties the trash" and purged:
            assert kind == "purge", f"{kind} purged {purged}"
            assert not doubted, "the clock is in doubt"
            roots = {self.made[before.trash[name]].root for name in purged}
            assert not roots & self.newest_roots(before), "the newest whole chains are not purged"
            Retention.done["backups purged"] = Retention.done.get("backups purged", 0) + len(purged)

    def good_fulls(self, seen: Seen) -> int:
        return sum(
            made.good and made.base is None for made in map(self.made.__getitem__, seen.visible.values())
        )

    def fulls(self, seen: Seen) -> int:
        return sum(self.made[inode].base is None for inode in seen.visible.values())

    def judge_faulty(self, before: Seen, gone: dict[int, Made]) -> None:
        """A chain with a fault goes only where enough others are left that have none, or are newer."""
        left = [made for inode, made in self.there(before).items() if inode not in gone and made.base is None]
        for made in gone.values():
            if made.base is None and not made.good:
                better = [one for one in left if one.good or one.seq > made.seq]
                assert len(better) >= self.settings.min_full_chains, "an older one with a fault was left"

    def there(self, seen: Seen) -> dict[int, Made]:
        return {inode: self.made[inode] for inode in seen.visible.values()}

    def newest_roots(self, seen: Seen) -> set[int]:
        """Return what the chains begin with that must stay, visible or in the trash."""
        inodes = {*seen.visible.values(), *seen.trash.values()}
        fulls = [inode for inode in inodes if self.made[inode].base is None and self.made[inode].readable]
        fulls.sort(key=lambda inode: (self.made[inode].good, self.made[inode].seq))
        return set(fulls[-self.settings.min_full_chains :])

    def held_roots(self) -> set[int]:
        """Return what the held chains begin with, but for those of which a link says no more what it builds on."""
        there = [self.made[inode] for inode in self.seen().visible.values()]
        held = {
            made.root for made in there
            if made.held_until is not None and made.held_until > self.clock.time + timedelta(seconds=1)
        }  # fmt: skip
        return held - {made.root for made in there if not made.readable and made.base is not None}

    # The journal, read by somebody else

    def read_journal(self) -> None:
        with (self.jobs / "journal").open("rb") as file:
            file.seek(self.told)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            self.told += len(line)
            if line.strip():
                self.hear(json.loads(line))

    def hear(self, event: dict[str, Any]) -> None:
        self.stamps.append(datetime.fromisoformat(event["at"]))
        if event.get("backup"):
            self.story[event["backup"]["id"]] = event["backup"].get("hold")
        elif event["event"] == "deleted":
            self.story.pop(event["backup_id"], None)
        elif event["event"] in ("held", "released"):
            self.story[event["backup_id"]] = event.get("hold")

    def in_doubt(self) -> bool:
        """Tell whether the last jump of the clock is less than two days old."""
        self.read_journal()
        times = [*self.stamps, self.clock.time]
        for earlier, later in zip(reversed(times[:-1]), reversed(times), strict=False):
            if earlier - later > timedelta(minutes=1) or later - earlier > 2 * DAY:
                return self.clock.time - later < 2 * DAY
        return False

    # The steps

    @rule()
    def full(self) -> None:
        with self.judged("full"):
            self.back_up(None)

    @rule(number=ANY)
    def incremental(self, number: int) -> None:
        with self.judged("incremental"):
            self.back_up(self.at(self.pick(number)))

    @rule(number=ANY, what=st.sampled_from([DATA, DATA, DATA, MANIFEST]))
    def damage(self, number: int, what: str) -> None:
        name = self.pick(number)
        made = self.at(name)
        if made is not None:
            os.truncate(self.backups / name / what, 1)
            made.good, made.readable = False, made.readable and what != MANIFEST

    @rule(number=ANY, days=st.integers(0, 5), cut=CUT)
    def hold(self, number: int, days: int, cut: int) -> None:
        name = self.pick(number)
        made = self.at(name)
        end = self.clock.time + days * DAY
        until = end.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if days else None
        with self.judged("hold", cut):
            self.keeper.hold(HoldBackup(name, "because", until))
        self.note_hold(name, made)

    @rule(number=ANY, cut=CUT)
    def release(self, number: int, cut: int) -> None:
        name = self.pick(number)
        made = self.at(name)
        with self.judged("release", cut):
            self.keeper.release(ReleaseBackup(name))
        self.note_hold(name, made)

    def note_hold(self, name: str, made: Made | None) -> None:
        if made is not None:
            hold = stored_hold(self.backups / name)
            last = datetime.max.replace(tzinfo=self.clock.time.tzinfo)
            made.held_until = (
                None if hold is None else datetime.fromisoformat(hold.until) if hold.until else last
            )

    @rule(number=ANY, cut=CUT)
    def delete(self, number: int, cut: int) -> None:
        name = self.pick(number)
        if number % 2 and (leaves := self.leaves()):
            name = leaves[number % len(leaves)]
        with self.judged("delete", cut):
            self.keeper.delete(DeleteBackup(name))

    def leaves(self) -> list[str]:
        visible = self.seen().visible
        bases = {self.made[inode].base for inode in visible.values()}
        return [name for name, inode in sorted(visible.items()) if inode not in bases]

    @rule(chosen=st.integers(0, 2 ** (len(IDS) + 1) - 1), cut=LATE_CUT)
    def clean_up(self, chosen: int, cut: int) -> None:
        ids = tuple(name for bit, name in enumerate((*IDS, "nonsense")) if chosen >> bit & 1)
        with self.judged("clean up", cut, FAR):
            self.run(CleanupBackups(uuid.uuid4().hex, ids, None))

    def run(self, command: CleanupBackups) -> None:
        """Do what the service and its runner do."""
        with self.control.locked() as lock:
            planned = self.planner.cleanup(command)
            write_order(planned.job)
            accepted = {"command": planned.command, "answer": planned.answer, **planned.event}
            journal = self.control.journal
            journal.append("accepted", job_id=command.job_id, **accepted)
            output = Output(planned.job.places.job(command.job_id) / "output.log")
            try:
                end = runner._attempt(planned.job, output, lock, journal)
            finally:
                output.finish()
            runner.journal_end(journal, command.job_id, end, output.tail(), "clean-up")

    @precondition(lambda self: self.seen().trash)
    @rule(number=ANY, cut=CUT)
    def undelete(self, number: int, cut: int) -> None:
        ids = sorted({name.partition(".")[0] for name in os.listdir(self.trash) if name[0] == "b"})
        with self.judged("undelete", cut):
            self.keeper.undelete(UndeleteBackup(ids[number % len(ids)] if ids else "b0", None))
        for name, inode in self.seen().visible.items():
            assert len(os.listdir(self.backups / name)) >= 3, f"{name} was half removed"
            assert inode in self.made

    @rule(days=st.integers(0, 4), cut=CUT)
    def quiet_days(self, days: int, cut: int) -> None:
        """The service looks through its trash from time to time, and nothing else happens."""
        for _ in range(days):
            self.clock.time += 20 * HOUR
            with self.judged("purge"):
                self.keeper.purge()
        with self.judged("purge", cut):
            self.keeper.purge()

    @rule(by=st.sampled_from(JUMPS))
    def clock_moves(self, by: timedelta) -> None:
        self.clock.time += by

    @rule(what=st.integers(0, 4))
    def odd_moment(self, what: int) -> None:
        if what == 0:
            with self.judged("root empties the trash"):
                for folder in self.trash.iterdir():
                    shutil.rmtree(folder)
                self.start()
            return
        with self.judged("failed backup"):
            folder = self.backups / ".work" / uuid.uuid4().hex
            folder.mkdir()
            (folder / DATA).write_text("half")
        if what == 1:
            with self.judged("restart"):
                self.start()

    # What holds after every step

    @invariant()
    def every_chain_is_whole(self) -> None:
        self.steps_here += 1
        visible = self.seen().visible
        for name, inode in visible.items():
            made = self.made[inode]
            assert made.facts["id"] == name
            if made.base is not None and made.readable:  # Of what cannot be read nobody knows its base.
                base = self.made[made.base].facts
                assert visible.get(str(base["id"])) == made.base, f"the base of {name} is gone"
                assert base["to_lsn"] == made.facts["from_lsn"]

    @invariant()
    def the_journal_tells_what_is_there(self) -> None:
        self.read_journal()
        visible = self.seen().visible
        assert set(self.story) == set(visible)
        for name, inode in visible.items():
            if self.made[inode].readable:  # Of what cannot be read nothing is told.
                assert (self.story[name] is None) == (self.made[inode].held_until is None)


def explore(runs: int) -> None:
    run_state_machine_as_test(
        Retention,
        settings=settings(
            max_examples=runs * 3 // 2,  # Some are given up early; they are not counted.
            stateful_step_count=STEPS + 2,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    Retention.fuse = Fuse(monkeypatch)
    Retention.steps = Retention.runs = 0
    Retention.done = {}
    return Retention.fuse


def test_no_history_breaks_a_chain_or_loses_what_must_stay(
    fuse: Fuse, capsys: pytest.CaptureFixture[str]
) -> None:
    explore(RUNS)
    with capsys.disabled():
        counted = ", ".join(f"{what} {count}" for what, count in sorted(Retention.done.items()))
        print(f"\n{Retention.runs} whole runs, {Retention.steps} steps: {counted}")
    assert Retention.runs >= RUNS
    assert Retention.steps >= RUNS * STEPS
    for what in (
        "backups cleaned up",
        "backups purged",
        "undelete",
        "delete",
        "clean up cut off",
        "hold cut off",
    ):
        assert Retention.done[what] > RUNS / 20, what
