"""The command line, as a person meets it: real processes, a real catalogue, a terminal where one is needed."""

import json
import os
import pty
import pwd
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dbcalm.cli.main import COMMANDS, program
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[4]
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def config(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    key = tmp_path / "jwt.key"
    key.write_text("f" * 64)
    key.chmod(0o600)
    file = tmp_path / "config.yml"
    file.write_text(
        f"database_file: {state}/db.sqlite3\njwt_secret_key_file: {key}\ndbcalm_user: {ME}\nlog_file: {tmp_path}/log\n"
    )
    return file


Done = subprocess.CompletedProcess[str]


class Cli:
    """Runs ``dbcalm`` with a configuration."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        return subprocess.run(
            [sys.executable, "dbcalm.py", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "DBCALM_CONFIG": str(self.config), "PYTHONWARNINGS": "error"}

    def on_a_terminal(self, *arguments: str, typed: list[str]) -> tuple[int, str]:
        """Run on a terminal, where each line is typed once the one before was asked for."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(CHECKOUT)
            os.execve(sys.executable, [sys.executable, "dbcalm.py", *arguments], self.environment)
        shown = b""
        for line in typed:
            prompt = b""
            while not prompt.endswith((b"name: ", b"word: ", b"confirmation: ")):
                prompt += os.read(terminal, 1)
            os.write(terminal, line.encode() + b"\n")
            shown += prompt
        try:
            while more := os.read(terminal, 1024):
                shown += more
        except OSError:  # The other side is closed.
            pass
        _pid, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), shown.decode()


@pytest.fixture
def dbcalm(config: Path) -> Cli:
    return Cli(config)


