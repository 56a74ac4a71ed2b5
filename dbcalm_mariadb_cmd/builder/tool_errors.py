"""What the backup tools' failures mean: what they print, what happened, what to do, and whether it passes by itself.

The signatures are of mariadb-backup 10.11 (each entry is caused, with the tool's own words, by a test), and of what the
vendors' documentation says of XtraBackup.
"""

import re
import signal
from dataclasses import dataclass, replace

_ABOUT_DATA = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""Signals by which InnoDB ends itself where it meets what cannot be."""


@dataclass(frozen=True)
class Failure:
    """One failure that is known. ``signature`` finds it in what the tool prints, and what it names there stands in
    braces in ``happened``. ``of_host`` says that neither server nor backup is at fault, and ``passes`` that it may go
    well at once when it is tried again."""

    name: str
    signature: re.Pattern[str]
    happened: str
    advice: str
    of_host: bool = False
    passes: bool = False

    def __str__(self) -> str:
        return f"{self.happened}: {self.advice}"


def _known(
    name: str, signature: str, happened: str, advice: str, *, of_host: bool = False, passes: bool = False
) -> Failure:
    return Failure(name, re.compile(signature), happened, advice, of_host, passes)


FAILURES = (
    _known(
        "key-file",
        r"(?:^|\n)(?:[\w./-]+: )?(?P<said>[^\n]+)\n[^\n]*Plugin '\w+' init function returned error",
        "the server's encryption keys are not to be had, as their plugin says: {said}",
        "put back the very file that was there when the backup was made, for user mysql to read; where it has moved "
        "for good, have it at the old path as well until a full backup is made and the older ones have gone",
        of_host=True,
    ),
    _known(
        "key-plugin",
        r"Can't open shared library '(?P<file>[^'\n]+)'",
        "a plugin without which the data cannot be read, as that with its encryption keys, is not there: {file}",
        "install it where the server has it, with the server's own package",
        of_host=True,
    ),
    _known(
        "keys",
        r"Obtaining redo log encryption key version|encryption key management plugin was not found",
        "the keys with which the server encrypted this are not to be had",
        "see that the key file and the plugin of then are where they were; the log of the job says what was tried",
        of_host=True,
    ),
    _known(
        "disk-full",
        r"No space left on device|[Ee]rr(?:no|code):? ?28\b|Error number 28\b|Disk is full|disk full",
        "the disk is full",
        "make room where the backup or the restore goes, then start it again",
        of_host=True,
    ),
    _known(
        "open-files",
        r"Too many open files|[Ee]rr(?:no|code):? ?24\b|Error number 24\b",
        "the tool may not open so many files at once",
        "raise LimitNOFILE with: systemctl edit dbcalm-mariadb-cmd, and restart it",
        of_host=True,
    ),
    _known(
        "memory",
        r"Cannot allocate memory|Out of memory|std::bad_alloc|Cannot map innodb_buffer_pool_size",
        "there was too little memory",
        "lower prepare_memory in the configuration, or do it when less is running",
        of_host=True,
    ),
    _known(
        "log-overrun",
        r"Was only able to copy log from \d+ to \d+, not \d+",
        "the server wrote its redo log faster than it could be copied",
        "raise innodb_log_file_size in the server, or back up when less is written",
        passes=True,
    ),
    _known(
        "login",
        r"Access denied for user",
        "the server did not let the backup user in",
        "see user and password in the credentials file, or run: dbcalm setup",
        of_host=True,
    ),
    _known(
        "privilege",
        r"missing required privilege|you need \(at least one of\) the .* privilege",
        "the backup user lacks a privilege",
        "grant what the sentence names, or run: dbcalm setup",
        of_host=True,
    ),
    _known(
        "no-server",
        r"Can't connect to (?:local )?(?:MySQL |MariaDB |)server|Failed to connect to (?:MariaDB|MySQL) server",
        "the server does not answer",
        "start it, and see that the credentials file names its socket or host",
        of_host=True,
    ),
    _known(
        "server-gone",
        r"Lost connection to (?:MySQL |MariaDB |)server|[Ss]erver has gone away|Server shutdown in progress",
        "the server stopped while it was backed up",
        "see its error log, start it, then make the backup again",
        of_host=True,
    ),
    _known(
        "server-page",
        r"Database page corruption detected|Error: failed to read page|page_verify_.*corrupt",
        "a table of the server is corrupted on disk",
        "find it with mariadb-check --all-databases and restore or rebuild it; the backups made before still have it",
    ),
    _known(
        "not-readable",
        r"cannot read redo log header|Can't open dir |[Ee]rr(?:no|code):? ?13\b|Permission denied|"
        r"Operating system error number 13\b",
        "user mysql may not read or write a file",
        "give the server's and the backups' files to user mysql",
        of_host=True,
    ),
    _known(
        "other-undo",
        r"impossible if the server had been restarted with different innodb_undo_tablespaces",
        "the server has another number of undo tablespaces than when the base was made",
        "make a full backup",
        of_host=True,
    ),
    _known(
        "not-empty",
        r"Original data directory .* is not empty|\(errno: 17 |[Ee]rr(?:no|code):? ?17\b|File exists",
        "the folder that it writes to is not empty",
        "empty it, or start the job again",
        of_host=True,
    ),
    _known(
        "wrong-base",
        r"This incremental backup seems not to be proper for the target",
        "the incremental was not made on the backup that it is applied to",
        "restore an earlier backup of the chain, and make a full backup",
    ),
    _known(
        "not-prepared",
        r"applying incremental backup needs a prepared target",
        "the base of the incremental was not prepared first",
        "start the restore again",
    ),
    _known(
        "no-metadata",
        r"failed to read metadata from|does not have correct metadata",
        "the backup lacks the file that says what it holds",
        "restore another backup, and make a full backup",
    ),
    _known(
        "no-log",
        r"Invalid log header|ib_logfile0 (?:is too small|was not found)|did not find a valid checkpoint|"
        r"log was only scanned up to|Missing FILE_CHECKPOINT|Unsupported redo log format",
        "the redo log inside the backup is damaged",
        "restore another backup, and make a full backup",
    ),
    _known(
        "damaged-data",
        r"Inconsistent tablespace ID|Data structure corruption|Tablespace .* is missing",
        "a file inside the backup is damaged",
        "restore another backup, and make a full backup",
    ),
    _known(
        "option",
        r"unknown (?:option|variable) '|ambiguous option",
        "the tool does not know one of its options",
        "install the backup tool of the server's own version",
        of_host=True,
    ),
)
"""The most certain first: the first that fits what was printed is taken."""


def known(printed: str) -> Failure | None:
    """Return the failure that a tool's last lines tell of, with what they name, None if none is known."""
    for failure in FAILURES:
        if found := failure.signature.search(printed):
            return replace(failure, happened=failure.happened.format(**found.groupdict()))
    return None


def is_of_host(return_code: int | None, failure: Failure | None) -> bool:
    """Tell whether a tool that failed like this says nothing of what it worked on: it was ended from outside, or lacked
    something that the host could give."""
    if failure is not None:
        return failure.of_host
    return return_code is None or (return_code < 0 and -return_code not in _ABOUT_DATA)
