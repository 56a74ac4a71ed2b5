"""The command lines, word for word as the vendors document them: mariadb.com/docs and docs.percona.com."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.builder.argv import (
    ENGINES,
    Binlog,
    Effort,
    backup_argv,
    client_argv,
    fact_questions,
    prepare_argvs,
)

CREDENTIALS = Path("/etc/dbcalm/credentials.cnf")
TARGET = Path("/backups/.work/7")
INCREMENTS = [Path(f"/restore/{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize("tool", ["/usr/bin/mariadb-backup", "/usr/bin/mariabackup", "/usr/bin/xtrabackup"])
def test_full_backup(tool: str) -> None:
    assert backup_argv(Path(tool), CREDENTIALS, TARGET, None) == [
        tool,
        "--defaults-file=/etc/dbcalm/credentials.cnf",
        "--defaults-group-suffix=-dbcalm",
        "--backup",
        "--target-dir=/backups/.work/7",
        "--log-copy-interval=100",
    ]


def test_incremental_backup_names_its_base() -> None:
    full = backup_argv(Path("/usr/bin/mariadb-backup"), CREDENTIALS, TARGET, None)
    incremental = backup_argv(Path("/usr/bin/mariadb-backup"), CREDENTIALS, TARGET, Path("/backups/monday"))
    assert incremental == [*full, "--incremental-basedir=/backups/monday"]


def test_a_stream_goes_to_standard_output_and_its_facts_into_a_folder() -> None:
    full = backup_argv(Path("/t"), CREDENTIALS, TARGET, None)
    argv = backup_argv(
        Path("/t"), CREDENTIALS, TARGET, Path("/b/monday/dbcalm-lsn"), checkpoints=TARGET / "lsn"
    )
    assert argv == [
        *full,
        "--stream=xbstream",
        "--extra-lsndir=/backups/.work/7/lsn",
        "--incremental-basedir=/b/monday/dbcalm-lsn",
    ]


def test_how_hard_it_works_is_said_only_where_it_is_not_the_default() -> None:
    full = backup_argv(Path("/t"), CREDENTIALS, TARGET, None)
    assert backup_argv(Path("/t"), CREDENTIALS, TARGET, None, Effort(niceness=5, io_class=3)) == full
    hard = backup_argv(Path("/t"), CREDENTIALS, TARGET, None, Effort(parallel=4, throttle=100))
    assert hard == [*full, "--parallel=4", "--throttle=100"]
    steps = prepare_argvs(ENGINES["mariadb"], Path("/t"), TARGET, INCREMENTS[:1], 1 << 20)
    assert [[word for word in step if "memory" in word] for step in steps] == [["--use-memory=1048576"]] * 2


def prepare(engine: str, links: int) -> list[list[str]]:
    """Return the words after the tool and its option file, for a chain of so many links."""
    commands = prepare_argvs(
        ENGINES[engine], Path("/bin/tool"), Path("/restore/data"), INCREMENTS[: links - 1]
    )
    for command in commands:
        assert command[:2] == ["/bin/tool", "--defaults-file=/restore/data/backup-my.cnf"]
    return [command[2:] for command in commands]


@pytest.mark.parametrize("links", [1, 2, 3, 4])
def test_mariadb_prepares_the_full_and_then_each_incremental(links: int) -> None:
    expected = [["--prepare", "--target-dir=/restore/data"]] + [
        ["--prepare", "--target-dir=/restore/data", f"--incremental-dir=/restore/{number}"]
        for number in range(1, links)
    ]
    assert prepare("mariadb", links) == expected


PXB = ["--prepare", "--target-dir=/restore/data"]
OPEN = [*PXB, "--apply-log-only"]


@pytest.mark.parametrize(
    "commands",
    [
        [PXB],
        [OPEN, [*PXB, "--incremental-dir=/restore/1"]],
        [OPEN, [*OPEN, "--incremental-dir=/restore/1"], [*PXB, "--incremental-dir=/restore/2"]],
        [
            OPEN,
            [*OPEN, "--incremental-dir=/restore/1"],
            [*OPEN, "--incremental-dir=/restore/2"],
            [*PXB, "--incremental-dir=/restore/3"],
        ],
    ],
    ids=lambda commands: f"{len(commands)} links",
)
def test_xtrabackup_leaves_all_but_the_last_open(commands: list[list[str]]) -> None:
    assert prepare("mysql", len(commands)) == commands


def test_client_goes_on_after_an_error_and_answers_in_columns() -> None:
    assert client_argv(Path("/usr/bin/mariadb"), CREDENTIALS) == [
        "/usr/bin/mariadb",
        "--defaults-file=/etc/dbcalm/credentials.cnf",
        "--defaults-group-suffix=-dbcalm",
        "--batch",
        "--skip-column-names",
        "--connect-timeout=5",
        "--default-character-set=utf8mb4",
        "--loose-skip-reconnect",
        "--force",
    ]


@pytest.mark.parametrize("odd", ["a b", "$(id)", "; id", "-x", "*"])
def test_a_value_stays_one_word_behind_its_option(odd: str) -> None:
    argv = backup_argv(Path("/t"), Path(f"/c/{odd}"), Path(f"/w/{odd}"), Path(f"/b/{odd}"))
    assert [word for word in argv if odd in word] == [
        f"--defaults-file=/c/{odd}",
        f"--target-dir=/w/{odd}",
        f"--incremental-basedir=/b/{odd}",
    ]


def test_no_command_has_a_password_or_a_shell() -> None:
    argvs = [
        backup_argv(Path("/bin/tool"), CREDENTIALS, TARGET, TARGET),
        client_argv(Path("/bin/client"), CREDENTIALS),
        *prepare_argvs(ENGINES["mysql"], Path("/bin/tool"), TARGET, INCREMENTS),
    ]
    for argv in argvs:
        assert argv[1].startswith("--defaults-file=/")
        assert not [word for word in argv if "password" in word or word in ("sh", "-c", "-p")]


def test_what_differs_between_the_vendors() -> None:
    mariadb, mysql = ENGINES["mariadb"], ENGINES["mysql"]
    assert mariadb.programs == ("mariadb-backup", "mariabackup")
    assert mysql.programs == ("xtrabackup",)
    assert (mariadb.unstreamers, mysql.unstreamers) == (("mbstream",), ("xbstream",))
    assert mariadb.metadata_prefixes == (
        "mariadb_backup_",
        "xtrabackup_",
    )  # The new name first, then the old.
    assert mysql.metadata_prefixes == ("xtrabackup_",)
    assert mariadb.grants == ("RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR")
    assert mysql.grants == ("BACKUP_ADMIN", "PROCESS", "RELOAD", "LOCK TABLES", "REPLICATION CLIENT")


def test_facts_are_questions_of_one_statement_each() -> None:
    asked = fact_questions(ENGINES["mariadb"], Binlog("bin.000003", 512, "0-1-7"))
    assert asked["gtid"] == "SELECT BINLOG_GTID_POS('bin.000003', 512)"
    assert not [sql for sql in asked.values() if ";" in sql or "\n" in sql]


@pytest.mark.parametrize(("engine", "base"), [("mariadb", None), ("mysql", Binlog("bin.000003", 512, ""))])
def test_facts_without_a_base_or_of_mysql_ask_for_no_gtid(engine: str, base: Binlog | None) -> None:
    assert fact_questions(ENGINES[engine], base)["gtid"] == "SELECT NULL"


REAL = shutil.which("mariadb-backup")


@pytest.mark.skipif(REAL is None, reason="mariadb-backup is not installed")
class TestTheRealTool:
    """Exit code 1 is "cannot do that", 2 and 7 are "no such option, or in the wrong place"."""

    def exit_code(self, argv: list[str]) -> int:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

    def test_knows_the_words_of_a_backup(self, tmp_path: Path) -> None:
        credentials = tmp_path / "c.cnf"
        credentials.write_text(f"[client-dbcalm]\nuser=x\nsocket={tmp_path}/none\n")
        effort = Effort(parallel=2, throttle=9)
        argv = backup_argv(
            Path(str(REAL)), credentials, tmp_path / "t", tmp_path / "base", effort, tmp_path / "lsn"
        )
        assert self.exit_code(argv) == 1
        assert self.exit_code([*argv, "--apply-log-only"]) == 2

    def test_knows_the_words_of_a_prepare(self, tmp_path: Path) -> None:
        (tmp_path / "backup-my.cnf").write_text("[mysqld]\n")
        for argv in prepare_argvs(ENGINES["mariadb"], Path(str(REAL)), tmp_path, [tmp_path], 1 << 26):
            assert self.exit_code(argv) == 1
