"""The password that unlocks the server's key file: in no backup, log or answer, and there when a backup comes back."""

import gzip
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib.database import PLUGINS
from tests.integration.conftest import Rig, sandbox_with

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not PLUGINS.is_dir(), reason="needs the server's plugins, in build/plugins"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to encrypt a key file"),
]

PASSWORD = "Very-Secret-Pass"


def key_file(folder: Path) -> Path:
    """Write an encrypted key file as the server's documentation says."""
    plain, path = folder / "plain", folder / "keys.enc"
    plain.write_text(f"1;{secrets.token_hex(32)}\n")
    encrypt = ["openssl", "enc", "-aes-256-cbc", "-md", "sha1", "-pass", f"pass:{PASSWORD}"]
    subprocess.run([*encrypt, "-in", plain, "-out", path], check=True, capture_output=True)
    plain.unlink()
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def encrypting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Give a sandbox whose server encrypts and has the password as such in its options."""
    table = "(id INT PRIMARY KEY, body VARCHAR(200))"
    statements = f"CREATE DATABASE shop; CREATE TABLE shop.orders {table}; CREATE TABLE shop.log {table}"
    with sandbox_with(tmp_path_factory.mktemp("keys") / "sandbox", statements) as sandbox:
        keys = key_file(sandbox.root)
        sandbox.add_options(
            *sandbox.database.plugin_options("file_key_management"),
            f"file_key_management_filename={keys}", f"file_key_management_filekey={PASSWORD}",
            "innodb_encrypt_tables=ON",
        )  # fmt: skip
        sandbox.sql("INSERT INTO shop.log VALUES (1, 'encrypted')")
        yield Rig(sandbox)


def told(rig: Rig) -> str:
    """Return all that is told of jobs to those who may read them."""
    listed = rig.sandbox.cli("processes", "list", "--json", "--per-page", "100").stdout
    jobs = [str(one["command_id"]) for one in json.loads(listed)["items"]]
    logs = [rig.sandbox.cli("processes", "log", job).stdout for job in jobs]
    assert all(logs)
    return listed + "".join(logs)


def content(path: Path) -> bytes:
    """Return what is stored in a file, unpacked."""
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.mark.parametrize("forms", [("folder", "zstd"), ("zstd", "folder"), ("gzip", "gzip")])
def test_is_in_nothing_that_is_kept_or_told_and_backups_come_back(
    encrypting: Rig, forms: tuple[str, str]
) -> None:
    full, above = (f"{form}-{number}-of-{'-'.join(forms)}" for number, form in enumerate(forms))
    encrypting.backup(id=full, form=forms[0])
    encrypting.sandbox.sql(f"REPLACE INTO shop.log VALUES (2, '{above}')")
    encrypting.backup(id=above, type="incremental", from_backup_id=full, form=forms[1])
    stored = [path for id in (full, above) for path in (encrypting.backups / id).rglob("*") if path.is_file()]
    assert any(b"#file_key_management_filekey" in content(path) for path in stored)
    assert not [path for path in stored if PASSWORD.encode() in content(path)]
    place = encrypting.restore(above, "folder")
    assert not [
        path for path in place.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert PASSWORD not in told(encrypting)
    root = encrypting.sandbox.root
    kept = [
        path
        for path in (root / "jobs").rglob("*")
        if path.is_file() and PASSWORD in path.read_text("latin-1")
    ]
    assert kept == []
    for folder in ("log", "state"):
        assert not [
            path for path in (root / folder).rglob("*")
            if path.is_file() and PASSWORD.encode() in path.read_bytes()
        ]  # fmt: skip


def test_is_advised_to_be_in_a_file(encrypting: Rig) -> None:
    told = encrypting.sandbox.cli("setup", "--check").stdout
    assert "set file_key_management_filekey=FILE:/path" in told
    assert PASSWORD not in told


def test_that_is_not_found_any_more_is_asked_for(encrypting: Rig) -> None:
    encrypting.backup(id="lonely")
    jobs = encrypting.sandbox.root / "jobs"
    noted = jobs / "server-options.json"
    aside = noted.rename(encrypting.sandbox.root / "options-aside")
    status = encrypting.end(encrypting.start("/restore", {"id": "lonely", "target": "folder"}))
    assert status["status"] == "failed"
    assert "file_key_management_filekey is in no backup, and not found in the option files" in status["error"]
    by_hand = jobs / "keys.cnf"
    assert str(by_hand) in status["error"]
    by_hand.write_text(f"file_key_management_filekey={PASSWORD}\n")
    os.chown(by_hand, jobs.stat().st_uid, jobs.stat().st_gid)
    by_hand.chmod(0o600)
    encrypting.restore("lonely", "folder")
    by_hand.unlink()
    aside.rename(noted)
