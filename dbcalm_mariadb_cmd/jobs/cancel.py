"""A job's word that it shall end before its work is done: a file in its folder."""

from pathlib import Path

from dbcalm_mariadb_cmd.errors import JobFailed
from dbcalm_mariadb_cmd.jobs.order import Job

CANCELLED = "cancelled"
"""The reason of such an end."""

SENTENCE = "the job was cancelled"


class Cancelled(JobFailed):
    """Raised in the job's main thread, wherever that is."""


def was_asked(job: Job) -> bool:
    """Tell whether somebody has asked for the end of this job."""
    return request(job).exists()


def stop_if_asked(job: Job) -> None:
    """Raise Cancelled if somebody has asked for the end of this job."""
    if was_asked(job):
        raise Cancelled(SENTENCE)


def request(job: Job) -> Path:
    """Return the path of the file."""
    return job.places.job(job.job_id) / "cancel"
