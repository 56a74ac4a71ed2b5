"""What takes space until somebody removes it is told by status, with the command that removes it."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import SMALL_SHOP, Rig, sandbox_with
from tests.support.patience import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with sandbox_with(tmp_path_factory.mktemp("space") / "sandbox", SMALL_SHOP) as sandbox:
        made = Rig(sandbox)
        made.backup(id="by-hand")
        yield made


def line(rig: Rig, name: str) -> str:
    """Return a line of status, or nothing."""
    told = rig.sandbox.cli("status").stdout.splitlines()
    return next((one.removeprefix(name).strip() for one in told if one.startswith(f"{name} ")), "")


def advised(sentence: str, **given: str) -> list[list[str]]:
    """Return the commands of a line, its placeholders filled in."""
    commands = re.findall(r"dbcalm ([^;]+)", sentence)
    return [[given.get(word, word) for word in shlex.split(command)] for command in commands]


def test_backups_by_hand(own: Rig) -> None:
    """One without a rule is told; one that a rule covers, be it by its schedule or for all, is not."""
    told = line(own, "by hand")
    assert told.startswith("1 backups, ")
    listed, _remove = advised(told)
    assert "by-hand" in own.sandbox.cli(*listed).stdout
    own.backup(id="by-hand-too", type="incremental", from_backup_id="by-hand")
    assert line(own, "by hand").startswith("2 backups, ")
    with own.configured("dbcalm", keep_last=3):
        assert line(own, "by hand") == ""
    added = own.sandbox.cli(
        "schedules", "add", "full", "--frequency", "daily", "--hour", "3", "--minute", "0",
        "--retention-value", "7", "--retention-unit", "days", "--disabled", "--json",
    )  # fmt: skip
    number = json.loads(added.stdout)["id"]
    own.backup(id="scheduled", schedule_id=number)
    assert line(own, "by hand").startswith("2 backups, ")
    own.backup(id="scheduled-too", type="incremental", from_backup_id="by-hand-too", schedule_id=number)
    assert line(own, "by hand") == ""


def test_restored_folders(own: Rig) -> None:
    assert line(own, "restored") == ""
    folder = own.restore("by-hand", "folder")
    told = line(own, "restored")
    assert told.startswith("1 folders, ")
    listed, remove = advised(told, ID=folder.name)
    assert str(folder) in own.sandbox.cli(*listed).stdout
    assert own.api.call("GET", "/ready")["restored"]["count"] == 1
    removed = own.sandbox.cli(*remove, "--yes")
    assert removed.returncode == 0, removed
    assert not folder.exists()
    eventually(lambda: list(folder.parent.glob(f".{folder.name}*")) == [])
    assert line(own, "restored") == ""
    assert "by-hand" in own.listed()


def test_only_a_folder_that_a_restore_has_made_is_removed(own: Rig) -> None:
    kept = own.restore("by-hand", "folder")
    stranger = kept.with_name("by-hand-restored-2020-01-01-00-00-00")
    kept.rename(stranger)
    try:
        for id, words in (
            (stranger.name, "the journal does not say that a restore has made"),
            (kept.name, f"there is no restored folder {kept.name}"),
            ("..", "there is no restored folder"),
            ("by-hand", "there is no restored folder by-hand"),
        ):
            refused = own.sandbox.cli("restores", "remove", id, "--yes")
            assert refused.returncode == 1, refused
            assert words in refused.stderr
        assert stranger.is_dir()
    finally:
        stranger.rename(kept)
    outside = own.sandbox.root / "outside"
    kept.rename(outside)
    kept.symlink_to(outside)
    assert own.sandbox.cli("restores", "remove", kept.name, "--yes").returncode == 1
    kept.unlink()
    outside.rename(kept)
    assert own.sandbox.cli("restores", "remove", kept.name, "--yes").returncode == 0


def test_a_folder_in_which_a_process_works_stays(own: Rig) -> None:
    """A database server runs on it, as after a look at older data."""
    folder = own.restore("by-hand", "folder")
    with serving(own, folder):
        refused = own.sandbox.cli("restores", "remove", folder.name, "--yes")
        assert refused.returncode == 1
        assert f"works in {folder}" in refused.stderr
        assert (folder / "ibdata1").exists()
    assert own.sandbox.cli("restores", "remove", folder.name, "--yes").returncode == 0


class serving:  # it is used as a statement
    """A server on a restored folder, for a block."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self._rig, self._folder = rig, folder

    def __enter__(self) -> None:
        who = self._rig.sandbox.who.database
        self._process = subprocess.Popen(
            [*who.drop(), "mariadbd", "--no-defaults", f"--datadir={self._folder}", "--skip-networking",
             f"--socket={self._folder}/x.sock", "--skip-grant-tables", "--pid-file=x.pid"],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(lambda: (self._folder / "x.sock").exists())

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


def test_what_a_restore_replaced_is_removed_for_root_alone(own: Rig) -> None:
    """Also where the service itself is asked, as by whoever has got hold of the API."""
    assert line(own, "replaced") == ""
    refused = own.sandbox.cli("replaced", "remove", "none", "--yes")
    assert (refused.returncode, refused.stderr) == (
        1,
        "dbcalm: only root may remove what a restore has replaced: sudo dbcalm replaced remove ID\n",
    )
    program = (
        "from pathlib import Path; from dbcalm_mariadb_cmd_client import MariadbCmdClient;"
        f"print(MariadbCmdClient(Path({str(own.sandbox.layout.mariadb_cmd_socket)!r})).remove_replaced('none'))"
    )
    python = str(own.sandbox.layout.launch).split()[0]
    for who, words in (
        (own.sandbox.who.api.drop(), "is for root alone"),
        ([], "nothing that was replaced is kept"),
    ):
        asked = subprocess.run(
            [*who, python, "-c", program],
            cwd=own.sandbox.layout.programs, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert words in asked.stdout, asked
