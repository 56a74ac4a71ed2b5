"""The warm copy: the newest chain, kept prepared beside the server's data, so that to bring it back is a rename.

It is no backup: it is made of backups, counts for nothing, and is thrown away wherever it is in the way. Nothing is
believed of it. Before it is used, the backups must be those that it was made of, and each of its files just as it was
when it was finished. A file's ctime cannot be set by a program, and a rename of the folder above does not change it.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import remove_tree, sync_folder, walk, write_synced
from dbcalm_mariadb_cmd.adapter.small_files import LISTS, read_small
from dbcalm_mariadb_cmd.builder.layout import OURS_IN_DATA_DIR
from dbcalm_mariadb_cmd.command.shapes import fitted
from dbcalm_mariadb_cmd.jobs.order import RestoreJob, WarmJob
from dbcalm_mariadb_cmd.store.manifest import Manifest, read_manifest

WARM = f"{OURS_IN_DATA_DIR}warm"
_FACTS = "dbcalm-warm.json"
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Facts:
    """What a warm copy was made of: the ids of a chain, the full one first, and the checksum of each one's list of
    files. ``states`` has [size, mtime in ns, ctime in ns] of each file."""

    chain: list[str]
    files_sha256: list[str]
    states: dict[str, list[int]]


def read_facts(data_dir: Path) -> Facts | None:
    """Return what the warm copy in this data directory was made of, None if there is none that is finished."""
    try:
        return fitted(Facts, json.loads(read_small(data_dir / WARM / _FACTS, LISTS)))
    except (OSError, ValueError, RecursionError):
        return None


def applied(data_dir: Path, chain: list[Manifest]) -> int:
    """Return how many links of this chain, from its full backup on, are in the warm copy; 0 if there is no warm copy
    of it, or one with other links, or one that was changed since it was finished."""
    facts = read_facts(data_dir)
    if facts is None:
        return 0
    count = len(facts.chain)
    made_of = [(link.id, link.files_sha256) for link in chain[:count]]
    if made_of != list(zip(facts.chain, facts.files_sha256, strict=True)):
        return 0
    return count if _states(data_dir / WARM / "data") == facts.states else 0


def has(data_dir: Path, newest: Manifest) -> bool:
    """Tell whether the warm copy was made of this backup; whether it is still as it was is not looked at."""
    facts = read_facts(data_dir)
    return facts is not None and (facts.chain[-1], facts.files_sha256[-1]) == (
        newest.id,
        newest.files_sha256,
    )


def is_being_made(data_dir: Path) -> bool:
    """Tell whether there is an unfinished one."""
    return any(folder.name != WARM for folder in folders(data_dir))


def is_ready(data_dir: Path, chain: list[Manifest]) -> bool:
    """Tell whether the warm copy is just this chain."""
    return applied(data_dir, chain) == len(chain)


def take(job: RestoreJob) -> bool:
    """Make the warm copy the data of this job, and return True, if it is just the job's chain; else remove it."""
    data_dir = Path(job.places.data_dir)
    with alone(Path(job.places.job_dir)):
        if is_ready(data_dir, [read_manifest(job.places.backup(link)) for link in job.chain]):
            (data_dir / WARM).rename(job.working)
            sync_folder(data_dir)
            return True
        remove(data_dir)
        return False


def begin(job: WarmJob) -> int:
    """Make ready to make the warm copy; return how many links of the chain it has already."""
    data_dir = Path(job.places.data_dir)
    if job.working.exists():
        remove_tree(job.working)  # What was left in the middle cannot be gone on with.
    done = applied(data_dir, [read_manifest(job.places.backup(link)) for link in job.chain])
    if done:
        (data_dir / WARM).rename(job.working)  # Under this name nobody takes it for finished.
        (job.working / _FACTS).unlink()
    else:
        remove(data_dir)
    return done


def finish(job: WarmJob) -> None:
    """Declare the warm copy finished, which must be on the disk."""
    chain = [read_manifest(job.places.backup(link)) for link in job.chain]
    facts = Facts(list(job.chain), [link.files_sha256 for link in chain], _states(job.data))
    write_synced(job.working / _FACTS, json.dumps(asdict(facts)))
    job.working.rename(Path(job.places.data_dir, WARM))
    sync_folder(Path(job.places.data_dir))


def folders(data_dir: Path) -> list[Path]:
    """Return the folders of the warm copy, finished or not."""
    with suppress(OSError):  # The data directory is just being made anew.
        return [path for path in data_dir.iterdir() if path.name.startswith(WARM)]
    return []


def remove(data_dir: Path) -> None:
    """Remove the warm copy, finished or not; raise OSError. The caller holds the lock."""
    for folder in folders(data_dir):
        with suppress(FileNotFoundError):
            (folder / _FACTS).unlink()
        remove_tree(folder)


@contextmanager
def making(job_dir: Path) -> Iterator[int | None]:
    """Yield the descriptor of the lock of the warm copy, held, or None if somebody holds it. A process that inherits it
    goes on holding it when this ends. Whoever makes the warm copy, takes it or removes it holds it."""
    descriptor = _open_lock(job_dir)
    try:
        yield descriptor if _is_locked(descriptor) else None
    finally:
        os.close(descriptor)


@contextmanager
def alone(job_dir: Path) -> Iterator[None]:
    """End whoever makes the warm copy, and hold the lock in this block, in which nothing else of the maker's runs. The
    lock's file has the number of the maker's group of processes, which is nobody else's for as long as one of them
    lives and so holds the lock; it is empty while somebody else does."""
    descriptor = _open_lock(job_dir)
    try:
        while not _is_locked(descriptor):
            written = os.pread(descriptor, 20, 0)
            if written.isdigit():
                with suppress(ProcessLookupError):
                    os.killpg(int(written), signal.SIGKILL)
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def note_group(descriptor: int) -> None:
    """Let ``alone`` know which group of processes, that of this one, holds the lock."""
    os.pwrite(descriptor, str(os.getpgid(0)).encode(), 0)


def _open_lock(job_dir: Path) -> int:
    return os.open(job_dir / "warm.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(descriptor, 0)
    return True


def _states(data: Path) -> dict[str, list[int]]:
    try:
        found = list(walk(data))
    except OSError:
        return {}
    return {
        name: [0, 0, 0] if name.endswith("/") else [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        for name, status in found
    }
