"""The commands that the documentation shows: found in its ```console blocks, run, and compared with what it says.

A command begins with "$ ", goes on in lines that begin with "> ", and is followed by its output, in which "..." stands
for anything. Blocks are run in one shell in the order of the pages. ``skip`` behind ``console`` keeps a block from
being run, ``last`` has it run after all others.
"""

import os
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
"""In the order in which they are run."""

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block: the words of its info string and its lines, without their indentation."""

    page: Path
    info: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def is_console(self) -> bool:
        return self.info[:1] == ("console",)

    @property
    def mark(self) -> str:
        return " ".join(self.info[1:])


@dataclass(frozen=True)
class Command:
    """One command and the output that the page shows, "" for none."""

    page: Path
    text: str
    output: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield every fenced block of a page."""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(found["indent"]) for line in found["text"].splitlines()]
        yield Block(page, tuple(found["info"].split()), tuple(lines))


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block; raise ValueError if it does not begin with one."""
    text: list[str] = []
    output: list[str] = []
    for line in block.lines:
        if line.startswith("$ "):
            if text:
                yield Command(block.page, "\n".join(text), "\n".join(output))
            text, output = [line[2:]], []
        elif not text:
            raise ValueError(f"{block.page.name}: a console block begins with {line!r}")
        elif line.startswith("> ") and not output:
            text.append(line[2:])
        else:
            output.append(line)
    yield Command(block.page, "\n".join(text), "\n".join(output))


def runnable() -> list[Command]:
    """Return the commands of all pages that are to be run, in order."""
    found = [block for page in PAGES for block in blocks(page) if block.is_console and block.mark != "skip"]
    return [
        command
        for block in sorted(found, key=lambda block: block.mark == "last")
        for command in commands(block)
    ]


def matches(shown: str, output: str) -> bool:
    """Tell whether an output is what a page shows of it; a page that shows nothing says nothing."""
    pattern = ".*?".join(re.escape(part) for part in shown.split("..."))
    return not shown or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


class Shell:
    """A bash in the checkout, in which one command is run after the other."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=CHECKOUT,
            env={
                "HOME": str(home),
                "LC_ALL": "C.UTF-8",
                "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )

    def run(self, command: str, seconds: float) -> tuple[int, str]:
        """Return the exit status and what the command wrote; raise TimeoutError if it takes longer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = uuid.uuid4().hex
        self._process.stdin.write(f"{{\n{command}\n}} < /dev/null\nprintf '%s %s\\n' {mark} $?\n")
        alarm = threading.Timer(seconds, self._process.kill)
        alarm.start()
        written: list[str] = []
        for line in self._process.stdout:
            before, found, status = line.partition(mark)
            written.append(before)
            if found:
                alarm.cancel()
                return int(status), "".join(written)
        raise TimeoutError(f"{command} did not end: {''.join(written)}")

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.communicate()
