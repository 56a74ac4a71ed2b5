"""The lines of the host's log about jobs."""

import io
import sys

import pytest

from dbcalm_mariadb_cmd.command.requests import FullBackup, VerifyBackup
from dbcalm_mariadb_cmd.supervisor.host_log import tell_end, tell_refusal

JOB = "0" * 32


@pytest.mark.parametrize(
    ("error", "reason", "line"),
    [
        (None, None, f"<6>job {JOB}: full backup a: success\n"),
        ("the disk is full", "error", f"<3>job {JOB}: full backup a: failed (error): the disk is full\n"),
        ("it was cut", "interrupted", f"<3>job {JOB}: full backup a: failed (interrupted): it was cut\n"),
        ("a page is bad", "suspect", f"<3>job {JOB}: full backup a: failed (suspect): a page is bad\n"),
        (
            "the job was cancelled",
            "cancelled",
            f"<4>job {JOB}: full backup a: failed (cancelled): the job was cancelled\n",
        ),
        ("two\nlines\x1b[2J", "error", f"<3>job {JOB}: full backup a: failed (error): two lines [2J\n"),
    ],
)
def test_an_end(
    error: str | None,
    reason: str | None,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    tell_end(JOB, "full backup a", error, reason)
    assert capfd.readouterr().err == line


def test_a_refusal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    full = FullBackup(job_id=JOB, id=None, schedule_id=2, form=None, synthetic=False)
    tell_refusal(full, "server is not running", passes=False)
    tell_refusal(full, "job x is running", passes=True)
    verify = VerifyBackup(job_id=JOB, id="a", level=1, schedule_id=None, identity=None)
    tell_refusal(verify, "unknown backup a", passes=False)
    assert capfd.readouterr().err.splitlines() == [
        "<4>full backup, schedule 2: refused: server is not running",
        "<6>full backup, schedule 2: refused: job x is running",
        "<4>verify backup a: refused: unknown backup a",
    ]


def test_a_log_that_nobody_reads_keeps_no_job_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    tell_end(JOB, "full backup a", None, None)
