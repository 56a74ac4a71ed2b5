"""Where DBCalm's log goes, and what never goes into it.

Logs are lines on standard error, which systemd keeps, and in ``log_file`` if there is one. The command line's go to the
host's log instead, under the name ``dbcalm``, and so do cron's. Tokens, codes, secrets and passwords are masked on the
way out, whoever logged them.
"""

import contextlib
import logging
import os
import re
import sys
import syslog
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from dbcalm.errors import Busy, DBCalmError

_MASKS = (
    (re.compile(r"(?i)\bAGE-SECRET-KEY-1[0-9a-z]*"), "<identity>"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "<token>"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"(?i)(\b(?:\w*password|\w*secret|access_token)[\"']?\s*[=:]\s*)[^\s,;}&]+"), r"\1***"),
    (re.compile(r"(?i)(\bcode[\"']?\s*[=:]\s*[\"']?)[\w-]{20,}"), r"\1***"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What could forge a line of the log, or move the cursor of who reads it."""

_PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7, logging.CRITICAL: 2}

_PROGRAM = "dbcalm"

log = logging.getLogger("dbcalm")
_audit = logging.getLogger("dbcalm.audit")


def masked(text: str) -> str:
    """Return the text with everything that looks like a secret replaced."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


class _Formatter(logging.Formatter):
    """One masked line a record, with the time in UTC; for journald its priority prefix instead of time and level, and
    ``plain`` for a log that has these itself."""

    def __init__(self, journald: bool, *, plain: bool = False) -> None:
        alone = journald or plain
        super().__init__("%(message)s" if alone else "%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"
        self.default_msec_format = "%s.%03dZ"
        self._journald = journald
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _CONTROL.sub(lambda found: repr(found.group())[1:-1], record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = masked(super().format(record))
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._journald else ""
        return prefix + text.replace("\n", f"\n{prefix}")


class _Syslog(logging.Handler):
    """The host's log, for programs whose standard error is somebody's terminal; silent where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter(journald=False, plain=True))
        syslog.openlog(_PROGRAM, syslog.LOG_PID, syslog.LOG_DAEMON)

    def emit(self, record: logging.LogRecord) -> None:
        syslog.syslog(_PRIORITIES.get(record.levelno, 6), self.format(record))


def start_logging(level: str, file: Path | None = None, *, terminal: bool = False) -> None:
    """Send the log to standard error and the file; raise OSError if the file cannot be written.

    ``level`` is debug, info, warning or error. What libraries log is shown from warning on. On a ``terminal`` standard
    error is kept for warnings, and what was done goes to the host's log.
    """
    standard_error = logging.StreamHandler(sys.stderr)
    standard_error.setFormatter(_Formatter(journald="JOURNAL_STREAM" in os.environ and not terminal))
    handlers: list[logging.Handler] = [standard_error]
    if terminal:
        standard_error.setLevel(logging.WARNING)
        standard_error.addFilter(
            lambda record: record.name != _audit.name
        )  # Who asked is told by the command.
        handlers.append(_Syslog())
    if file is not None:
        from logging.handlers import WatchedFileHandler  # Only who wants a file needs its dozen modules.

        file.touch(mode=0o640)
        handlers.append(WatchedFileHandler(file, encoding="utf-8"))  # logrotate puts a new one in its place.
        handlers[-1].setFormatter(_Formatter(journald=False))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())
    _audit.setLevel(logging.INFO)


def is_started() -> bool:
    """Tell whether the log goes anywhere yet."""
    return logging.getLogger().hasHandlers()


@dataclass
class Outcome:
    """What became of what somebody asked for, where it was not refused."""

    result: str = "done"
    refused: str = "refused"

    def began(self, job_id: str) -> None:
        """Say that a job began, whose end is told when it comes, whatever else cannot be done."""
        self.result = self.refused = f"began, job {job_id}"


_waits: ContextVar[bool] = ContextVar("waits", default=False)


@contextlib.contextmanager
def waiting_for_others() -> Iterator[None]:
    """Within the block a job that is in the way is no refusal: it is waited for."""
    token = _waits.set(True)
    try:
        yield
    finally:
        _waits.reset(token)


def audit(who: str, what: str, result: str, level: int = logging.INFO) -> None:
    """Log that somebody did, or was refused, something privileged."""
    _audit.log(level, "%s: %s: %s", who, what, result)


@contextlib.contextmanager
def audited(who: str, what: str) -> Iterator[Outcome]:
    """Log how the block ended: as it says itself, or why it was refused, which is a warning."""
    outcome = Outcome()
    try:
        yield outcome
    except Busy as error:
        waits = _waits.get()
        audit(
            who,
            what,
            f"{'waits' if waits else 'refused'}: {error}",
            logging.INFO if waits else logging.WARNING,
        )
        error.is_logged = not waits
        raise
    except Exception as error:
        audit(who, what, f"{outcome.refused}: {error}", logging.WARNING)
        if isinstance(error, DBCalmError):
            error.is_logged = True
        raise
    audit(who, what, outcome.result)


def log_refusal(what: str, error: Exception) -> None:
    """Log that a command was refused, or failed, before or beside what is audited; say nothing twice."""
    if not isinstance(error, DBCalmError):
        audit(_PROGRAM, what, f"failed: {type(error).__name__}: {error}", logging.ERROR)
    elif not error.is_logged:
        audit(_PROGRAM, what, f"refused: {error}", logging.WARNING)
