"""What a backup says of itself: it comes back as it was stored, and every damage is named in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.files import file_state
from dbcalm_mariadb_cmd.builder.argv import Binlog
from dbcalm_mariadb_cmd.store.manifest import (
    FILES,
    MANIFEST,
    Damaged,
    Manifest,
    Missing,
    encode_files,
    read_files,
    read_manifest,
    require_names_and_sizes,
    require_unchanged,
    sealed,
    unsealed,
)
from tests.support.engine_lab import Lab, manifest

Damage = Callable[[Path], object]


@pytest.fixture
def folder(lab: Lab) -> Path:
    """The folder of a whole backup."""
    lab.back_up("full")
    return lab.backups / "full"


def check(folder: Path) -> None:
    """Look at a backup as the service does before it builds on it."""
    require_unchanged(folder, read_files(folder, read_manifest(folder)))


def test_a_manifest_comes_back_from_json() -> None:
    written = manifest(binlog=Binlog("bin.000003", 512, "0-1-7"), from_backup_id="x", schedule_id=3, note="é")
    assert Manifest.from_facts(json.loads(json.dumps(written.facts()))) == written
    assert Manifest.from_facts(json.loads(json.dumps(manifest().facts()))) == manifest()


def test_a_backup_comes_back_from_its_folder(lab: Lab) -> None:
    made = lab.back_up("full")
    folder = lab.backups / "full"
    assert read_manifest(folder) == made
    files = read_files(folder, made)
    assert files["shop/orders.ibd"] == file_state(folder / "shop/orders.ibd")
    assert files["empty/"].size == 0
    assert made.size == sum(state.size for state in files.values())
    assert made.file_count == sum(not name.endswith("/") for name in files)
    check(folder)


def test_odd_names_come_back(tmp_path: Path) -> None:
    odd = b'\xff\n"'.decode("utf-8", "surrogateescape")
    (tmp_path / odd).write_text("x")
    assert json.loads(encode_files({odd: file_state(tmp_path / odd)})).keys() == {odd}


def edit(name: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def facts(**changes: object) -> Damage:
    return edit(MANIFEST, lambda text: sealed({**unsealed(text), **changes}))


def same_size_and_time(folder: Path) -> None:
    path = folder / "ibdata1"
    before = path.stat()
    path.write_bytes(b"SYSTEM")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def link_instead(folder: Path) -> None:
    (folder / "ibdata1").rename(folder.parent / "elsewhere")
    (folder / "ibdata1").symlink_to(folder.parent / "elsewhere")


DAMAGES: list[tuple[Damage, str]] = [
    (lambda folder: (folder / MANIFEST).unlink(), f"has no {MANIFEST}: it is not a backup that DBCalm made"),
    (edit(MANIFEST, lambda text: text[:-1]), f"{MANIFEST} cannot be read"),
    (edit(MANIFEST, lambda text: b""), f"{MANIFEST} cannot be read"),
    (edit(MANIFEST, lambda text: b"\xff\xfe" + text), f"{MANIFEST} cannot be read"),
    (edit(MANIFEST, lambda text: b"[]"), f"{MANIFEST} cannot be read"),
    (edit(MANIFEST, lambda text: b"null"), f"{MANIFEST} cannot be read"),
    (edit(MANIFEST, lambda text: text.replace(b'"seq"', b'"sex"')), f"{MANIFEST} cannot be read"),
    (facts(server={}), f"{MANIFEST} cannot be read"),
    (facts(binlog={"file": "x"}), f"{MANIFEST} cannot be read"),
    (facts(more=1), f"{MANIFEST} cannot be read"),
    (facts(format=2), "was made by a newer DBCalm (format 2)"),
    (facts(id="other"), "its manifest is that of other"),
    (facts(files_sha256="0" * 64), f"{FILES} was changed"),
    (lambda folder: (folder / FILES).unlink(), f"{FILES} cannot be read"),
    (edit(FILES, lambda text: text.replace(b"ibdata1", b"ibdata2")), f"{FILES} was changed"),
    (edit(FILES, lambda text: text + b" "), f"{FILES} was changed"),
    (lambda folder: (folder / "ibdata1").unlink(), "ibdata1 is missing"),
    (lambda folder: (folder / "empty").rmdir(), "empty/ is missing"),
    (lambda folder: shutil.rmtree(folder / "shop"), "shop/ is missing"),
    (lambda folder: (folder / "shop/more").touch(), "shop/more does not belong to it"),
    (lambda folder: (folder / "more").mkdir(), "more/ does not belong to it"),
    (edit("ibdata1", lambda text: text[:-1]), "ibdata1 has 5 bytes, not 6"),
    (edit("ibdata1", lambda text: b""), "ibdata1 has 0 bytes, not 6"),
    (edit("ibdata1", lambda text: b"SYSTEM"), "the checksum of ibdata1 differs"),
    (same_size_and_time, "the checksum of ibdata1 differs"),
    (link_instead, "ibdata1 is neither a file nor a folder"),
    (lambda folder: os.mkfifo(folder / "fifo"), "fifo is neither a file nor a folder"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=[words for _, words in DAMAGES])
def test_damage_is_named_in_one_line(folder: Path, damage: Damage, words: str) -> None:
    damage(folder)
    with pytest.raises(Damaged) as damaged:
        check(folder)
    assert words in str(damaged.value)
    assert "full" in str(damaged.value)
    assert "\n" not in str(damaged.value)
    assert isinstance(damaged.value, Missing) == (f"has no {MANIFEST}" in words)


def test_a_folder_that_is_gone_is_missing(folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(Missing, match="backup full is gone"):
        read_manifest(folder)


def test_a_file_in_its_place_is_missing_too(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(Missing):
        read_manifest(folder)


def test_a_copy_of_the_whole_folder_is_whole(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy/full")
    check(tmp_path / "copy/full")


def test_a_touched_file_with_the_same_content_is_whole(folder: Path) -> None:
    (folder / "ibdata1").chmod(0o600)
    (folder / "ibdata1").write_bytes((folder / "ibdata1").read_bytes())
    check(folder)


def test_names_and_sizes_are_told_without_reading(folder: Path) -> None:
    (folder / "ibdata1").write_bytes(b"SYSTEM")
    require_names_and_sizes(folder, read_files(folder, read_manifest(folder)))