def refused(done: Done, word: str, code: int = 1) -> None:
    """Check that a command ended as one does that was refused: one line, no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("dbcalm: ")
    assert word in done.stderr


def test_version_and_help(dbcalm: Cli) -> None:
    assert dbcalm("--version").stdout == dbcalm("version").stdout == "dbcalm 0.1.0\n"
    for words in ([], ["backup"], ["backups", "delete"], ["help"]):
        assert dbcalm("help", *words).stdout == dbcalm(*words, "--help").stdout
    assert dbcalm("help", "fly").returncode == 2
    for arguments in (("--help",), ("-h",), ("users", "-h"), ("clients", "add", "--help"), ("config", "-h")):
        done = dbcalm(*arguments)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: ") or "Usage:" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("users", "fly"),
        ("users", "delete"),
        ("users", "add", "a", "b"),
        ("clients", "add"),
        ("--fly",),
        ("users", "add", "--password-stdin"),
    ],
)
def test_wrong_usage_is_2(dbcalm: Cli, arguments: tuple[str, ...]) -> None:
    done = dbcalm(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_users_from_their_birth_to_their_end(dbcalm: Cli) -> None:
    assert dbcalm("users", "list").stdout.split() == ["USERNAME", "CREATED_AT"]
    assert dbcalm("users", "add", "bob", "--password-stdin", stdin="pass word\n").returncode == 0
    assert dbcalm("users", "add", "alice", "--password-stdin", stdin="ä" * 80).returncode == 0
    [alice, bob] = json.loads(dbcalm("users", "list", "--json").stdout)
    assert (alice["username"], bob["username"]) == ("alice", "bob")
    assert f"{alice['created_at'][:16].replace('T', ' ')} UTC" in dbcalm("users", "list").stdout
    refused(dbcalm("users", "add", "bob", "--password-stdin", stdin="x"), "user bob exists already")
    assert dbcalm("users", "update-password", "bob", "--password-stdin", stdin="new").returncode == 0
    refused(dbcalm("users", "update-password", "carol", "--password-stdin", stdin="x"), "no user 'carol'")
    refused(dbcalm("users", "delete", "carol", "--yes"), "no user 'carol'")
    assert dbcalm("users", "delete", "bob", "--yes").returncode == 0
    assert [user["username"] for user in json.loads(dbcalm("users", "list", "--json").stdout)] == ["alice"]


@pytest.mark.parametrize("password", ["", "\n", "a\0b", "x" * 2000])
def test_passwords_that_are_none_are_refused(dbcalm: Cli, password: str) -> None:
    refused(dbcalm("users", "add", "bob", "--password-stdin", stdin=password), "password must have")


def test_delete_asks_and_no_means_no(dbcalm: Cli) -> None:
    dbcalm("users", "add", "bob", "--password-stdin", stdin="x")
    for answer in ("n\n", "\n", ""):
        done = dbcalm("users", "delete", "bob", stdin=answer)
        assert done.returncode == 1
        assert "bob" in done.stderr
    assert "bob" in dbcalm("users", "list").stdout
    assert dbcalm("users", "delete", "bob", stdin="y\n").returncode == 0
    assert "bob" not in dbcalm("users", "list").stdout


def test_what_is_missing_is_asked_for_and_the_password_not_shown(dbcalm: Cli) -> None:
    code, shown = dbcalm.on_a_terminal("users", "add", typed=["alice", "hunter2", "hunter2"])
    assert (code, "hunter2" in shown) == (0, False), shown
    assert "user alice was added" in shown
    code, shown = dbcalm.on_a_terminal(
        "users", "update-password", "alice", typed=["new", "other", "new", "new"]
    )
    assert code == 0, shown
    assert "do not match" in shown


def test_a_name_that_is_taken_is_said_before_the_password_is_asked_for(dbcalm: Cli) -> None:
    dbcalm("users", "add", "alice", "--password-stdin", stdin="x")
    code, shown = dbcalm.on_a_terminal("users", "add", typed=["alice"])
    assert code == 1
    assert "Password" not in shown


def test_without_a_terminal_the_password_is_not_guessed(dbcalm: Cli) -> None:
    refused(dbcalm("users", "add", "alice", stdin="x\nx\n"), "--password-stdin")


def test_clients_from_their_birth_to_their_end(dbcalm: Cli) -> None:
    made = json.loads(dbcalm("clients", "add", "all", "--json").stdout)
    assert (made["label"], made["scopes"], len(made["secret"])) == ("all", ["*"], 43)
    done = dbcalm("clients", "add", "look", "--scope", "backups:read", "--scope", "processes:read")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["client_id", "client_secret"]
    listed = json.loads(dbcalm("clients", "list", "--json").stdout)
    assert [client["label"] for client in listed] == ["look", "all"]
    assert listed[0]["scopes"] == ["backups:read", "processes:read"]
    assert made["secret"] not in dbcalm("clients", "list").stdout + dbcalm("clients", "list", "--json").stdout
    assert dbcalm("clients", "update", made["id"], "other").returncode == 0
    assert "other" in dbcalm("clients", "list").stdout
    assert dbcalm("clients", "delete", made["id"], stdin="n\n").returncode == 1
    assert dbcalm("clients", "delete", made["id"], "--yes").returncode == 0
    refused(dbcalm("clients", "delete", made["id"], "--yes"), "there is no client")
    refused(dbcalm("clients", "update", made["id"], "x"), "there is no client")
    refused(dbcalm("clients", "add", "x", "--scope", "root"), "scopes must be of")


def test_secrets_are_in_no_log_and_actions_are(dbcalm: Cli, config: Path) -> None:
    dbcalm("users", "add", "alice", "--password-stdin", stdin="hunter2")
    secret = json.loads(dbcalm("clients", "add", "all", "--json").stdout)["secret"]
    log = config.with_name("log").read_text()
    assert "hunter2" not in log
    assert secret not in log
    assert "command line" in log
    assert "add user 'alice': done" in log


def test_config_check_says_what_it_found(dbcalm: Cli, config: Path) -> None:
    done = dbcalm("config", "check")
    assert done.returncode == 1
    assert done.stdout.startswith(f"file: {config}\n")
    assert "problem: ssl_cert: cannot read" in done.stdout
    assert done.stderr.count("\n") == 1


def test_config_check_tells_every_mistake(dbcalm: Cli, config: Path) -> None:
    config.write_text("api_port: x\nbackup_dir: y\ncolour: red\n")
    done = dbcalm("config", "check")
    assert (done.returncode, done.stdout.count("problem: ")) == (1, 3)
    refused(dbcalm("users", "list"), "api_port must be")


def test_config_check_is_content_and_still_warns(dbcalm: Cli, config: Path) -> None:
    cert, key = config.with_name("cert.pem"), config.with_name("key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", key, "-out", cert], check=True, capture_output=True,
    )  # fmt: skip
    with config.open("a") as file:
        file.write(f"ssl_cert: {cert}\nssl_key: {key}\njwt_secret_key: {'s' * 40}\n")
    done = dbcalm("config", "check")
    assert done.returncode == 0, done.stdout
    assert "warning: jwt_secret_key stands in the configuration" in done.stdout
    assert "ssss" not in done.stdout


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "does not exist"),
        ("- a\n", "mapping"),
        ("a: [", "YAML"),
        ("api_port: 1\napi_port: 2\n", "twice"),
        ("dbcalm_user: nobody-at-all\n", "no such user"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    dbcalm: Cli, config: Path, text: str | None, word: str
) -> None:
    config.unlink() if text is None else config.write_text(text)
    for command in (("users", "list"), ("server",)):
        if "user" not in (text or "") or os.geteuid() == 0:
            refused(dbcalm(*command), word)


def test_a_catalogue_that_cannot_be_used_is_one_clear_line(dbcalm: Cli, config: Path) -> None:
    state = config.with_name("state")
    state.chmod(0o755)
    refused(dbcalm("users", "list"), "chmod 700")
    state.chmod(0o700)
    (state / "db.sqlite3").write_bytes(b"no database" * 100)
    refused(dbcalm("users", "list"), "damaged")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_user_who_owns_the_catalogue(dbcalm: Cli, config: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    text = config.read_text().replace(f"dbcalm_user: {ME}", "dbcalm_user: nobody")
    config.write_text(text.replace(f"log_file: {config.parent}/log", ""))
    os.chown(config.with_name("state"), nobody.pw_uid, nobody.pw_gid)
    for folder in (config.parent, *list(config.parent.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o005)
    done = dbcalm("users", "list")
    if "Permission denied" in done.stderr and "dbcalm.py" in done.stderr:
        pytest.skip("this checkout lies where only root can read it")
    assert done.returncode == 0, done.stderr
    assert {file.stat().st_uid for file in config.with_name("state").iterdir()} == {nobody.pw_uid}


def loaded_by(dbcalm: Cli, *arguments: str) -> set[str]:
    """Return the modules that a command loads, our own by their full names and others by their packages'."""
    program = (
        "import sys, json; from dbcalm.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {name if name.startswith('dbcalm') else name.split('.')[0] for name in sys.modules}\n"
        "print(json.dumps(sorted(loaded)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=CHECKOUT, env=dbcalm.environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("completion", "bash"), ("config", "check")],
)
def test_what_opens_no_catalogue_does_not_load_its_libraries(dbcalm: Cli, arguments: tuple[str, ...]) -> None:
    assert not loaded_by(dbcalm, *arguments) & {"sqlmodel", "sqlalchemy", "dbcalm.repository.engine"}


