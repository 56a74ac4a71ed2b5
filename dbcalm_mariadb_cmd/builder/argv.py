"""The command lines of the backup tools and of the database's client: pure functions from values to argv lists.

mariadb-backup and XtraBackup are one engine with two profiles; what differs between them stands in ``ENGINES``. The
facts come from the vendors' documentation: mariadb.com/docs (mariadb-backup) and docs.percona.com (XtraBackup 8.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GROUP_SUFFIX = "-dbcalm"
CREDENTIALS_SECTION = "client" + GROUP_SUFFIX

LOG_COPY_INTERVAL_MS = 100
"""How often the tool looks for new redo log. Its default of 1000 is a wait of up to a second at each backup's end."""

ENCRYPTING = (
    "innodb_encrypt_tables", "innodb_encrypt_log", "file_key_management_filename", "default_table_encryption",
    "innodb_redo_log_encrypt",
)  # fmt: skip
"""Variables of a server that encrypts by itself: any one that is neither off nor empty."""

ALL_VARIABLES = "SHOW VARIABLES"
"""The first thing that the tool asks a server. It takes what is not answered for not being there."""

MYROCKS_GRANT = "SUPER"
"""What the tool needs besides where the engine MyRocks is there: it has a copy of it made by a variable of the server.
Documented by MariaDB for mariadb-backup; 10.11 asks for just that."""

MYROCKS = "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'ROCKSDB' AND plugin_status = 'ACTIVE'"


@dataclass(frozen=True)
class Engine:
    """What differs between the two vendors' tools and servers.

    ``apply_log_only``: XtraBackup must be told to leave a base open for the next incremental, on every step but the
    last; mariadb-backup refuses that flag with exit code 2. ``grant_probes``: the statements that the tool runs, some
    of them only at the very end of a copy, so that a missing grant shows itself in the first second.
    """

    name: str
    programs: tuple[str, ...]
    unstreamers: tuple[str, ...]
    clients: tuple[str, ...]
    servers: tuple[str, ...]
    metadata_prefixes: tuple[str, ...]
    apply_log_only: bool
    grants: tuple[str, ...]
    grant_probes: tuple[str, ...]
    gtid_at: str


ENGINES = {
    "mariadb": Engine(
        name="mariadb",
        programs=("mariadb-backup", "mariabackup"),
        unstreamers=("mbstream",),
        clients=("mariadb", "mysql"),
        servers=("mariadbd", "mysqld"),
        metadata_prefixes=("mariadb_backup_", "xtrabackup_"),
        apply_log_only=False,
        grants=("RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR"),
        grant_probes=(
            "BACKUP STAGE START",
            "BACKUP STAGE END",
            "SHOW ENGINE INNODB STATUS",
            "SHOW MASTER STATUS",
        ),
        gtid_at="BINLOG_GTID_POS('{file}', {position})",
    ),
    "mysql": Engine(
        name="mysql",
        programs=("xtrabackup",),
        unstreamers=("xbstream",),
        clients=("mysql",),
        servers=("mysqld",),
        metadata_prefixes=("xtrabackup_",),
        apply_log_only=True,
        grants=(
            "BACKUP_ADMIN",
            "PROCESS",
            "RELOAD",
            "LOCK TABLES",
            "REPLICATION CLIENT",
        ),
        grant_probes=(
            "LOCK INSTANCE FOR BACKUP",
            "UNLOCK INSTANCE",
            "SHOW ENGINE INNODB STATUS",
            "SELECT 1 FROM performance_schema.log_status WHERE 0",
            "SELECT 1 FROM performance_schema.keyring_component_status WHERE 0",
            "SELECT 1 FROM performance_schema.replication_group_members WHERE 0",
        ),
        gtid_at="NULL",
    ),
}


@dataclass(frozen=True)
class Binlog:
    """A position in the binary log: file name, byte offset, and the GTID reached there (may be empty)."""

    file: str
    position: int
    gtid: str


@dataclass(frozen=True)
class Effort:
    """How hard the tool may work. 0 is its own default: one thread to copy with, about 100 MB of memory to prepare in,
    no limit. ``throttle`` is in the vendor's own unit. ``niceness`` and ``io_class`` are what the kernel is told of a
    backup, the latter by its number in ioprio_set(2)."""

    parallel: int = 0
    prepare_memory: int = 0
    throttle: int = 0
    niceness: int = 0
    io_class: int = 0


NO_EFFORT = Effort()
"""All of the tool's own defaults."""


