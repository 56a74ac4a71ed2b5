"""Making a backup: copied into a hidden folder, judged, checksummed, synced, and only then given its name."""

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dbcalm_cmd.process import utc_now
from dbcalm_mariadb_cmd.adapter import secrets, tool
from dbcalm_mariadb_cmd.adapter.files import (
    FileState,
    file_state,
    remove_tree,
    sent_to_disk,
    sync_folder,
    walk,
)
from dbcalm_mariadb_cmd.adapter.linux import rename_new, sync_file_system
from dbcalm_mariadb_cmd.adapter.server.running import Running
from dbcalm_mariadb_cmd.adapter.small_files import small_text, write_new
from dbcalm_mariadb_cmd.backup.left_out import Watch, not_compared
from dbcalm_mariadb_cmd.builder.argv import Binlog, backup_argv
from dbcalm_mariadb_cmd.builder.layout import LOST_AND_FOUND, Places
from dbcalm_mariadb_cmd.builder.storage_format import CHECKPOINTS, FOLDER, checkpoints_folder
from dbcalm_mariadb_cmd.jobs.order import BackupJob, SyntheticJob
from dbcalm_mariadb_cmd.jobs.progress import Progress
from dbcalm_mariadb_cmd.storage.key_options import note_source
from dbcalm_mariadb_cmd.storage.stream import packing_argvs, store
from dbcalm_mariadb_cmd.store.manifest import (
    FILES,
    INSTRUCTIONS,
    MANIFEST,
    Damaged,
    Manifest,
    encode_files,
    encode_manifest,
    read_manifest,
)
from dbcalm_mariadb_cmd.store.restore_instructions import chain_of, instructions

_COPYING = re.compile(r"\[(\d+)\] \S+ \S+ Copying .+ to (/.+)")
_DONE = re.compile(r"\[(\d+)\] \S+ \S+ +\.\.\.done")
_READERS = 2
_STARTING_SECONDS, _SYNCING_SECONDS = 0.08, 0.03
"""What the tool takes to start, about; the sync takes next to nothing, as what is written is sent to the disk at once.
"""

_ENDING_A_FULL, _ENDING_AN_INCREMENTAL = 0.05, 0.27
"""Seconds after the last of the bytes that are expected. What the tool reads for an incremental is more than the data.
"""

FOLDER_STATE = FileState(0, 0, 0, "")


def make(job: BackupJob, output: tool.Output, lock: int) -> Manifest:
    """Make the backup and return its manifest; raise JobFailed or OSError, and then leave clean-up to ``undo``."""
    places, started = job.places, utc_now()
    folder = _working(job)
    folder.mkdir(
        mode=0o700, parents=True
    )  # Another disk may have been mounted here since the service started.
    progress = _progress(job)
    base = read_manifest(places.backup(job.base)) if job.base else None
    watch = Watch(Path(places.data_dir))
    with progress.looking():
        copied = (_copy if job.storing.form == FOLDER else _stream)(job, base, progress, output, lock, watch)
    checkpoints = copied.checkpoints
    made = Manifest(
        id=job.id,
        type="incremental" if base else "full",
        from_backup_id=job.base,
        seq=job.seq,
        job_id=job.job_id,
        schedule_id=job.schedule_id,
        timeline=job.timeline,
        note="; ".join(filter(None, (job.note, copied.remark))) or None,
        start_time=started,
        end_time=utc_now(),
        size=0,
        file_count=0,
        files_sha256="",
        engine=places.engine_name,
        tool_version=job.tool_version,
        server=replace(job.server, elsewhere={**job.server.elsewhere, **copied.links}),
        from_lsn=checkpoints.from_lsn,
        to_lsn=checkpoints.to_lsn,
        last_lsn=checkpoints.last_lsn,
        binlog=copied.binlog,
        form=job.storing.form,
        data_size=copied.data_size,
        recipients=job.storing.recipients,
    )
    progress.phase("syncing", seconds=_SYNCING_SECONDS)
    return name_it(folder, made, copied.files, places)


