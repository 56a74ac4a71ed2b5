"""What the database server tells of itself, and whether one works in a data directory."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import secrets
from dbcalm_mariadb_cmd.adapter.server.asking import Answer, NotAnswered, ask
from dbcalm_mariadb_cmd.adapter.server.datadir import survey
from dbcalm_mariadb_cmd.adapter.server.holders import holder
from dbcalm_mariadb_cmd.adapter.server.origin import WHEREABOUTS, of_server
from dbcalm_mariadb_cmd.adapter.server.refusals import NOT_RUNNING, nobody_listens, refusal
from dbcalm_mariadb_cmd.adapter.small_files import small_text
from dbcalm_mariadb_cmd.builder.argv import (
    ALL_VARIABLES,
    CREDENTIALS_SECTION,
    MYROCKS_GRANT,
    PULSE,
    Binlog,
    Engine,
    fact_questions,
)
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.errors import Refused

NO_CREDENTIALS = "credentials file not found or missing [client-dbcalm] section"
NOT_STOPPED = "server is not stopped"
NOT_EMPTY = "data directory is not empty"

_DENIED = (1044, 1142, 1227, 1370)
_LOCKED = 1205
_CLIENT_ERRORS = range(2000, 3000)
_SHUTTING_DOWN = 1053
_PRIVILEGES = re.compile(r"need \(at least one of\) the (.+?) privilege")
_TABLE = re.compile(r"SELECT command denied .* for table [`'](?:performance_schema`\.`)?(\w+)[`']")
_HAS_SUPER = re.compile(r"^GRANT (?:ALL PRIVILEGES|.*\bSUPER\b).* ON \*\.\* TO")
_VERSION = re.compile(r"(\d+\.\d+\.\d+)(?:\D|$)")
_ACCOUNT = re.compile(r".*@.*")
_NEEDED = ("version", "datadir", "log_bin", "innodb_data_file_path")
_PASSWORD, _IN_A_FILE = "file_key_management_filekey", "FILE:"
_KEY_FILES = ("file_key_management_filename", _PASSWORD)
_LSNS = ("innodb_lsn_current", "innodb_redo_log_current_lsn")
_CHECKPOINTS = ("innodb_lsn_last_checkpoint", "innodb_redo_log_checkpoint_lsn")


@dataclass(frozen=True)
class ServerFacts:
    """A running server. ``gtid_at_base`` is the GTID that its binary log has at the base's position, "" for none,
    None where it cannot tell; ``binlogs`` maps each binary log's name to its bytes, None where there is none.
    ``data_bytes`` is about what a full backup copies: the data, and the redo log since the last checkpoint;
    ``tablespaces`` how many files of tables the tool has open meanwhile. ``problem`` says what in the data directory
    the tool would not copy, None if nothing. ``has_secrets`` says that its key
    management has a password, and ``advice`` what to do about one that stands in its options as such."""

    origin: Origin
    lsn: int
    binlogs: dict[str, int] | None
    gtid_at_base: str | None
    data_bytes: int
    tablespaces: int
    problem: str | None = None
    has_secrets: bool = False
    advice: str | None = None


def require_credentials(path: Path) -> None:
    """Raise Refused 503 in the contract's words unless the file can be read and has our section."""
    try:
        lines = small_text(path, follow=True).splitlines()
    except OSError as error:
        cause = "credentials" if isinstance(error, FileNotFoundError) else None
        what = f"; let mysql read it: chgrp mysql {path} && chmod 640 {path}" if error.errno == EACCES else ""
        raise Refused(503, f"{NO_CREDENTIALS}: {path}: {error.strerror}{what}", cause=cause) from error
    if f"[{CREDENTIALS_SECTION}]" not in (line.strip() for line in lines):
        raise Refused(503, f"{NO_CREDENTIALS}: {path}", cause="credentials")


