"""What a backup lacks of the server's tables, by names: of the data directory before and after, and of the backup."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.server.running import Running
from dbcalm_mariadb_cmd.backup.left_out import Watch
from dbcalm_mariadb_cmd.errors import JobFailed

_NOBODY = Running("/nonexistent/mariadb", "/nonexistent/credentials")
_INNODB, _MYISAM, _ARIA, _PARTITIONED, _MEMORY, _CONNECT = 12, 9, 42, 20, 6, 43


def _frm(engine: int) -> bytes:
    return bytes((0xFE, 1, 10, engine)) + bytes(60)


def _nothing(_data: Path) -> None:
    pass


def _put(folder: Path, names: Iterable[str], engine: int = _INNODB) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_frm(engine) if name.endswith(".frm") else b"")


def _new(folder: Path, name: str, engine: int = _INNODB) -> None:
    """Give a file another inode, as a rebuilt table has."""
    _put(folder, [f"{name}.made"], engine)
    made = folder / f"{name}.made"
    made.write_bytes(_frm(engine))
    made.replace(folder / name)


def _lacks(
    tmp_path: Path,
    server: Iterable[str],
    backup: Iterable[str],
    meanwhile: Callable[[Path], None] = _nothing,
    engine: int = _INNODB,
    lines: Iterable[str] = (),
) -> str:
    """Return what is said of a backup with these files of a server with those; "" if it is whole."""
    live, made = tmp_path / "live", tmp_path / "made"
    live.mkdir()
    _put(live, server, engine)
    watch = Watch(live)
    meanwhile(live)
    _put(made, backup, engine)
    for name in backup:
        watch.add(name)
    for line in lines:
        watch.follow(line)
    try:
        watch.require(_NOBODY, made)
    except JobFailed as failed:
        assert failed.failure
        assert failed.failure.passes
        return str(failed)
    return ""


_PAIR = ["shop/y.frm", "shop/y.MAI", "shop/y.MAD"]
_PARTS = ["shop/p.frm", "shop/p.par", "shop/p#P#p0.ibd", "shop/p#P#p1#SP#s1.ibd"]


@pytest.mark.parametrize(
    ("server", "backup"),
    [
        (["shop/a.frm", "shop/a.ibd"], ["shop/a.frm", "shop/a.ibd"]),
        (["shop/a.frm", "shop/a.ibd"], ["shop/a.frm", "shop/a.new"]),
        (["shop/a.frm", "shop/a.ibd"], ["shop/a.frm", "shop/a.ibd.delta", "shop/a.ibd.meta"]),
        (["shop/a.frm", "shop/a.isl"], ["shop/a.frm", "shop/a.isl", "shop/a.new"]),
        (["a@002db/a@00e9.frm", "a@002db/a@00e9.ibd"], ["a@002db/a@00e9.frm", "a@002db/a@00e9.new"]),
        (["shop/a.frm", "shop/a.ibd"], ["shop/a.frm", "elsewhere/shop/a.ibd"]),
        (_PAIR, _PAIR),
        (_PARTS, _PARTS),
        (_PARTS, [name.replace("#P#", "#p#").replace(".ibd", ".new") for name in _PARTS]),
        (["shop/psys.frm", "shop/psys.par"], ["shop/psys.frm", "shop/psys.par"]),
        (["shop/orphan.frm"], ["shop/orphan.frm"]),
        (["shop/view.frm"], ["shop/view.frm"]),
        (["shop/y.frm", "shop/y.MAD"], ["shop/y.frm", "shop/y.MAD"]),
        (["shop/y.frm", "shop/y.MAD"], ["shop/y.frm"]),
        (["shop.old/y.frm"], []),
        ([".snap/a.frm", "#sql-old/a.frm", "shop/#sql-1.frm", "lost+found/a.frm", "performance_schema/x.frm"], []),
        (["shop/orphan.ibd", "shop/db.opt", "shop/t.TRG", "shop/y.TMD", "ibdata1", "undo001"], []),
    ],
)  # fmt: skip
def test_what_the_server_had_all_the_while_is_there(
    tmp_path: Path, server: list[str], backup: list[str]
) -> None:
    assert _lacks(tmp_path, server, backup) == ""


@pytest.mark.parametrize(
    ("server", "missing"),
    [
        (_PAIR, ["shop/y.MAI"]),
        (_PAIR, ["shop/y.MAD"]),
        (_PAIR, ["shop/y.MAI", "shop/y.MAD"]),
        (_PAIR, _PAIR),
        (["shop/y.frm", "shop/y.ibd"], ["shop/y.ibd"]),
        (["shop/y.frm", "shop/y.ibd"], ["shop/y.frm"]),
        (["shop/y.frm", "shop/y.isl"], []),
        (["shop/y.frm", "shop/y.MYI", "shop/y.MYD"], ["shop/y.MYD"]),
        (["shop/y.frm", "shop/y.CSM", "shop/y.CSV"], ["shop/y.CSM"]),
        (["shop/y.frm", "shop/y.ARZ"], ["shop/y.ARZ"]),
        (["shop/y.frm", "shop/y.MRG"], ["shop/y.MRG"]),
        (["shop/y.frm", "shop/y.par", "shop/y#P#p0.ibd"], ["shop/y.par"]),
        (["shop/y.frm", "shop/y.par", "shop/y#P#p0.ibd", "shop/y#P#p1.ibd"], ["shop/y#P#p1.ibd"]),
        (["shop/y.frm", "shop/y.par", "shop/y#P#p0.MAI", "shop/y#P#p0.MAD"], ["shop/y#P#p0.MAD"]),
        (["shop/y.frm"], ["shop/y.frm"]),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, server: list[str], missing: list[str]) -> None:
    said = _lacks(tmp_path, server, [name for name in server if name not in missing])
    assert "left out the data of table shop/y and said nothing" in said
    assert "ALTER TABLE shop/y FORCE" in said


def test_three_are_named(tmp_path: Path) -> None:
    server = [f"shop/t{number}.{kind}" for number in range(5) for kind in ("frm", "ibd")]
    said = _lacks(tmp_path, server, [name for name in server if name.endswith("frm")])
    assert "tables shop/t0, shop/t1, shop/t2 and 2 more" in said


class TestWhatChangesMeanwhile:
    def test_is_created_or_dropped_or_renamed(self, tmp_path: Path) -> None:
        def change(live: Path) -> None:
            for kind in ("frm", "ibd"):
                (live / f"shop/old.{kind}").rename(live / f"shop/renamed.{kind}")
                (live / f"shop/dropped.{kind}").unlink()
            _put(live, ["shop/new.frm", "shop/new.ibd", "fresh/a.frm", "fresh/a.ibd"])

        server = ["shop/old.frm", "shop/old.ibd", "shop/dropped.frm", "shop/dropped.ibd"]
        assert _lacks(tmp_path, server, [], change) == ""

    def test_and_has_gone_at_the_backups_moment(self, tmp_path: Path) -> None:
        assert _lacks(tmp_path, _PAIR, [], lambda live: _new(live, "shop/y.frm", _ARIA), _ARIA) == ""

    @pytest.mark.parametrize("backup", [["shop/y.frm"], ["shop/y.frm", "shop/y.MAD"]])
    def test_but_has_its_data(self, tmp_path: Path, backup: list[str]) -> None:
        assert "shop/y" in _lacks(
            tmp_path, _PAIR, backup, lambda live: _new(live, "shop/y.frm", _ARIA), _ARIA
        )

    @pytest.mark.parametrize("engine", [_INNODB, _ARIA, _MYISAM])
    def test_or_was_there_for_a_moment_only(self, tmp_path: Path, engine: int) -> None:
        assert "shop/y" in _lacks(tmp_path, [], ["shop/y.frm"], engine=engine)

    @pytest.mark.parametrize("engine", [_MEMORY, _CONNECT])
    def test_unless_it_has_no_files(self, tmp_path: Path, engine: int) -> None:
        assert _lacks(tmp_path, [], ["shop/y.frm"], engine=engine) == ""

    def test_or_only_a_half_of_it_was_taken(self, tmp_path: Path) -> None:
        assert "shop/y" in _lacks(tmp_path, [], ["shop/y.frm", "shop/y.MYI"], engine=_MYISAM)

    def test_a_tablespace_is_discarded(self, tmp_path: Path) -> None:
        server = ["shop/a.frm", "shop/a.ibd"]
        assert _lacks(tmp_path, server, ["shop/a.frm"], lambda live: (live / "shop/a.ibd").unlink()) == ""

    def test_a_tablespace_is_imported(self, tmp_path: Path) -> None:
        assert "shop/a" in _lacks(
            tmp_path, ["shop/a.frm"], ["shop/a.frm"], lambda live: _put(live, ["shop/a.ibd"])
        )

    def test_a_copy_under_the_earlier_name_counts(self, tmp_path: Path) -> None:
        lines = [
            '[00] 2026-11-30 22:12:45 DDL tracking : rename 8 "./shop/old.ibd","./shop/between.ibd"',
            '[00] 2026-11-30 22:12:45 DDL tracking : rename 8 "./shop/between.ibd","./shop/new.ibd"',
        ]
        backup = ["shop/old.ibd", "shop/old.ren", "shop/new.frm"]
        assert _lacks(tmp_path, [], backup, lines=lines) == ""


_SAID = (
    "[01] 2026-11-30 22:12:45 Streaming /elsewhere/shop/dd.ibd",
    "[00] 2026-11-30 22:12:45 Streaming ./shop/sq.ibd",
    "[01] 2026-11-30 22:12:45 aria table file ./shop/y.MAI is copied successfully.",
    "[01] 2026-11-30 22:12:45 aria table file ./shop/y.MAD is copied successfully.",
    "[00] 2026-11-30 22:12:45 Copied file ./shop/m.MYD for table `shop`.`m`, 0 bytes",
    "[00] 2026-11-30 22:12:45 Copied file ./shop/m.MYI for table `shop`.`m`, 1024 bytes",
    "[00] 2026-11-30 22:12:45 Copied file ./mysql/slow_log.CSV for log table `mysql`.`slow_log`, 0 bytes",
    "[01] 2026-11-30 22:12:45 Copied file ./mysql/slow_log.CSM for log table `mysql`.`slow_log`, 35 bytes",
    "[01] 2026-11-30 22:12:45 Streaming ./mysql/slow_log.frm to <STDOUT>",
    "[01] 2026-11-30 22:12:45 Streaming ./shop/dd.isl to <STDOUT>",
    *(f"[01] 2026-11-30 22:12:45 Streaming ./shop/{name}.frm to <STDOUT>" for name in ("dd", "sq", "y", "m")),
)
"""Of mariadb-backup 10.11."""


@pytest.mark.parametrize("left_out", [None, *range(9), *range(10, len(_SAID))])
def test_of_a_stream_the_tool_says_what_is_in_it(tmp_path: Path, left_out: int | None) -> None:
    names = [
        "dd.isl",
        "sq.ibd",
        "y.MAI",
        "y.MAD",
        "m.MYI",
        "m.MYD",
        *(f"{name}.frm" for name in ("dd", "sq", "y", "m")),
    ]
    _put(tmp_path, [f"shop/{name}" for name in names])
    _put(tmp_path, [f"mysql/slow_log.{kind}" for kind in ("frm", "CSM", "CSV")])
    watch = Watch(tmp_path)
    for place, line in enumerate(_SAID):
        if place != left_out:
            watch.follow_stream(line)
    if left_out is None:
        assert watch.require(_NOBODY)
    else:
        with pytest.raises(JobFailed, match="left out"):
            watch.require(_NOBODY)


def test_what_a_stream_defines_is_read_while_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    watch = Watch(tmp_path)
    for line in _SAID:
        watch.follow_stream(line)
    for name, content in (("view", b"TYPE=VIEW\n"), ("memory", _frm(_MEMORY))):
        (tmp_path / f"shop/{name}.frm").write_bytes(content)
        watch.follow_stream(f"[01] 2026-11-30 22:12:45 Streaming ./shop/{name}.frm to <STDOUT>")
        (tmp_path / f"shop/{name}.frm").unlink()
    watch.require(_NOBODY)


def test_a_log_that_is_worded_otherwise_says_nothing_and_that_is_told(tmp_path: Path) -> None:
    _put(tmp_path, ["shop/a.frm", "shop/a.ibd", "shop/y.frm", "shop/y.MAI", "shop/y.MAD"])
    watch = Watch(tmp_path)
    for line in ("Copied ./shop/a.ibd", "[00] 2026-11-30 22:12:45 Streaming ./shop/a.frm to <STDOUT>"):
        watch.follow_stream(line)
    assert not watch.require(_NOBODY)