def name_it(folder: Path, made: Manifest, files: dict[str, FileState], places: Places) -> Manifest:
    """Give a whole backup of these files its manifest and then its name, both for good; return the manifest. Raise
    OSError, or Damaged if its chain is."""
    manifest = describe(folder, made, files, places)
    write_new(folder / MANIFEST, encode_manifest(manifest))
    sync_file_system(folder)
    rename_new(folder, places.backup(made.id))
    sync_folder(Path(places.backup_dir))
    return manifest


def describe(folder: Path, made: Manifest, files: dict[str, FileState], places: Places) -> Manifest:
    """Put the list of these files and how to restore them by hand beside them; return the manifest, in which the files
    are counted and both are vouched for. Raise OSError, or Damaged if its chain is."""
    listed = encode_files(files)
    manifest = replace(
        made,
        size=sum(state.size for state in files.values()),
        file_count=sum(not name.endswith("/") for name in files),
        files_sha256=hashlib.sha256(listed).hexdigest(),
    )
    text = instructions(chain_of(manifest, places), places).encode()
    manifest = replace(manifest, instructions_sha256=hashlib.sha256(text).hexdigest())
    write_new(folder / INSTRUCTIONS, text)
    write_new(folder / FILES, listed)
    return manifest


def _progress(job: BackupJob) -> Progress:
    """Return the progress of this job, at the beginning of its copying."""
    expected = job.expected_bytes
    ending = _ENDING_AN_INCREMENTAL if job.base else _ENDING_A_FULL
    seconds = _STARTING_SECONDS + ending + _SYNCING_SECONDS
    progress = Progress(job.places.job(job.job_id), expected, seconds=seconds)
    progress.phase("copying", expected, expected, _STARTING_SECONDS, ending)
    return progress


def _counting(job: BackupJob, progress: Progress) -> Callable[[int], None]:
    """Return what tells the progress of the tool's process. For an incremental the tool reads all data and writes
    little. For a full one it writes what it reads, and looks at the redo log again and again besides."""
    return lambda pid: progress.follow(pid, "rchar" if job.base else "wchar")


@dataclass(frozen=True)
class _Copied:
    """What the tool has made: the state of each file and folder, and what it says of itself. ``links`` are the link
    files (.isl) in it, with what they point to; ``remark`` is what its user has to know."""

    files: dict[str, FileState]
    checkpoints: tool.Checkpoints
    binlog: Binlog | None
    data_size: int
    links: dict[str, str]
    remark: str | None = None


def _copy(
    job: BackupJob, base: Manifest | None, progress: Progress, output: tool.Output, lock: int, watch: Watch
) -> _Copied:
    """Let the tool copy into the working folder."""
    folder, engine = _working(job), job.places.engine
    with _Checksums(folder) as checksums:

        def follow(line: str) -> None:
            checksums.follow(line)
            watch.follow(line)

        with sent_to_disk(folder):
            tool.run(copying(job), output, follow, lock, _counting(job, progress))
        _note_source(job, secrets.keep_out(folder))
        checkpoints = tool.require_whole(folder, engine, base.to_lsn if base else None)
        for name, _ in walk(folder):
            watch.add(name)
        watch.require(_running(job), folder)
        progress.phase("checksumming")
        files = checksums.finish()
    size = sum(state.size for state in files.values())
    links = {name: _pointed_to(folder / name) for name in files if name.endswith(".isl")}
    return _Copied(files, checkpoints, tool.read_binlog(folder, engine), size, links)


def _stream(
    job: BackupJob, base: Manifest | None, progress: Progress, output: tool.Output, lock: int, watch: Watch
) -> _Copied:
    """Let the tool's stream be stored in the working folder."""
    folder, engine = _working(job), job.places.engine
    options: dict[str, str] = {}
    edit = partial(_left_out, options) if job.has_secrets else None
    stored = store(
        copying(job), job.storing, job.places, folder, output, _counting(job, progress), lock,
        watch.follow_stream, edit,
    )  # fmt: skip
    _note_source(job, options)
    facts = folder / CHECKPOINTS
    checkpoints = tool.require_whole(facts, engine, base.to_lsn if base else None)
    remark = None if watch.require(_running(job)) else not_compared(job.id)
    binlog = tool.read_binlog_in_info(facts, engine)
    data_dir = Path(job.server.data_dir)
    links = {name: _pointed_to(data_dir / name) for name in stored.links}
    return _Copied(stored.files, checkpoints, binlog, stored.data_size, links, remark)


