"""The database's unit, stopped, started and asked about through a program that stands in systemctl's place: real
processes, whose answers are written by hand as systemd 252 gives them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_cmd import unit as unit_module
from dbcalm_cmd.unit import DatabaseUnit, UnitError
from dbcalm_cmd_client import CmdClient, ServiceUnreachable
from tests.support.patience import eventually
from tests.unit.dbcalm_cmd.conftest import Service

UNIT = "mariadb.service"
_PROGRAM = """#!/usr/bin/python3
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
(here / "environment").write_text(json.dumps(dict(os.environ)))
words = [word for word in sys.argv[1:] if not word.startswith("-")]
shown = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("--property=")]
plan = json.loads((here / "plan").read_text())
verb, name = words[0], words[-1]
for does in (plan.get(f"{verb} {name}"), plan.get(verb)):
    if does is not None:
        exec(does)
if verb == "show":
    facts = plan["facts"].get(name, {})
    for property in shown[0].split(","):
        if property in facts:
            print(facts[property] if "--value" in sys.argv else f"{property}={facts[property]}")
"""


class Systemctl:
    """The program, what it says, and what it was asked. ``facts`` are the properties of each unit; ``does`` is code
    that is run for a verb, or for a verb and a unit, before them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "systemctl"
        self.path.write_text(_PROGRAM)
        self.path.chmod(0o755)
        self._folder = folder
        self._plan: dict[str, object] = {"facts": {}}
        self.has(UNIT)

    def has(self, name: str, **properties: str) -> None:
        facts = {
            "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success", "Job": "",
            "TriggeredBy": "", "UnitFileState": "enabled", **properties,
        }  # fmt: skip
        known = self._plan["facts"]
        assert isinstance(known, dict)
        known[name] = facts
        self._write()

    def does(self, verb: str, code: str) -> None:
        self._plan[verb] = code
        self._write()

    def _write(self) -> None:
        (self._folder / "plan").write_text(json.dumps(self._plan))

    @property
    def calls(self) -> list[list[str]]:
        lines = (self._folder / "calls").read_text().splitlines() if (self._folder / "calls").exists() else []
        return [json.loads(line) for line in lines]

    @property
    def orders(self) -> list[list[str]]:
        """Return what it was told to change."""
        return [call for call in self.calls if "show" not in call]

    @property
    def environment(self) -> dict[str, str]:
        return dict(json.loads((self._folder / "environment").read_text()))


@pytest.fixture
def systemctl(tmp_path: Path) -> Systemctl:
    return Systemctl(tmp_path)


@pytest.fixture
def unit(systemctl: Systemctl) -> DatabaseUnit:
    return DatabaseUnit(str(systemctl.path), UNIT)


