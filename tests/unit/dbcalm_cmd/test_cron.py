"""The cron file: what each schedule becomes, what is refused, and that whoever looks sees a whole file."""

import contextlib
import itertools
import json
import os
import pwd
import random
import re
import signal
import socket
import string
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbcalm_cmd.adapter import is_installed, render, replace_file
from dbcalm_cmd.command import BACKUP_TYPES, FREQUENCIES, WHOLE_INTERVALS, CronSchedule, UpdateCronSchedules
from dbcalm_cmd.wire import MAX_FRAME, InvalidCommand, WireError, encode
from dbcalm_cmd_client import CmdClient
from dev.private_cron import PrivateCron, why_not
from dev.sandbox_lib.errors import SandboxError
from tests.support.able import mounted, traced
from tests.support.patience import PATIENCE

Start = Callable[..., Any]

WHOLE = {"id": 1, "backup_type": "full", "frequency": "daily", "minute": 0, "hour": 3}
"""A schedule as it comes over the wire."""

OWN_USER = pwd.getpwuid(os.getuid()).pw_name
"""Whose cron lines they are where the service is configured by these tests."""

HEAD = """\
# Made by DBCalm from its schedules; each save replaces this file. Change schedules through DBCalm.
SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
MAILTO=""
"""

_MINUTE = r"(?:[0-9]|[1-5][0-9])"
_HOUR = r"(?:[0-9]|1[0-9]|2[0-3])"
_DAY = r"(?:[1-9]|1[0-9]|2[0-8])"
TIMES = "|".join(
    [
        rf"{_MINUTE} {_HOUR} \* \* (?:\*|[0-6])",
        rf"{_MINUTE} {_HOUR} {_DAY} \* \*",
        rf"{_MINUTE} \* \* \* \*",
        r"(?:\*|\*/(?:2|3|4|5|6|10|12|15|20|30)) \* \* \* \*",
        rf"{_MINUTE} (?:\*|\*/(?:2|3|4|6|8|12)) \* \* \*",
    ]
)
LINE = re.compile(
    rf"(?:{TIMES}) dbcalm /usr/bin/dbcalm (?:backup full|backup incremental|verify) --schedule-id "
    r"[1-9][0-9]{0,18}(?: --if-due [1-9][0-9]{0,3})?\n"
)
"""All that may ever stand between the head and the clean-up, written down here once more and stricter."""

CLEAN_UP = "20 4 * * * dbcalm /usr/bin/dbcalm cleanup\n"


def installed(*schedules: dict[str, Any]) -> str:
    """Return the lines that the root service would write for what came over the wire, between the head and the daily
    clean-up, which are always there."""
    command = UpdateCronSchedules.from_args({"schedules": list(schedules)})
    text = render(command.schedules, "dbcalm", "/usr/bin/dbcalm", "")
    assert text.startswith(HEAD)
    assert text.endswith(CLEAN_UP)
    return text.removeprefix(HEAD).removesuffix(CLEAN_UP)


def lines_in(path: Path) -> list[str]:
    """Return the lines of schedules in a file that the root service of these tests wrote."""
    *lines, clean_up = path.read_text().removeprefix(HEAD).splitlines()
    assert clean_up == f"20 4 * * * {OWN_USER} /usr/bin/dbcalm cleanup"
    return lines


# What a schedule becomes


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"frequency": "daily", "hour": 3, "minute": 0}, "0 3 * * *"),
        (
            {"frequency": "daily", "hour": 23, "minute": 59, "day_of_week": 3, "day_of_month": 9},
            "59 23 * * *",
        ),
        ({"frequency": "weekly", "day_of_week": 0, "hour": 0, "minute": 7}, "7 0 * * 0"),
        (
            {"frequency": "weekly", "day_of_week": 6, "hour": 12, "minute": 30, "day_of_month": 2},
            "30 12 * * 6",
        ),
        ({"frequency": "monthly", "day_of_month": 1, "hour": 4, "minute": 5}, "5 4 1 * *"),
        (
            {"frequency": "monthly", "day_of_month": 28, "hour": 4, "minute": 5, "day_of_week": 2},
            "5 4 28 * *",
        ),
        ({"frequency": "hourly", "minute": 0}, "0 * * * *"),
        ({"frequency": "hourly", "minute": 59, "hour": 5, "interval_value": 7}, "59 * * * *"),
        ({"frequency": "interval", "interval_value": 1, "interval_unit": "minutes"}, "* * * * *"),
        ({"frequency": "interval", "interval_value": 15, "interval_unit": "minutes"}, "*/15 * * * *"),
        (
            {"frequency": "interval", "interval_value": 15, "interval_unit": "minutes", "minute": 3},
            "*/15 * * * *",
        ),
        ({"frequency": "interval", "interval_value": 1, "interval_unit": "hours"}, "0 * * * *"),
        ({"frequency": "interval", "interval_value": 6, "interval_unit": "hours"}, "0 */6 * * *"),
        (
            {"frequency": "interval", "interval_value": 6, "interval_unit": "hours", "minute": 20},
            "20 */6 * * *",
        ),
    ],
)
def test_each_frequency_becomes_its_times(fields: dict[str, Any], times: str) -> None:
    assert CronSchedule(id=1, backup_type="full", **fields).times == times


