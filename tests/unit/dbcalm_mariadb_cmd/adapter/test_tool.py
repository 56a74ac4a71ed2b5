"""The backup tool as a process: real programs that succeed, fail, lie, shout and die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.builder.argv import ENGINES, Binlog
from dbcalm_mariadb_cmd.errors import JobFailed, Refused
from dbcalm_mariadb_cmd.jobs.order import open_lock
from tests.support.engine_lab import CHECKOUT, program, shell, wait_until

MARIADB, MYSQL = ENGINES["mariadb"], ENGINES["mysql"]
OK = "[00] 2026-11-23 03:00:00 completed OK!"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[str]]:
    """Run a shell script as the tool; return the lines that were told. What it wrote is in ``output.log``."""

    def start(source: str, make: Callable[[Path, str], Path] = shell) -> list[str]:
        told: list[str] = []
        lock, output = open_lock(tmp_path), Output(tmp_path / "output.log")
        try:
            tool.run([str(make(tmp_path / "tool", source))], output, told.append, lock)
        finally:
            output.finish()
            os.close(lock)
        return told

    return start


def say(text: str) -> str:
    return f"echo '{text}' >&2"


def test_success_is_exit_code_0_and_completed_ok(run: Callable[..., list[str]], tmp_path: Path) -> None:
    assert run(f"{say('copying')}; {say(OK)}") == ["copying", OK]
    assert (tmp_path / "output.log").read_text() == f"copying\n{OK}\n"


def test_empty_lines_after_the_last_word_do_not_count(run: Callable[..., list[str]]) -> None:
    run(f"{say(OK)}; echo >&2; echo '  ' >&2")


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (say("copying"), 0, "exit code 0: copying"),
        (":", 0, "exit code 0: "),
        (f"{say(OK)}; {say('one more thing')}", 0, "exit code 0: one more thing"),
        (f"{say(OK)}; exit 1", 1, "exit code 1"),
        (f"{say('[00] FATAL ERROR: 2026-11-23 03:00:00 no space')}; {say('bye')}; exit 1", 1, "no space"),
        (f"{say('2026-11-23  3:00:00 0 [ERROR] mariadb-backup: unknown option')}; exit 2", 2, "unknown option"),
        (f"{say(OK)}; kill -9 $$", -9, "ended by signal 9"),
        ("kill -2 $$", -2, "ended by signal 2"),
        (f"echo '{OK}'", 0, "exit code 0"),  # On standard output it is part of a stream, not a word of the tool.
    ],
)  # fmt: skip
def test_all_else_is_failure(run: Callable[..., list[str]], script: str, code: int, words: str) -> None:
    with pytest.raises(JobFailed) as failure:
        run(script)
    assert failure.value.return_code == code
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


def test_the_cause_is_the_line_of_the_error_without_its_time(run: Callable[..., list[str]]) -> None:
    lines = (
        "[00] 2026-11-23 03:00:00 Connecting",
        "2026-11-23  3:00:00 0 [ERROR] InnoDB: cannot   read",
        "bye",
    )
    with pytest.raises(JobFailed, match=r"failed with exit code 1: \[ERROR\] InnoDB: cannot read$"):
        run("\n".join(map(say, lines)) + "\nexit 1")


def test_much_on_both_streams_cannot_block_it(run: Callable[..., list[str]], tmp_path: Path) -> None:
    told = run(f"yes line | head -c 20000000 >&2; yes out | head -c 4000000; {say(OK)}")
    assert len(told) == 4_000_001
    assert (tmp_path / "output.log").stat().st_size < 8_400_000


def test_a_huge_line_is_taken_in_pieces(run: Callable[..., list[str]], tmp_path: Path) -> None:
    told = run(f"head -c 20000000 /dev/zero | tr '\\0' x >&2; echo >&2; {say(OK)}")
    assert max(map(len, told)) == 4096
    assert told[-1] == OK
    assert (tmp_path / "output.log").stat().st_size < 8_400_000


def test_bytes_that_are_no_text_are_replaced(run: Callable[..., list[str]]) -> None:
    assert run(f"printf '\\377\\n' >&2; {say(OK)}")[0] == "\ufffd"


def test_it_gets_nothing_of_ours_but_the_lock(
    run: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYSQL_PWD", "secret")
    with (tmp_path / "a-secret").open("w"):
        told = run(f"/usr/bin/env >&2; pwd >&2; cat >&2; ls -l /proc/$$/fd >&2; {say(OK)}")
    words = "\n".join(told)
    assert "secret" not in words
    assert "LC_ALL=C" in told
    assert "/" in told
    assert f"{tmp_path}/lock" in words


def test_it_dies_with_whoever_runs_it(tmp_path: Path) -> None:
    sleeper = shell(
        tmp_path / "tool",
        f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 60",
    )
    source = (
        "import sys; from pathlib import Path; from dbcalm_mariadb_cmd.adapter import tool\n"
        f"tool.run([{str(sleeper)!r}], tool.Output(Path({str(tmp_path / 'log')!r})), print, 1)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", source], cwd=CHECKOUT) as runner:
        wait_until((tmp_path / "pid").exists, "the tool's start")
        tool_pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{tool_pid}").exists()
        runner.kill()
    wait_until(lambda: not is_alive(tool_pid), "the tool's end")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


HALF = 4 << 20


def written(path: Path, lines: list[bytes]) -> bytes:
    output = Output(path)
    for line in lines:
        output.add(line)
    output.finish()
    return path.read_bytes()


def test_short_output_is_kept_whole(tmp_path: Path) -> None:
    lines = [b"%d\n" % number for number in range(1000)]
    assert written(tmp_path / "log", lines) == b"".join(lines)


def test_output_up_to_the_cap_is_kept_whole(tmp_path: Path) -> None:
    lines = [b"x" * 1023 + b"\n"] * 8192
    assert written(tmp_path / "log", lines) == b"".join(lines)


@pytest.mark.parametrize("length", [2, 100, 4096])
def test_long_output_keeps_its_head_and_its_tail(tmp_path: Path, length: int) -> None:
    lines = [b"%0*d\n" % (length - 1, number % 10) for number in range(3 * 2 * HALF // length)]
    head, mark, tail = written(tmp_path / "log", lines).partition(b"[...]\n")
    whole = b"".join(lines)
    assert mark
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert HALF <= len(head) < HALF + length
    assert HALF - length <= len(tail) <= HALF


def test_the_tail_is_about_a_screen(tmp_path: Path) -> None:
    output = Output(tmp_path / "log")
    for number in range(100):
        output.add(b"%d\n" % number)
    assert output.tail() == "".join(f"{number}\n" for number in range(60, 100))
    for _ in range(40):
        output.add(b"x" * 4096)
    assert len(output.tail()) == 16_000
    output.finish()


def test_the_configured_program_is_taken(tmp_path: Path) -> None:
    configured = shell(tmp_path / "mine", ":")
    assert tool.find(configured, ("sh",)) == configured


@pytest.mark.parametrize("kind", ["missing", "not executable", "a folder"])
def test_a_configured_program_that_cannot_run_is_refused(tmp_path: Path, kind: str) -> None:
    configured = tmp_path / "mine"
    if kind == "not executable":
        configured.write_text("#!/bin/sh\n")
    if kind == "a folder":
        configured.mkdir()
    with pytest.raises(Refused, match=f"{configured} is not a program") as refused:
        tool.find(configured, ("sh",))
    assert refused.value.code == 503


def test_the_first_program_that_is_installed_is_found() -> None:
    assert tool.find(None, ("no-such-tool", "sh", "ls")).name == "sh"


def test_no_program_is_refused_by_the_names_that_were_sought() -> None:
    with pytest.raises(Refused, match="none of no-such-tool, no-such-other is installed") as refused:
        tool.find(None, ("no-such-tool", "no-such-other"))
    assert refused.value.code == 503


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)", "10.11.19"),
        ("mariabackup based on MariaDB server 10.5.23-MariaDB Linux (x86_64)", "10.5.23"),
        ("xtrabackup version 8.4.0-1 based on MySQL server 8.4.0 Linux (x86_64) (revision id: a)", "8.4.0"),
        ("xtrabackup version 8.0.35-31 based on MySQL server 8.0.35 Linux (x86_64)", "8.0.35"),
    ],
)
@pytest.mark.parametrize("stream", ["1", "2"])
def test_version_of_each_vendor(tmp_path: Path, line: str, version: str, stream: str) -> None:
    assert tool.version(shell(tmp_path / "tool", f"echo '{line}' >&{stream}")) == version


def test_an_upgrade_of_the_tool_is_noticed(tmp_path: Path) -> None:
    path = shell(tmp_path / "tool", "echo 'server 10.11.1'")
    assert tool.version(path) == "10.11.1"
    shell(tmp_path / "new", "echo 'server 10.11.2'").replace(path)
    assert tool.version(path) == "10.11.2"


def test_a_tool_without_a_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not say which version it is"):
        tool.version(shell(tmp_path / "tool", "echo hello"))


CHECKPOINTS = "backup_type = {}\nfrom_lsn = {}\nto_lsn = {}\nlast_lsn = 0\nrecover_binlog_info = 0\n"
NAMES = ["xtrabackup_", "mariadb_backup_"]


def made(
    folder: Path, kind: str = "full-backuped", lsns: tuple[int, int] = (0, 900), prefix: str = NAMES[0]
) -> Path:
    """Write the metadata of a finished backup."""
    (folder / f"{prefix}checkpoints").write_text(CHECKPOINTS.format(kind, *lsns))
    (folder / f"{prefix}info").write_text("uuid = 1\n")
    return folder


@pytest.mark.parametrize("prefix", NAMES)
def test_checkpoints_under_both_names(tmp_path: Path, prefix: str) -> None:
    made(tmp_path, "incremental", (400, 900), prefix)
    assert tool.read_checkpoints(tmp_path, MARIADB) == tool.Checkpoints("incremental", 400, 900, 0)
    assert tool.require_whole(tmp_path, MARIADB, 400).to_lsn == 900


def test_the_new_name_goes_before_the_old(tmp_path: Path) -> None:
    made(tmp_path, lsns=(0, 1))
    made(tmp_path, lsns=(0, 2), prefix="mariadb_backup_")
    assert tool.read_checkpoints(tmp_path, MARIADB).to_lsn == 2


def test_xtrabackup_has_only_the_old_names(tmp_path: Path) -> None:
    made(tmp_path, prefix="mariadb_backup_")
    with pytest.raises(JobFailed, match="left no checkpoints file"):
        tool.read_checkpoints(tmp_path, MYSQL)


@pytest.mark.parametrize(
    "text", ["", "backup_type = full-backuped\n", CHECKPOINTS.format("full-backuped", "x", 1), "\0" * 100]
)
def test_checkpoints_that_say_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "xtrabackup_checkpoints").write_text(text)
    with pytest.raises(JobFailed, match="checkpoints file that cannot be read"):
        tool.read_checkpoints(tmp_path, MARIADB)


@pytest.mark.parametrize(
    ("text", "binlog"),
    [
        ("bin.000003\t512\t0-1-7\n", Binlog("bin.000003", 512, "0-1-7")),
        ("bin.000003\t512\t0-1-7,3-1-9\n", Binlog("bin.000003", 512, "0-1-7,3-1-9")),
        ("bin.000003\t512\n", Binlog("bin.000003", 512, "")),
        ("bin.3\t512\tuuid-a:1-5,\nuuid-b:1-3\n", Binlog("bin.3", 512, "uuid-a:1-5,uuid-b:1-3")),
        ("", None),
        ("bin.000003\tx\n", None),
    ],
)
@pytest.mark.parametrize("prefix", NAMES)
def test_binlog_position(tmp_path: Path, prefix: str, text: str, binlog: Binlog | None) -> None:
    (tmp_path / f"{prefix}binlog_info").write_text(text)
    assert tool.read_binlog(tmp_path, MARIADB) == binlog


def test_no_binlog_position_without_a_binary_log(tmp_path: Path) -> None:
    assert tool.read_binlog(tmp_path, MARIADB) is None


def test_a_whole_backup_may_end_where_it_begins(tmp_path: Path) -> None:
    assert tool.require_whole(made(tmp_path, "incremental", (900, 900)), MARIADB, 900).to_lsn == 900


@pytest.mark.parametrize(
    ("kind", "lsns", "base_lsn", "words"),
    [
        (
            "incremental",
            (500, 900),
            400,
            "of type incremental from LSN 500 where incremental from LSN 400 was asked",
        ),
        ("incremental", (400, 900), None, "where full-backuped from LSN 0 was asked"),
        ("full-backuped", (0, 900), 400, "of type full-backuped from LSN 0"),
        ("full-backuped", (1, 900), None, "from LSN 1"),
        ("log-applied", (0, 900), None, "of type log-applied"),
        ("incremental", (400, 399), 400, "ends at LSN 399, before it begins at 400"),
    ],
)
def test_checkpoints_that_are_not_what_was_asked_for(
    tmp_path: Path, kind: str, lsns: tuple[int, int], base_lsn: int | None, words: str
) -> None:
    with pytest.raises(JobFailed, match=words):
        tool.require_whole(made(tmp_path, kind, lsns), MARIADB, base_lsn)


def test_corrupted_pages_are_failure_although_the_tool_says_ok(tmp_path: Path) -> None:
    (made(tmp_path) / "innodb_corrupted_pages").write_text("shop/orders\n3\n")
    with pytest.raises(JobFailed, match="corrupted pages, listed in innodb_corrupted_pages"):
        tool.require_whole(tmp_path, MARIADB, None)


@pytest.mark.parametrize("name", ["checkpoints", "info"])
def test_a_killed_tool_leaves_no_metadata(tmp_path: Path, name: str) -> None:
    (made(tmp_path) / f"xtrabackup_{name}").unlink()
    with pytest.raises(JobFailed, match=f"left no {name} file"):
        tool.require_whole(tmp_path, MARIADB, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_python_tool_can_be_judged_too(run: Callable[..., list[str]], number: signal.Signals) -> None:
    source = f"import os, signal; signal.signal({number}, signal.SIG_DFL); os.kill(os.getpid(), {number})"
    with pytest.raises(JobFailed, match=f"signal {number}"):
        run(source, program)


@pytest.mark.parametrize(
    ("lines", "last", "before"),
    [
        (["InnoDB: End of log at LSN=46754"], 46754, None),
        (["2026-12-01  4:21:45 0 [Note] InnoDB: End of log at LSN=46753"], 46754, 46753),
        (["InnoDB: End of log at LSN=46800"], 46754, None),
        (["InnoDB: Starting crash recovery from checkpoint LSN=44404", "completed OK!"], 46754, None),
    ],
    ids=["its end", "before its end", "prepared already", "not said"],
)
def test_a_log_that_ends_before_its_end_is_known(lines: list[str], last: int, before: int | None) -> None:
    end = tool.LogEnd()
    for line in lines:
        end.follow(line)
    assert end.before(last) == before
