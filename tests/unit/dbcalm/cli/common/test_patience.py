"""What cron starts waits for whatever is in the way, also where nobody can say which job that is."""

from datetime import timedelta

import pytest

from dbcalm.cli.common import patience
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.jobs.jobs import Started
from dbcalm.errors import Busy, Conflict
from dbcalm.logger import log_refusal
from dbcalm_cmd_client import Answer
from tests.support.dbcalm_fakes import FakeMysqlService

IN_THE_WAY = Answer(409, "another request is being worked on; try again in a moment", {"job_id": None})


def start(services: Services, caller: Caller) -> Started:
    return services.backups.create(caller, "full", None, None, 1)


def test_a_deletion_under_way_is_waited_for(
    services: Services, mysql: FakeMysqlService, root: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            mysql.refusal = None

    monkeypatch.setattr("dbcalm.cli.common.patience.time.sleep", pause)
    mysql.refusal = IN_THE_WAY
    job = patience.patiently(services, timedelta(hours=1), lambda: start(services, root))
    assert (job.facts["type"], len(pauses)) == ("full", 3)


def test_it_is_a_matter_of_trying_later_once_patience_is_at_its_end(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.refusal = IN_THE_WAY
    with pytest.raises(Busy, match="another request"):
        patience.patiently(services, timedelta(0), lambda: start(services, root))


def test_an_id_that_is_taken_is_not_waited_for(
    services: Services, mysql: FakeMysqlService, root: Caller
) -> None:
    mysql.refusal = Answer(409, "the id nightly is taken", {})
    with pytest.raises(Conflict) as caught:
        patience.patiently(services, timedelta(hours=1), lambda: start(services, root))
    assert not isinstance(caught.value, Busy)


def test_what_is_waited_for_is_no_refusal_in_the_log(
    services: Services,
    mysql: FakeMysqlService,
    root: Caller,
    monkeypatch: pytest.MonkeyPatch,
    audit_log: pytest.LogCaptureFixture,
) -> None:
    def pause(_seconds: float) -> None:
        mysql.refusal = None

    monkeypatch.setattr("dbcalm.cli.common.patience.time.sleep", pause)
    mysql.refusal = IN_THE_WAY
    job = patience.patiently(services, timedelta(hours=1), lambda: start(services, root))
    assert [(record.levelname, record.getMessage()) for record in audit_log.records] == [
        ("INFO", f"test: make full backup for schedule 1: waits: {IN_THE_WAY.status}"),
        ("INFO", f"test: make full backup for schedule 1: began, job {job.job_id}"),
    ]


def test_what_was_waited_for_in_vain_is_refused_once_in_the_log(
    services: Services, mysql: FakeMysqlService, root: Caller, audit_log: pytest.LogCaptureFixture
) -> None:
    mysql.refusal = IN_THE_WAY
    with pytest.raises(Busy) as caught:
        patience.patiently(services, timedelta(0), lambda: start(services, root))
    log_refusal("backup full --schedule-id 1", caught.value)  # As the program does at its end.
    warnings = [record.getMessage() for record in audit_log.records if record.levelname == "WARNING"]
    assert warnings == [f"dbcalm: backup full --schedule-id 1: refused: {IN_THE_WAY.status}"]


def test_what_nobody_waits_for_is_refused_once_in_the_log(
    services: Services, mysql: FakeMysqlService, root: Caller, audit_log: pytest.LogCaptureFixture
) -> None:
    mysql.refusal = IN_THE_WAY
    with pytest.raises(Busy) as caught:
        start(services, root)
    log_refusal("backup full", caught.value)
    warnings = [record.getMessage() for record in audit_log.records if record.levelname == "WARNING"]
    assert warnings == [f"test: make full backup for schedule 1: refused: {IN_THE_WAY.status}"]
