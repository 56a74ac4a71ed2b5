"""What is changed in a server after a full backup: an incremental that its chain could not be prepared with is a full
backup instead, and says why."""

import secrets
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.store.manifest import Manifest, read_manifest
from dev.sandbox_lib.database import PLUGINS
from tests.integration.conftest import Rig, sandbox_with

pytestmark = pytest.mark.integration

_SHOP = "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v TEXT); INSERT INTO shop.t VALUES (1, 'a');"


class Changing(Rig):
    def incremental(self, base: str, **order: object) -> tuple[Manifest, str]:
        """Ask for an incremental on this backup; return what was made and its note."""
        done = self.backup(type="incremental", from_backup_id=base, **order)
        made = read_manifest(self.backups / str(done["resource_id"]))
        return made, made.note or ""

    def full(self, **order: object) -> str:
        return str(self.backup(**order)["resource_id"])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    with sandbox_with(tmp_path_factory.mktemp("settings") / "sandbox", _SHOP) as sandbox:
        yield Changing(sandbox)


@pytest.fixture
def rig(own: Changing) -> Iterator[Changing]:
    yield own
    own.everything_runs()


def test_what_does_not_matter_makes_no_full_backup(rig: Changing) -> None:
    base = rig.full()
    rig.sandbox.add_options("innodb_log_file_size=64M", "innodb_buffer_pool_size=80M", "max_connections=77")
    made, note = rig.incremental(base)
    assert (made.type, note) == ("incremental", "")
    assert made.server.settings is not None
    assert made.server.settings["innodb_page_size"] == "16384"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SET GLOBAL innodb_checksum_algorithm = strict_crc32", "innodb_checksum_algorithm was full_crc32 when"),
        ("SET GLOBAL innodb_checksum_algorithm = full_crc32", "innodb_checksum_algorithm was strict_crc32 when"),
        ("SET GLOBAL innodb_compression_algorithm = none", "innodb_compression_algorithm was zlib when"),
    ],
)  # fmt: skip
def test_a_setting_that_is_changed_while_the_server_runs(rig: Changing, statement: str, words: str) -> None:
    base = rig.full()
    rig.sandbox.sql(statement)
    made, note = rig.incremental(base)
    assert made.type == "full"
    assert f"a full backup is made instead: {words}" in note
    assert rig.incremental(made.id)[0].type == "incremental"


def test_a_backup_of_before_the_settings_were_noted(rig: Changing) -> None:
    """Beside a folder lies what the tool has noted; beside a stream nothing, which is told."""
    base, packed = rig.full(form="folder"), rig.full(form="zstd")
    for name in (base, packed):
        old = asdict(read_manifest(rig.backups / name).server)
        rig.rewrite(
            name, server={key: value for key, value in old.items() if key not in ("settings", "links")}
        )
    assert rig.incremental(base)[0].type == "incremental"
    made, note = rig.incremental(packed)
    assert made.type == "full"
    assert f"{packed} is of an older DBCalm, which did not note the server's settings beside it" in note


def test_undo_tablespaces_and_system_files_and_then_encryption(rig: Changing) -> None:
    """In this order, as each stays."""
    base = rig.full(form="folder")
    old = asdict(read_manifest(rig.backups / base).server)
    rig.sandbox.sql("SET GLOBAL innodb_fast_shutdown = 0")
    rig.sandbox.add_options("innodb_undo_tablespaces=3")
    made, note = rig.incremental(base)
    assert made.type == "full"
    assert f"innodb_undo_tablespaces was 0 when {base} was made and is 3" in note
    rig.rewrite(base, server={key: value for key, value in old.items() if key not in ("settings", "links")})
    again, note = rig.incremental(base)
    assert again.type == "full"
    assert f"innodb_undo_tablespaces was 0 when {base} was made and is 3" in note

    size = (rig.data / "ibdata1").stat().st_size >> 20
    rig.sandbox.add_options(f"innodb_data_file_path=ibdata1:{size}M;ibdata2:8M:autoextend")
    more, note = rig.incremental(made.id)
    assert more.type == "full"
    assert "innodb_data_file_path was ibdata1:12M:autoextend when" in note

    if not (PLUGINS / "file_key_management.so").exists():
        pytest.skip(f"no plugins in {PLUGINS}")
    keys = _keys(rig, "keys.txt")
    rig.sandbox.add_options(
        *rig.sandbox.database.plugin_options("file_key_management"),
        f"file_key_management_filename={keys}", "innodb_encrypt_tables=ON", "innodb_encrypt_log=ON",
        "innodb_encryption_threads=1",
    )  # fmt: skip
    sealed, note = rig.incremental(more.id)
    assert sealed.type == "full"
    assert "innodb_encrypt_tables was OFF when" in note
    assert "plugins was empty when" in note
    assert sealed.server.encrypts
    point, note = rig.incremental(sealed.id)
    assert (point.type, note) == ("incremental", "")
    assert rig.restore(point.id, "folder").is_dir()

    other = _keys(rig, "other.txt", keys.read_text())
    rig.sandbox.add_options(f"file_key_management_filename={other}")
    moved, note = rig.incremental(point.id)
    assert moved.type == "full"
    assert f"file_key_management_filename was {keys} when {sealed.id} was made and is {other}" in note


def _keys(rig: Changing, name: str, text: str | None = None) -> Path:
    path = rig.sandbox.root / name
    path.write_text(text or f"1;{secrets.token_hex(32)}\n")
    path.chmod(0o644)
    return path
