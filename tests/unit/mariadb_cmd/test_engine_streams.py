"""Backups as one file: made, judged, linked into chains with folders, and brought back."""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from engine_lab import Lab, contents, output

from dbcalm_mariadb_cmd import backup, restore, runner
from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.forms import (
    CHECKPOINTS,
    FORMS,
    PACKERS,
    Storing,
    checkpoints_folder,
    seal_argv,
    stream_name,
    unseal_argv,
    unstream_argv,
)
from dbcalm_mariadb_cmd.jobs import read_order, write_order
from dbcalm_mariadb_cmd.manifest import (
    FILES,
    MANIFEST,
    Damaged,
    Manifest,
    read_files,
    read_manifest,
    require_unchanged,
)

PACKED = [Storing("zstd"), Storing("gzip"), Storing("zstd", level=19, threads=2)]
_NOT_THE_SERVERS = (
    "xtrabackup_info", "xtrabackup_checkpoints", "xtrabackup_binlog_info", "backup-my.cnf", ".lsn", "empty",
)  # fmt: skip


def of_the_server(folder: Path) -> dict[str, bytes | None]:
    """Return the server's own files below a folder. A stream has no empty folders."""
    return {name: data for name, data in contents(folder).items() if name not in _NOT_THE_SERVERS}


def failure(lab: Lab, storing: Storing) -> str:
    """Make a backup that must fail; return why. Nothing may be left of it."""
    job = lab.backup_job("broken", storing=storing)
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        with pytest.raises((JobFailed, OSError)) as caught:
            backup.make(job, log, lock)
        assert backup.undo(job) is None
    assert not (lab.backups / "broken").exists()
    assert not list((lab.backups / ".work").iterdir())
    return str(caught.value)


def test_the_words_of_the_packers() -> None:
    assert PACKERS["zstd"].packing(3, 0) == ["-c", "-q", "-3", "-T0"]
    assert PACKERS["gzip"].packing(19, 4) == ["-c", "-q", "-9"]
    assert PACKERS["zstd"].unpacking() == PACKERS["gzip"].unpacking() == ["-d", "-c", "-q"]
    assert FORMS == ("folder", "zstd", "gzip")


def test_the_words_of_the_others() -> None:
    keys = ("age1a", "age1b")
    assert seal_argv("/bin/age", keys) == ["/bin/age", "--encrypt", "--recipient=age1a", "--recipient=age1b"]
    assert unseal_argv("/bin/age", "/k") == ["/bin/age", "--decrypt", "--identity=/k"]
    assert unstream_argv("/bin/mbstream", Path("/t")) == ["/bin/mbstream", "-x", "--directory=/t"]
    assert stream_name("zstd", ()) == "backup.xbstream.zst"
    assert stream_name("gzip", keys) == "backup.xbstream.gz.age"
    assert checkpoints_folder(Path("/b/x"), "folder") == Path("/b/x")
    assert checkpoints_folder(Path("/b/x"), "gzip") == Path("/b/x/dbcalm-lsn")


@pytest.mark.parametrize("storing", PACKED, ids=lambda one: f"{one.form}-{one.level}")
def test_a_stream_is_one_file_with_what_the_next_one_needs_beside_it(lab: Lab, storing: Storing) -> None:
    made = lab.back_up("full", storing=storing)
    folder = lab.backups / "full"
    name = stream_name(storing.form, ())
    beside = {f"{CHECKPOINTS}/xtrabackup_checkpoints", f"{CHECKPOINTS}/xtrabackup_info"}
    assert contents(folder).keys() == {name, CHECKPOINTS, MANIFEST, FILES, *beside}
    assert (made.form, made.type, made.from_lsn, made.to_lsn) == (storing.form, "full", 0, 1000)
    assert made.binlog is not None
    assert (made.binlog.file, made.binlog.position, made.binlog.gtid) == ("bin.000003", 512, "0-1-7")
    assert made.size == sum((folder / path).stat().st_size for path in (name, *beside))
    assert made.restored_size == made.data_size != made.size
    assert read_manifest(folder) == made
    require_unchanged(folder, read_files(folder, made))


def test_the_tool_is_asked_for_a_stream_and_for_the_base_beside_one(lab: Lab) -> None:
    lab.back_up("full", storing=PACKED[0])
    job = lab.backup_job("inc", "full", PACKED[0])
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        backup.make(job, log, lock)
    working = f"{lab.backups}/.work/{job.job_id}"
    assert lab.calls()[-1][3:] == [
        f"--target-dir={working}",
        "--log-copy-interval=100",
        "--stream=xbstream",
        f"--extra-lsndir={working}/dbcalm-lsn",
        f"--incremental-basedir={lab.backups}/full/dbcalm-lsn",
    ]
    assert backup.in_words(job).endswith(f"/full/dbcalm-lsn | {shutil.which('zstd')} -c -q -1 -T0")


MIXTURES = list(itertools.product(FORMS, repeat=3))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(MIXTURES)))
def test_any_mixture_of_forms_is_a_chain(lab: Lab, number: int) -> None:
    forms, target = MIXTURES[number], ("database", "folder")[number % 2]
    states = {}
    for base, name, form in zip((None, "full", "inc1"), ("full", "inc1", "inc2"), forms, strict=True):
        lab.fill({"shop/orders.ibd": name * 1000, f"shop/{name}.ibd": name})
        lab.back_up(name, base, Storing(form))
        states[name] = of_the_server(lab.server)
    originals = contents(lab.backups)
    for links in (("full",), ("full", "inc1"), ("full", "inc1", "inc2")):
        job = lab.restore_job(links, target)
        lab.bring_back(job)
        assert of_the_server(Path(job.target_path)) == states[links[-1]]
        assert not job.working.exists()
        shutil.rmtree(job.target_path)
        if target == "database":
            lab.data.mkdir()
    assert contents(lab.backups) == originals


