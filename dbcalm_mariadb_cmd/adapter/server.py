"""The database server, asked through its own command-line client, which speaks every way of logging in that the
backup tool speaks, from the same credentials file."""

import os
import re
import subprocess
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.linux import birth_time
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT
from dbcalm_mariadb_cmd.builder import (
    CREDENTIALS_SECTION,
    ENCRYPTING,
    Binlog,
    Engine,
    client_argv,
    facts_sql,
    pulse_sql,
)
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs import OURS_IN_DATA_DIR
from dbcalm_mariadb_cmd.manifest import Origin

NO_CREDENTIALS = "credentials file not found or missing [client-dbcalm] section"
NOT_RUNNING = "server is not running"
NOT_STOPPED = "server is not stopped"
NOT_EMPTY = "data directory is not empty"

_CANNOT_CONNECT = re.compile(r"^ERROR (2002|2003|2006|2013|2026)\b", re.MULTILINE)
_NO_LOGIN = re.compile(r"^ERROR (1045|1044|1698|1130|1862|4151)\b.*", re.MULTILINE)
_DENIED = re.compile(r"^ERROR (?:1227|1142).*", re.MULTILINE)
_LOCKED = re.compile(r"^ERROR 1205\b", re.MULTILINE)
_PRIVILEGES = re.compile(r"need \(at least one of\) the (.+?) privilege")
_TABLE = re.compile(r"SELECT command denied .* for table [`'](?:performance_schema`\.`)?(\w+)[`']")
_SERVERS = ("mariadbd", "mysqld", "mariadbd-safe", "mysqld_safe")
_SECONDS = 30


@dataclass(frozen=True)
class ServerFacts:
    """A running server. ``gtid_at_base`` is the GTID that its binary log has at the base's position, "" for none,
    None where it cannot tell; ``binlogs`` maps each binary log's name to its bytes, None where there is none.
    ``data_bytes`` is about what a full backup copies: the data, and the redo log since the last checkpoint;
    ``tablespaces`` how many files of tables the tool has open meanwhile."""

    origin: Origin
    lsn: int
    binlogs: dict[str, int] | None
    gtid_at_base: str | None
    data_bytes: int
    tablespaces: int


