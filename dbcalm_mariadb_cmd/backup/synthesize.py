"""Rolling a chain up into a new full backup, without the server: brought back as for a restore, and stored again.

What is stored is prepared. The tool takes that as the base of an incremental and as the start of a restore alike: in a
MariaDB chain every step but the first is applied to prepared data (seen with mariadb-backup 10.11).
"""

import os
from dataclasses import replace
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import remove_tree, walk
from dbcalm_mariadb_cmd.adapter.small_files import read_small, write_new
from dbcalm_mariadb_cmd.backup.take import name_it, named, states_of
from dbcalm_mariadb_cmd.builder.storage_format import CHECKPOINTS, FOLDER
from dbcalm_mariadb_cmd.jobs.order import RestoreJob, SyntheticJob
from dbcalm_mariadb_cmd.jobs.progress import Progress
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.storage.stream import Stored, store_files
from dbcalm_mariadb_cmd.store.manifest import Manifest, read_manifest

_FACTS = ("checkpoints", "info", "binlog_info")


def make(job: SyntheticJob, output: tool.Output, lock: int) -> Manifest:
    """Make the backup and return its manifest; raise JobFailed, Damaged or OSError, and then leave clean-up to
    ``undo``."""
    places = job.places
    newest = read_manifest(places.backup(job.chain[-1]))
    bringing = _bringing(job)
    progress = restore.make_whole(bringing, output, lock, then=1.0)
    if job.storing.form == FOLDER:
        bringing.data.rename(job.working)
        files = states_of(job.working)
        data_size = sum(state.size for state in files.values())
    else:
        stored = _stream(job, bringing.data, output, progress, lock)
        files, data_size = stored.files, stored.data_size
    remove_tree(bringing.working)
    rolled_up = replace(
        newest,
        id=job.id,
        type="full",
        from_backup_id=None,
        seq=job.seq,
        job_id=job.job_id,
        schedule_id=job.schedule_id,
        note=job.note,
        from_lsn=0,
        form=job.storing.form,
        data_size=data_size,
        recipients=job.storing.recipients,
    )
    progress.phase("syncing")
    return name_it(job.working, rolled_up, files, places)


def undo(job: SyntheticJob) -> Manifest | None:
    """Clean up after a job that did not report its end, as ``backup.undo`` does."""
    made = named(job)
    for folder in (job.working, _bringing(job).working):
        if folder.exists():
            remove_tree(folder)
    return made


def prepares(job: SyntheticJob) -> list[list[str]]:
    """Return the tool's command lines for this job, one a link of the chain."""
    return restore.prepares(_bringing(job))


def _bringing(job: SyntheticJob) -> RestoreJob:
    """Return the restore that is the first half of this job: into a hidden folder beside the backup that is made."""
    return RestoreJob(
        job_id=job.job_id,
        places=job.places,
        restore_id=job.id,
        seq=job.seq,
        chain=job.chain,
        target="folder",
        target_path=str(job.working),
        effort=job.effort,
    )


def _stream(job: SyntheticJob, data: Path, output: tool.Output, progress: Progress, lock: int) -> Stored:
    """Store what is in a folder as a stream, with the tool's facts beside it."""
    beside = job.working / CHECKPOINTS
    beside.mkdir(mode=0o700, parents=True)
    names = [name for name, _ in walk(data) if not name.endswith("/")]
    for prefix in job.places.engine.metadata_prefixes:
        for fact in _FACTS:
            found = data / f"{prefix}{fact}"
            if found.exists():
                write_new(beside / found.name, read_small(found))
    listed = job.working / "names"
    write_new(listed, b"".join(os.fsencode(name) + b"\0" for name in names))
    size = sum(state.st_size for _, state in walk(data))
    progress.phase("storing", size, size)
    stored = store_files(data, listed, job.storing, job.places, job.working, output, progress.add, lock)
    listed.unlink()
    return stored
