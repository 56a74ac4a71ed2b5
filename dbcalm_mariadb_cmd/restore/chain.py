"""Bringing a chain back: copied or unpacked once, straight to the file system where it will live, and prepared there.

Preparing changes its inputs, the incrementals too (a second use of a consumed incremental "succeeds" with tables
missing), so only copies are ever prepared. They lie in one hidden folder until they are whole; a restore that fails
leaves its target as empty as it was.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import (
    copy_tree,
    read_tree,
    remove_tree,
    sent_to_disk,
    set_modes,
    sync_folder,
)
from dbcalm_mariadb_cmd.adapter.linux import rename_new, sync_file_system
from dbcalm_mariadb_cmd.adapter.server.facts import NOT_EMPTY, NOT_STOPPED
from dbcalm_mariadb_cmd.adapter.server.holders import holder
from dbcalm_mariadb_cmd.adapter.small_files import small_text
from dbcalm_mariadb_cmd.builder.argv import prepare_argvs
from dbcalm_mariadb_cmd.builder.layout import LOST_AND_FOUND
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER
from dbcalm_mariadb_cmd.builder.tool_errors import is_of_host
from dbcalm_mariadb_cmd.errors import BackupFault, JobFailed
from dbcalm_mariadb_cmd.jobs.order import RestoreJob
from dbcalm_mariadb_cmd.jobs.progress import Progress
from dbcalm_mariadb_cmd.storage import standby
from dbcalm_mariadb_cmd.storage.key_options import put_before
from dbcalm_mariadb_cmd.storage.stream import bring
from dbcalm_mariadb_cmd.store.manifest import Manifest, read_files, read_manifest
from dbcalm_mariadb_cmd.store.proof import APPLIES, INTACT

_MOVING = "moving"
_RESTORED = "restored"
_PREPARED = ("log-applied", "full-prepared")
_MOVED = {"ib_logfile0": 0, "ibdata1": 2}
_KEPT_METADATA = ("info", "binlog_pos_innodb")
_APPLYING_TAKES = 3.0
"""How much longer the tool takes to apply a byte than it takes to copy one, about: it writes pages here and there, and
waits for the disk."""

_STARTING_SECONDS, _ENDING_SECONDS, _SYNCING_SECONDS = 0.05, 0.08, 0.03
"""What a prepare takes however little there is to do, before and after it, and the sync of what was sent to the disk
all the while."""


def bring_back(job: RestoreJob, output: tool.Output, lock: int, identity: int | None = None) -> None:
    """Restore the chain; raise JobFailed, Damaged, ValueError or OSError, and then leave clean-up to ``undo``.

    ``identity`` is a descriptor of the private keys that open it, if they came with the order."""
    make_whole(job, output, lock, identity)
    _put_in_place(job)


def make_whole(
    job: RestoreJob,
    output: tool.Output,
    lock: int,
    identity: int | None = None,
    *,
    done: int = 0,
    then: float | None = None,
) -> Progress:
    """Make data of the chain, in ``job.data``, that a server can start with; take and raise as ``bring_back`` does.
    So many of its links are ``done``: that data has them already. A restore into the database takes the warm copy where
    that is what it would make. Raise BackupFault where a backup is in the way, not the host.

    Return the progress so far. Where the data is not to stay, ``then`` says how much is done with it afterwards, as a
    share of its bytes, and the progress leaves room for that."""
    places = job.places
    manifests = [read_manifest(places.backup(link)) for link in job.chain]
    progress = _progress(job, manifests[done:], then or 0.0)
    data = job.data
    if is_warm := job.target == "database" and standby.take(job):
        output.add(b"dbcalm: the warm copy is taken\n")
        done = len(manifests)
    elif not done:
        job.working.mkdir(mode=0o700, parents=job.target == "folder")
    steps = list(zip(manifests, [data, *_increments(job)], prepares(job), strict=True))
    with progress.looking(), _beside() as beside:
        for manifest, folder, argv in steps[done:]:
            to_stay = folder == data and then is None
            progress.phase(f"copying {manifest.id}", manifest.restored_size, manifest.restored_size)
            if manifest.form == FOLDER:
                _copy(manifest, job, folder, progress, beside, to_stay=to_stay)
            else:
                with _blaming(manifest, "unpacked"), sent_to_disk(folder) if to_stay else nullcontext():
                    counting = partial(progress.follow, counted="wchar")
                    bring(manifest, folder, places, output, counting, lock, identity)
            with put_before(argv, Path(places.job_dir), places.job(job.job_id)) as command:
                _prepare(manifest, command, output, progress, lock)
            if folder != data:
                remove_tree(folder)
        progress.phase("comparing")
    _require_prepared(job, data, manifests[-1])
    _remove_link_files(data, output)
    progress.phase("syncing", seconds=_SYNCING_SECONDS)
    if job.target == "database":
        _drop_metadata(job, data)
    set_modes(data)
    if is_warm:
        sync_folder(data)  # All else was on the disk when it was finished.
    elif then is None:
        sync_file_system(data)
    return progress


def _progress(job: RestoreJob, manifests: list[Manifest], then: float) -> Progress:
    copied, applied = sum(link.restored_size for link in manifests), sum(map(_applied, manifests))
    after = then * max((link.restored_size for link in manifests), default=0)
    seconds = len(manifests) * (_STARTING_SECONDS + _ENDING_SECONDS) + _SYNCING_SECONDS
    folder = job.places.job(job.job_id)
    return Progress(folder, copied + applied, copied + _APPLYING_TAKES * applied + after, seconds)


def _applied(manifest: Manifest) -> int:
    """Return the bytes that the tool goes through to apply this backup: all of an incremental, the redo log of a full
    one."""
    if manifest.from_backup_id is None:
        return max(0, manifest.last_lsn - manifest.to_lsn)
    return manifest.restored_size


def prepares(job: RestoreJob) -> list[list[str]]:
    """Return the tool's command lines for this job, one a link of the chain."""
    places, memory = job.places, job.effort.prepare_memory
    return prepare_argvs(places.engine, Path(places.tool), job.data, _increments(job), memory)