def read_facts(
    engine: Engine, client: Path, credentials: Path, base: Binlog | None, data_dir: Path
) -> ServerFacts:
    """Ask the server who it is and run the statements that a backup will need; raise Refused 503 if it does not run,
    does not let us in, gives the tool less than all that it asks for, or has not granted what is needed (the sentence
    has the GRANT to type). What the server cannot say of the base's place in its binary log keeps nobody."""
    probes = {f"probe {number}": sql for number, sql in enumerate(engine.grant_probes)}
    try:
        answers = ask(
            client, credentials, {**fact_questions(engine, base), **WHEREABOUTS, **probes}, ALL_VARIABLES
        )
    except NotAnswered as silence:
        refused = refusal(silence, credentials)
        if str(refused) == NOT_RUNNING and (working := holder(data_dir)) and working.sure:
            raise Refused(
                503,
                f"{working} works in {data_dir}, and nobody listens where {credentials} has the server: it is "
                f"starting, or that file names another socket ({silence})",
            ) from silence
        raise refused from silence
    variables = _variables(answers)
    _require_keys(variables)
    _require_grants(engine, answers, [answers[name] for name in probes])
    if any(error.number == _LOCKED for name in probes if (error := answers[name].error)):
        raise Refused(
            409,
            "the server's backup lock is not to be had: another backup, not one of DBCalm's, or a session with "
            "LOCK TABLES is in the way; wait for its end",
            job_id=None,
        )
    return _facts(engine, variables, answers)


@dataclass(frozen=True)
class Occupied:
    """Why a data directory is not free, in one sentence that begins with the contract's words. Not ``sure``: a server
    that may as well work elsewhere cannot be told from one that works here."""

    sentence: str
    sure: bool


def occupied(client: Path, credentials: Path, data_dir: Path) -> Occupied | None:
    """Tell whether a server works in this directory, or answers where ours should and does not say that it works
    elsewhere; None if all are stopped. A server of another directory that only runs on this host is none of them."""
    if (working := holder(data_dir)) and working.sure:
        return Occupied(f"{NOT_STOPPED}: {working} works in {data_dir}; {working.how_to_stop}", sure=True)
    try:
        answers = ask(client, credentials, PULSE)
    except NotAnswered as silence:
        if not nobody_listens(silence):
            return Occupied(
                f"{NOT_STOPPED}: one answers where {credentials} has it, and does not say where it works: {silence}",
                sure=True,
            )
    except Refused as hanging:
        return Occupied(
            f"{NOT_STOPPED}: one takes questions where {credentials} has it: {hanging}", sure=True
        )
    else:
        where = _data_dir(answers["datadir"]) or "a directory that it does not name"
        return Occupied(
            f"{NOT_STOPPED}: the one that {credentials} names answers; it works in {where}, and data_dir is {data_dir}",
            sure=True,
        )
    if working is None:
        return None
    return Occupied(
        f"{NOT_STOPPED}: {working} may work in {data_dir}, as user mysql may not see where it does; "
        f"{working.how_to_stop}; or, if it is another server, start it with --datadir= on its command line",
        sure=False,
    )


@dataclass(frozen=True)
class Pulse:
    """A server that answers: seconds since its start, its data directory and log sequence number. All but that it
    answers is unknown (0, "", None) where it does not let us in."""

    uptime: int
    data_dir: str
    lsn: int | None


def pulse(client: Path, credentials: Path) -> Pulse | None:
    """Ask a server how it is; None if there is none, or none yet. Raise Refused 503 if it accepts the question and says
    nothing."""
    try:
        answers = ask(client, credentials, PULSE)
    except NotAnswered as silence:
        number = silence.error.number
        said_no = number not in _CLIENT_ERRORS and number != _SHUTTING_DOWN
        return Pulse(0, "", None) if said_no else None
    status = _pairs(answers["status"])
    return Pulse(_number(status, ("uptime",)) or 0, _data_dir(answers["datadir"]), _number(status, _LSNS))


def _data_dir(answer: Answer) -> str:
    named = _pairs(answer).get("datadir", "")
    return os.path.realpath(named) if named.startswith("/") else ""


def _pairs(answer: Answer) -> dict[str, str]:
    """Return the rows of two fields, names in small letters, "" for NULL."""
    return {row[0].lower(): "" if row[1] == "NULL" else row[1] for row in answer.rows if len(row) == 2}


def _number(pairs: Mapping[str, str], names: Iterable[str]) -> int | None:
    """Return the first of these that is a number."""
    found = (pairs.get(name, "") for name in names)
    return next((int(value) for value in found if value.isascii() and value.isdigit()), None)


