"""Jobs: what a runner is told to do, where it works, and what becomes of a job whose runner died.

One job works on a data directory at a time. Its runner holds the lock for its lifetime and shares it with the backup
tool, so "a job runs" means that the lock is held; the kernel frees it however they end.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import remove_tree, sync_folder
from dbcalm_mariadb_cmd.adapter.small_files import ORDER, new_file, open_regular, read_small, write_new
from dbcalm_mariadb_cmd.builder.argv import NO_EFFORT, Effort
from dbcalm_mariadb_cmd.builder.layout import OURS_IN_DATA_DIR, REPLACED, Places
from dbcalm_mariadb_cmd.builder.storage_format import AS_FOLDER, FOLDER, Storing
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.command.shapes import Unfit, fitted, parsed
from dbcalm_mariadb_cmd.config.assertions import Assertion

_KEPT_LOGS, _WHOLE_LOGS = 1000, 50
_SHORT_HALF = 1 << 18


@dataclass(frozen=True)
class BackupJob:
    """Make this backup. ``base`` is None for a full one, and ``base_form`` how it is stored; ``expected_bytes`` is
    about what the tool will read, and ``has_secrets`` that the server's key management has a password."""

    job_id: str
    places: Places
    id: str
    base: str | None
    seq: int
    schedule_id: int | None
    timeline: str
    note: str | None
    server: Origin
    tool_version: str
    expected_bytes: int
    base_form: str = FOLDER
    storing: Storing = AS_FOLDER
    effort: Effort = NO_EFFORT
    has_secrets: bool = False


@dataclass(frozen=True)
class SyntheticJob:
    """Make this full backup of a chain, the full first, without the server."""

    job_id: str
    places: Places
    id: str
    seq: int
    schedule_id: int | None
    chain: tuple[str, ...]
    note: str
    storing: Storing = AS_FOLDER
    effort: Effort = NO_EFFORT

    @property
    def working(self) -> Path:
        """Where it is made before it gets its name."""
        return self.places.working / self.job_id


@dataclass(frozen=True)
class AdoptJob:
    """Make a backup of ours of the folder that bears this name."""

    job_id: str
    places: Places
    id: str


@dataclass(frozen=True)
class RestoreJob:
    """Bring this chain back, the full first. ``target_path`` is the data directory or a new folder."""

    job_id: str
    places: Places
    restore_id: str
    seq: int
    chain: tuple[str, ...]
    target: str
    target_path: str
    replaces: bool = False
    was_running: bool = False
    effort: Effort = NO_EFFORT

    @property
    def working(self) -> Path:
        """Where the chain is made whole: on the file system of its target, so that it only has to be renamed."""
        path = Path(self.target_path)
        if self.target == "database":
            return path / f"{OURS_IN_DATA_DIR}restore"
        return path.with_name(f".{path.name}")

    @property
    def data(self) -> Path:
        """Where the full backup is copied to, which becomes the data."""
        return self.working / "data"


@dataclass(frozen=True)
class WarmJob(RestoreJob):
    """Keep this chain prepared in the data directory, which is the target's path. It is no job to users: it is in no
    journal, and does not exclude others."""

    @property
    def working(self) -> Path:
        """Where it is made before it counts as finished."""
        return Path(self.target_path, f"{OURS_IN_DATA_DIR}warming")


@dataclass(frozen=True)
class VerifyJob(RestoreJob):
    """Prove that this chain comes back, up to a level (see ``proof``). What is made whole for it never gets a name: it
    is removed. A program that the level does not need is ""; ``likeness`` are the server's options (see there)."""

    level: int = 1
    innochecksum: str = ""
    server: str = ""
    likeness: tuple[str, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    schedule_id: int | None = None


@dataclass(frozen=True)
class BringBackJob:
    """Bring back what the restore of this id replaced; what is there now is kept under the other id."""

    job_id: str
    places: Places
    restore_id: str
    seq: int
    brings_back: str
    was_running: bool

    @property
    def data(self) -> Path:
        """Where that lies."""
        return Path(self.places.data_dir, REPLACED + self.brings_back)


ReplacingJob = RestoreJob | BringBackJob
"""A job that puts other data in the place of a server's. A RestoreJob is one if ``replaces``."""


@dataclass(frozen=True)
class CleanupJob:
    """Delete these backups, each of which is a leaf when its turn comes. The limits are those of the service's own
    settings: the runner has none."""

    job_id: str
    places: Places
    ids: tuple[str, ...]
    schedule_id: int | None
    min_full_chains: int
    min_age_seconds: float


Job = BackupJob | SyntheticJob | AdoptJob | RestoreJob | BringBackJob | CleanupJob


def write_order(job: Job) -> None:
    """Store what the runner has to do, also across a power cut: without it a half-done restore could never be
    finished. Raise FileExistsError if this job's id was used before."""
    folder = job.places.job(job.job_id)
    folder.mkdir(mode=0o700)
    order = json.dumps({"kind": type(job).__name__, **asdict(job)})
    with open(new_file(folder / "job.json"), "w", encoding="utf-8") as file:
        file.write(order)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    sync_folder(folder.parent)


_KINDS: dict[str, type[Job]] = {
    kind.__name__: kind
    for kind in (BackupJob, SyntheticJob, AdoptJob, RestoreJob, WarmJob, VerifyJob, BringBackJob, CleanupJob)
}


def read_order(folder: Path) -> Job:
    """Return what the runner has to do; raise OSError or Unfit if that cannot be told."""
    order = parsed(read_small(folder / "job.json", ORDER))
    kind = _KINDS.get(str(order.pop("kind", None)))
    if kind is None:
        raise Unfit("kind must be one of " + ", ".join(_KINDS))
    order.pop("checker", None)  # mariadb-check, in orders that were written when it was used.
    return fitted(kind, order)


@contextmanager
def exclusive(job_dir: Path) -> Iterator[int | None]:
    """Yield the descriptor of the lock, held, or None if somebody else holds it.

    A runner that inherits the descriptor goes on holding the lock when this ends.
    """
    descriptor = open_lock(job_dir)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_lock(job_dir: Path) -> int:
    """Return a descriptor of the lock file, not locked."""
    return os.open(job_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def changing(job_dir: Path) -> Iterator[None]:
    """Hold the small lock of whatever changes a backup that is there: deletes, holds, brings back, or removes it.

    It is held for moments, unlike the lock of jobs, so that a backup can be held while a long job runs. Whoever needs
    both takes that of jobs first.
    """
    descriptor = os.open(job_dir / "changing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def forget_old_logs(job_dir: Path) -> None:
    """Remove the folders of all but the newest thousand jobs, and what lies in the middle of a long log of all but the
    newest fifty. The journal keeps how they ended."""
    folders = sorted((job_dir / "jobs").iterdir(), key=lambda folder: folder.lstat().st_mtime_ns)
    for folder in folders[:-_KEPT_LOGS]:
        with suppress(OSError):  # What somebody else has put there stays.
            remove_tree(folder)
    for folder in folders[-_KEPT_LOGS:-_WHOLE_LOGS]:
        with suppress(OSError):
            _shorten(folder / "output.log")


def _shorten(log: Path) -> None:
    try:
        size = log.lstat().st_size
    except FileNotFoundError:
        return
    cut = b"\n[...]\n"
    if size <= 2 * _SHORT_HALF + len(cut):
        return
    with open(open_regular(log), "rb") as file:
        first = file.read(_SHORT_HALF)
        file.seek(size - _SHORT_HALF)
        last = file.read(_SHORT_HALF)
    fresh = log.with_suffix(".new")
    write_new(fresh, first + cut + last)
    fresh.replace(log)
