"""What cron starts waits for whatever is in the way, also where nobody can say which job that is."""

from datetime import timedelta

import pytest
from dbcalm_fakes import FakeMysqlService

from dbcalm.cli import patience
from dbcalm.domain.entities import Caller
from dbcalm.domain.jobs import Started
from dbcalm.domain.services import Services
from dbcalm.errors import Busy, Conflict
from dbcalm_cmd_client import Answer

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

    monkeypatch.setattr("dbcalm.cli.patience.time.sleep", pause)
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