def _variables(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Return the server's variables, as the backup tool will see them; raise Refused 503 if that is not all of them: it
    does not say so, and may crash."""
    answer = answers[""]
    tool_asks = f"the backup tool cannot work, as the server answers it {ALL_VARIABLES}"
    if answer.error:
        raise Refused(503, f"{tool_asks} with: {answer.error}; put that right in the server's settings")
    limit = _one(answers["limit"])
    if limit.isdigit() and len(answer.rows) >= int(limit):
        raise Refused(
            503,
            f"{tool_asks} with {len(answer.rows)} rows, not all: sql_select_limit is {limit}; type as the database's "
            "root: SET GLOBAL sql_select_limit = 18446744073709551615, and see that no option file sets it",
        )
    variables = _pairs(answer)
    missing = [name for name in _NEEDED if not variables.get(name)]
    if missing or not _VERSION.match(variables["version"]) or not variables["datadir"].startswith("/"):
        odd = missing or [f"{name} {variables[name]}" for name in ("version", "datadir")]
        raise Refused(503, f"{tool_asks} in a form that is not known: {', '.join(odd)}")
    return variables


def _require_keys(variables: Mapping[str, str]) -> None:
    """Raise Refused 503 if a file of the server's encryption keys is named that the tool, as user mysql, cannot read.
    The server has them in memory, and may not have noticed."""
    for name in _KEY_FILES:
        value = variables.get(name, "")
        is_path = name != _PASSWORD or value.startswith(_IN_A_FILE)
        path = value.removeprefix(_IN_A_FILE) if is_path else ""
        if path.startswith("/") and not os.access(path, os.R_OK):
            what = "cannot be read by user mysql" if os.path.lexists(path) else "is not there"
            raise Refused(
                503,
                f"the file with the server's encryption keys that {name} names {what}: {path}; put it back, for user "
                "mysql to read: the server will not start without it either",
            )


def _one(answer: Answer) -> str:
    """Return the one value that was asked for, "" where it was not told."""
    return answer.rows[0][0] if len(answer.rows) == 1 and len(answer.rows[0]) == 1 else ""


def _require_grants(engine: Engine, answers: Mapping[str, Answer], probes: Iterable[Answer]) -> None:
    """Raise Refused 503 with what to type if a statement of the tool's was denied, or will be."""
    denied = [probe.error.said for probe in probes if probe.error and probe.error.number in _DENIED]
    with_myrocks = _one(answers["myrocks"]) not in ("", "0")
    lacks_super = with_myrocks and not any(_HAS_SUPER.match(row[0]) for row in answers["grants"].rows)
    if not denied and not lacks_super:
        return
    needed = [found[1] for line in denied if (found := _PRIVILEGES.search(line))]
    missing = [grant for grant in engine.grants if any(grant in names for names in needed)]
    tables = [found[1] for line in denied if (found := _TABLE.search(line))]
    if denied and not missing and not tables:
        missing = list(engine.grants)
    if lacks_super:
        missing.append(MYROCKS_GRANT)
    user, _, host = _one(answers["account"]).rpartition("@")
    account = f"`{user}`@`{host}`"
    statements = [f"GRANT {', '.join(missing)} ON *.* TO {account};"] if missing else []
    statements += [f"GRANT SELECT ON performance_schema.{table} TO {account};" for table in tables]
    why = " (the server has MyRocks, for which the backup tool needs SUPER)" if lacks_super else ""
    raise Refused(503, f"the backup user lacks a grant{why}; type: {' '.join(statements)}", cause="grants")


def _facts(engine: Engine, variables: dict[str, str], answers: Mapping[str, Answer]) -> ServerFacts:
    version = variables["version"]
    is_mariadb = "mariadb" in (version + variables.get("version_comment", "")).lower()
    if is_mariadb != (engine.name == "mariadb"):
        raise Refused(503, f"db_type is {engine.name}, but the server is {version}")
    data_dir = Path(os.path.realpath(variables["datadir"]))
    status = _pairs(answers["status"])
    lsn = _number(status, _LSNS)
    if lsn is None:
        why = answers["status"].error or "is InnoDB switched off?"
        raise Refused(503, f"the server does not tell InnoDB's log sequence number: {why}")
    binlogs = _binlogs(answers["binlogs"]) if variables["log_bin"] == "ON" else None
    found = survey(data_dir, set(binlogs or ()))
    return ServerFacts(
        origin=of_server(answers, variables, found.links),
        lsn=lsn,
        binlogs=binlogs,
        gtid_at_base=None
        if answers["gtid"].error or _one(answers["gtid"]) == "NULL"
        else _one(answers["gtid"]),
        data_bytes=found.data_bytes + max(0, lsn - (_number(status, _CHECKPOINTS) or lsn)),
        tablespaces=found.tablespaces,
        problem=found.problem(),
        has_secrets=is_mariadb and secrets.are_in(variables),
        advice=secrets.advice(variables),
    )


def _binlogs(answer: Answer) -> dict[str, int] | None:
    """Return the binary logs with their bytes, None where the server does not tell."""
    rows = [row for row in answer.rows if len(row) > 1 and row[1].isdigit()]
    return None if answer.error else {row[0]: int(row[1]) for row in rows}
