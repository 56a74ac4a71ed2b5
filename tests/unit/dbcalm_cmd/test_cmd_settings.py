"""``cmd.toml``: what is taken, and one line that names the file and every mistake for what is not."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dbcalm_cmd.settings import Settings, SettingsError, default_path, load
from tests.support.patience import PATIENCE

A_PATH = "an absolute path of at most 255 letters, digits and _ . / + @ -"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write ``cmd.toml`` and return its path."""

    def write(text: str | bytes, mode: int = 0o644) -> Path:
        path = tmp_path / "cmd.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    return write


def test_without_a_file_the_documented_places_are_used(tmp_path: Path) -> None:
    assert load(tmp_path / "cmd.toml") == Settings(
        socket="/var/run/dbcalm/cmd.sock",
        cron_file="/etc/cron.d/dbcalm",
        dbcalm_user="dbcalm",
        program="/usr/bin/dbcalm",
        config="",
    )


def test_an_empty_file_is_a_file_without_keys(write: Callable[..., Path]) -> None:
    assert load(write("# nothing\n")) == Settings()


def test_every_key_is_taken(write: Callable[..., Path]) -> None:
    path = write(
        'socket = "/a/s.sock"\ncron_file = "/a/cron"\ndbcalm_user = "me"\n'
        'program = "/a/b/python3 /a/dbcalm.py"\nconfig = "/a/config.yml"\n'
    )
    assert load(path) == Settings("/a/s.sock", "/a/cron", "me", "/a/b/python3 /a/dbcalm.py", "/a/config.yml")


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, "/etc/dbcalm/cmd.toml"),
        ({"DBCALM_CONFIG": ""}, "/etc/dbcalm/cmd.toml"),
        ({"DBCALM_CONFIG": "/srv/x/config.yml"}, "/srv/x/cmd.toml"),
        ({"DBCALM_CONFIG": "config.yml"}, "cmd.toml"),
        ({"DBCALM_CONFIG": "/"}, "/cmd.toml"),
    ],
)
def test_the_file_lies_beside_the_configuration(environment: dict[str, str], path: str) -> None:
    assert default_path(environment) == Path(path)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            'sockt = "/a"',
            "unknown key 'sockt'; known keys: socket, cron_file, dbcalm_user, program, config, systemctl, "
            "database_unit",
        ),
        ("[socket]\na = 1", f"socket must be {A_PATH}"),
        ("socket = 5", f"socket must be {A_PATH}"),
        ("socket = true", f"socket must be {A_PATH}"),
        ('socket = ["/a"]', f"socket must be {A_PATH}"),
        ('socket = ""', f"socket must be {A_PATH}"),
        ('socket = "run/cmd.sock"', f"socket must be {A_PATH}"),
        ('socket = "/a b"', f"socket must be {A_PATH}"),
        (f'socket = "/{"a" * 255}"', f"socket must be {A_PATH}"),
        ('cron_file = "cron"', f"cron_file must be {A_PATH}"),
        ('cron_file = "/a\\u0000"', f"cron_file must be {A_PATH}"),
        ('cron_file = "/a\\n"', f"cron_file must be {A_PATH}"),
        ('dbcalm_user = ""', "dbcalm_user must be the name of a user"),
        ('dbcalm_user = "me\\n"', "dbcalm_user must be the name of a user"),
        ('dbcalm_user = "0"', "dbcalm_user must be the name of a user"),
        ('dbcalm_user = "a b"', "dbcalm_user must be the name of a user"),
        *(
            (f"program = '''{program}'''", f"program must be {A_PATH}, or two of them with a space between")
            for program in (
                "dbcalm",
                "/a  /b",
                "/a /b /c",
                "/a b",
                "/a ",
                "/a %",
                "/a;id",
                "/a\n* * * * * root id",
                "/$HOME",
                "/é",
                "/\u0663",
            )
        ),
        (f'program = "/{"a" * 255}"', f"program must be {A_PATH}, or two of them with a space between"),
        ('config = "config.yml"', f"config must be {A_PATH}, or empty"),
        ('config = "/a\\nMAILTO=x"', f"config must be {A_PATH}, or empty"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(
    write: Callable[..., Path], text: str, mistake: str
) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {mistake}"


def test_all_mistakes_are_told_together(write: Callable[..., Path]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write('socket = 1\nprogram = "x"\nnothing = 1\n'))
    for word in ("socket must be", "program must be", "unknown key 'nothing'"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["socket", "socket = ", "socket = '/a'\nsocket = '/b'", b'socket = "\xff"', "=", "- socket: /a", "\0"],
)
def test_what_is_no_toml_cannot_be_read(write: Callable[..., Path], text: str | bytes) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: cannot be read: ")
    assert "\n" not in str(caught.value)


def test_a_folder_in_its_place_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cmd.toml: cannot be read: .*Is a directory"):
        (tmp_path / "cmd.toml").mkdir()
        load(tmp_path / "cmd.toml")


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o622, 0o602, 0o620])
def test_a_file_that_others_may_write_is_not_obeyed(write: Callable[..., Path], mode: int) -> None:
    path = write('program = "/usr/bin/dbcalm"', mode)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: must be owned by root and not be writable by others"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_obeyed(write: Callable[..., Path]) -> None:
    path = write('program = "/usr/bin/dbcalm"', 0o644)
    os.chown(path, 65534, 65534)
    with pytest.raises(SettingsError, match="must be owned by root and not be writable by others$"):
        load(path)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (
            "sockt = 1",
            0o644,
            "unknown key 'sockt'; known keys: socket, cron_file, dbcalm_user, program, config",
        ),
        ("socket = 5", 0o644, f"socket must be {A_PATH}"),
        ("socket", 0o644, "cannot be read: "),
        ("", 0o666, "must be owned by root and not be writable by others"),
    ],
)
def test_a_wrong_file_stops_the_service_with_one_line(
    write: Callable[..., Path], root_command: list[str], text: str, mode: int, reason: str
) -> None:
    path = write(text, mode)
    environment = {**os.environ, "DBCALM_CONFIG": str(path.with_name("config.yml"))}
    done = subprocess.run(root_command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dbcalm-cmd: {path}: {reason}")
    assert done.stderr.count("\n") == 1