def require_credentials(path: Path) -> None:
    """Raise Refused 503 in the contract's words unless the file can be read and has our section."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        cause = "credentials" if isinstance(error, FileNotFoundError) else None
        what = f"; let mysql read it: chgrp mysql {path} && chmod 640 {path}" if error.errno == EACCES else ""
        raise Refused(503, f"{NO_CREDENTIALS}: {path}: {error.strerror}{what}", cause=cause) from error
    if f"[{CREDENTIALS_SECTION}]" not in (line.strip() for line in lines):
        raise Refused(503, f"{NO_CREDENTIALS}: {path}", cause="credentials")


def read_facts(engine: Engine, client: Path, credentials: Path, base: Binlog | None) -> ServerFacts:
    """Ask the server who it is and run the statements that a backup will need; raise Refused 503 if it does not run,
    does not let us in, or has not granted what is needed (the sentence has the GRANT to type)."""
    asked = _ask(client, credentials, facts_sql(engine, base))
    if _CANNOT_CONNECT.search(asked.stderr):
        raise Refused(503, NOT_RUNNING)
    if refused := _NO_LOGIN.search(asked.stderr):
        raise Refused(503, f"the database refuses the user of {credentials}: {refused[0]}", cause="login")
    account, *rows = [line.split("\t") for line in asked.stdout.splitlines()] or [[""]]
    if account[0] != "#account":
        raise Refused(503, f"the database client failed: {' '.join(asked.stderr.split())[:300]}")
    _require_grants(engine, account[1], asked.stderr)
    if _LOCKED.search(asked.stderr):
        raise Refused(
            409,
            "the server's backup lock is not to be had: another backup, not one of DBCalm's, or a session with "
            "LOCK TABLES is in the way; wait for its end",
            job_id=None,
        )
    if ["#binlogs"] not in rows or ["#probes"] not in rows:
        raise Refused(503, "the database stopped answering; see that it runs")
    binlogs, probes = rows.index(["#binlogs"]), rows.index(["#probes"])
    variables = {row[0].lower(): row[1] for row in rows[:binlogs]}
    gtid = None if account[2] == "NULL" else account[2]
    return _facts(
        engine,
        variables,
        {row[0]: int(row[1]) for row in rows[binlogs + 1 : probes]},
        gtid,
    )


def is_running(client: Path, credentials: Path, data_dir: Path) -> bool:
    """Tell whether a server answers, or any process of a server has its data directory here."""
    asked = _ask(client, credentials, "SELECT 1;\n")
    return not _CANNOT_CONNECT.search(asked.stderr) or server_process(data_dir)


@dataclass(frozen=True)
class Pulse:
    """A server that answers: seconds since its start, its data directory and log sequence number. All but that it
    answers is unknown (0, "", None) where it does not let us in."""

    uptime: int
    data_dir: str
    lsn: int | None


def pulse(client: Path, credentials: Path) -> Pulse | None:
    """Ask a server how it is; None if there is none. Raise Refused 503 if it accepts the question and says nothing."""
    asked = _ask(client, credentials, pulse_sql())
    if _CANNOT_CONNECT.search(asked.stderr):
        return None
    rows = dict(line.lower().split("\t", 1) for line in asked.stdout.splitlines() if "\t" in line)
    lsn = rows.get("innodb_lsn_current") or rows.get("innodb_redo_log_current_lsn")
    data_dir = next(
        (line.split("\t", 1)[1] for line in asked.stdout.splitlines() if line.startswith("datadir")), ""
    )
    return Pulse(
        int(rows.get("uptime", "0")),
        os.path.realpath(data_dir) if data_dir else "",
        int(lsn) if lsn else None,
    )


def _ask(client: Path, credentials: Path, sql: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            client_argv(client, credentials),
            input=sql,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(503, f"the database does not answer within {_SECONDS} s") from error


def _require_grants(engine: Engine, account: str, stderr: str) -> None:
    denied = _DENIED.findall(stderr)
    if not denied:
        return
    needed = [found[1] for line in denied if (found := _PRIVILEGES.search(line))]
    missing = [grant for grant in engine.grants if any(grant in names for names in needed)]
    tables = [found[1] for line in denied if (found := _TABLE.search(line))]
    user, _, host = account.rpartition("@")
    statements = [f"GRANT SELECT ON performance_schema.{table} TO `{user}`@`{host}`;" for table in tables]
    if missing or not tables:
        statements.insert(0, f"GRANT {', '.join(missing or engine.grants)} ON *.* TO `{user}`@`{host}`;")
    raise Refused(503, f"the backup user lacks a grant; type: {' '.join(statements)}", cause="grants")


def _facts(
    engine: Engine, variables: dict[str, str], binlogs: dict[str, int], gtid: str | None
) -> ServerFacts:
    version = variables.get("version", "")
    is_mariadb = "mariadb" in (version + variables.get("version_comment", "")).lower()
    if is_mariadb != (engine.name == "mariadb"):
        raise Refused(503, f"db_type is {engine.name}, but the server is {version}")
    data_dir = Path(os.path.realpath(variables["datadir"]))
    lsn = int(variables.get("innodb_lsn_current") or variables.get("innodb_redo_log_current_lsn") or "0")
    size, tablespaces = _data(data_dir, set(binlogs))
    checkpoint = (
        variables.get("innodb_lsn_last_checkpoint") or variables.get("innodb_redo_log_checkpoint_lsn") or lsn
    )
    return ServerFacts(
        origin=Origin(
            version=version.split("-", 1)[0],
            data_dir=str(data_dir),
            ibdata=_ibdata(data_dir, variables),
            server_uuid=variables.get("server_uuid", ""),
            elsewhere=_elsewhere(data_dir, variables),
            encrypts=any(_value(variables, name).upper() not in ("", "OFF", "0") for name in ENCRYPTING),
        ),
        lsn=lsn,
        binlogs=binlogs if variables.get("log_bin") == "ON" else None,
        gtid_at_base=gtid,
        data_bytes=size + max(0, lsn - int(checkpoint)),
        tablespaces=tablespaces,
    )


def _ibdata(data_dir: Path, variables: dict[str, str]) -> tuple[int, int]:
    first = variables.get("innodb_data_file_path", "ibdata1:").split(":", 1)[0]
    path = data_dir / _value(variables, "innodb_data_home_dir") / first
    try:
        return path.stat().st_ino, birth_time(path)
    except OSError as error:
        raise Refused(
            503,
            f"user mysql cannot read the server's data directory: {path}: {error.strerror}",
        ) from error


def _elsewhere(data_dir: Path, variables: dict[str, str]) -> dict[str, str]:
    names = (
        "innodb_data_home_dir",
        "innodb_log_group_home_dir",
        "innodb_undo_directory",
        "aria_log_dir_path",
    )
    paths = {name: Path(os.path.realpath(data_dir / _value(variables, name))) for name in names}
    return {name: str(path) for name, path in paths.items() if path != data_dir}


def _value(variables: dict[str, str], name: str) -> str:
    value = variables.get(name, "")
    return "" if value == "NULL" else value


def _data(data_dir: Path, binlogs: set[str]) -> tuple[int, int]:
    """Return how many bytes a full backup copies of files, which are all but binary logs, redo log and temporary files;
    and how many of these are tablespaces."""
    total = tablespaces = 0
    for root, folders, files in os.walk(data_dir):
        if root == str(data_dir):
            folders[:] = [name for name in folders if not name.startswith(OURS_IN_DATA_DIR)]
        for name in files:
            if name in binlogs or name.startswith(("ib_logfile", "ibtmp", "#ib_redo", "#sql")):
                continue
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
            tablespaces += name.endswith(".ibd")
    return total, tablespaces


def server_process(data_dir: Path) -> bool:
    """Tell whether a server process works in the data directory.

    A server changes into its data directory at start. One that root started and that then became another user keeps
    that from us; unless its command line names another data directory, it counts as working in this one.
    """
    real = os.path.realpath(data_dir)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "comm").read_text().strip() not in _SERVERS:
                continue
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            named = [word.partition("=")[2] for word in words if word.startswith("--datadir=")]
            if any(os.path.realpath(name) == real for name in named):
                return True
            if not named and _works_in(entry, real):
                return True
        except OSError:
            continue  # It has ended.
    return False


def _works_in(process: Path, data_dir: str) -> bool:
    try:
        return str((process / "cwd").readlink()) == data_dir
    except PermissionError:
        owner = re.search(r"^Uid:\s+\d+\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
        return owner is not None and int(owner[1]) == os.geteuid()