def backup_argv(
    tool: Path,
    credentials: Path,
    target: Path,
    base: Path | None,
    effort: Effort = NO_EFFORT,
    checkpoints: Path | None = None,
    no_databases: Sequence[str] = (),
) -> list[str]:
    """Return the command that copies the running server into ``target``, or what changed in it since ``base``. With
    ``checkpoints`` it copies to standard output instead, and puts the few facts about that into this folder.
    ``no_databases`` are folders of the data directory that it does not look into."""
    incremental = [f"--incremental-basedir={base}"] if base else []
    skipping = [f"--databases-exclude={' '.join(no_databases)}"] if no_databases else []
    streaming = ["--stream=xbstream", f"--extra-lsndir={checkpoints}"] if checkpoints else []
    return [
        str(tool),
        f"--defaults-file={credentials}",  # Must come first: the tool refuses it anywhere else.
        f"--defaults-group-suffix={GROUP_SUFFIX}",
        "--backup",
        f"--target-dir={target}",
        f"--log-copy-interval={LOG_COPY_INTERVAL_MS}",
        *([f"--parallel={effort.parallel}"] if effort.parallel else []),
        *([f"--throttle={effort.throttle}"] if effort.throttle else []),
        *streaming,
        *skipping,
        *incremental,
    ]


def prepare_argvs(
    engine: Engine, tool: Path, target: Path, incrementals: list[Path], memory: int = 0
) -> list[list[str]]:
    """Return the commands that make a copied chain startable, in order: the full first, then each incremental; each
    may take so many bytes of memory, 0 for the tool's default.

    Each changes its inputs (the deltas of an incremental are consumed), so these must be copies.
    """
    steps = [[], *([f"--incremental-dir={folder}"] for folder in incrementals)]
    commands = []
    for number, step in enumerate(steps, start=1):
        leave_open = ["--apply-log-only"] if engine.apply_log_only and number < len(steps) else []
        within = [f"--use-memory={memory}"] if memory else []
        prepare = ["--prepare", f"--target-dir={target}", *within, *leave_open, *step]
        commands.append([str(tool), f"--defaults-file={target}/backup-my.cnf", *prepare])
    return commands


def client_argv(client: Path, credentials: Path) -> list[str]:
    """Return the client's command; it reads statements from standard input and goes on after one that fails."""
    return [
        str(client),
        f"--defaults-file={credentials}",
        f"--defaults-group-suffix={GROUP_SUFFIX}",
        "--batch",
        "--skip-column-names",
        "--connect-timeout=5",
        "--default-character-set=utf8mb4",
        "--loose-skip-reconnect",  # A second session would not be what the first was made.
        "--force",
    ]


def asking_argv(client: str, credentials: str) -> list[str]:
    """Return the client's command to ask something, to which it is told how to answer; it stops at what fails."""
    return [
        client,
        f"--defaults-file={credentials}",  # Must come first.
        f"--defaults-group-suffix={GROUP_SUFFIX}",
        "--connect-timeout=5",
    ]


def administrator_argv(client: Path, socket: str) -> list[str]:
    """Return the client's command for the database's root, who comes by this socket or by the client's own.

    It reads none of the host's option files, and whatever the server asks for, no file of root's is sent to it.
    """
    return [
        str(client),
        "--no-defaults",  # Must come first.
        "--protocol=socket",
        "--user=root",
        *([f"--socket={socket}"] if socket else []),
        "--batch",
        "--skip-column-names",
        "--local-infile=0",
        "--connect-timeout=5",
    ]


PULSE = {
    "datadir": "SHOW GLOBAL VARIABLES WHERE Variable_name = 'datadir'",
    "status": "SHOW GLOBAL STATUS WHERE Variable_name IN"
    " ('Uptime', 'Innodb_lsn_current', 'Innodb_redo_log_current_lsn')",
}
"""What asks a server how it is, which every account may."""


def fact_questions(engine: Engine, base: Binlog | None) -> dict[str, str]:
    """Return the statements that ask a server who and where it is, and what it has at the base's position, by name."""
    gtid_at = engine.gtid_at.format(file=base.file, position=base.position) if base else "NULL"
    return {
        "account": "SELECT CURRENT_USER()",
        "limit": "SELECT @@GLOBAL.sql_select_limit",
        "gtid": f"SELECT {gtid_at}",
        "status": "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_lsn_current', 'Innodb_redo_log_current_lsn',"
        " 'Innodb_lsn_last_checkpoint', 'Innodb_redo_log_checkpoint_lsn')",
        "binlogs": "SHOW BINARY LOGS",
        "myrocks": MYROCKS,
        "grants": "SHOW GRANTS",
    }
