"""Why the mysql service does not do something.

Refused      before anything was done; becomes the answer's code and sentence
JobFailed    while a job ran; becomes the journal's end of the job
BackupFault  a JobFailed that says that a backup is not what it should be
"""

from dbcalm_mariadb_cmd.builder.tool_errors import Failure


class Refused(Exception):
    """A command that cannot be started. ``code`` is HTTP-like, the message one sentence a person can act on. A
    ``job_id`` in the data, None where nobody can name it, says that something is in the way that will end; ``cause``,
    one word, what is wrong with the account of the backup tool."""

    def __init__(self, code: int, status: str, **data: object) -> None:
        super().__init__(status)
        self.code = code
        self.data = data


class JobFailed(Exception):
    """A job that did not reach its end. The message says what happened and, where it is known, what to do; ``failure``
    is what that is in the catalogue of the tools' failures."""

    def __init__(self, message: str, return_code: int | None = None, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.return_code = return_code
        self.failure = failure


class BackupFault(JobFailed):
    """A job that failed because of what a backup holds, not because of the host: the backup cannot be restored, nor can
    what builds on it. ``level`` is the level of proof (see ``proof``) that it misses."""

    def __init__(self, backup_id: str, level: int, message: str, return_code: int | None = None) -> None:
        super().__init__(message, return_code)
        self.backup_id = backup_id
        self.level = level


def describe(error: OSError) -> str:
    """Return what the kernel said, with the file that it is about where it named one."""
    said = error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename else said
