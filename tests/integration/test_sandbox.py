"""The sandbox does what its users are promised: pytest's own folder is one that the service users cannot enter."""

import json
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.sandbox_lib import PROGRAMS, Sandbox, SandboxError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox.up(tmp_path_factory.mktemp("s") / "sandbox")
    try:
        yield sandbox
    finally:
        sandbox.down()


def running(pid: int | None) -> bool:
    return pid is not None and Path(f"/proc/{pid}/exe").exists()


def test_every_promised_path_lies_in_the_folder_and_exists(sandbox: Sandbox) -> None:
    facts = json.loads((sandbox.folder / "sandbox.json").read_text())
    paths = {name: value for name, value in facts.items() if str(value).startswith("/")}
    assert set(paths) == {
        "ca", "config", "backup_dir", "data_dir", "mariadb_socket", "mariadb_cmd_sock", "cmd_sock", "cron_file",
    }  # fmt: skip
    for name, path in paths.items():
        assert path.startswith(f"{sandbox.folder}/")
        assert Path(path).exists() or name == "cron_file"
    assert all(running(facts["pids"][name]) for name in PROGRAMS)


def test_each_program_runs_as_its_user(sandbox: Sandbox) -> None:
    expected = dict(zip(PROGRAMS, ("mysql", "root", "mysql", "dbcalm"), strict=True))
    for name in PROGRAMS:
        process = sandbox.process(name)
        assert process is not None
        owner = Path(f"/proc/{process.pid}").owner()
        assert owner == (expected[name] if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be other users")
def test_the_users_cannot_read_each_others_secrets(sandbox: Sandbox) -> None:
    def can_read(user: str, path: Path) -> bool:
        account = getattr(sandbox.who, user)
        return os.spawnvp(os.P_WAIT, "setpriv", [*account.drop(), "head", "-c0", str(path)]) == 0

    layout = sandbox.layout
    assert can_read("api", layout.token_key) and not can_read("database", layout.token_key)
    assert can_read("database", layout.credentials) and not can_read("api", layout.credentials)
    assert can_read("api", layout.private_key) and not can_read("database", layout.private_key)
    assert not can_read("api", sandbox.database.home / "my.cnf")


def test_the_client_has_all_rights(sandbox: Sandbox) -> None:
    assert sandbox.api.call("GET", "/backups")["items"] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_can_be_killed_and_restarted(sandbox: Sandbox, program: str) -> None:
    url, before = sandbox.facts.url, sandbox.facts.pids[program]
    sandbox.kill(program)
    assert not running(before)
    assert sandbox.facts.pids[program] is None
    with pytest.raises(SandboxError, match="not running"):
        sandbox.kill(program)
    sandbox.restart(program)
    after = sandbox.facts.pids[program]
    assert running(after)
    sandbox.restart(program)
    assert not running(after)
    assert sandbox.facts.url == url
    assert sandbox.api.call("GET", "/backups")["items"] == []


def test_the_database_stops_and_starts_and_is_wiped_only_when_stopped(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="running"):
        sandbox.wipe_db()
    sandbox.stop_db()
    sandbox.start_db()
    assert sandbox.sql("SELECT 1 + 1") == "2"
    sandbox.stop_db()
    data = Path(sandbox.facts.data_dir)
    owner = data.owner()
    (data / ".hidden").touch()
    sandbox.wipe_db()
    assert list(data.iterdir()) == []
    assert data.owner() == owner
    with pytest.raises(SandboxError, match="restore"):
        sandbox.start_db()
    assert list(data.iterdir()) == []


def test_down_ends_everything_and_removes_everything(tmp_path: Path) -> None:
    sandbox = Sandbox.up(tmp_path / "two")
    pids, root, port = sandbox.facts.pids, sandbox.root, int(sandbox.facts.url.rpartition(":")[2])
    sandbox.kill("dbcalm-mariadb-cmd")
    (sandbox.folder / "sandbox.json").unlink()
    with pytest.raises(SandboxError, match="not finished"):
        Sandbox.up(sandbox.folder)
    Sandbox(sandbox.folder).down()
    assert not any(map(running, pids.values()))
    assert not root.exists() and not sandbox.folder.exists()
    with socket.socket() as caller:
        assert caller.connect_ex(("127.0.0.1", port)) != 0


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(SandboxError, match="not an empty folder"):
        Sandbox.up(tmp_path)
    with pytest.raises(SandboxError, match="not a sandbox"):
        Sandbox(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
