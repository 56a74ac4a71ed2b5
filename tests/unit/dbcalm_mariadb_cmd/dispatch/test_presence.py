"""What a look at the disk finds of the backups: there, gone, or not whole; and that it comes to an end."""

import os
import shutil

import pytest

from dbcalm_mariadb_cmd.command.requests import LookAtBackups
from dbcalm_mariadb_cmd.dispatch import presence
from dbcalm_mariadb_cmd.dispatch.presence import Presence
from dbcalm_mariadb_cmd.store.manifest import FILES, MANIFEST
from tests.support.engine_lab import Lab
from tests.support.engine_tiny import DATA, Shelf, reports_of


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    found = Shelf(lab)
    found.chain("a")
    return found


def test_what_is_there_and_whole_has_no_problem(shelf: Shelf) -> None:
    assert Presence(shelf.lab.backups).look(0) == {"a0": None, "a1": None, "a2": None}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (DATA, f"{DATA} has 1 bytes, not 4"),
        (MANIFEST, f"{MANIFEST} cannot be read"),
        (FILES, f"{FILES} was changed"),
    ],
)
def test_what_was_truncated_is_damaged(shelf: Shelf, name: str, words: str) -> None:
    os.truncate(shelf.lab.backups / "a1" / name, 1)
    found = Presence(shelf.lab.backups).look(0)
    assert str(found.pop("a1")).startswith(f"backup a1 is damaged: {words}")
    assert found == {"a0": None, "a2": None}


@pytest.mark.parametrize(
    ("name", "words"),
    [(DATA, f"{DATA} is missing"), (MANIFEST, f"{MANIFEST} is missing"), (FILES, f"{FILES} cannot be read")],
)
def test_what_was_removed_from_a_folder_is_damaged(shelf: Shelf, name: str, words: str) -> None:
    (shelf.lab.backups / "a1" / name).unlink()
    assert Presence(shelf.lab.backups).look(0)["a1"] == f"backup a1 is damaged: {words}"


def test_what_was_removed_is_not_there_and_comes_back(shelf: Shelf) -> None:
    looking = Presence(shelf.lab.backups)
    aside = shelf.lab.root / "aside"
    shutil.move(shelf.lab.backups / "a1", aside)
    assert looking.look(0).keys() == {"a0", "a2"}
    shutil.move(aside, shelf.lab.backups / "a1")
    assert looking.look(0).keys() == {"a0", "a1", "a2"}


def test_what_is_none_of_ours_is_no_backup(shelf: Shelf) -> None:
    (shelf.lab.backups / "theirs").mkdir()
    (shelf.lab.backups / "file").write_text("x")
    assert Presence(shelf.lab.backups).look(0).keys() == {"a0", "a1", "a2"}


def test_a_look_is_good_for_as_long_as_the_asker_says(shelf: Shelf) -> None:
    now = [100.0]
    looking = Presence(shelf.lab.backups, lambda: now[0])
    looking.look(0)
    os.truncate(shelf.lab.backups / "a1" / DATA, 1)
    now[0] += 2
    assert looking.look(3)["a1"] is None
    assert looking.look(1)["a1"] is not None


def test_a_look_that_takes_too_long_goes_on_with_the_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each backup takes more than half of the time here: what is gone is seen at once, what is damaged in turn."""
    now = [100.0]
    problem = presence._problem

    def slowly(folder: os.PathLike[str], *, in_full: bool) -> str | None:
        now[0] += 3.0 * in_full
        return problem(folder, in_full=in_full)  # type: ignore[arg-type]  # a path

    monkeypatch.setattr(presence, "_problem", slowly)
    looking = Presence(shelf.lab.backups, lambda: now[0])
    assert looking.look(0) == {"a0": None, "a1": None, "a2": None}
    for id in ("a0", "a1", "a2"):
        os.truncate(shelf.lab.backups / id / DATA, 1)
    for _ in range(2):
        found = looking.look(0)
    assert all(found.values())
    shutil.rmtree(shelf.lab.backups / "a2")
    assert looking.look(0).keys() == {"a0", "a1"}


def test_a_folder_of_backups_that_is_not_there_is_one_problem(shelf: Shelf) -> None:
    shelf.lab.backups.rename(shelf.lab.root / "aside")
    answer = reports_of(shelf.settings, shelf.control).presence(LookAtBackups("", 0))
    assert answer["backups"] == []
    assert answer["problem"] == (
        f"{shelf.lab.backups}: No such file or directory: see that the disk of backup_dir is mounted: "
        f"findmnt --target {shelf.lab.backups}"
    )
    check = reports_of(shelf.settings, shelf.control).check()
    assert check["database"] == {"ok": False, "message": answer["problem"]}
    (shelf.lab.root / "aside").rename(shelf.lab.backups)
    assert reports_of(shelf.settings, shelf.control).presence(LookAtBackups("a0", 0))["backups"] == [
        ["a1", None],
        ["a2", None],
    ]
