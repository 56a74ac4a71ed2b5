"""The programs as `make binaries` built them, and a sandbox that runs nothing else of ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib import Sandbox
from dev.sandbox_lib.api import Api
from tests.integration.conftest import Rig

CHECKOUT = Path(__file__).parents[2]
BUILT = CHECKOUT / "dist" / "production"

_TABLE = "(id INT PRIMARY KEY, body VARCHAR(200))"
_SCHEMA = f"""
CREATE DATABASE shop;
USE shop;
CREATE TABLE orders {_TABLE} ENGINE=InnoDB;
INSERT INTO orders SELECT seq, SHA1(seq) FROM seq_1_to_20000;
CREATE TABLE log {_TABLE} ENGINE=Aria;
"""


class Person(Api):
    """Logs in with a user's name and password."""

    def __init__(self, sandbox: Sandbox) -> None:
        facts = sandbox.facts
        super().__init__(facts.url, Path(facts.ca), "", "")
        self._who = {"username": facts.username, "password": facts.password}

    def _new_token(self) -> str:
        code = self._send("POST", "/auth/authorize", self._who).body["code"]
        given = {"grant_type": "authorization_code", "code": code}
        return str(self._send("POST", "/auth/token", given).body["access_token"])


@pytest.fixture(scope="session")
def built() -> Path:
    if not BUILT.is_dir():
        pytest.skip("there are no programs: make binaries builds them")
    return BUILT


@pytest.fixture(scope="session")
def shared_rig(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    sandbox = Sandbox.up(tmp_path_factory.mktemp("binaries") / "sandbox", built)
    try:
        sandbox.sql(_SCHEMA)
        rig = Rig(sandbox)
        rig.api = Person(sandbox)
        yield rig
    finally:
        sandbox.down()


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    yield shared_rig
    shared_rig.everything_runs()