class TestState:
    @pytest.mark.parametrize(
        ("properties", "state"),
        [
            ({"ActiveState": "active"}, "running"),
            ({"ActiveState": "reloading"}, "running"),
            ({"ActiveState": "inactive"}, "stopped"),
            ({"ActiveState": "failed"}, "failed"),
            ({"ActiveState": "activating"}, "pending"),
            ({"ActiveState": "deactivating"}, "pending"),
            ({"ActiveState": "maintenance"}, "pending"),
            ({"ActiveState": "something new"}, "pending"),
            ({"ActiveState": "active", "Job": "4711"}, "pending"),
            ({"ActiveState": "inactive", "Job": "4711"}, "pending"),
            ({"ActiveState": "inactive", "Job": "0"}, "stopped"),
        ],
    )
    def test_is_one_of_four(
        self, systemctl: Systemctl, unit: DatabaseUnit, properties: dict[str, str], state: str
    ) -> None:
        systemctl.has(UNIT, **properties)
        assert unit.state()["state"] == state

    def test_says_which_unit_and_how_it_ended(self, systemctl: Systemctl, unit: DatabaseUnit) -> None:
        systemctl.has(UNIT, ActiveState="failed", SubState="failed", Result="exit-code")
        told = {"unit": UNIT, "state": "failed", "detail": "failed (failed), result exit-code"}
        assert unit.state() == told

    def test_is_asked_with_fixed_words_and_an_environment_of_its_own(
        self, systemctl: Systemctl, unit: DatabaseUnit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SYSTEMD_EDITOR", "/tmp/evil")
        unit.state()
        properties = "--property=LoadState,ActiveState,SubState,Result,Job"
        assert systemctl.calls == [["--no-ask-password", "show", properties, UNIT]]
        assert set(systemctl.environment) <= {"PATH", "LC_ALL", "LC_CTYPE"}

    @pytest.mark.parametrize("load", ["not-found", "masked", "bad-setting", "error"])
    def test_of_a_unit_that_systemd_has_not_loaded(
        self, systemctl: Systemctl, unit: DatabaseUnit, load: str
    ) -> None:
        systemctl.has(UNIT, LoadState=load, ActiveState="inactive")
        for ask in (unit.state, unit.start):
            with pytest.raises(
                UnitError, match=f"^{UNIT}, which cmd.toml names as database_unit, is {load}$"
            ):
                ask()
        assert systemctl.orders == []

    def test_of_no_unit(self, systemctl: Systemctl) -> None:
        none = DatabaseUnit(str(systemctl.path), "")
        for ask in (none.state, none.start, none.stop):
            with pytest.raises(UnitError, match="no database_unit is named in cmd.toml"):
                ask()
        assert systemctl.calls == []


class TestStop:
    def test_does_not_wait(self, systemctl: Systemctl, unit: DatabaseUnit) -> None:
        unit.stop()
        assert systemctl.orders == [["--no-ask-password", "stop", "--no-block", UNIT]]

    def test_takes_the_sockets_that_would_start_it_first(
        self, systemctl: Systemctl, unit: DatabaseUnit
    ) -> None:
        systemctl.has(UNIT, TriggeredBy="mariadb.socket mariadb-extra.socket mariadb.timer mariadb.path")
        unit.stop()
        stop = ["--no-ask-password", "stop", "--no-block", "mariadb.socket", "mariadb-extra.socket", UNIT]
        assert systemctl.orders == [stop]

    @pytest.mark.parametrize("name", ["--root=/x.socket", "a b.socket", "../x.socket", "$(id).socket"])
    def test_takes_nothing_that_is_no_name_of_a_socket(
        self, systemctl: Systemctl, unit: DatabaseUnit, name: str
    ) -> None:
        systemctl.has(UNIT, TriggeredBy=name)
        unit.stop()
        [order] = systemctl.orders
        assert not any(word.startswith(("--root", "..", "$", "/")) for word in order)

    def test_that_is_refused_is_told(self, systemctl: Systemctl, unit: DatabaseUnit) -> None:
        systemctl.does("stop", "print('Access\\n denied', file=sys.stderr); sys.exit(4)")
        with pytest.raises(UnitError, match=f"^systemctl stop {UNIT} ended with 4: Access denied$"):
            unit.stop()

    def test_that_is_refused_with_many_words_is_told_in_one_line(
        self, systemctl: Systemctl, unit: DatabaseUnit
    ) -> None:
        systemctl.does("stop", "os.write(2, b'\\xff no ' * 10000); sys.exit(1)")
        with pytest.raises(UnitError) as refused:
            unit.stop()
        assert len(str(refused.value)) < 400
        assert "\n" not in str(refused.value)


class TestStart:
    def test_starts_the_sockets_that_are_enabled_and_no_others(
        self, systemctl: Systemctl, unit: DatabaseUnit
    ) -> None:
        systemctl.has(UNIT, ActiveState="inactive", TriggeredBy="mariadb.socket mariadb-extra.socket")
        systemctl.has("mariadb-extra.socket", UnitFileState="disabled")
        systemctl.has("mariadb.socket", UnitFileState="enabled")
        unit.start()
        assert systemctl.orders == [["--no-ask-password", "start", "--no-block", "mariadb.socket", UNIT]]

    def test_begins_anew_what_has_failed_too_often(self, systemctl: Systemctl, unit: DatabaseUnit) -> None:
        systemctl.has(UNIT, ActiveState="failed")
        unit.start()
        assert [order[1] for order in systemctl.orders] == ["reset-failed", "start"]


class TestTheProgram:
    def test_that_hangs_is_not_waited_for_for_ever(
        self, systemctl: Systemctl, unit: DatabaseUnit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unit_module, "_SECONDS", 0.3)
        systemctl.does("show", "__import__('time').sleep(3000)")
        with pytest.raises(UnitError, match="timed out after 0.3 seconds"):
            unit.state()

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UnitError, match="No such file"):
            DatabaseUnit(str(tmp_path / "none"), UNIT).state()

    @pytest.mark.parametrize("said", ["", "nonsense", "LoadState=", "LoadState=loaded", "\x00", "=\n=="])
    def test_that_says_something_else(self, systemctl: Systemctl, unit: DatabaseUnit, said: str) -> None:
        systemctl.does("show", f"print({said!r}); sys.exit(0)")
        with pytest.raises(UnitError):
            unit.state()


