"""A real catalogue, services over it, and the API in process."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from dbcalm.api.app import create_app
from dbcalm.api.deps import Application
from dbcalm.api.tokens import Tokens
from dbcalm.domain.model.entities import Caller, Grant
from dbcalm.domain.model.zone import HostZone
from dbcalm.domain.rules.retention import Rules
from dbcalm.domain.services.assembly import Services, assemble
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.engine import Database
from dbcalm.repository.recovery.opening import open_database
from dbcalm.routes import ALL
from tests.support.dbcalm_fakes import KEY, FakeMysqlService, FakeRootService, HandClock
from tests.support.served import fits


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "db.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database)


@pytest.fixture
def mysql() -> FakeMysqlService:
    return FakeMysqlService()


@pytest.fixture
def root_service() -> FakeRootService:
    return FakeRootService()


@pytest.fixture
def zone(tmp_path: Path) -> HostZone:
    """The zone of a file that a test may put there; UTC without it."""
    return HostZone(tmp_path / "localtime")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def services(
    catalogue: Catalogue,
    mysql: FakeMysqlService,
    root_service: FakeRootService,
    clock: HandClock,
    zone: HostZone,
) -> Services:
    return assemble(catalogue, mysql, root_service, clock, Rules(), timedelta(hours=1), zone)


@pytest.fixture
def root() -> Caller:
    return Caller("test", ("*",))


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(KEY, "HS256")


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """The application, which takes longer to make than most tests take; each test gives it services of its own."""
    return create_app(Application(None, None), ALL, "1.2.3", ["https://ui.example.org"])  # type: ignore[arg-type]


@pytest.fixture
def http(app: FastAPI, services: Services, tokens: Tokens) -> TestClient:
    """The API without its follower; nobody is signed in. Answers are held against their models."""
    app.state.application = Application(services, tokens)
    client = TestClient(app, base_url="https://testserver", raise_server_exceptions=False)
    client.event_hooks = {"response": [fits]}
    return client


@pytest.fixture
def sign_in(services: Services, tokens: Tokens, root: Caller) -> Callable[..., dict[str, str]]:
    """Return the headers of a client with these scopes."""

    def headers(*scopes: str) -> dict[str, str]:
        client, _secret = services.clients.add(root, "test", list(scopes) or ["*"])
        token = tokens.issue(Grant(f"client:{client.id}", 1, client.scopes))
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture
def api(http: TestClient, sign_in: Callable[..., dict[str, str]]) -> TestClient:
    """The API as a client that may do everything."""
    http.headers.update(sign_in("*"))
    return http


@pytest.fixture
def audit_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "dbcalm.audit")
    return caplog
