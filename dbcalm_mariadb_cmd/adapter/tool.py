"""The backup tool as a process: found, run, watched, and judged.

Only SIGINT and SIGKILL end it (it blocks SIGTERM), so it is tied to its parent's life by the kernel. Exit code 0 is
not success: see ``judge``. Sources: the vendors' documentation of mariadb-backup
and XtraBackup, and runs of mariadb-backup 10.11.
"""

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.linux import die_with_parent
from dbcalm_mariadb_cmd.adapter.secrets import redacted
from dbcalm_mariadb_cmd.adapter.small_files import append_to, small_text
from dbcalm_mariadb_cmd.builder import tool_errors
from dbcalm_mariadb_cmd.builder.argv import Binlog, Engine
from dbcalm_mariadb_cmd.command.shapes import Unsigned, fitted
from dbcalm_mariadb_cmd.errors import JobFailed, Refused

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LOG_HALF = 4 << 20
_TAIL_LINES = 40
_TAIL_CHARACTERS = 16_000
_LINE_LIMIT = 4096
_SERIOUS_LINES = 20
_CAUSES = ("[ERROR]", "impossible", "an't ", "annot ", "Error:", "error", "FATAL", "failed")
"""What marks a line as the cause of a failure, the surest first."""

_SERIOUS = re.compile("|".join(map(re.escape, _CAUSES)))
_HARMLESS = re.compile(r"\[Note\]|\[Warning\]|completed OK!|(?:Copying|Streaming|Skipping) ")
_PAGE = b"; hex "
CORRUPTED = "innodb_corrupted_pages"
"""A file of a backup that is none: it lists the pages of the server that could not be read well."""

_END_OF_LOG = re.compile(r"InnoDB: End of log at LSN=(\d+)")
"""How a prepare of mariadb-backup says how far it could read the redo log (10.11 and 11.8; 10.5 says nothing)."""

_IN_INFO = re.compile(
    r"^binlog_pos = filename '([^']+)', position '(\d+)'(?:, GTID of the last change '([^']*)')?", re.M
)


@dataclass(frozen=True)
class Checkpoints:
    """What the tool says that a backup covers: its kind, and log sequence numbers. ``to_lsn`` is the checkpoint that
    the next incremental begins at, ``last_lsn`` the end of the redo log that was copied."""

    backup_type: str
    from_lsn: Unsigned
    to_lsn: Unsigned
    last_lsn: Unsigned


class LogEnd:
    """How far a prepare could read the redo log of a backup, as it says itself. Damage in the middle of the log looks
    like its end to the tool, which goes on without a word."""

    def __init__(self) -> None:
        self._lsn: int | None = None

    def follow(self, line: str) -> None:
        """Take a line of the tool's log."""
        if found := _END_OF_LOG.search(line):
            self._lsn = int(found[1])

    def before(self, last_lsn: int) -> int | None:
        """Return where the log ended, if that is before ``last_lsn``, up to which the tool had copied it. None where it
        did not, or where this version of the tool does not say."""
        return self._lsn if self._lsn is not None and self._lsn < last_lsn else None


class Serious:
    """The first lines of a tool's log that may say why it failed: its last ones often tell of what followed only."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Take one line."""
        if len(self._lines) < _SERIOUS_LINES and _SERIOUS.search(line) and not _HARMLESS.search(line):
            self._lines.append(line)

    def text(self) -> str:
        """Return them."""
        return "\n".join(self._lines)


