"""The parts of ``dbcalm setup`` that need no host: its schedules, its questions, and what a certificate says."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
import typer

from dbcalm.api.certificate import presented
from dbcalm.api.listener import tls_context
from dbcalm.cli.setup.first import Scheme, Wishes, add_schedules, add_user, make_backup, plans
from dbcalm.cli.setup.talk import Findings, Questions, clock
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.services.assembly import Services
from dbcalm.domain.services.schedules import describe
from dbcalm.errors import CannotStart, Unavailable
from tests.support.dbcalm_fakes import FakeRootService

NOTHING = Wishes(None, False, None, None, None)
NOBODY = Questions(yes=True)


def certificate(folder: Path, *names: str, days: int = 400) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate for these names, and the certificate's file."""
    ends = datetime.now(UTC) + timedelta(days=days, minutes=1)
    issued = trustme.CA().issue_cert(*names, common_name="x", not_after=ends)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return tls_context(cert, key), cert


def test_a_certificate_tells_its_names_and_its_end(tmp_path: Path) -> None:
    found = presented(*certificate(tmp_path, "backup.example.org", "192.0.2.1"))
    assert found.names == ("backup.example.org", "192.0.2.1")
    assert (found.expires - datetime.now(UTC)).days == 400


@pytest.mark.parametrize(
    ("names", "days", "word"),
    [(("backup.example.org",), -1, "certificate has expired"), ((), 5, "names no host")],
)
def test_a_certificate_that_clients_refuse(
    tmp_path: Path, names: tuple[str, ...], days: int, word: str
) -> None:
    with pytest.raises(CannotStart, match=word):
        presented(*certificate(tmp_path, *names, days=days))


@pytest.mark.parametrize(("text", "time"), [("00:00", (0, 0)), ("2:30", (2, 30)), ("23:59", (23, 59))])
def test_a_time_is_read(text: str, time: tuple[int, int]) -> None:
    assert clock(text) == time


@pytest.mark.parametrize(
    "text", ["", "24:00", "2:60", "2", "02:3", "02:30:00", "٠٢:٣٠", "2.30", " 2:30", "2:30\n"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="00:00 to 23:59"):
        clock(text)


def test_schemes_become_schedules() -> None:
    assert list(map(describe, plans(Scheme.DAILY, 2, 30))) == [
        "full, daily at 02:30",
        "verify, Sundays at 03:30",
    ]
    assert list(map(describe, plans(Scheme.WEEKLY, 23, 5))) == [
        "full, Sundays at 23:05",
        "incremental, daily at 00:05",
        "verify, Mondays at 01:05",
    ]
    assert plans(Scheme.NONE, 2, 30) == []
    for scheme in Scheme:
        for plan in plans(scheme, 1, 1):
            assert plan.retention_unit == (None if plan.backup_type == "verify" else "days")


def test_where_nobody_can_be_asked_it_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "empty").open("w+") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        for ask in (
            lambda one: one.sure("?", "--backup", None),
            lambda one: one.word("?", "--backup", None, "", str),
        ):
            with pytest.raises(typer.BadParameter, match="or --backup must be given"):
                ask(Questions(yes=False))


def test_with_yes_the_default_is_taken_and_what_is_given_wins() -> None:
    assert NOBODY.sure("?", "--x", None) is True
    assert NOBODY.sure("?", "--x", False) is False
    assert NOBODY.word("?", "--at", None, "02:30", clock) == (2, 30)
    assert NOBODY.word("?", "--at", "04:05", "02:30", clock) == (4, 5)


def test_first_schedules_are_added_all_and_once(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = Findings()
    add_schedules(services, NOTHING, NOBODY, findings)
    made = services.schedules.all()
    assert list(map(describe, made)) == [
        "full, Sundays at 02:30",
        "incremental, daily at 03:30",
        "verify, Sundays at 04:30",
    ]
    for again in (NOTHING, Wishes(None, False, Scheme.DAILY, "05:00", None)):
        add_schedules(services, again, NOBODY, findings)
    assert services.schedules.all() == made
    assert capsys.readouterr().out.count("already there") == 2
    assert findings.wrong == 0


def test_first_schedules_are_saved_together_or_not_at_all(
    services: Services, root_service: FakeRootService, root: Caller
) -> None:
    root_service.down = True
    with pytest.raises(Unavailable):
        services.schedules.create_all(root, plans(Scheme.WEEKLY, 2, 30))
    assert services.schedules.all() == []


def test_a_step_that_is_refused_is_a_problem_and_not_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings()
    with findings.step("backup"):
        raise Unavailable("server is not running")
    assert findings.wrong == 1
    assert capsys.readouterr().out == "WRONG  backup              server is not running\n"


def test_nothing_that_is_told_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Findings().ok("database", "a\x1b[2Jb\nc")
    assert capsys.readouterr().out == "ok     database            a [2Jb c\n"


def test_users_that_are_there_are_left_alone(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    add_user(services, NOTHING, NOBODY, Findings())
    assert "nobody may use the API yet" in capsys.readouterr().out
    services.users.add("test", "alice", "x")
    before = services.users.list()
    for wishes in (NOTHING, Wishes("alice", True, None, None, None)):
        add_user(services, wishes, NOBODY, Findings())
        assert "already there: alice" in capsys.readouterr().out
    assert services.users.list() == before


def test_no_backup_is_made_where_none_is_wished(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    make_backup(services, Wishes(None, False, None, None, False), NOBODY, Findings())
    assert "dbcalm backup full --wait" in capsys.readouterr().out
