"""Stopping and starting the database for a job: what is asked of root, what the job is told, who may have it done."""

import pytest

from dbcalm.domain.model.entities import Caller
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.jobs.database_unit import Database
from dbcalm.errors import InvalidField, NotAllowed, NotFound, Unavailable
from dbcalm_cmd_client import Answer
from dbcalm_mariadb_cmd.command.requests import LONGEST_REASON, ReportDatabase
from tests.support.dbcalm_fakes import FakeMysqlService, FakeRootService, manifest

JOB = "f" * 32
DENIED = Answer(503, "systemctl stop mariadb.service ended with 4: Access denied", {})


@pytest.fixture
def helper(mysql: FakeMysqlService, root_service: FakeRootService) -> Database:
    return Database(mysql, root_service)


def want(mysql: FakeMysqlService, goal: str, number: int = 1) -> None:
    mysql.wanted = {"job_id": JOB, "database": goal, "want": f"{number:016x}"}


def told(mysql: FakeMysqlService) -> list[tuple[str, str]]:
    """Return the states and problems that the job was told of; each must be one that the service takes."""
    reports = mysql.asked_for("report_database")
    for report in reports:
        ReportDatabase(*report)
    return [(state, problem) for _job, _want, state, problem in reports]


def test_nothing_is_done_where_nothing_is_wanted(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    assert helper.serve() is False
    assert (told(mysql), root_service.verbs) == ([], [])


def test_a_start_is_ordered_once_and_then_looked_at(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    root_service.after_start = ["pending", "pending", "running"]
    want(mysql, "running")
    assert all(helper.serve() for _ in range(4))
    assert told(mysql) == [("pending", ""), ("pending", ""), ("running", ""), ("running", "")]
    assert root_service.verbs == ["start", "query", "query", "query"]


def test_a_stop_is_ordered_until_it_is_done(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    """What is pending may be somebody's start."""
    root_service.after_stop = ["pending", "pending", "pending", "stopped"]
    want(mysql, "stopped")
    assert all(helper.serve() for _ in range(4))
    assert told(mysql) == [("pending", ""), ("pending", ""), ("stopped", ""), ("stopped", "")]
    assert root_service.verbs == ["stop", "query", "stop", "query", "query"]


def test_a_state_that_it_has_already_is_ordered_all_the_same(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    """It may run and be about to stop: what was ordered last is what counts."""
    want(mysql, "running")
    root_service.after_start = ["running"]
    helper.serve()
    helper.serve()
    assert root_service.verbs == ["start", "query"]
    assert told(mysql)[-1] == ("running", "")


def test_somebody_who_starts_it_again_is_stopped_again(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    want(mysql, "stopped")
    root_service.after_stop = ["stopped"]
    helper.serve()
    root_service.unit_state = "running"
    helper.serve()
    assert root_service.verbs == ["stop", "query", "stop"]
    assert told(mysql)[-1] == ("stopped", "")


def test_a_failed_unit_is_stopped_too(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    want(mysql, "stopped")
    root_service.after_stop = ["failed"]
    for _ in range(2):
        helper.serve()
    assert told(mysql)[-1] == ("stopped", "")


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_start_that_fails_is_told_with_its_unit(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService, state: str
) -> None:
    want(mysql, "running")
    root_service.after_start = ["pending", state]
    for _ in range(2):
        helper.serve()
    problem = f"mariadb.service did not start: {state} (fake), result {state}"
    assert told(mysql) == [("pending", ""), ("failed", problem)]


@pytest.mark.parametrize("down", [False, True], ids=["refused", "silent"])
def test_a_root_service_that_does_not_do_it_is_asked_again_and_then_told_of(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService, down: bool
) -> None:
    want(mysql, "stopped")
    root_service.down, root_service.refusal = down, None if down else DENIED
    for _ in range(20):
        helper.serve()
    assert set(told(mysql)) == {("pending", "")}
    helper.serve()
    state, problem = told(mysql)[-1]
    assert (state, ("Access denied" in problem) is not down, bool(problem)) == ("failed", True, True)


def test_a_root_service_that_was_away_for_a_while_is_forgiven(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    for number in range(1, 5):
        want(mysql, "stopped" if number % 2 else "running", number)
        root_service.down = True
        for _ in range(15):
            helper.serve()
        root_service.down = False
        for _ in range(3):
            helper.serve()
    assert "failed" not in {state for state, _ in told(mysql)}


def test_an_order_whose_answer_was_lost_is_looked_at_first(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    want(mysql, "stopped")
    root_service.down = True
    helper.serve()
    root_service.down, root_service.unit_state = False, "stopped"
    helper.serve()
    assert root_service.verbs == ["stop", "query"]
    assert told(mysql) == [("pending", ""), ("stopped", "")]


def test_the_next_want_has_its_own_patience(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    root_service.down = True
    want(mysql, "stopped", 1)
    for _ in range(25):
        helper.serve()
    assert told(mysql)[-1][0] == "failed"
    want(mysql, "running", 2)
    helper.serve()
    assert told(mysql)[-1] == ("pending", "")


def test_a_long_or_strange_problem_is_still_one_that_the_service_takes(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    want(mysql, "stopped")
    root_service.refusal = Answer(503, "a\nb\x1b[31m\u2028" + "x" * 1000, {})
    for _ in range(21):
        helper.serve()
    state, problem = told(mysql)[-1]
    assert (state, len(problem)) == ("failed", LONGEST_REASON)


def test_without_the_mysql_service_nothing_is_ordered(
    helper: Database, mysql: FakeMysqlService, root_service: FakeRootService
) -> None:
    want(mysql, "stopped")
    mysql.down = True
    with pytest.raises(Unavailable):
        helper.serve()
    assert root_service.verbs == []


def test_two_programs_that_serve_do_no_harm(mysql: FakeMysqlService, root_service: FakeRootService) -> None:
    api, command_line = Database(mysql, root_service), Database(mysql, root_service)
    want(mysql, "stopped")
    for _ in range(4):
        api.serve()
        command_line.serve()
    assert told(mysql)[-2:] == [("stopped", "")] * 2


class TestAReplacingRestore:
    @pytest.fixture(autouse=True)
    def _one(self, mysql: FakeMysqlService) -> None:
        mysql.on_disk = {"one": manifest("one", 1)}
        mysql.replaced = [{"id": "one-restored", "backup_id": "one"}]

    def test_is_sent_with_its_word(self, services: Services, mysql: FakeMysqlService, root: Caller) -> None:
        job = services.restores.create(root, "one", "database", replace=True)
        assert mysql.asked_for("restore_backup") == [(job.job_id, "one", "database", True, None)]

    @pytest.mark.parametrize("scopes", [("restores:*",), ("restores:write", "backups:*"), ()])
    def test_needs_a_scope_of_its_own(
        self, services: Services, mysql: FakeMysqlService, root_service: FakeRootService,
        scopes: tuple[str, ...],
    ) -> None:  # fmt: skip
        with pytest.raises(NotAllowed, match="^this needs a token with the scope database:replace$"):
            services.restores.create(Caller("client", scopes), "one", "database", replace=True)
        assert (mysql.asked_for("restore_backup"), root_service.verbs) == ([], [])

    @pytest.mark.parametrize("scopes", [("database:replace",), ("database:*",), ("*",)])
    def test_is_open_to_who_has_it(self, services: Services, scopes: tuple[str, ...]) -> None:
        services.restores.create(Caller("client", scopes), "one", "database", replace=True)

    def test_is_for_the_database(self, services: Services, mysql: FakeMysqlService, root: Caller) -> None:
        with pytest.raises(InvalidField, match="target database only"):
            services.restores.create(root, "one", "folder", replace=True)
        assert not mysql.asked_for("restore_backup")

    @pytest.mark.parametrize("down", [False, True])
    def test_is_not_begun_where_root_cannot_stop_the_database(
        self, services: Services, mysql: FakeMysqlService, root_service: FakeRootService, root: Caller, down: bool
    ) -> None:  # fmt: skip
        root_service.down, root_service.refusal = down, None if down else DENIED
        for start in (
            lambda: services.restores.create(root, "one", "database", replace=True),
            lambda: services.restores.bring_back(root, "one-restored"),
        ):
            with pytest.raises(Unavailable, match="dbcalm-cmd does not answer" if down else "Access denied"):
                start()
        assert not mysql.asked_for("restore_backup")
        assert not mysql.asked_for("bring_back")

    def test_can_be_taken_back(self, services: Services, mysql: FakeMysqlService, root: Caller) -> None:
        job = services.restores.bring_back(root, "one-restored")
        assert mysql.asked_for("bring_back") == [(job.job_id, "one-restored")]
        with pytest.raises(NotFound, match="nothing that was replaced is kept as two"):
            services.restores.bring_back(root, "two")

    @pytest.mark.parametrize("id", ["../x", "A", "", "a/b", "x" * 1000, "-a"])
    def test_what_nothing_can_be_kept_as_is_not_found_and_not_asked_for(
        self, services: Services, mysql: FakeMysqlService, root: Caller, id: str
    ) -> None:
        with pytest.raises(NotFound, match="nothing that was replaced is kept as"):
            services.restores.bring_back(root, id)
        assert not mysql.asked_for("bring_back")

    def test_leaves_a_line_in_the_log(
        self, services: Services, root: Caller, audit_log: pytest.LogCaptureFixture
    ) -> None:
        begun = services.restores.create(root, "one", "database", replace=True)
        back = services.restores.bring_back(root, "one-restored")
        assert [record.getMessage() for record in audit_log.records] == [
            f"test: restore backup 'one' replacing the data of the database: began, job {begun.job_id}",
            f"test: bring back what restore 'one-restored' replaced: began, job {back.job_id}",
        ]