def test_a_line_names_user_program_type_and_schedule() -> None:
    schedule = CronSchedule(2, "incremental", "interval", interval_value=15, interval_unit="minutes")
    text = render((schedule,), "dbcalm", "/usr/bin/dbcalm", "")
    line = "*/15 * * * * dbcalm /usr/bin/dbcalm backup incremental --schedule-id 2\n"
    assert text == HEAD + line + CLEAN_UP


def test_another_program_and_configuration_stand_in_the_file() -> None:
    schedule = CronSchedule(2, "full", "hourly", minute=5)
    text = render((schedule,), "me", "/opt/py/bin/python3 /srv/dbcalm.py", "/srv/config.yml")
    assert text == HEAD + (
        "DBCALM_CONFIG=/srv/config.yml\n"
        "5 * * * * me /opt/py/bin/python3 /srv/dbcalm.py backup full --schedule-id 2\n"
        "20 4 * * * me /opt/py/bin/python3 /srv/dbcalm.py cleanup\n"
    )


def test_lines_are_in_order_of_id_and_no_schedule_leaves_the_clean_up_alone() -> None:
    listed = [{**WHOLE, "id": number} for number in (10, 2, 2**63 - 1, 9)]
    assert re.findall(r"--schedule-id (\d+)", installed(*listed)) == ["2", "9", "10", str(2**63 - 1)]
    assert installed() == ""


@pytest.mark.parametrize(
    ("value", "unit", "minute", "times", "if_due"),
    [
        (7, "minutes", None, "* * * * *", 7),
        (8, "minutes", 3, "*/4 * * * *", 8),
        (45, "minutes", None, "*/15 * * * *", 45),
        (50, "minutes", None, "*/10 * * * *", 50),
        (59, "minutes", None, "* * * * *", 59),
        (5, "hours", None, "0 * * * *", 300),
        (23, "hours", 20, "20 * * * *", 1380),
    ],
)
def test_an_interval_that_cron_cannot_keep_fires_at_a_finer_step(
    value: int, unit: str, minute: int | None, times: str, if_due: int
) -> None:
    for kind, words in (("full", "backup full"), ("verify", "verify")):
        schedule = CronSchedule(2, kind, "interval", interval_value=value, interval_unit=unit, minute=minute)
        line = f"{times} dbcalm /usr/bin/dbcalm {words} --schedule-id 2 --if-due {if_due}\n"
        assert render((schedule,), "dbcalm", "/usr/bin/dbcalm", "") == HEAD + line + CLEAN_UP


def test_every_interval_is_taken_and_kept_by_cron_or_the_command() -> None:
    assert WHOLE_INTERVALS == {
        "minutes": (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30),
        "hours": (1, 2, 3, 4, 6, 8, 12),
    }
    for unit, whole in WHOLE_INTERVALS.items():
        for value in range(-5, 200):
            fields = {"id": 1, "backup_type": "full", "frequency": "interval"}
            fields |= {"interval_value": value, "interval_unit": unit}
            most = {"minutes": 59, "hours": 23}[unit]
            if 1 <= value <= most:
                assert LINE.fullmatch(installed(fields))
                assert ("--if-due" in installed(fields)) == (value not in whole)
            else:
                refused = rf"^interval_value in {unit} must be an integer from 1 to {most}$"
                with pytest.raises(InvalidCommand, match=refused):
                    installed(fields)


# What is refused

