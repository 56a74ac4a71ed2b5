"""What may be deleted: the one guard of every deletion, whoever asks for it.

It knows the backups on disk by their manifests and its own settings, and nothing that a caller says. So a caller that
has fallen into wrong hands can delete no more than the rules leave: never a base that others need, nothing that is
held, nothing too young, and never the last chains, be they without a fault or not.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dbcalm_mariadb_cmd.clock import moment
from dbcalm_mariadb_cmd.command.amounts import minute, span
from dbcalm_mariadb_cmd.command.last_chains import last_chains
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.store.history import manifests
from dbcalm_mariadb_cmd.store.hold import Hold, hold_of
from dbcalm_mariadb_cmd.store.manifest import Damaged, Manifest, read_files, require_names_and_sizes
from dbcalm_mariadb_cmd.store.proof import proof_of


@dataclass(frozen=True)
class Limits:
    """So many chains stay, whole ones before others (see ``lasting``), and whatever is younger than this."""

    min_full_chains: int
    min_age: timedelta


class LastChains(Refused):
    """The deletion of what a chain begins with, which would leave too few chains."""


class Stock:
    """The backups on disk, read once, and which of them may go. ``now`` is the time that ages are told by."""

    def __init__(self, backup_dir: Path, limits: Limits, now: str) -> None:
        self._backup_dir = backup_dir
        self._limits = limits
        self._now = now
        self._made = {made.id: made for made in manifests(backup_dir)}
        self._children: dict[str, list[str]] = defaultdict(list)
        for made in sorted(self._made.values(), key=lambda made: made.seq):
            if made.from_backup_id is not None:
                self._children[made.from_backup_id].append(made.id)
        self._roots: dict[str, str] = {}
        for id in sorted(
            self._made, key=lambda id: -self._made[id].seq
        ):  # Each chain is walked once, from its end.
            if id not in self._roots:
                chain = self.chain_below(id)
                self._roots |= dict.fromkeys(chain, chain[-1])
        self._good: dict[str, bool] = {}
        self._held: dict[str, tuple[str, Hold] | None] | None = None

    def oldest_chain_first(self, ids: Iterable[str]) -> list[str]:
        """Return those of the ids that are here: chain by chain, so that the newest are the last to go, and in each
        what builds on others before what it builds on."""
        known = [id for id in ids if id in self._made]
        return sorted(known, key=lambda id: (self._made[self._roots[id]].seq, -self._made[id].seq))

    def root_of(self, id: str) -> str:
        """Return what the backup's chain begins with, also after that was taken out."""
        return self._roots[id]

    def chain_below(self, id: str) -> list[str]:
        """Return the backup and what it builds on, as far as that is here; its full one last."""
        chain: dict[str, None] = {}  # It keeps their order, and finds one at once however many there are.
        wanted: str | None = id
        while wanted in self._made and wanted not in chain:
            chain[wanted] = None
            wanted = self._made[wanted].from_backup_id
        return list(chain)

    def above(self, id: str) -> list[str]:
        """Return what builds on this backup, also through others, in the order in which it was made."""
        found, following = {id}, [id]
        while following:
            for child in self._children.get(following.pop(), ()):
                if child in self._made and child not in found:
                    found.add(child)
                    following.append(child)
        return sorted(found - {id}, key=lambda child: self._made[child].seq)

    def take_out(self, id: str) -> None:
        """Go on as if this backup were deleted."""
        self._made.pop(id, None)

    def remember_holds(self) -> None:
        """Look at the holds of a chain once from here on: all that is asked is asked of one moment."""
        self._held = {}

    def require_leaf(self, id: str) -> None:
        """Raise Refused 409 with the dependents if others build on this backup, be it here or not."""
        if dependents := self.above(id):
            raise Refused(409, f"backups depend on {id}: {', '.join(dependents)}", dependents=dependents)

    def require_removable(self, id: str) -> None:
        """Raise Refused 409 unless this backup, which is here, may be deleted now."""
        self.require_leaf(id)
        self._require_not_held(id)
        self._require_old_enough(self._made[id])
        self._require_enough_left(self._made[id])

    def _require_not_held(self, id: str) -> None:
        """A hold is for the whole chain, and for all that builds on its full backup. A base whose manifest cannot be
        read may be held all the same."""
        lowest = self._made[self.chain_below(id)[-1]]
        if found := self._held_above(lowest.from_backup_id or lowest.id):
            member, hold = found
            chain = "" if member == id else f", and {id} is of its chain"
            until = f"until {minute(hold.until)}" if hold.until else "for good"
            raise Refused(409, f"backup {member} is held {until} ({hold.reason}){chain}; release it first")

    def _held_above(self, root: str) -> tuple[str, Hold] | None:
        """Return the first backup of what begins with this one that is held, and its hold. It is never taken out."""
        if self._held is not None and root in self._held:
            return self._held[root]
        found = None
        for member in (root, *self.above(root)):
            if hold := hold_of(self._backup_dir / member, self._now):
                found = member, hold
                break
        if self._held is not None:
            self._held[root] = found
        return found

    def _require_old_enough(self, made: Manifest) -> None:
        """One that was made in the future counts as young, by the clock that is there."""
        least = self._limits.min_age
        if least and moment(self._now) - moment(made.end_time) < least:
            raise Refused(
                409, f"backup {made.id} of {made.end_time} is younger than min_age, which is {span(least)}"
            )

    def _require_enough_left(self, made: Manifest) -> None:
        """Of the chains that would be left so many have to be whole. As long as they are fewer, no whole one goes, and
        of the others none that fills their number up."""
        least = self._limits.min_full_chains
        if not self._begins_a_chain(made):
            return
        heads = filter(self._begins_a_chain, self._made.values())
        newest_first = sorted(heads, key=lambda head: (head.type != "full", -head.seq))
        others = [head for head in newest_first if head.id != made.id]
        whole = sum(map(self._is_good, last_chains(others, self._is_good, least)))
        if whole == least:
            return
        if not self._is_good(made) and made not in last_chains(newest_first, self._is_good, least):
            return
        if self._is_good(made):
            last = f"one of the last {whole + 1} whole chains" if whole else "the last whole chain"
        else:
            good = f"{whole} are" if whole > 1 else "1 is" if whole else "none is"
            last = f"one of the newest chains, of which {good} without a fault"
        raise LastChains(
            409, f"{made.id} is {last}, and min_full_chains is {least}: make a full backup first"
        )

    def _begins_a_chain(self, made: Manifest) -> bool:
        """Tell whether it is a full backup, or builds on one that is here and cannot be read: nobody knows whether that
        is lost."""
        if made.from_backup_id is None:
            return made.type == "full"
        return made.from_backup_id not in self._made and (self._backup_dir / made.from_backup_id).is_dir()

    def _is_good(self, full: Manifest) -> bool:
        if full.id not in self._good:
            self._good[full.id] = full.type == "full" and is_intact(self._backup_dir / full.id, full)
        return self._good[full.id]


def is_intact(folder: Path, made: Manifest) -> bool:
    """Tell whether a backup has all its files in their sizes, and no verification has found fault with it. Reads no
    content."""
    try:
        require_names_and_sizes(folder, read_files(folder, made))
    except Damaged:
        return False
    return proof_of(folder, made).fault is None


def permitted(stock: Stock, ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return which of these backups may be deleted, in the order in which each is a leaf when its turn comes, and why
    the others may not. What is not here is passed over.

    A backup that has to stay keeps what it builds on, without a word of its own; and a full one that stays as one of
    the last keeps its whole chain: the newest backups are not taken off the one chain that must not go.
    """
    allowed: list[str] = []
    reasons: list[str] = []
    kept: set[str] = set()
    stock.remember_holds()
    for id in stock.oldest_chain_first(ids):
        if id in kept:
            continue
        try:
            stock.require_removable(id)
        except Refused as refused:
            if str(refused) not in reasons:
                reasons.append(str(refused))
            kept.update(stock.chain_below(id))
            if isinstance(refused, LastChains):
                kept.update(other for other in allowed if stock.root_of(other) == id)
        else:
            allowed.append(id)
            stock.take_out(id)
    return [id for id in allowed if id not in kept], reasons