def _increments(job: RestoreJob) -> list[Path]:
    """Return where the incrementals are copied to, each for as long as it is applied."""
    return [job.working / f"increment-{number}" for number in range(1, len(job.chain))]


def is_moving(job: RestoreJob) -> bool:
    """Tell whether the data has begun to be moved to where it will live."""
    return (job.working / _MOVING).exists()


def undo(job: RestoreJob) -> bool:
    """Clean up after a job that did not report its end: return True if the data is whole and in place, which it is
    once it had begun to be moved there; else remove the working folder and return False. Raise OSError if neither can
    be done, then with everything left as it is."""
    if _was_restored(job):
        return True
    if is_moving(job):
        if working := holder(Path(job.target_path)):
            raise OSError(
                f"a server runs on half of a restore in {job.target_path}: {working}; {working.how_to_stop}; then "
                "empty that folder, and restore again"
            )
        _put_in_place(job)
        return True
    if job.working.exists():
        remove_tree(job.working)
    return False


@contextmanager
def _beside() -> Iterator[Callable[[Callable[[], None]], object]]:
    """Yield what does work beside the block, one after the other. The block ends when all of it is done; what it raises
    is the cause of what the block may have raised."""
    with ThreadPoolExecutor(1) as pool:
        begun: list[Future[None]] = []
        try:
            yield lambda work: begun.append(pool.submit(work))
        finally:
            for one in begun:
                one.result()


def _copy(
    manifest: Manifest,
    job: RestoreJob,
    target: Path,
    progress: Progress,
    beside: Callable[[Callable[[], None]], object],
    *,
    to_stay: bool,
) -> None:
    """Copy a backup's folder. What shares its bytes with the copy is compared while the tool prepares that: it has no
    need to wait, as nothing of it is put in place before all has been compared."""
    source = job.places.backup(manifest.id)
    sums = {name: state.sha256 for name, state in read_files(source, manifest).items()}
    with _intact(manifest):
        shared = copy_tree(source, target, sums, progress.add, to_stay=to_stay)

    def compare() -> None:
        with _intact(manifest):
            read_tree(source, shared, progress.add_beside, from_disk=False)

    if shared:
        progress.put_off(sum((source / name).stat().st_size for name in shared))
        beside(compare)


def _prepare(manifest: Manifest, argv: list[str], output: tool.Output, progress: Progress, lock: int) -> None:
    applied = _applied(manifest)
    work = _APPLYING_TAKES * applied
    progress.phase(f"preparing {manifest.id}", work, applied, _STARTING_SECONDS, _ENDING_SECONDS)
    with _blaming(manifest, "prepared"):
        end = tool.LogEnd()
        try:
            tool.run(argv, output, end.follow, lock, partial(progress.follow, counted="rchar"))
        except JobFailed as failure:
            # Pages that are newer than a log that ends too early may stop the tool: that is what follows, no cause.
            if not is_of_host(failure.return_code, failure.failure):
                _require_log(manifest, end)
            raise
        _require_log(manifest, end)