_STRINGS = [
    "", " ", "0", "3", "3\n", "\n", "*", "*/2", "0-5", "1,2", "0x1", "1e0", "+1", "-1", "1 ", " 1", "1.0", "\u0663",
    "\uff13", "\u00b2", "\u2163", "1_0", "\0", "\ud800", "None", "true", "null", "x" * 5000, "%", ";", "&", "|", "`id`",
    "$(id)", "#", "full\n", "full ", "Full", "FULL", "daily\n", "daily ", "Daily", "yearly", "@daily", "@reboot",
    "minutes\n", "Hours", "days", "full; rm -rf /", "full\n* * * * * root id", "full%\nid", "daily\r* * * * * root id",
    "--", "-h", "../../etc/passwd", "full\u2028", "full\x0b", "full\x85", "\ufefffull", "f\u0301ull", "ful\u200dl",
]  # fmt: skip
_NUMBERS = [
    True, False, None, 0.0, 1.0, 3.0, 3.9, -0.0, 1e308, 5e-324, -1, -59, 60, 24, 7, 29, 31, 32, 100, 2**31, 2**32,
    2**63, 2**64, -(2**63), 10**4000, [], [1], [[1]], [True], {}, {"a": 1}, {"id": 1},
]  # fmt: skip
_LINE_ENDS = ["\n", "\r", "\r\n", "\n\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
_NICKNAMES = [
    "@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "~", "?",
    "sun", "mon", "tue", "wed", "thu", "fri", "sat", "SUN", "Mon", "jan", "feb", "dec", "JAN", "L", "W", "5#3", "H",
    "0-59", "0-59/2", "*/1", "*/60", "1-5,7", "1,2,3", "**", "*/", "/5", "5-", "-5", "1--2", "* * * * * root",
]  # fmt: skip


def hostile() -> Iterator[Any]:
    """Yield what no field should take, and some that only one field takes."""
    yield from [*_STRINGS, *_NUMBERS, *_NICKNAMES]
    for character in map(chr, [*range(0x20), *range(0x7F, 0xA0)]):
        yield from (f"full{character}", f"{character}3")
    for end in _LINE_ENDS:
        yield from (f"full{end}* * * * * root id", f"daily{end}", f"3{end}4", f"minutes{end}MAILTO=root{end}")
    for character in string.punctuation:
        yield from (f"full{character}id", f"{character}id", f"3{character}")
    for character in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.decimal(character, None) == 3:
            yield character
    for bound in (
        0,
        1,
        6,
        7,
        12,
        23,
        24,
        28,
        29,
        30,
        31,
        59,
        60,
        2**15,
        2**31,
        2**32,
        2**53,
        2**63,
        2**64,
        10**30,
    ):
        for number in (bound - 1, bound, bound + 1):
            yield from (
                number,
                -number,
                float(number),
                str(number),
                f"{number} ",
                [number],
                {"value": number},
            )
    for word in (*BACKUP_TYPES, *FREQUENCIES, "minutes", "hours"):
        yield from (
            word.upper(),
            word.title(),
            f" {word}",
            f"{word} ",
            f"{word}\0",
            word[:-1],
            word[::-1],
            [word],
        )
        yield from (
            f"{word}\u200b",
            f"{word[0]}\u0301{word[1:]}",
            word.encode("utf-16").decode("latin-1"),
            {word: word},
        )
    for digits in (20, 400, 4000):
        yield from (10**digits, -(10**digits), "9" * digits, "0" * digits + "3", [0] * digits)


HOSTILE = list({repr(value): value for value in hostile()}.values())
FITS = {
    "id": lambda value: type(value) is int and 1 <= value < 2**63,
    "backup_type": lambda value: value in ("full", "incremental", "verify"),
    "frequency": lambda value: value in FREQUENCIES,
    "minute": lambda value: type(value) is int and 0 <= value <= 59,
    "hour": lambda value: type(value) is int and 0 <= value <= 23,
    "day_of_week": lambda value: type(value) is int and 0 <= value <= 6,
    "day_of_month": lambda value: type(value) is int and 1 <= value <= 28,
    "interval_value": lambda value: type(value) is int and 1 <= value <= 59,
    "interval_unit": lambda value: value in ("minutes", "hours"),
}
NEEDING = {
    "id": "hourly", "backup_type": "hourly", "frequency": "hourly", "minute": "daily", "hour": "weekly",
    "day_of_week": "weekly", "day_of_month": "monthly", "interval_value": "interval", "interval_unit": "interval",
}  # fmt: skip
"""For each field a frequency that cannot do without it."""

GOOD = {
    "id": 1, "backup_type": "full", "minute": 4, "hour": 3, "day_of_week": 2, "day_of_month": 5, "interval_value": 10,
    "interval_unit": "minutes",
}  # fmt: skip


@pytest.mark.parametrize("field", FITS)
def test_a_field_takes_what_it_is_for_and_nothing_else(field: str) -> None:
    assert len(HOSTILE) >= 500
    for value in HOSTILE:
        schedule = {**GOOD, "frequency": NEEDING[field], field: value}
        if FITS[field](value):
            assert LINE.fullmatch(installed(schedule))
        else:
            with pytest.raises(InvalidCommand):
                installed(schedule)


@pytest.mark.parametrize("field", [name for name in FITS if name not in ("id", "backup_type", "frequency")])
def test_a_field_that_the_frequency_does_not_need_is_still_checked(field: str) -> None:
    other = "hourly" if field != "minute" else "interval"
    for value in HOSTILE:
        schedule = {**GOOD, "frequency": other, field: value}
        if (
            value is None
            or FITS[field](value)
            or (field == "interval_value" and type(value) is int and 0 < value < 2**63)
        ):
            assert LINE.fullmatch(installed(schedule))
        else:
            with pytest.raises(InvalidCommand, match=rf"^{field} must be "):
                installed(schedule)


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_a_schedule_without_a_field_that_its_frequency_needs_is_refused_by_name(frequency: str) -> None:
    needs = {
        "daily": {"hour", "minute"},
        "weekly": {"day_of_week", "hour", "minute"},
        "monthly": {"day_of_month", "hour", "minute"},
        "hourly": {"minute"},
        "interval": {"interval_value", "interval_unit"},
    }[frequency]
    whole = {"id": 1, "backup_type": "full", "frequency": frequency, **{name: GOOD[name] for name in needs}}
    assert LINE.fullmatch(installed(whole))
    for name in needs:
        without = {key: value for key, value in whole.items() if key != name}
        for lacking in (without, {**without, name: None}):
            with pytest.raises(InvalidCommand, match=f"^{name} is needed by a schedule that runs "):
                installed(lacking)


def generated() -> Iterator[dict[str, Any]]:
    """Yield 20,000 schedules whose fields are good, nearly good or hostile, always the same ones."""
    chance = random.Random(3)
    for _ in range(20_000):
        schedule: dict[str, Any] = {**GOOD, "frequency": chance.choice(FREQUENCIES)}
        schedule |= {"backup_type": chance.choice(BACKUP_TYPES), "minute": chance.randrange(-1, 61)}
        schedule |= {"hour": chance.randrange(25), "interval_value": chance.randrange(40)}
        for field in chance.sample(list(FITS), chance.randrange(3)):
            schedule[field] = chance.choice(HOSTILE)
        yield schedule


def test_twenty_thousand_random_schedules_are_refused_or_become_one_strict_line() -> None:
    refused = 0
    for schedule in generated():
        try:
            text = installed(schedule)
        except InvalidCommand:
            refused += 1
        else:
            assert LINE.fullmatch(text), schedule
    assert 5_000 < refused < 18_000


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (None, "takes schedules, a list of objects"),
        ([], "takes schedules, a list of objects"),
        ({}, "takes schedules, a list of objects"),
        ({"schedules": None}, "takes schedules, a list of objects"),
        ({"schedules": "daily"}, "takes schedules, a list of objects"),
        ({"schedules": WHOLE}, "takes schedules, a list of objects"),
        ({"schedules": [WHOLE, None]}, "takes schedules, a list of objects"),
        ({"schedules": [[WHOLE]]}, "takes schedules, a list of objects"),
        ({"schedules": [], "path": "/etc/passwd"}, "takes schedules, a list of objects"),
        ({"schedules": [{}]}, "unknown or missing field"),
        ({"schedules": [{**WHOLE, "command": "id"}]}, "unknown or missing field"),
        ({"schedules": [{**WHOLE, "self": 1}]}, "unknown or missing field"),
        ({"schedules": [{**WHOLE, "\ud800": 1}]}, "unknown or missing field"),
        ({"schedules": [WHOLE, {**WHOLE, "hour": 4}]}, "two schedules have the same id"),
        ({"schedules": [{**WHOLE, "id": n} for n in range(1, 5002)]}, "5001 schedules are more than 5000"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_arguments_that_are_no_list_of_schedules_are_refused(args: object, message: str) -> None:
    with pytest.raises(InvalidCommand, match=message):
        UpdateCronSchedules.from_args(args)


@pytest.mark.parametrize("schedules", [(WHOLE,), (None,), ("daily",)])
def test_the_command_itself_holds_schedules_only(schedules: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidCommand, match=r"^schedules must be a list of schedules$"):
        UpdateCronSchedules(schedules)


@pytest.mark.parametrize(
    ("user", "program"),
    [
        ("root root", "/usr/bin/dbcalm"),
        ("root\n", "/usr/bin/dbcalm"),
        ("", "/usr/bin/dbcalm"),
        ("dbcalm", ""),
        ("dbcalm", "/usr/bin/dbcalm; id"),
        ("dbcalm", "/usr/bin/dbcalm\n* * * * * root id"),
        ("dbcalm", "/a backup full --schedule-id 1\n* * * * * root /id"),
        ("dbcalm", "/usr/bin/dbcalm %"),
        ("dbcalm", "/usr/bin/$(id)"),
    ],
)
def test_a_line_of_any_other_form_is_never_rendered(user: str, program: str) -> None:
    for schedules in ((CronSchedule(1, "full", "hourly", minute=5),), ()):
        with pytest.raises(ValueError, match="^refused to install the cron line"):
            render(schedules, user, program, "")


# How the file is replaced


def test_the_file_is_replaced_readable_by_all_and_alone_in_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "cron"
    mask = os.umask(0o077)
    try:
        for text in ("one\n", "two\n"):
            replace_file(path, text)
            assert path.read_text() == text
            assert oct(path.stat().st_mode)[-4:] == "0644"
    finally:
        os.umask(mask)
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_reads_sees_the_old_or_the_new_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "cron"
    texts = {letter * 300_000 for letter in "ab"}
    replace_file(path, "a" * 300_000)
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _, text in zip(range(30), itertools.cycle(sorted(texts)), strict=False):
        replace_file(path, text)
    done.set()
    reader.join()
    assert seen == texts


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    path = tmp_path / "cron"
    path.symlink_to(target)
    replace_file(path, "new\n")
    assert target.read_text() == "precious"
    assert not path.is_symlink()


@pytest.fixture
def refusing_folder(folder: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder, and what makes it take no new file: filled up where we may mount, else made read-only."""
    small = folder / "small"
    small.mkdir()
    if os.getuid() != 0:
        yield small, lambda: small.chmod(0o555)
        small.chmod(0o755)
        return
    with mounted(small, "-t", "tmpfs", "-o", "size=64k", "none"):

        def refuse() -> None:
            with (
                (small / "ballast").open("wb", buffering=0) as file,
                pytest.raises(OSError, match="No space left"),
            ):
                while True:
                    file.write(bytes(4096))

        yield small, refuse


def test_the_old_file_stays_when_the_new_one_cannot_be_written(
    root_service: Start, refusing_folder: tuple[Path, Callable[[], None]]
) -> None:
    small, refuse = refusing_folder
    service = root_service(cron_file=f"{small}/cron")
    client = CmdClient(service.path)
    assert client.update_cron_schedules([CronSchedule(**WHOLE)]).code == 200
    old = (small / "cron").read_text()
    refuse()
    before = sorted(small.iterdir())
    answer = client.update_cron_schedules([CronSchedule(**{**WHOLE, "hour": 4})])
    assert answer.code == 503
    assert re.fullmatch(
        rf"cannot write {small}/cron: (No space left on device|Permission denied)", answer.status
    )
    assert (small / "cron").read_text() == old
    assert sorted(small.iterdir()) == before


def test_a_missing_folder_is_named(root_service: Start, folder: Path) -> None:
    answer = CmdClient(root_service(cron_file=f"{folder}/none/cron").path).update_cron_schedules([])
    assert (answer.code, answer.status) == (
        503,
        f"cannot write {folder}/none/cron: No such file or directory",
    )


@pytest.mark.parametrize("call", ["fchmod", "fsync:when=1", "rename", "fsync:when=2"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_file(
    folder: Path, run: Start, configure: Start, root_command: list[str], call: str
) -> None:
    name, _, when = call.partition(":")
    inject = f"inject={name}:signal=KILL" + (f":{when}" if when else "")
    old, new = "old\n", HEAD + CLEAN_UP.replace("dbcalm", OWN_USER, 1)
    (folder / "cron").write_text(old)
    strace = traced("-o", "/dev/null", "-e", f"trace={name}", "-e", inject)
    service = run(folder / "cmd.sock", *strace, *root_command, env=configure(), start_new_session=True)
    try:
        service.wait_until(service.listens)
        assert service.send(encode({"cmd": "update_cron_schedules", "args": {"schedules": []}})) == b""
        assert service.process.wait(PATIENCE) in (-signal.SIGKILL, 128 + signal.SIGKILL)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGKILL)
    assert (folder / "cron").read_text() == (new if call == "fsync:when=2" else old)


# What is there already is left alone


def another_owner(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: only it can give a file away")
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o644)


def a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    path.chmod(0o644)


WAYS_TO_DIFFER: dict[str, Callable[[Path], object]] = {
    "it is missing": Path.unlink,
    "it is empty": lambda path: path.write_text(""),
    "a letter differs": lambda path: path.write_text(path.read_text().replace("full", "fuli")),
    "a line is missing": lambda path: path.write_text(
        "".join(path.read_text().splitlines(keepends=True)[:-1])
    ),
    "a byte more": lambda path: path.write_text(path.read_text() + "\n"),
    "a byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "no ASCII": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
    "it is endless": lambda path: os.truncate(path, 1 << 40),
    "only its owner may read it": lambda path: path.chmod(0o600),
    "the group may write": lambda path: path.chmod(0o664),
    "all may write": lambda path: path.chmod(0o666),
    "it is set-uid": lambda path: path.chmod(0o4644),
    "it has a second name": lambda path: path.with_name("second").hardlink_to(path),
    "another owner": another_owner,
    "a link to the right text": a_link,
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "a FIFO": a_fifo,
    "a socket": a_socket,
}


def test_the_file_that_was_written_is_known_again(folder: Path) -> None:
    assert not is_installed(folder / "cron", CLEAN_UP)
    replace_file(folder / "cron", CLEAN_UP)
    assert is_installed(folder / "cron", CLEAN_UP)
    assert not is_installed(folder / "cron", CLEAN_UP * 2)
    assert not is_installed(folder / "cron", "")


def written(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a name is written to or made anew; that it was read, which may be noted too, is not."""
    if not os.path.lexists(path):
        return None
    status = path.lstat()
    return (
        status.st_ino,
        status.st_mode,
        status.st_uid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


@pytest.mark.parametrize("spoil", WAYS_TO_DIFFER.values(), ids=WAYS_TO_DIFFER)
def test_a_file_that_cron_would_read_otherwise_is_seen_and_put_right(
    root_service: Start, folder: Path, spoil: Callable[[Path], object]
) -> None:
    path, client = folder / "cron", CmdClient(root_service().path)
    schedules = [CronSchedule(**WHOLE)]
    assert client.update_cron_schedules(schedules).data["changed"] is True
    right = path.read_text()
    spoil(path)
    before = written(path)
    assert client.check_cron_schedules(schedules).data["installed"] is False
    assert written(path) == before
    assert client.update_cron_schedules(schedules).data == {"schedules": 1, "changed": True}
    assert path.read_text() == right
    assert (oct(path.lstat().st_mode), path.stat().st_uid, path.stat().st_nlink) == (
        "0o100644",
        os.getuid(),
        1,
    )
    assert client.check_cron_schedules(schedules).data["installed"] is True


def test_a_folder_in_its_place_is_seen_and_said(root_service: Start, folder: Path) -> None:
    (folder / "cron").mkdir()
    client = CmdClient(root_service().path)
    assert client.check_cron_schedules([]).data["installed"] is False
    answer = client.update_cron_schedules([])
    assert (answer.code, answer.status) == (503, f"cannot write {folder}/cron: Is a directory")


def test_the_same_set_is_not_written_again(root_service: Start, folder: Path) -> None:
    service = root_service()
    client, one, two = CmdClient(service.path), CronSchedule(**WHOLE), CronSchedule(**{**WHOLE, "id": 2})
    assert client.update_cron_schedules([one, two]).data == {"schedules": 2, "changed": True}
    before, said = (folder / "cron").stat(), service.log
    assert client.update_cron_schedules([two, one]).data == {"schedules": 2, "changed": False}
    assert (folder / "cron").stat() == before
    assert service.log == said
    assert client.update_cron_schedules([one]).data == {"schedules": 1, "changed": True}
    assert (folder / "cron").stat().st_ino != before.st_ino
    assert client.check_cron_schedules([one, two]).data == {
        "installed": False,
        "present": 1,
        "highest_id": 1,
    }


def test_a_check_writes_nothing_and_is_as_strict_as_a_save(root_service: Start, folder: Path) -> None:
    service = root_service()
    assert CmdClient(service.path).check_cron_schedules([]).data["installed"] is False
    assert not (folder / "cron").exists()
    for name in ("check_cron_schedules", "update_cron_schedules"):
        answer = service.ask(name, schedules=[{**WHOLE, "hour": True}])
        assert answer == {"code": 400, "status": "hour must be an integer from 0 to 23"}
        answer = service.ask(name, schedules={})
        assert answer == {"code": 400, "status": f"{name} takes schedules, a list of objects"}


# Through the service


def test_a_thousand_schedules_are_installed(root_service: Start, folder: Path) -> None:
    service = root_service()
    schedules = [CronSchedule(**{**WHOLE, "id": number, "minute": number % 60}) for number in range(1, 1001)]
    answer = CmdClient(service.path).update_cron_schedules(schedules)
    assert (answer.code, answer.data) == (200, {"schedules": 1000, "changed": True})
    assert [int(line.split()[-1]) for line in lines_in(folder / "cron")] == list(range(1, 1001))
    assert service.log.endswith(f"{folder}/cron now holds 1000 schedules\n")


def test_five_thousand_schedules_fit_whatever_they_hold(root_service: Start, folder: Path) -> None:
    largest = {
        "backup_type": "incremental",
        "frequency": "interval",
        "minute": 59,
        "hour": 23,
        "day_of_week": 6,
    }
    largest |= {"day_of_month": 28, "interval_value": 30, "interval_unit": "minutes"}
    client = CmdClient(root_service().path)
    schedules = [CronSchedule(id=2**63 - n, **largest) for n in range(1, 5001)]
    assert client.update_cron_schedules(schedules).code == 200
    with pytest.raises(InvalidCommand, match="^5001 schedules are more than 5000$"):
        client.update_cron_schedules([*schedules, CronSchedule(id=1, **largest)])
    assert (folder / "cron").read_text().count("\n") == 4 + 5000 + 1


def test_more_than_a_frame_holds_is_refused_and_the_file_stays(root_service: Start, folder: Path) -> None:
    service = root_service()
    assert service.ask("update_cron_schedules", schedules=[WHOLE])["code"] == 200
    old = (folder / "cron").read_text()
    many = [{**WHOLE, "id": number} for number in range(1, 20_000)]
    with pytest.raises(WireError, match=f"bytes, and a frame holds {MAX_FRAME}$"):
        encode({"schedules": many})
    line = json.dumps({"cmd": "update_cron_schedules", "args": {"schedules": many}}).encode() + b"\n"
    assert json.loads(service.send(line)) == {"code": 400, "status": f"a frame holds {MAX_FRAME} bytes"}
    assert (folder / "cron").read_text() == old


def test_a_refused_schedule_leaves_the_file_as_it_was(root_service: Start, folder: Path) -> None:
    service = root_service()
    assert service.ask("update_cron_schedules", schedules=[WHOLE])["code"] == 200
    old = (folder / "cron").read_text()
    answer = service.ask("update_cron_schedules", schedules=[WHOLE, {**WHOLE, "id": 2, "hour": True}])
    assert answer == {"code": 400, "status": "hour must be an integer from 0 to 23"}
    assert (folder / "cron").read_text() == old


def test_parallel_saves_leave_one_of_them_whole(root_service: Start, folder: Path) -> None:
    service = root_service()

    def save(number: int) -> None:
        schedules = [CronSchedule(**{**WHOLE, "id": n, "minute": number}) for n in range(1, 201)]
        assert CmdClient(service.path).update_cron_schedules(schedules).code == 200

    threads = [threading.Thread(target=save, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = lines_in(folder / "cron")
    assert len(lines) == 200
    assert len({line.split()[0] for line in lines}) == 1
    assert not list(folder.glob(".cron.*"))


# What Debian's own cron makes of it


@pytest.fixture
def real_cron(folder: Path) -> Callable[..., list[str]]:
    """Let the host's cron load this text as its only table, in a private view of the file system, after something was
    done to the file; return what it complains of. Nothing that the text says is run: cron is stopped before the
    minute is over."""
    if reason := why_not():
        pytest.skip(reason)
    tables = folder / "cron.d"
    tables.mkdir()

    def load(text: str, spoil: Callable[[Path], object] = lambda _: None) -> list[str]:
        replace_file(tables / "dbcalm", text)
        spoil(tables / "dbcalm")
        try:
            with PrivateCron(tables, Path(tempfile.mkdtemp(dir=folder))) as cron:
                return cron.complaints
        except SandboxError as error:
            pytest.skip(str(error))

    return load


def every_kind() -> Iterator[CronSchedule]:
    """Yield schedules of every kind, the bounds of each field included."""
    number = itertools.count(1)
    for kind, minute, hour in itertools.product(BACKUP_TYPES, (0, 59), (0, 23)):
        yield CronSchedule(next(number), kind, "hourly", minute=minute)
        yield CronSchedule(next(number), kind, "daily", minute=minute, hour=hour)
        for day in range(7):
            yield CronSchedule(next(number), kind, "weekly", minute=minute, hour=hour, day_of_week=day)
        for day in range(1, 29):
            yield CronSchedule(next(number), kind, "monthly", minute=minute, hour=hour, day_of_month=day)
    for unit, most in (("minutes", 59), ("hours", 23)):
        for value in range(1, most + 1):
            yield CronSchedule(
                2**62 + next(number), "full", "interval", interval_value=value, interval_unit=unit
            )


def test_debians_cron_takes_every_line(real_cron: Callable[[str], list[str]]) -> None:
    schedules = tuple(every_kind())
    assert len(schedules) > 300
    longest = "/" + "a" * 254
    for program, config in (("/usr/bin/dbcalm", ""), (f"{longest} {longest}", longest)):
        assert real_cron(render(schedules, "nobody", program, config)) == []


def test_debians_cron_takes_every_line_that_the_corpus_leads_to(
    real_cron: Callable[[str], list[str]],
) -> None:
    schedules = [
        {**GOOD, "frequency": NEEDING[field], field: value}
        for field, value in itertools.product(FITS, HOSTILE)
        if FITS[field](value)
    ]
    taken: dict[tuple[str, str], CronSchedule] = {}
    for schedule in (*schedules, *generated()):
        with contextlib.suppress(InvalidCommand):
            made = CronSchedule(**schedule)
            taken[made.backup_type, made.times] = replace(made, id=len(taken) + 1)
    assert 2_000 < len(taken) < 9_900
    assert real_cron(render(tuple(taken.values()), "nobody", "/usr/bin/dbcalm", "")) == []


def test_debians_cron_takes_as_many_lines_as_we_do(real_cron: Callable[[str], list[str]]) -> None:
    schedules = tuple(CronSchedule(n, "full", "hourly", minute=n % 60) for n in range(1, 5001))
    assert real_cron(render(schedules, "nobody", "/usr/bin/dbcalm", "")) == []


@pytest.mark.parametrize(
    "how", ["the group may write", "all may write", "it has a second name", "another owner"]
)
def test_debians_cron_takes_no_file_that_looks_otherwise(
    real_cron: Callable[..., list[str]], how: str
) -> None:
    text = render((), "nobody", "/usr/bin/dbcalm", "")
    assert real_cron(text) == []
    assert any("dbcalm" in complaint for complaint in real_cron(text, WAYS_TO_DIFFER[how]))


def test_debians_cron_drops_the_file_for_one_bad_line(real_cron: Callable[[str], list[str]]) -> None:
    good = render((CronSchedule(1, "full", "hourly", minute=5),), "nobody", "/usr/bin/dbcalm", "")
    for bad in (
        "60 * * * * nobody true\n",
        "5 24 * * * nobody true\n",
        "* * * * * none-of-that-name true\n",
    ):
        assert any("this crontab file will be ignored" in complaint for complaint in real_cron(good + bad))