class TestTheService:
    """The three commands, through the real root service."""

    @pytest.fixture
    def client(self, systemctl: Systemctl, root_service: Callable[..., Service]) -> CmdClient:
        return CmdClient(root_service(systemctl=str(systemctl.path), database_unit=UNIT).path)

    def test_stops_starts_and_looks_and_says_how_it_is(self, systemctl: Systemctl, client: CmdClient) -> None:
        looked = client.query_database()
        assert (looked.code, looked.data["unit"], looked.data["state"]) == (200, UNIT, "running")
        assert systemctl.orders == []
        assert client.stop_database().code == client.start_database().code == 200
        assert [order[1] for order in systemctl.orders] == ["stop", "start"]
        assert {order[-1] for order in systemctl.orders} == {UNIT}

    def test_says_in_one_sentence_what_cannot_be_done(self, systemctl: Systemctl, client: CmdClient) -> None:
        systemctl.does("stop", "print('Access denied', file=sys.stderr); sys.exit(4)")
        refused = client.stop_database()
        assert (refused.code, refused.status) == (503, f"systemctl stop {UNIT} ended with 4: Access denied")

    @pytest.mark.parametrize("command", ["stop_database", "start_database", "query_database"])
    @pytest.mark.parametrize("args", [{"unit": "ssh.service"}, {"": ""}, {"database_unit": UNIT}])
    def test_takes_no_argument(
        self, systemctl: Systemctl, root_service: Callable[..., Service], command: str, args: dict[str, str]
    ) -> None:
        service = root_service(systemctl=str(systemctl.path), database_unit=UNIT)
        assert service.ask(command, **args)["code"] == 400
        assert systemctl.calls == []

    def test_that_hangs_is_not_asked_for_more_in_a_queue(
        self, systemctl: Systemctl, root_service: Callable[..., Service]
    ) -> None:
        """What waits its turn is done when nobody wants it any more: a stop after the start, for instance."""
        path = root_service(systemctl=str(systemctl.path), database_unit=UNIT).path
        systemctl.does("stop", "while not (here / 'go').exists(): __import__('time').sleep(0.01)")
        hasty = CmdClient(path, 0.3)
        for _ in range(5):
            with pytest.raises(ServiceUnreachable):
                hasty.stop_database()
        busy = CmdClient(path).start_database()
        assert (busy.code, busy.status) == (503, "systemctl is busy with what was asked for before")
        (systemctl.path.parent / "go").touch()
        eventually(lambda: CmdClient(path).query_database().code == 200)
        assert [order[1] for order in systemctl.orders] == ["stop"]

    def test_without_a_unit_does_nothing(
        self, systemctl: Systemctl, root_service: Callable[..., Service]
    ) -> None:
        client = CmdClient(root_service(systemctl=str(systemctl.path), database_unit="").path)
        for ask in (client.stop_database, client.start_database, client.query_database):
            assert ask().code == 503
        assert systemctl.calls == []