@pytest.mark.parametrize("arguments", [("--help",), ("users", "list"), ("clients", "list")])
def test_commands_start_without_what_only_the_server_needs(dbcalm: Cli, arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(dbcalm, *arguments)
    assert "typer" in loaded
    # Where there are arguments to read, typer itself loads pydantic.
    assert not loaded & {"fastapi", "starlette", "uvicorn", "jose", "passlib", "bcrypt"}
    assert "pydantic" not in loaded or arguments != ("--help",)


def test_help_is_the_same_whether_its_commands_are_loaded_or_not() -> None:
    shown = [
        CliRunner().invoke(program(wanted), ["--help"], prog_name="dbcalm").output
        for wanted in ((), COMMANDS)
    ]
    assert shown[0] == shown[1]
    assert all(name in shown[0] for name in COMMANDS)


def test_a_start_loads_the_command_that_is_asked_for(dbcalm: Cli) -> None:
    loaded = loaded_by(dbcalm, "users", "list")
    assert "dbcalm.cli.commands.access.users" in loaded
    others = {
        f"dbcalm.cli.{name}" for name in ("backup", "backups", "cleanup", "schedules", "status", "server")
    }
    assert not loaded & {*others, "dbcalm.domain.services.schedules", "cronsim"}


def test_a_weak_password_is_said_and_taken(dbcalm: Cli) -> None:
    added = dbcalm("users", "add", "alice", "--password-stdin", stdin="secret\n")
    assert added.returncode == 0
    assert "the password is weak: it has fewer than 12 characters; " in added.stderr
    assert added.stderr.rstrip().endswith("for a better one: dbcalm users update-password alice")
    better = dbcalm("users", "update-password", "alice", "--password-stdin", stdin="7h1v-Kq2p-Xw9z\n")
    assert better.stderr == "user alice has a new password\n"


def test_a_client_that_may_do_everything_and_one_of_the_same_label_are_said(dbcalm: Cli) -> None:
    first = dbcalm("clients", "add", "backup script")
    assert "it may do everything; one that may only look at backups is made with: " in first.stderr
    advised = first.stderr.split("made with: dbcalm ")[1].splitlines()[0]
    second = dbcalm(*shlex.split(advised))
    assert second.returncode == 0
    assert "may do everything" not in second.stderr
    assert "1 more are called backup script, such as " in second.stderr