@pytest.mark.parametrize(
    ("moment", "code", "words"),
    [
        ("begin", "fail('no such server')", "the backup tool failed with exit code 1: FATAL ERROR: no such server"),
        ("copied", "os.kill(os.getpid(), 9)", "the backup tool was ended by signal 9"),
        ("end", "sys.exit(0)", "the backup tool failed with exit code 0"),
        ("copied", "(TARGET / 'innodb_corrupted_pages').touch()", "the server has corrupted pages"),
        ("streamed", "(TARGET / 'xtrabackup_info').unlink()", "the backup tool left no info file"),
        ("streamed", "(TARGET / 'xtrabackup_checkpoints').unlink()", "the backup tool left no checkpoints file"),
        ("streamed", "write_checkpoints(TARGET, 'incremental', 0, 9)", "a backup of type incremental"),
        ("streamed", "(TARGET / 'link').symlink_to('/etc/passwd')", "neither a file nor a folder"),
    ],
)  # fmt: skip
def test_a_stream_that_is_not_whole_gets_no_name(lab: Lab, moment: str, code: str, words: str) -> None:
    lab.at(moment, code)
    assert words in failure(lab, PACKED[0])


@pytest.mark.parametrize("form", list(PACKERS))
def test_a_packer_that_is_killed_is_named(lab: Lab, form: str, tmp_path: Path) -> None:
    lab.fill({"big.ibd": "x" * 3_000_000})
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nhead -c 10 > /dev/null\nkill -9 $$\n")
    killed.chmod(0o755)
    lab.places = type(lab.places)(**{**vars(lab.places), form: str(killed)})
    assert failure(lab, Storing(form)).startswith(f"{form} was ended by signal 9")


def test_a_full_disk_is_named(lab: Lab, mount: object) -> None:
    lab.fill({"big.ibd": os.urandom(600_000).hex()})
    mount(lab.backups / ".work", 256)  # type: ignore[operator]
    assert "No space left on device" in failure(lab, PACKED[0])


def flip(path: Path, place: int) -> None:
    """Turn one byte of a file over, and leave its times as they were."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0xFF]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("form", list(PACKERS))
@pytest.mark.parametrize("where", [0, 0.3, 0.7, 1])
def test_a_flipped_byte_fails_the_restore_and_leaves_nothing(lab: Lab, form: str, where: float) -> None:
    lab.fill({"big.ibd": os.urandom(300_000).hex()})
    lab.back_up("full", storing=Storing(form))
    stored = lab.backups / "full" / stream_name(form, ())
    flip(stored, int((stored.stat().st_size - 1) * where))
    job = lab.restore_job(("full",))
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        with pytest.raises(JobFailed, match="backup full is damaged: the checksum of .* differs"):
            restore.bring_back(job, log, lock)
        assert not restore.undo(job)
    assert list(lab.data.iterdir()) == []


@pytest.mark.parametrize("form", list(PACKERS))
def test_a_truncated_stream_is_damaged_before_anything_is_read(lab: Lab, form: str) -> None:
    made = lab.back_up("full", storing=Storing(form))
    os.truncate(lab.backups / "full" / stream_name(form, ()), 100)
    with pytest.raises(Damaged, match="has 100 bytes, not"):
        require_unchanged(lab.backups / "full", read_files(lab.backups / "full", made))


def test_a_full_target_is_named_and_left_empty(lab: Lab, mount: object) -> None:
    lab.fill({"big.ibd": "x" * 3_000_000})
    lab.back_up("full", storing=PACKED[0])
    mount(lab.data, 512)  # type: ignore[operator]
    job = lab.restore_job(("full",))
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        with pytest.raises(JobFailed, match="mbstream failed with exit code 1: "):
            restore.bring_back(job, log, lock)
        assert not restore.undo(job)
    assert list(lab.data.iterdir()) == []


def test_tables_that_the_server_keeps_elsewhere_are_remembered(lab: Lab) -> None:
    lab.fill({"shop/far.isl": "/elsewhere/shop/far.ibd", "shop/link.isl": "/srv/link.ibd"})
    job = lab.backup_job("full", storing=PACKED[0])
    job = type(job)(
        **{**vars(job), "server": type(job.server)(**{**vars(job.server), "data_dir": str(lab.server)})}
    )
    write_order(job)
    with lab.locked() as lock, output(lab, job) as log:
        made = backup.make(job, log, lock)
    assert made.server.elsewhere == {
        "shop/far.isl": "/elsewhere/shop/far.ibd",
        "shop/link.isl": "/srv/link.ibd",
    }


def test_a_manifest_of_before_there_were_forms_is_a_folder(lab: Lab) -> None:
    made = lab.back_up("full")
    facts = {
        name: value for name, value in made.facts().items() if name not in ("form", "data_size", "recipients")
    }
    old = Manifest.from_facts(facts)
    assert (old.form, old.recipients, old.restored_size) == ("folder", (), made.size)


def test_an_order_of_before_there_were_forms_can_be_read(lab: Lab) -> None:
    job = lab.backup_job("full", storing=Storing("zstd", 3, 2, ("age1x",)))
    write_order(job)
    folder = lab.places.job(job.job_id)
    assert read_order(folder) == job
    order = json.loads((folder / "job.json").read_text())
    for name in ("storing", "effort", "base_form"):
        del order[name]
    for name in ("zstd", "gzip", "age", "unstream", "identity"):
        del order["places"][name]
    (folder / "job.json").write_text(json.dumps(order))
    old = read_order(folder)
    assert runner.settle(old).reason == "interrupted"