def _note_source(job: BackupJob, left_out: Mapping[str, str]) -> None:
    note_source(left_out, Path(job.places.data_dir), Path(job.places.job_dir))


def _running(job: BackupJob) -> Running:
    return Running(job.places.client, job.places.credentials)


def _left_out(found: dict[str, str], config: bytes) -> bytes:
    """Return the tool's options without passwords, and note what they were."""
    kept, options = secrets.without(config)
    found.update(options)
    return kept


def _pointed_to(link: Path) -> str:
    try:
        return small_text(link).strip()
    except OSError:
        return "elsewhere"  # The table has been dropped since.


def undo(job: BackupJob) -> Manifest | None:
    """Clean up after a job that did not report its end: return the manifest if the backup had got its name, which it
    gets when it is whole; else remove its working folder and return None."""
    if made := named(job):
        return made
    if _working(job).exists():
        remove_tree(_working(job))
    return None


def named(job: BackupJob | SyntheticJob) -> Manifest | None:
    """Return the manifest of the backup that this job has made, or None if that has not got its name."""
    try:
        manifest = read_manifest(job.places.backup(job.id))
    except Damaged:
        return None  # Whatever lies under that name, it is not this job's whole backup.
    if manifest.job_id != job.job_id:
        return None
    sync_folder(Path(job.places.backup_dir))
    return manifest


def states_of(folder: Path) -> dict[str, FileState]:
    """Read all that is in a folder; return the state of every file and folder."""
    with _Checksums(folder) as checksums:
        return checksums.finish()


def copying(job: BackupJob) -> list[str]:
    """Return the tool's command line for this job."""
    places, folder = job.places, _working(job)
    base = checkpoints_folder(places.backup(job.base), job.base_form) if job.base else None
    beside = None if job.storing.form == FOLDER else folder / CHECKPOINTS
    # Where there is one, the tool would end at it: it is root's. No table is left out by that, so the backup is whole.
    no_databases = [LOST_AND_FOUND] if (Path(job.server.data_dir) / LOST_AND_FOUND).is_dir() else []
    return backup_argv(
        Path(places.tool), Path(places.credentials), folder, base, job.effort, beside, no_databases
    )


def in_words(job: BackupJob) -> str:
    """Return the commands of this job for people, as they would type them."""
    argvs = [copying(job)]
    if job.storing.form != FOLDER:
        argvs += packing_argvs(job.storing, job.places)
    return " | ".join(map(shlex.join, argvs))


def _working(job: BackupJob) -> Path:
    return job.places.working / job.job_id


class _Checksums:
    """Reads each file as soon as the tool says that it is done with it, while the tool copies the next one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(_READERS)
        self._copied_by: dict[str, Path] = {}
        self._early: dict[str, Future[FileState]] = {}

    def __enter__(self) -> "_Checksums":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def follow(self, line: str) -> None:
        """Take a line of the tool's log."""
        if copying := _COPYING.fullmatch(line):
            self._copied_by[copying[1]] = Path(copying[2])
        elif (done := _DONE.fullmatch(line)) and (path := self._copied_by.pop(done[1], None)):
            self._read(path)

    def _read(self, path: Path) -> None:
        if path.is_relative_to(self._folder) and path.exists():
            self._early[str(path.relative_to(self._folder))] = self._pool.submit(file_state, path)

    def finish(self) -> dict[str, FileState]:
        """Return the state of every file and folder. What was written to after it was read is read again."""
        found = list(walk(self._folder))
        states: dict[str, FileState | Future[FileState]] = {}
        for name, status in found:
            early = self._read_early(name)
            if name.endswith("/"):
                states[name] = FOLDER_STATE
            elif early is not None and early.unwritten(status):
                states[name] = early
            else:
                states[name] = self._pool.submit(file_state, self._folder / name)
        return {
            name: state.result() if isinstance(state, Future) else state for name, state in states.items()
        }

    def _read_early(self, name: str) -> FileState | None:
        future = self._early.get(name)
        return future.result() if future is not None and future.exception() is None else None
