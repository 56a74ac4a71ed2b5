"""Where DBCalm's log goes, and what never goes into it.

Logs are lines on standard error, which systemd keeps, and in ``log_file`` if there is one. Tokens, codes, secrets and
passwords are masked on the way out, whoever logged them.
"""

import contextlib
import logging
import os
import re
import sys
import syslog
import time
from collections.abc import Iterator
from pathlib import Path

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

log = logging.getLogger("dbcalm")
_audit = logging.getLogger("dbcalm.audit")


def masked(text: str) -> str:
    """Return the text with everything that looks like a secret replaced."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


class _Formatter(logging.Formatter):
    """One masked line a record, with the time in UTC; for journald its priority prefix instead of time and level."""

    def __init__(self, journald: bool) -> None:
        super().__init__("%(message)s" if journald else "%(asctime)s %(levelname)s %(name)s: %(message)s")
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
        handlers.append(_Syslog())
        handlers[-1].setFormatter(_Formatter(journald=False))
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


def audit(who: str, what: str, result: str) -> None:
    """Log that somebody did, or was refused, something privileged."""
    _audit.info("%s: %s: %s", who, what, result)


@contextlib.contextmanager
def audited(who: str, what: str) -> Iterator[None]:
    """Log how the block ended: ``done``, or why it was refused."""
    try:
        yield
    except Exception as error:
        audit(who, what, f"refused: {error}")
        raise
    audit(who, what, "done")
