"""Making a backup: whole, with its name, or not there at all."""

import json
import os
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.files import file_state
from dbcalm_mariadb_cmd.backup import take as backup
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.jobs.order import write_order
from dbcalm_mariadb_cmd.store.manifest import (
    FILES,
    MANIFEST,
    Damaged,
    read_files,
    read_manifest,
    require_unchanged,
)
from dbcalm_mariadb_cmd.supervisor import runner
from tests.support.engine_lab import Lab, contents, output


def is_clean(lab: Lab) -> bool:
    """Tell whether no job has left anything half-made."""
    return not list((lab.backups / ".work").iterdir())


def test_a_backup_has_the_servers_files_and_a_manifest(lab: Lab) -> None:
    made = lab.back_up("full")
    folder = lab.backups / "full"
    copied = contents(folder)
    for name, data in contents(lab.server).items():
        assert name == ".lsn" or copied[name] == data
    assert {MANIFEST, FILES} < copied.keys()
    assert (made.type, made.from_backup_id, made.from_lsn, made.to_lsn) == ("full", None, 0, 1000)
    assert made.binlog is not None
    assert (made.binlog.file, made.binlog.position, made.binlog.gtid) == ("bin.000003", 512, "0-1-7")
    assert made.start_time <= made.end_time
    assert is_clean(lab)
    require_unchanged(folder, read_files(folder, made))


def test_an_incremental_begins_where_its_base_ends(lab: Lab) -> None:
    lab.back_up("full")
    lab.fill({"shop/orders.ibd": "4"})
    made = lab.back_up("inc", "full")
    assert (made.type, made.from_backup_id, made.from_lsn, made.to_lsn) == ("incremental", "full", 1000, 2000)
    assert (lab.backups / "inc/shop/orders.ibd.delta").exists()


def test_the_command_is_the_builders_with_the_base_by_its_name(lab: Lab) -> None:
    lab.back_up("full")
    job = lab.backup_job("inc", "full")
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        backup.make(job, log, lock)
    assert lab.calls()[-1] == [
        f"--defaults-file={lab.credentials}",
        "--defaults-group-suffix=-dbcalm",
        "--backup",
        f"--target-dir={lab.backups}/.work/{job.job_id}",
        "--log-copy-interval=100",
        f"--incremental-basedir={lab.backups}/full",
    ]


def test_checksums_are_of_what_lies_there_in_the_end(lab: Lab) -> None:
    """The tool may write to a file again after it has said that it is done with it."""
    code = "__import__('time').sleep(0.2); (TARGET / 'ibdata1').write_text('rewritten'); (TARGET / 'late').touch()"
    lab.at("copied", code)
    made = lab.back_up("full")
    files = read_files(lab.backups / "full", made)
    for name in ("ibdata1", "late", "mysql/user.ibd"):
        assert files[name] == file_state(lab.backups / "full" / name)


@pytest.mark.parametrize("line", ["x to /etc/passwd", "./a to /nowhere/a", "./a to relative"])
def test_what_the_tool_says_of_other_paths_is_not_believed(lab: Lab, line: str) -> None:
    lab.at("copied", f"say('Copying {line}', '01'); say('        ...done', '01')")
    lab.back_up("full")


def test_progress_is_told(lab: Lab) -> None:
    job = lab.backup_job("full")
    write_order(job)
    lab.at(
        "copied",
        f"print(open({str(lab.places.job(job.job_id) / 'progress.json')!r}).read(), file=sys.stderr)",
    )
    with lab.locked() as lock, output(lab, job) as log:
        backup.make(job, log, lock)
        assert '{"phase": "copying"' in log.tail()
    after = json.loads((lab.places.job(job.job_id) / "progress.json").read_text())
    assert after["phase"] == "syncing"


FAULTS = {
    "exit code": ("end", "sys.exit(1)", "exit code 1"),
    "killed": ("copied", "os.kill(os.getpid(), 9)", "signal 9"),
    "interrupted": (
        "copied",
        "import signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)",
        "signal 2",
    ),
    "no last words": ("end", "sys.exit(0)", "exit code 0"),
    "more words": ("end", "say('completed OK!'); say('but'); sys.exit(0)", "exit code 0: "),
    "corrupted pages": ("end", "(TARGET / 'innodb_corrupted_pages').touch()", "corrupted"),
    "no info": ("end", "(TARGET / 'xtrabackup_info').unlink()", "no info file"),
    "wrong kind": ("end", "write_checkpoints(TARGET, 'incremental', 0, 9)", "incremental"),
    "a link": ("copied", "(TARGET / 'link').symlink_to('/etc/passwd')", "neither a file nor a folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backup_that_is_not_whole_gets_no_name(lab: Lab, fault: str) -> None:
    lab.back_up("earlier")
    before = contents(lab.backups / "earlier")
    moment, code, words = FAULTS[fault]
    lab.at(moment, code)
    job = lab.backup_job("full")
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        with pytest.raises((JobFailed, OSError), match=words):
            backup.make(job, log, lock)
        assert backup.undo(job) is None
    assert not (lab.backups / "full").exists()
    assert is_clean(lab)
    assert contents(lab.backups / "earlier") == before


def test_a_base_that_is_gone_fails_the_job(lab: Lab) -> None:
    with pytest.raises(Damaged, match="backup full is gone"):
        lab.back_up("inc", "full")


@pytest.mark.parametrize("taken_by", ["backup", "folder", "file", "link"])
def test_a_name_that_was_taken_meanwhile_is_left_alone(lab: Lab, taken_by: str) -> None:
    taken = lab.backups / "full"
    if taken_by == "backup":
        lab.back_up("full")
    elif taken_by == "folder":
        taken.mkdir()
    elif taken_by == "file":
        taken.write_text("precious")
    else:
        taken.symlink_to("/none")
    before = contents(lab.backups)
    job = lab.backup_job("full")
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        with pytest.raises(FileExistsError):
            backup.make(job, log, lock)
        assert backup.undo(job) is None
    assert contents(lab.backups) == before


def test_undo_keeps_a_backup_that_had_got_its_name(lab: Lab) -> None:
    job = lab.backup_job("full")
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        made = backup.make(job, log, lock)
    assert backup.undo(job) == made
    assert runner.settle(job) == runner.End(backup=made)
    assert read_manifest(lab.backups / "full") == made


def test_undo_removes_its_own_working_folder_only(lab: Lab) -> None:
    job, other = lab.backup_job("full"), lab.backup_job("other")
    for started in (job, other):
        folder = lab.backups / ".work" / started.job_id
        (folder / "shop").mkdir(parents=True)
        (folder / "shop/orders.ibd").write_text("half")
    assert backup.undo(job) is None
    assert os.listdir(lab.backups / ".work") == [other.job_id]


def test_a_working_folder_that_cannot_be_removed_is_told(lab: Lab) -> None:
    job = lab.backup_job("full")
    (lab.backups / ".work" / job.job_id).write_text("not a folder")
    end = runner.settle(job)
    assert end.reason == "interrupted"
    assert "cannot be cleaned up after" in str(end.error)


def test_every_file_is_private(lab: Lab) -> None:
    usual = os.umask(0o027)
    try:
        lab.back_up("full")
    finally:
        os.umask(usual)
    assert (lab.backups / "full").stat().st_mode & 0o777 == 0o700
    others = [path for path in Path(lab.backups / "full").rglob("*") if path.stat().st_mode & 0o007]
    assert others == []
