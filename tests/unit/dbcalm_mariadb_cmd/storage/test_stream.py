"""Backups as one file: made, judged, linked into chains with folders, and brought back."""

import itertools
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.backup import take as backup
from dbcalm_mariadb_cmd.builder.argv import Effort
from dbcalm_mariadb_cmd.builder.storage_format import (
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
from dbcalm_mariadb_cmd.command.age_keys import is_identity, is_recipient
from dbcalm_mariadb_cmd.errors import JobFailed, Refused
from dbcalm_mariadb_cmd.jobs.order import read_order, write_order
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.storage.age_identity import in_memory, path_of, require_opened
from dbcalm_mariadb_cmd.storage.choice import (
    effort,
    expected_size,
    programs_to_restore,
    programs_to_roll_up,
    programs_to_store,
    storing,
)
from dbcalm_mariadb_cmd.store.manifest import (
    FILES,
    INSTRUCTIONS,
    MANIFEST,
    Damaged,
    Manifest,
    read_files,
    read_manifest,
    require_unchanged,
)
from dbcalm_mariadb_cmd.supervisor import runner
from tests.support.engine_lab import Lab, contents, manifest, output

NOBODYS = "AGE-SECRET-KEY-1SDA5D4F2C4J0JKEA5DX662LGXUTNX4ZYSE2490L7J4NSL8QVVYAQAKCA5U"
IDENTITY = "AGE-SECRET-KEY-177GGVS95DFGKX4YEUU9FRL73K6HKDDYJ72ZFEEGWF656YWNT8DGSSXE7QJ"
RECIPIENT = "age1qc4wcr5ec5dtu469mucg2gg4ap4m206y63mj698tu573k5pdm5cqc4g47f"
OTHER = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
SEALED = Storing("zstd", recipients=(OTHER, RECIPIENT))
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
    assert contents(folder).keys() == {name, CHECKPOINTS, MANIFEST, FILES, INSTRUCTIONS, *beside}
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


needs_age = pytest.mark.skipif(not shutil.which("age"), reason="age is not installed")


@needs_age
class TestSealed:
    """Encrypted streams: what the host cannot read, and who can."""

    def chain(self, lab: Lab) -> dict[str, dict[str, bytes | None]]:
        lab.back_up("full", storing=SEALED)
        states = {"full": of_the_server(lab.server)}
        lab.fill({"shop/orders.ibd": "2"})
        lab.back_up("inc", "full", Storing("gzip", recipients=(RECIPIENT,)))
        return {**states, "inc": of_the_server(lab.server)}

    def refused(self, lab: Lab, file: Path | None, given: str | None) -> str:
        links = [read_manifest(lab.backups / name) for name in ("full", "inc")]
        with pytest.raises(Refused) as caught:
            require_opened(links, lab.backups, lab.places.age, file, given)
        assert caught.value.code in (409, 503)
        assert "\n" not in str(caught.value)
        assert IDENTITY not in str(caught.value)
        return str(caught.value)

    def test_a_sealed_stream_tells_nothing_of_the_data(self, lab: Lab) -> None:
        lab.fill({"shop/secret.ibd": "a very private line " * 1000})
        made = lab.back_up("full", storing=SEALED)
        stored = lab.backups / "full" / "backup.xbstream.zst.age"
        assert stored.read_bytes().startswith(b"age-encryption.org/v1\n")
        assert made.recipients == (OTHER, RECIPIENT)
        assert not [
            name for name, data in contents(lab.backups / "full").items() if data and b"private line" in data
        ]
        require_unchanged(lab.backups / "full", read_files(lab.backups / "full", made))

    @pytest.mark.parametrize("source", ["file", "order"])
    def test_it_is_opened_by_a_file_or_by_what_came_with_the_order(self, lab: Lab, source: str) -> None:
        states = self.chain(lab)
        if source == "file":
            keys = lab.root / "keys.txt"
            keys.write_text(f"# for these tests\n{IDENTITY}\n")
            lab.places = replace(lab.places, identity=str(keys))
        for links in (("full",), ("full", "inc")):
            job = lab.restore_job(links, "folder")
            write_order(job)
            with (
                in_memory(IDENTITY if source == "order" else None) as descriptor,
                lab.locked() as lock,
                output(lab, job) as log,
            ):
                restore.bring_back(job, log, lock, descriptor)
            assert of_the_server(Path(job.target_path)) == states[links[-1]]
            shutil.rmtree(job.target_path)
            assert IDENTITY not in (lab.places.job(job.job_id) / "job.json").read_text()

    def test_who_opens_it_is_asked_before_anything_is_written(self, lab: Lab) -> None:
        self.chain(lab)
        links = [read_manifest(lab.backups / name) for name in ("full", "inc")]
        require_opened(links, lab.backups, lab.places.age, None, IDENTITY)
        keys = lab.root / "keys.txt"
        keys.write_text(f"# many\n{NOBODYS}\n{IDENTITY}\n")
        keys.chmod(0o640)
        require_opened(links, lab.backups, lab.places.age, keys, None)

    def test_without_an_identity_it_says_what_to_do(self, lab: Lab) -> None:
        self.chain(lab)
        told = self.refused(lab, None, None)
        assert told.startswith(f"backup full is encrypted to {OTHER} and {RECIPIENT}: give the identity")
        assert "--identity-stdin" in told
        assert "encryption_identity_file" in told

    def test_a_wrong_identity_is_one_clear_line(self, lab: Lab) -> None:
        self.chain(lab)
        assert self.refused(lab, None, NOBODYS) == (
            f"the identity that was given does not open backup full, encrypted to {OTHER} and {RECIPIENT}: "
            "no identity matched any of the recipients"
        )

    def test_a_file_that_cannot_be_used_is_named(self, lab: Lab) -> None:
        self.chain(lab)
        keys = lab.root / "keys.txt"
        assert f"{keys}: No such file or directory" in self.refused(lab, keys, None)
        keys.write_text(f"{IDENTITY}\n")
        keys.chmod(0o644)
        assert "can be read by everybody" in self.refused(lab, keys, None)
        keys.chmod(0o640)
        keys.write_text("nothing\n")
        assert f"encryption_identity_file {keys} does not open backup full" in self.refused(lab, keys, None)

    def test_a_damaged_beginning_is_told_too(self, lab: Lab) -> None:
        self.chain(lab)
        flip(lab.backups / "inc" / "backup.xbstream.gz.age", 100)
        assert "the identity that was given does not open backup inc" in self.refused(lab, None, IDENTITY)

    def test_a_flipped_byte_fails_the_restore(self, lab: Lab) -> None:
        self.chain(lab)
        stored = lab.backups / "full" / "backup.xbstream.zst.age"
        flip(stored, stored.stat().st_size - 20)
        job = lab.restore_job(("full",))
        write_order(job)
        with in_memory(IDENTITY) as descriptor, lab.locked() as lock, output(lab, job) as log:
            with pytest.raises(JobFailed, match="backup full is damaged: the checksum of .* differs"):
                restore.bring_back(job, log, lock, descriptor)
            assert not restore.undo(job)
        assert list(lab.data.iterdir()) == []

    def test_the_file_in_memory_is_gone_with_its_descriptor(self) -> None:
        with in_memory(IDENTITY) as descriptor:
            assert descriptor is not None
            for _ in range(2):  # Each who opens it reads it from its beginning.
                assert Path(path_of(descriptor)).read_text() == f"{IDENTITY}\n"
            assert "memfd:" in os.readlink(path_of(descriptor))
            assert not os.get_inheritable(descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
        with in_memory(None) as nothing:
            assert nothing is None


def test_keys_are_read_with_their_checksum() -> None:
    assert is_recipient(RECIPIENT)
    assert is_recipient(OTHER)
    assert is_identity(IDENTITY)
    assert is_identity(NOBODYS)
    for key, known in ((RECIPIENT, is_recipient), (IDENTITY, is_identity)):
        for place in range(len(key)):
            for letter in "q7x":
                other = key[:place] + (letter.upper() if key.isupper() else letter) + key[place + 1 :]
                assert known(other) == (other == key)


def test_the_form_follows_from_configuration_host_and_caller(lab: Lab) -> None:
    settings = replace(lab.settings, stored_form="auto", compression_level=7, compression_threads=3)
    assert storing(settings, None) == Storing("zstd", 7, 3)
    assert storing(settings, "folder").form == "folder"
    assert storing(replace(settings, stored_form="gzip"), None).form == "gzip"
    keyed = replace(settings, encryption_recipients=(RECIPIENT,))
    assert storing(keyed, None) == Storing("zstd", 7, 3, (RECIPIENT,))
    with pytest.raises(Refused, match="a folder is not encrypted") as caught:
        storing(keyed, "folder")
    assert caught.value.code == 409


def test_the_space_that_a_backup_needs_is_guessed_by_the_one_before() -> None:
    data = 1_000_000
    zstd = Storing("zstd")
    assert expected_size(data, Storing("folder"), None) == data
    assert expected_size(data, zstd, None) == data // 2
    assert expected_size(data, zstd, manifest(form="zstd", size=250, data_size=1000)) == 300_000
    assert expected_size(data, zstd, manifest(form="zstd", size=999, data_size=1000)) == data
    assert expected_size(data, zstd, manifest(form="gzip", size=250, data_size=1000)) == data // 2
    assert expected_size(data, zstd, manifest(size=250)) == data // 2


def test_how_hard_the_tool_works(lab: Lab) -> None:
    cores = len(os.sched_getaffinity(0))
    hard = replace(
        lab.settings, parallel=0, prepare_memory=1 << 50, copy_throttle=9, cpu_niceness=5, io_priority="idle"
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    assert effort(hard) == Effort(min(cores, 4), memory, 9, 5, 3)
    assert effort(replace(hard, parallel=3, prepare_memory=5)).parallel == 3
    assert effort(replace(hard, prepare_memory=5)).prepare_memory == 5


def test_a_program_that_is_missing_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = lab.root / "empty"
    empty.mkdir()
    monkeypatch.setattr(tool, "SEARCHED", str(empty))
    keyed = replace(lab.settings, stored_form="auto", encryption_recipients=(RECIPIENT,))
    assert storing(replace(keyed, encryption_recipients=()), None).form == "folder"
    assert storing(keyed, None).form == "gzip"  # What is to be encrypted cannot be a folder.
    for how, name in ((Storing("zstd"), "zstd"), (SEALED, "zstd"), (Storing("gzip"), "gzip")):
        with pytest.raises(Refused, match=f"^{name} is not installed, where user mysql looks") as caught:
            programs_to_store(how)
        assert caught.value.code == 503
    (empty / "zstd").symlink_to("/bin/true")
    with pytest.raises(Refused, match="^age is not installed"):
        programs_to_store(SEALED)
    link = manifest(form="zstd", recipients=(RECIPIENT,))
    with pytest.raises(Refused, match="^mbstream is not installed"):
        programs_to_restore(lab.settings, [link], lab.tool)
    (lab.root / "mbstream").symlink_to("/bin/true")
    with pytest.raises(Refused, match="^age is not installed"):
        programs_to_restore(lab.settings, [link], lab.tool)
    (empty / "age").symlink_to("/bin/true")
    found = programs_to_restore(replace(lab.settings, encryption_identity_file=Path("/k")), [link], lab.tool)
    assert found == {
        "zstd": f"{empty}/zstd", "age": f"{empty}/age", "unstream": f"{lab.root}/mbstream", "identity": "/k",
    }  # fmt: skip
    assert programs_to_restore(lab.settings, [manifest()], lab.tool) == {}
    assert programs_to_store(Storing("folder")) == {}
    assert programs_to_roll_up(lab.settings, [manifest()], Storing("folder"), lab.tool) == {}
    rolling = programs_to_roll_up(lab.settings, [manifest()], Storing("zstd"), lab.tool)
    assert (rolling.keys(), rolling["unstream"]) == ({"zstd", "unstream"}, found["unstream"])
