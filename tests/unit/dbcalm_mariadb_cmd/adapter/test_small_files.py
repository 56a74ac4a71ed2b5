"""Whatever lies in the place of a small file: nobody waits for it, and nothing is written through it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.files import write_synced
from dbcalm_mariadb_cmd.adapter.small_files import append_to, new_file, open_regular, read_small, write_new
from dbcalm_mariadb_cmd.config.keys import ConfigError, load
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.jobs.order import forget_old_logs
from dbcalm_mariadb_cmd.store.history import History, unreadable
from dbcalm_mariadb_cmd.store.hold import stored_hold
from dbcalm_mariadb_cmd.store.journal import Journal
from dbcalm_mariadb_cmd.store.manifest import FILES, HOLD, MANIFEST, PROOF, Damaged, read_files, read_manifest
from dbcalm_mariadb_cmd.store.proof import proof_of
from tests.support.engine_lab import Lab

THING = Callable[[Path], object]


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # The path of a socket is short.
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def a_sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


THINGS: dict[str, THING] = {
    "pipe": os.mkfifo,
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
    "folder": lambda path: path.mkdir(),
    "3 GB of nothing": a_sparse_file,
}
ALL = pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS)


@ALL
def test_no_such_thing_is_read(tmp_path: Path, thing: THING) -> None:
    thing(tmp_path / "x")
    with pytest.raises(OSError, match=".") as refused:
        read_small(tmp_path / "x")
    assert refused.value.filename == str(tmp_path / "x")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 100)
    assert read_small(tmp_path / "x", 100) == b"x" * 100
    with pytest.raises(OSError, match="more than 99 bytes"):
        read_small(tmp_path / "x", 99)


def test_an_administrators_file_may_be_a_link_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("db_type: mariadb\n")
    (tmp_path / "link").symlink_to("real")
    assert read_small(tmp_path / "link", follow=True) == b"db_type: mariadb\n"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-a-pipe").symlink_to("pipe")
    for name in ("pipe", "to-a-pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            os.close(open_regular(tmp_path / name, follow=True))
        with pytest.raises(ConfigError, match="not a regular file"):
            load(Settings, tmp_path / name)


@pytest.mark.parametrize("name", ["pipe", "socket", "link", "link to nothing", "device"])
def test_what_is_written_is_a_new_file(tmp_path: Path, name: str) -> None:
    for number, write in enumerate(
        (lambda path: write_new(path, b"x"), lambda path: write_synced(path, "x"))
    ):
        path = tmp_path / f"{number}"
        THINGS[name](path)
        THINGS[name](path.with_name(f"{path.name}.new"))
        write(path)
        assert path.read_bytes() == b"x"
        assert not path.is_symlink()
    assert Path("/etc/passwd").read_bytes()[:1] != b"x"
    assert not (tmp_path / "nothing").exists()


def test_a_pipe_is_not_appended_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="No such device"):
        append_to(tmp_path / "x")
    os.close(new_file(tmp_path / "x"))


@ALL
def test_a_backup_with_such_a_thing_hides_no_other(lab: Lab, thing: THING) -> None:
    for name in ("bad", "good"):
        lab.back_up(name)
    (lab.backups / "bad" / MANIFEST).unlink()
    thing(lab.backups / "bad" / MANIFEST)
    history = History(Journal(lab.jobs / "journal"), lab.backups)
    assert history.newest is not None
    assert history.newest.id == "good"
    assert len(unreadable(lab.backups)) <= 1


@ALL
def test_beside_a_manifest_it_counts_against_deleting(lab: Lab, thing: THING) -> None:
    made, folder = lab.back_up("full"), lab.backups / "full"
    for name in (FILES, HOLD, PROOF):
        (folder / name).unlink(missing_ok=True)
        thing(folder / name)
    with pytest.raises(Damaged, match=f"{FILES} cannot be read"):
        read_files(folder, read_manifest(folder))
    missing = os.path.islink(folder / HOLD) and not (folder / HOLD).exists()
    assert stored_hold(folder) is not None or missing
    assert proof_of(folder, made).fault or missing


def test_a_runner_comes_to_its_end_whatever_lies_among_the_logs(lab: Lab) -> None:
    jobs = lab.jobs / "jobs"
    jobs.mkdir(exist_ok=True)
    for number in range(60):
        (jobs / f"{number:032}").mkdir()
        thing = list(THINGS.values())[number % len(THINGS)]
        thing(jobs / f"{number:032}" / "output.log")
        thing(jobs / f"{number:032}" / "output.new")
    (jobs / "stray").touch()
    forget_old_logs(lab.jobs)
