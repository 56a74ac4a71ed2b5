"""A database server of our own on restored data: nobody else can reach it, and it does nothing by itself.

It listens on a socket inside its data directory only, which nobody else may enter. It reads no option file, has no
network, and loads no grants, and so none of the plugins, events and functions that stand in tables either; it is no
replica. It is ended by SIGKILL: its data is thrown away.
"""

import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.linux import die_with_parent
from dbcalm_mariadb_cmd.adapter.server.rows import Row, ask
from dbcalm_mariadb_cmd.adapter.small_files import small_text
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT, Output
from dbcalm_mariadb_cmd.builder.tool_errors import known
from dbcalm_mariadb_cmd.errors import JobFailed

_SOCKET = "dbcalm.sock"
"""Relative to the data directory, in which server and clients work: a path of a socket may have 107 bytes."""

_LINE_LIMIT = 4096
_START_SECONDS, _PAUSE_SECONDS = 900.0, 0.02
_LEAST_MEMORY = 64 << 20
_DATA_OPTIONS = ("innodb_page_size", "innodb_data_file_path", "innodb_undo_tablespaces")
_OPTION = re.compile(r"^(\w+)=([\w.:;/-]+)$", re.MULTILINE)
_LOST = re.compile(r"Lost connection|gone away|Can't connect|error: 20(?:02|03|06|13)\b", re.IGNORECASE)
_END_SECONDS = 10.0
_LONGEST_SAID = 300


@dataclass(frozen=True)
class Programs:
    """The paths of the server and of its client."""

    server: str
    client: str


class ServerEnded(JobFailed):
    """The server ended, instead of starting or in the middle of its work."""


class Session:
    """What can be asked of a server of our own that runs. Many may ask at once."""

    def __init__(self, process: subprocess.Popen[bytes], programs: Programs, data: Path) -> None:
        self._process = process
        self._programs = programs
        self._data = data

    def rows(self, sql: str) -> list[Row]:
        """Return the rows that statements give; raise ValueError with what the server said if one cannot be run, or
        ServerEnded."""
        asked = ask([self._programs.client, "--no-defaults", *_LOCAL], sql, self._data)
        if asked.return_code:
            self._require_alive(asked.said)
            raise ValueError(asked.said[:_LONGEST_SAID])
        return asked.rows

    def answer(self, sql: str) -> str | None:
        """Return the first value that a statement gives, None for no row or NULL; raise as ``rows`` does."""
        found = self.rows(f"SET SESSION TRANSACTION READ ONLY;\n{sql};\n")
        return found[0][0] if found and found[0] else None

    def _require_alive(self, said: str) -> None:
        """Raise ServerEnded if the server has gone, as a client says that has lost it."""
        if not _LOST.search(said):
            return
        with suppress(subprocess.TimeoutExpired):
            number = self._process.wait(_END_SECONDS)
            raise ServerEnded(f"the server on it ended {_how(number)}", number)

    def answers(self) -> bool:
        """Tell whether it takes questions."""
        return ask([self._programs.client, "--no-defaults", *_LOCAL], "SELECT 1", self._data).return_code == 0


_LOCAL = ("--protocol=socket", f"--socket={_SOCKET}", "--user=root")


@contextmanager
def started(
    programs: Programs,
    data: Path,
    home: Path,
    memory: int,
    likeness: Sequence[str],
    output: Output,
    lock: int,
) -> Iterator[Session]:
    """Have a server run on this data for a block, with its temporary files in ``home``, a folder that is there, so many
    bytes of memory for InnoDB, and the options (see ``likeness``) that make it like the one that wrote the data. Raise
    ServerEnded, or JobFailed if it takes for ever."""
    process = subprocess.Popen(
        [*_argv(programs.server, data, home, memory), *likeness],
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(lock,),
        preexec_fn=die_with_parent,
    )
    said: list[str] = []
    listening = threading.Thread(target=_listen, args=(process, output, said), daemon=True)
    listening.start()
    try:
        session = Session(process, programs, data)
        _await(process, session, listening, said)
        yield session
    finally:
        process.kill()
        process.wait()
        listening.join()


def _argv(server: str, data: Path, home: Path, memory: int) -> list[str]:
    nothing = home / "nothing"
    nothing.mkdir(0o700)
    return [
        server,
        "--no-defaults",  # Must come first.
        f"--datadir={data}",
        f"--socket={_SOCKET}",
        f"--pid-file={home / 'pid'}",
        f"--tmpdir={home}",
        f"--secure-file-priv={nothing}",
        "--skip-networking",
        "--skip-grant-tables",
        "--skip-slave-start",
        "--skip-log-bin",
        "--event-scheduler=DISABLED",
        "--local-infile=0",
        "--performance-schema=OFF",
        "--innodb-buffer-pool-load-at-startup=OFF",
        "--innodb-buffer-pool-dump-at-shutdown=OFF",
        f"--innodb-buffer-pool-size={max(memory, _LEAST_MEMORY)}",
        # What was brought back is in the page cache still. Read past that it would have to be on the disk first, where
        # nothing of it is ever needed.
        "--innodb-flush-method=nosync",
        *data_options(data),
    ]


def data_options(data: Path) -> list[str]:
    """Return the options without which InnoDB cannot read this data, as the backup tool has noted them beside it."""
    try:
        noted = small_text(data / "backup-my.cnf")
    except FileNotFoundError:
        return []
    return [f"--{name}={value}" for name, value in _OPTION.findall(noted) if name in _DATA_OPTIONS]


def _listen(process: subprocess.Popen[bytes], output: Output, said: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        for line in iter(lambda: stream.readline(_LINE_LIMIT), b""):
            output.add(b"mariadbd: " + line)
            if b"[ERROR]" in line:
                said.append(line.decode("utf-8", "replace").split("[ERROR] ", 1)[-1].strip())


def _await(
    process: subprocess.Popen[bytes], session: Session, listening: threading.Thread, said: list[str]
) -> None:
    """Wait until the server answers."""
    give_up = time.monotonic() + _START_SECONDS
    while not session.answers():
        if process.poll() is not None:
            listening.join()
            why = "; ".join(said[:3])[:500] or "it did not say why"
            raise ServerEnded(
                f"a server does not start on it: it ended {_how(process.returncode)}: {why}",
                process.returncode,
                known(why),
            )
        if time.monotonic() > give_up:
            raise JobFailed(f"the server of our own did not answer within {_START_SECONDS:.0f} s")
        time.sleep(_PAUSE_SECONDS)


def _how(return_code: int) -> str:
    return f"by signal {-return_code}" if return_code < 0 else f"with code {return_code}"