class Output:
    """What tools wrote to standard error in one job: a file of at most 8 MiB, its first and its last half. The
    first appears as it is written."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(append_to(path), "ab", buffering=0)
        self._room = _LOG_HALF
        self._later: deque[bytes] = deque()
        self._later_bytes = 0
        self._dropped = False
        self._in_a_page = False
        self._last: deque[bytes] = deque(maxlen=_TAIL_LINES)

    def add(self, line: bytes) -> None:
        """Take one line, but no page of a table that is in it: where a page is damaged the tool prints all of it."""
        if self._in_a_page:
            self._in_a_page = not line.endswith(b"\n")
            return
        text, page, _ = line.partition(_PAGE)
        if page:
            self._in_a_page = not line.endswith(b"\n")
            line = text + b" [...]\n"
        self._last.append(line)
        if self._room > 0:
            with suppress(OSError):  # A full disk of logs is no reason to fail a backup.
                self._file.write(line)
            self._room -= len(line)
            return
        self._later.append(line)
        self._later_bytes += len(line)
        while self._later_bytes > _LOG_HALF:
            self._later_bytes -= len(self._later.popleft())
            self._dropped = True

    def finish(self) -> None:
        """Write what the first half had no room for."""
        with self._file, suppress(OSError):
            self._file.write(b"[...]\n" * self._dropped + b"".join(self._later))

    def tail(self) -> str:
        """Return the last lines, about a screen."""
        return b"".join(self._last).decode("utf-8", "replace")[-_TAIL_CHARACTERS:]


def find(configured: Path | None, names: tuple[str, ...]) -> Path:
    """Return the program that is configured or else the first that is found; raise Refused 503 if there is none."""
    if configured is not None:
        if not shutil.which(str(configured)):
            raise Refused(503, f"{configured} is not a program that user mysql can run")
        return configured
    for name in names:
        if found := shutil.which(name, path=SEARCHED):
            return Path(found)
    missing = f"none of {', '.join(names)} is" if len(names) > 1 else f"{names[0]} is not"
    raise Refused(503, f"{missing} installed, where user mysql looks: {SEARCHED}")


def version(tool: Path) -> str:
    """Return the tool's version, such as "10.11.19"; raise Refused 503 if it does not tell."""
    status = tool.stat()
    return _version(str(tool), status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=8)
