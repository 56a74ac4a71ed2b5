"""The mark by which the folder of backups is known again: which is another folder, and which is the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.store.mark import MARK, NOTE, absence, settle
from tests.support.engine_lab import Lab
from tests.support.engine_tiny import Shelf


class Ground:
    """A folder of backups and its note, as the service looks at them."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.backups, self.jobs = shelf.lab.backups, shelf.lab.jobs
        self.aside = shelf.lab.root / "aside"

    def look(self) -> str | None:
        """Look as the service does, and say what is wrong."""
        settle(self.backups, self.jobs, self.shelf.control.history.newest)
        return absence(self.backups, self.jobs)

    def unmount(self) -> None:
        """Leave the folder of a mount point without its disk."""
        self.backups.rename(self.aside)
        self.backups.mkdir()

    def mount(self) -> None:
        """Put it back."""
        shutil.rmtree(self.backups)
        self.aside.rename(self.backups)


@pytest.fixture
def ground(lab: Lab) -> Ground:
    shelf = Shelf(lab)
    shelf.chain("a")
    shelf.control.history.catch_up()
    return Ground(shelf)


def test_an_empty_folder_in_its_place_is_another_one_until_it_is_back(ground: Ground) -> None:
    assert ground.look() is None
    ground.unmount()
    for _ in range(2):
        assert ground.look() == (
            f"backup_dir {ground.backups} is not the folder that backups were made in: see that the disk of backup_dir "
            f"is mounted: findmnt --target {ground.backups}; if they are to be made in this one from now on, type: "
            f"touch {ground.backups}/{MARK}"
        )
    assert not list(ground.backups.iterdir())
    ground.mount()
    assert ground.look() is None


def test_a_folder_that_is_not_there_is_named(ground: Ground) -> None:
    ground.look()
    shutil.rmtree(ground.backups)
    assert ground.look() == (
        f"{ground.backups}: No such file or directory: see that the disk of backup_dir is mounted: "
        f"findmnt --target {ground.backups}"
    )


def test_a_folder_in_which_no_backup_was_made_yet_is_not_marked(lab: Lab) -> None:
    ground = Ground(Shelf(lab))
    assert ground.look() is None
    assert not (ground.backups / MARK).exists()
    ground.unmount()
    assert ground.look() is None


def test_with_the_disk_away_since_before_there_were_marks(ground: Ground) -> None:
    ground.unmount()
    assert "is not the folder" in str(ground.look())
    ground.mount()
    assert ground.look() is None, "it holds the newest backup that the journal knows"
    ground.unmount()
    assert "is not the folder" in str(ground.look())


@pytest.mark.parametrize("content", ["", "\n"])
def test_the_file_that_is_to_be_made_makes_it_the_folder(ground: Ground, content: str) -> None:
    ground.look()
    ground.unmount()
    (ground.backups / MARK).write_text(content)
    assert ground.look() is None
    assert (ground.backups / MARK).read_text() == (ground.aside / MARK).read_text()
    ground.mount()
    assert ground.look() is None, "disks that take turns are both good from then on"


def test_the_disk_of_another_host_is_another_folder(ground: Ground) -> None:
    ground.look()
    ground.unmount()
    (ground.backups / MARK).write_text("0" * 32)
    assert "is not the folder" in str(ground.look())


def lose_mark(ground: Ground) -> None:
    (ground.backups / MARK).unlink()


def lose_note(ground: Ground) -> None:
    (ground.jobs / NOTE).unlink()


def damage_note(ground: Ground) -> None:
    (ground.jobs / NOTE).write_text('{"backup_dir": 7')


def forge_mark(ground: Ground) -> None:
    (ground.backups / MARK).write_text("another\n")


@pytest.mark.parametrize("lose", [lose_mark, lose_note, damage_note, forge_mark])
def test_what_is_lost_of_it_is_made_anew(ground: Ground, lose: Callable[[Ground], None]) -> None:
    ground.look()
    lose(ground)
    assert ground.look() is None
    noted = json.loads((ground.jobs / NOTE).read_text())
    assert noted == {
        "backup_dir": str(ground.backups),
        "id": (ground.backups / MARK).read_text().strip(),
    }
    ground.unmount()
    assert "is not the folder" in str(ground.look())


def test_a_folder_that_is_configured_anew_is_another_one_on_purpose(ground: Ground, tmp_path: Path) -> None:
    ground.look()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    settle(fresh, ground.jobs, ground.shelf.control.history.newest)
    assert absence(fresh, ground.jobs) is None


def test_a_folder_that_was_moved_brings_its_mark_along(ground: Ground, tmp_path: Path) -> None:
    ground.look()
    moved = ground.backups.rename(tmp_path / "moved")
    settle(moved, ground.jobs, None)
    assert absence(moved, ground.jobs) is None
    assert json.loads((ground.jobs / NOTE).read_text())["backup_dir"] == str(moved)
