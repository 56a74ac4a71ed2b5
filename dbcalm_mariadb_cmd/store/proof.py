"""How far a backup is proven to come back: a small file beside its manifest, so that it goes wherever the folder goes.

The levels are a ladder: each stands for all below it.

0  whole: the tool said so when it was made, and its facts fit
1  intact: every stored byte of it, and of what it builds on, is what was stored
2  applies: a copy of the chain could be prepared, and the checksum of every page in it is good
3  runs: a server of its own started on that copy, found no table worse than it was in the server that was backed up,
   and answered as the administrator expects
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from dbcalm_mariadb_cmd.adapter.files import write_synced
from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.command.shapes import Between, Seconds, Time, Unfit, Upto, fitted, legible
from dbcalm_mariadb_cmd.store.manifest import PROOF, Damaged, Manifest, read_manifest, sealed, unsealed

WHOLE, INTACT, APPLIES, RUNS = 0, 1, 2, 3

_LONGEST_FAULT, _LONGEST_STORED = 1000, 4000
MOST_FAULTS = 100
"""Tables that are told of; what is more stands in the job's log."""


SUSPECT = "suspect"
"""The reason of a verification's end that has found fault with the backup."""


@dataclass(frozen=True)
class Proof:
    """``level`` is the highest that was reached, ``at`` when that was (UTC text), and ``restore_seconds`` how long it
    took then to bring the chain back, None where that was never done. ``fault`` says what the last verification found,
    at which level, if it found one: the backup is suspect then. ``server_faults`` are sentences on tables that the last
    look of a server found bad, and that were no better in the server which was backed up: they are no fault of the
    backup's.

    It is about one content, that of the manifest's ``files_sha256``. ``job_id`` is that of the last verification."""

    level: Annotated[int, Between(WHOLE, RUNS)]
    at: Time
    restore_seconds: Seconds | None
    files_sha256: Annotated[str, Upto(200)]
    job_id: Annotated[str, Upto(200)]
    fault: Annotated[str, Upto(_LONGEST_STORED)] | None = None
    fault_level: Annotated[int, Between(WHOLE, RUNS)] | None = None
    fault_at: Time | None = None
    server_faults: Annotated[tuple[str, ...], Upto(MOST_FAULTS)] = ()

    def told(self) -> dict[str, object]:
        """Return what others are told of it."""
        facts = asdict(self)
        return {name: value for name, value in facts.items() if name not in ("files_sha256", "job_id")}


def of_making(made: Manifest) -> Proof:
    """Return the proof of a backup that was never verified."""
    return Proof(WHOLE, made.end_time, None, made.files_sha256, made.job_id)


def proof_of(folder: Path, made: Manifest) -> Proof:
    """Return how far the backup in this folder is proven. A proof that cannot be read makes it suspect, as it may have
    said so; one of another content says nothing."""
    try:
        stored = fitted(Proof, unsealed(read_small(folder / PROOF)))
    except (FileNotFoundError, NotADirectoryError):
        return of_making(made)
    except (OSError, Unfit):
        return Proof(
            WHOLE, made.end_time, None, made.files_sha256, made.job_id, f"{PROOF} cannot be read", INTACT
        )
    return stored if stored.files_sha256 == made.files_sha256 else of_making(made)


def told_proof(folder: Path, made: Manifest) -> dict[str, object] | None:
    """Return what others are told of a backup's proof, None if it was never verified."""
    found = proof_of(folder, made)
    return None if found == of_making(made) else found.told()


def standing_fault(chain: Sequence[Proof]) -> tuple[int, str] | None:
    """Return which link of a chain, the full backup first, has a fault that speaks of the whole chain, and that fault;
    None if none has. One does not any more once a later link was proven to the same level or a higher one: what is
    wrong in the link alone, such as a table that each backup has a copy of, is not wrong in the chain."""
    for place, link in enumerate(chain):
        if link.fault is not None and not any(_refutes(later, link) for later in chain[place + 1 :]):
            return place, link.fault
    return None


def _refutes(later: Proof, link: Proof) -> bool:
    if link.fault_level is None or link.fault_at is None or later.fault is not None:
        return False
    return later.level >= link.fault_level and later.at > link.fault_at


def raised(
    before: Proof,
    level: int,
    at: str,
    job_id: str,
    restore_seconds: float | None,
    clears: int,
    server_faults: tuple[str, ...] | None = None,
) -> Proof:
    """Return the proof after a verification that reached this level: what was reached before stays, and a fault up to
    the level that it ``clears`` is gone, as it would have been found again. Without ``server_faults`` nothing new is
    known of these."""
    fault = before.fault if before.fault_level is not None and before.fault_level > clears else None
    if before.level > level:
        level, at = before.level, before.at
    return Proof(
        level,
        at,
        before.restore_seconds if restore_seconds is None else restore_seconds,
        before.files_sha256,
        job_id,
        fault,
        before.fault_level if fault else None,
        before.fault_at if fault else None,
        before.server_faults if server_faults is None else server_faults,
    )


def faulted(before: Proof, level: int, at: str, job_id: str, why: str) -> Proof:
    """Return the proof after a verification that found a fault at this level: what it was proven to be is not what it
    is now."""
    reached = min(before.level, level - 1)
    return Proof(
        reached,
        before.at,
        before.restore_seconds,
        before.files_sha256,
        job_id,
        legible(why[:_LONGEST_FAULT]),
        level,
        at,
        before.server_faults,
    )


def store_proof(folder: Path, proof: Proof) -> None:
    """Store it, whole or not at all, also across a power cut; raise OSError."""
    write_synced(folder / PROOF, sealed(asdict(proof)).decode())


def stored_by(folder: Path, job_id: str) -> Proof | None:
    """Return the proof that this job has stored in a backup's folder, None if the one there is not its."""
    try:
        found = proof_of(folder, read_manifest(folder))
    except Damaged:
        return None
    return found if found.job_id == job_id else None