def _version(tool: str, _mtime_ns: int, _inode: int) -> str:
    asked = subprocess.run(
        [tool, "--version"],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    found = re.search(rb"(?:server|version|Ver) (\d+\.\d+\.\d+)", asked.stdout + asked.stderr)
    if not found:
        raise Refused(503, f"{tool} --version does not say which version it is")
    return found[1].decode()


def run(
    argv: list[str],
    output: Output,
    on_line: Callable[[str], None],
    lock: int,
    on_start: Callable[[int], None] = lambda _pid: None,
) -> None:
    """Run the tool to its end and judge how it ended; raise JobFailed. ``on_line`` gets each line of its log, and
    ``on_start`` its process id.

    The tool holds the job's lock beside us: whoever sees the lock free knows that nothing writes any more.
    """
    last, serious = "", Serious()
    with subprocess.Popen(
        argv,
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(lock,),
        preexec_fn=die_with_parent,
    ) as process:
        on_start(process.pid)
        assert process.stderr is not None
        for said in iter(lambda: process.stderr.readline(_LINE_LIMIT), b""):  # type: ignore[union-attr]  # asserted above; a lambda forgets it
            output.add(line := redacted(said))
            text = line.decode("utf-8", "replace").strip()
            last = text or last
            serious.add(text)
            on_line(text)
    judge(process.returncode, last, output.tail(), serious.text())


def judge(return_code: int, last_line: str, tail: str, serious: str = "") -> None:
    """Raise JobFailed unless the tool says that it has succeeded: exit code 0 and "completed OK!" in its last line. Why
    it has not is looked for in the last lines of its log, and in those that were ``serious``."""
    if return_code == 0 and "completed OK!" in last_line:
        return
    failure = tool_errors.known(tail) or tool_errors.known(serious)
    cause = _cause(f"{serious}\n{tail}") or last_line
    if return_code < 0:
        said = f"the backup tool was ended by signal {-return_code}"
    else:
        said = f"the backup tool failed with exit code {return_code}: {cause}"
    raise JobFailed(f"{failure} ({said})" if failure else said, return_code, failure)


def _cause(tail: str) -> str:
    """Return the line that most likely says why the tool failed."""
    lines = [
        re.sub(r"^(\[\d+\] )?\d{4}-\d\d-\d\d +\d+:\d\d:\d\d (\d+ )?", "", line) for line in tail.splitlines()
    ]
    for mark in _CAUSES:
        for line in lines:
            if mark in line and not _HARMLESS.search(line):
                return " ".join(line.split())[:300]
    return ""


def read_checkpoints(folder: Path, engine: Engine) -> Checkpoints:
    """Return what a backup's checkpoints file says, under either vendor's name; raise JobFailed if it says nothing."""
    values = _key_values(_metadata(folder, engine, "checkpoints"))
    try:
        numbers = {name: int(values[name]) for name in ("from_lsn", "to_lsn", "last_lsn")}
        return fitted(Checkpoints, {"backup_type": values["backup_type"], **numbers})
    except (KeyError, ValueError) as error:
        raise JobFailed("the backup tool left a checkpoints file that cannot be read") from error


def read_info(folder: Path, engine: Engine) -> dict[str, str]:
    """Return what a backup's info file says, under either vendor's name; raise JobFailed if there is none."""
    return _key_values(_metadata(folder, engine, "info"))


def read_binlog(folder: Path, engine: Engine) -> Binlog | None:
    """Return the binary log's position at the backup's moment, or None where the server keeps no binary log."""
    try:
        words = _metadata(folder, engine, "binlog_info").split()
        return Binlog(words[0], int(words[1]), "".join(words[2:]))
    except (JobFailed, IndexError, ValueError):
        return None


def read_binlog_in_info(folder: Path, engine: Engine) -> Binlog | None:
    """Return the same from the info file, which is all that lies beside a stream."""
    found = _IN_INFO.search(_metadata(folder, engine, "info"))
    return Binlog(found[1], int(found[2]), "".join((found[3] or "").split())) if found else None


def require_whole(folder: Path, engine: Engine, base_lsn: int | None) -> Checkpoints:
    """Return the checkpoints of a finished backup; raise JobFailed if what the tool wrote is not a whole backup.

    ``base_lsn`` is the base's ``to_lsn``, None for a full backup.
    """
    checkpoints = read_checkpoints(folder, engine)
    _metadata(folder, engine, "info")
    if (folder / CORRUPTED).exists():
        raise corrupted()
    expected = ("full-backuped", 0) if base_lsn is None else ("incremental", base_lsn)
    if (checkpoints.backup_type, checkpoints.from_lsn) != expected:
        raise JobFailed(
            f"the backup tool made a backup of type {checkpoints.backup_type} from LSN {checkpoints.from_lsn} "
            f"where {expected[0]} from LSN {expected[1]} was asked for"
        )
    if checkpoints.to_lsn < checkpoints.from_lsn:
        raise JobFailed(
            f"the backup ends at LSN {checkpoints.to_lsn}, before it begins at {checkpoints.from_lsn}"
        )
    return checkpoints


def corrupted() -> JobFailed:
    """Return the failure of a backup in which the tool found corrupted pages, whatever else it says."""
    return JobFailed(
        f"the server has corrupted pages, listed in {CORRUPTED}; run mariadb-check on its tables"
    )


def is_metadata(name: str, engine: Engine) -> bool:
    """Tell whether a file of a backup is the tool's own and not the server's."""
    return name == "backup-my.cnf" or name.startswith(engine.metadata_prefixes)


def _metadata(folder: Path, engine: Engine, what: str) -> str:
    for prefix in engine.metadata_prefixes:
        try:
            return small_text(folder / f"{prefix}{what}")
        except FileNotFoundError:
            continue
    raise JobFailed(f"the backup tool left no {what} file")


def _key_values(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}