def _require_log(manifest: Manifest, end: tool.LogEnd) -> None:
    """Raise BackupFault if the tool could not read the backup's redo log to its end: it takes damage for the end and
    says that all went well, and the last changes are missing."""
    if (stopped := end.before(manifest.last_lsn)) is not None:
        raise BackupFault(
            manifest.id,
            APPLIES,
            f"backup {manifest.id} lacks its last changes: its redo log (ib_logfile0) is damaged after LSN {stopped}, "
            f"and goes on to {manifest.last_lsn}; restore another backup, and make a full one with: dbcalm backup full",
        )


@contextmanager
def _intact(manifest: Manifest) -> Iterator[None]:
    """Let a checksum that differs be the backup's fault."""
    try:
        yield
    except ValueError as error:
        raise BackupFault(manifest.id, INTACT, f"backup {manifest.id} is damaged: {error}") from error


@contextmanager
def _blaming(manifest: Manifest, doing: str) -> Iterator[None]:
    """Let a failure of the block's be the backup's fault, unless it is the host's or is told more exactly already."""
    try:
        yield
    except BackupFault:
        raise
    except JobFailed as failure:
        if is_of_host(failure.return_code, failure.failure):
            raise
        message = f"backup {manifest.id} cannot be {doing}: {failure}"
        raise BackupFault(manifest.id, APPLIES, message, failure.return_code) from failure


def _require_prepared(job: RestoreJob, data: Path, newest: Manifest) -> None:
    """Copying an unprepared backup back "succeeds": make sure that this one is prepared, up to the chain's end."""
    checkpoints = tool.read_checkpoints(data, job.places.engine)
    if checkpoints.backup_type not in _PREPARED or checkpoints.to_lsn != newest.to_lsn:
        raise BackupFault(
            newest.id,
            APPLIES,
            f"the backup tool prepared the chain to {checkpoints.backup_type} at LSN {checkpoints.to_lsn}, "
            f"where {newest.id} ends at {newest.to_lsn}",
        )


def _remove_link_files(data: Path, output: tool.Output) -> None:
    """Remove the link files (.isl) of tables whose data lies beside them: a server would go to where they lead, to the
    table that is still there, and open neither."""
    for link in sorted(data.rglob("*.isl")):
        table = link.with_suffix(".ibd")
        if table.is_file():
            led = small_text(link).strip()
            link.unlink()
            name = link.relative_to(data)
            output.add(f"dbcalm: {name}, which leads to {led}, is removed: the table is beside it\n".encode())


def _drop_metadata(job: RestoreJob, data: Path) -> None:
    """Remove what the tool's own copy-back would not copy. The redo log must stay, or the server does not start."""
    engine = job.places.engine
    kept = {prefix + name for prefix in engine.metadata_prefixes for name in _KEPT_METADATA}
    for path in data.iterdir():
        if path.is_file() and tool.is_metadata(path.name, engine) and path.name not in kept:
            path.unlink()  # A folder of such a name is a schema.


def _put_in_place(job: RestoreJob) -> None:
    target, data = Path(job.target_path), job.data
    if job.target == "folder":
        rename_new(data, target)
        sync_folder(target.parent)
    else:
        _move_into(job, data, target)
    _witness(job).touch()
    sync_folder(_witness(job).parent)
    remove_tree(job.working)


def _move_into(job: RestoreJob, data: Path, target: Path) -> None:
    """Move everything into the data directory, the redo log first and InnoDB's first file last, so that a server that
    is started in between does not get far. From the first move on the restore is only finished, never undone: whoever
    finds the mark goes on with it, and replaces the few files that such a server has made."""
    mark = job.working / _MOVING
    interrupted = mark.exists()
    if not interrupted:
        if {*target.iterdir()} - {target / LOST_AND_FOUND} != {job.working}:
            raise JobFailed(NOT_EMPTY)
        if working := holder(target):
            raise JobFailed(f"{NOT_STOPPED}: {working} works in {target}; {working.how_to_stop}")
        mark.touch()
        sync_folder(job.working)
    for path in sorted(data.iterdir(), key=lambda path: (_MOVED.get(path.name, 1), path.name)):
        if interrupted and path.is_file():
            path.replace(target / path.name)
        else:
            rename_new(path, target / path.name)
    sync_folder(target)


def _witness(job: RestoreJob) -> Path:
    return job.places.job(job.job_id) / _RESTORED


def _was_restored(job: RestoreJob) -> bool:
    """Tell whether everything had been put in place; then only the working folder may have been left."""
    done = _witness(job).exists() or (job.target == "folder" and Path(job.target_path).exists())
    if done and job.working.exists():
        remove_tree(job.working)
    return done
