"""The console blocks of the documentation have their form. They are run by tests/integration/test_docs.py."""

import itertools
import subprocess

import pytest

from tests.docs.commands import CHECKOUT, PAGES, Block, Command, blocks, commands, matches

SKIPPED = {
    "make demo": "runs this very test",
    "dbcalm setup": "asks on a terminal, and changes the host",
    "echo 'a long and private sentence' | dbcalm setup --yes --user admin --password-stdin": "changes the host",
    "systemctl stop mariadb.socket mariadb": "would stop the host's database",
    "systemctl reload dbcalm-api": "reloads a unit of the host",
    "systemctl edit dbcalm-mariadb-cmd": "opens an editor for the host's units",
    "journalctl -t dbcalm -t dbcalm-cmd -t dbcalm-mariadb-cmd --priority warning": "reads the host's log",
    "apt install ./dbcalm_*.deb": "installs the package on the host",
    "dnf install ./dbcalm-*.rpm": "installs the package on the host",
    "apt remove dbcalm": "removes it from the host",
    "curl --cacert /etc/dbcalm/ssl/ca.pem https://localhost:8335/health": "asks an installation on the host",
    "/usr/lib/dbcalm/backup-user | mariadb": "changes the host's database",
    "git clone https://example.org/dbcalm.git && cd dbcalm": "fetches from elsewhere",
    "(umask 077; openssl rand -hex 32 > /etc/dbcalm/jwt.key)": "writes into the host's /etc",
}
"""The first command of each block that is not run, and why."""

MARKS = {"", "skip", "last"}
LANGUAGES = {"console", "ini", "json", "sql", "yaml"}
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def test_only_known_blocks_are_skipped() -> None:
    first = {next(commands(block)).text for block in ALL_BLOCKS if block.is_console and block.mark == "skip"}
    assert first == set(SKIPPED)


def test_every_block_says_what_it_is() -> None:
    for block in ALL_BLOCKS:
        assert not block.info or block.info[0] in LANGUAGES, block
        assert block.is_console or len(block.info) < 2, block
        assert block.mark in MARKS, block


def test_no_command_hides_in_another_block() -> None:
    other = [line for block in ALL_BLOCKS if not block.is_console for line in block.lines]
    assert [line for line in other if line.startswith("$ ")] == []


def test_no_fence_is_left_open() -> None:
    for page in PAGES:
        fences = [line for line in page.read_text().splitlines() if line.lstrip().startswith("```")]
        assert len(fences) == 2 * sum(block.page == page for block in ALL_BLOCKS), page


def test_every_command_is_valid_shell() -> None:
    script = "\n".join(
        command.text for block in ALL_BLOCKS if block.is_console for command in commands(block)
    )
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.stderr == ""


def test_the_first_backup_takes_about_ten_lines() -> None:
    """What comes behind it, from the first block with schedules on, is not counted."""
    readme = [block for block in blocks(CHECKOUT / "README.md") if block.is_console and block.mark == ""]
    first = itertools.takewhile(lambda block: "schedules" not in "\n".join(block.lines), readme)
    assert 5 <= sum(1 for block in first for _ in commands(block)) <= 12


def test_a_block_is_read() -> None:
    block = Block(PAGES[0], ("console",), ("$ one \\", ">   two", "out", "> put", "$ three"))
    assert list(commands(block)) == [
        Command(PAGES[0], "one \\\n  two", "out\n> put"),
        Command(PAGES[0], "three", ""),
    ]
    with pytest.raises(ValueError, match="begins with"):
        list(commands(Block(PAGES[0], ("console",), ("one",))))


@pytest.mark.parametrize(
    ("shown", "output", "fits"),
    [
        ("", "anything", True),
        ("ab", "ab\n", True),
        ("ab", "abc", False),
        ("a...c", "abbbc", True),
        ("{\n...\n}", "{\n1\n2\n}", True),
        ("a.c", "abc", False),
        ("...", "", True),
    ],
)
def test_dots_stand_for_anything(shown: str, output: str, fits: bool) -> None:
    assert matches(shown, output) is fits
