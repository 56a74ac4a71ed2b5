"""Processes joined by pipes, without a shell: each one watched, reaped and judged.

``pack`` writes what comes out of a pipe into a file, ``unpack`` sends a file into one. Both take the checksum of the
stored bytes as these pass through, so that nothing is read a second time, and hold no more of them than one piece.
Where a member fails the others are ended, and the message names all that failed, the cause first: what only broke off
because another one had gone comes last.
"""

import fcntl
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import FileState, no_link, write_all, write_file
from dbcalm_mariadb_cmd.adapter.linux import Writeback, die_with_parent
from dbcalm_mariadb_cmd.adapter.secrets import CONFIG, redacted
from dbcalm_mariadb_cmd.adapter.xbstream import NoStream, Relay
from dbcalm_mariadb_cmd.builder.tool_errors import Failure, known
from dbcalm_mariadb_cmd.errors import JobFailed

_PIECE = 1 << 20
_LINE_LIMIT = 4096
_TAIL_LINES = 40
_BROKEN = "Broken pipe"
_UNKNOWN_STREAM = (
    "the backup tool's stream is of an unknown form, so that the server's password for its keys cannot be kept out of "
    "the backup; give it to the server as FILE:/path, or make the backup with --form folder"
)
_KILLED, _FAILED, _CONSEQUENCE = range(3)
_GRACE_SECONDS = 0.1


@dataclass(frozen=True)
class Member:
    """One process of a pipe: what messages call it, its command, and the descriptors that it inherits beside its own.
    ``is_tool`` says that it is the backup tool, which has to say that it succeeded."""

    name: str
    argv: Sequence[str]
    descriptors: tuple[int, ...] = ()
    is_tool: bool = False


@dataclass(frozen=True)
class _Failure:
    """``rank`` orders causes before consequences, to be killed before to fail.

    Of several that failed the one nearest to the source comes first, as those behind it miss what it did not give them;
    of several whose reader had gone, the last."""

    rank: int
    place: int
    message: str
    return_code: int | None
    known: Failure | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands among others."""
        return self.rank, -self.place if self.rank == _CONSEQUENCE else self.place


class Log:
    """The job's log as many may write to it at once. ``on_line`` gets the backup tool's lines alone."""

    def __init__(self, output: tool.Output, on_line: Callable[[str], None]) -> None:
        self.on_line = on_line
        self._output = output
        self._one = threading.Lock()

    def add(self, line: bytes) -> None:
        """Take one line."""
        with self._one:
            self._output.add(line)


def _ignore(_number: int) -> None:
    pass


def pack(
    members: Sequence[Member],
    target: Path,
    log: Log,
    lock: int,
    on_start: Callable[[int], None] = _ignore,
    on_bytes: Callable[[int], None] = _ignore,
    edit: Callable[[bytes], bytes] | None = None,
) -> tuple[FileState, int]:
    """Write what the last member says into a new file. Return the file's state, and how many bytes the first member
    gave to the second; ``on_start`` gets the first member's process id, and ``on_bytes`` is told of these bytes as they
    pass. With ``edit`` the first member's stream has the tool's options changed by it. Raise JobFailed or OSError."""
    with _Pipe(members, log, lock, reads_file=False) as pipe:
        on_start(pipe.first)
        counted = pipe.count(on_bytes, edit)
        try:
            state = _store(pipe.outlet, target)
        except OSError as error:
            pipe.abort()
            raise OSError(error.errno, error.strerror, str(target)) from error
        pipe.finish()
        return state, counted()


def unpack(
    members: Sequence[Member], source: Path, log: Log, on_start: Callable[[int], None], lock: int
) -> str:
    """Send a file into the first member, to the end of all; return the SHA-256 of what was sent. ``on_start`` gets the
    last member's process id. Raise JobFailed or OSError."""
    with _Pipe(members, log, lock, reads_file=True) as pipe:
        on_start(pipe.last)
        try:
            sha256 = _send(source, pipe.take_inlet())
        except BrokenPipeError:
            pipe.finish()
            raise JobFailed(f"{members[0].name} did not read all of {source}") from None
        except OSError:
            pipe.abort()
            raise
        pipe.finish()
        return sha256


class _Pipe:
    """The members while they run. ``outlet`` is what the last one writes into, unless a file is sent through."""

    def __init__(self, members: Sequence[Member], log: Log, lock: int, *, reads_file: bool) -> None:
        self._members = members
        self._log = log
        self._lock = lock
        self._reads_file = reads_file
        self._failures: list[_Failure] = []
        self._ended_by_us: set[int] = set()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._open: set[int] = set()
        self._gap = (-1, -1)
        self._inlet = -1
        self._unread = False
        self._mutex = threading.Lock()
        self.outlet = -1

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        for place in range(len(self._members)):
            self._begin(self._attend, place)
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        for descriptor in list(self._open):
            self._close(descriptor)

    def _start(self) -> None:
        """Start the members, each reading from the one before. Where no file is sent, two pipes lie between the first
        two, and ``count`` joins them."""
        reading = subprocess.DEVNULL
        if self._reads_file:
            reading, self._inlet = self._pipe()
        for place, member in enumerate(self._members):
            last = place == len(self._members) - 1
            following, writing = (-1, subprocess.DEVNULL) if last and self._reads_file else self._pipe()
            process = subprocess.Popen(
                member.argv,
                env=tool.ENVIRONMENT,
                cwd="/",
                stdin=reading,
                stdout=writing,
                stderr=subprocess.PIPE,
                pass_fds=(self._lock, *member.descriptors),
                preexec_fn=die_with_parent,
            )
            self._processes.append(process)
            self._close(reading)
            self._close(writing)
            if place == 0 and not self._reads_file:
                counted, joined = self._pipe()
                self._gap, following = (following, joined), counted
            reading = following
        self.outlet = reading

    @property
    def first(self) -> int:
        """The process id of the first member."""
        return self._processes[0].pid

    @property
    def last(self) -> int:
        """The process id of the last member."""
        return self._processes[-1].pid

    def count(
        self, on_bytes: Callable[[int], None], edit: Callable[[bytes], bytes] | None = None
    ) -> Callable[[], int]:
        """Join the first two members, telling of the bytes that pass; return what says how many those were."""
        total = 0
        coming, going = self._gap

        def moved(count: int) -> None:
            nonlocal total
            total += count
            on_bytes(count)

        def join() -> None:
            try:
                if edit is not None:
                    Relay(coming, going, CONFIG, edit).run(moved)
                # The kernel hands the pages over; not a byte of them is copied.
                while count := os.splice(coming, going, _PIECE):
                    moved(count)
            except NoStream:
                self._fail(_Failure(_FAILED, 0, _UNKNOWN_STREAM, None))
            except BrokenPipeError:
                self._unread = True  # Whoever does not read any more says why.
            except OSError as error:
                self._fail(_Failure(_FAILED, 0, f"the pipe failed: {error.strerror}", None))
            finally:
                self._close(coming)
                self._close(going)

        self._begin(join)
        return lambda: total

    def take_inlet(self) -> int:
        """Return the descriptor that the first member reads from. The caller closes it: the end of the file."""
        self._open.discard(self._inlet)
        return self._inlet

    def finish(self) -> None:
        """Wait for all members; raise JobFailed if any failed."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            ordered = sorted(self._failures, key=lambda failure: failure.order)
            message = "; ".join(one.message for one in ordered)
            raise JobFailed(message, ordered[0].return_code, ordered[0].known)
        if self._unread:
            raise JobFailed(f"{self._members[1].name} did not read all that {self._members[0].name} wrote")

    def abort(self) -> None:
        """End all members that still run: what is amiss lies elsewhere."""
        with self._mutex:
            for process in self._processes:
                if process.poll() is None:
                    self._ended_by_us.add(process.pid)
                    process.kill()

    def _pipe(self) -> tuple[int, int]:
        """Return a pipe, to read from and to write to, that holds a whole piece where the kernel lets it."""
        reading, writing = os.pipe()
        self._open |= {reading, writing}
        with suppress(OSError):  # Only so many pipes of one user may be wide.
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIECE)
        return reading, writing

    def _close(self, descriptor: int) -> None:
        with self._mutex:
            if descriptor in self._open:
                self._open.remove(descriptor)
                os.close(descriptor)

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _attend(self, place: int) -> None:
        """Follow what a member says, to its end, and judge it."""
        member, process = self._members[place], self._processes[place]
        said: deque[str] = deque(maxlen=_TAIL_LINES)
        serious = tool.Serious()
        assert process.stderr is not None
        with process.stderr as stream:
            for read in iter(lambda: stream.readline(_LINE_LIMIT), b""):
                line = redacted(read)
                self._log.add(line if member.is_tool else f"{member.name}: ".encode() + line)
                text = line.decode("utf-8", "replace").strip()
                said.append(text)
                if member.is_tool:
                    serious.add(text)
                    self._log.on_line(text)
        return_code = process.wait()
        with self._mutex:
            ended_by_us = process.pid in self._ended_by_us
        if not ended_by_us and (failure := _judge(place, member, return_code, list(said), serious.text())):
            self._fail(failure)

    def _fail(self, failure: _Failure) -> None:
        """Note a failure and end the others, but not before those have ended that have failed by themselves: a process
        that is dying has closed its pipes before it can be seen to be dead."""
        with self._mutex:
            self._failures.append(failure)
        if failure.rank < _CONSEQUENCE:
            time.sleep(_GRACE_SECONDS)
            self.abort()


def _judge(place: int, member: Member, return_code: int, said: list[str], serious: str) -> _Failure | None:
    """Return how a member failed, or None if it did not."""
    last = next((line for line in reversed(said) if line), "")
    failure = known("\n".join(said)) or known(serious)
    if member.is_tool:
        try:
            tool.judge(return_code, last, "\n".join(said), serious)
            return None
        except JobFailed as failed:
            message = str(failed)
    elif return_code == 0:
        return None
    elif return_code < 0:
        message = f"{member.name} was ended by signal {-return_code}"
    else:
        message = f"{member.name} failed with exit code {return_code}: {last[:300] or 'it did not say why'}"
    if return_code == -signal.SIGPIPE or any(_BROKEN in line for line in said):
        return _Failure(_CONSEQUENCE, place, message, return_code, failure)
    return _Failure(_KILLED if return_code < 0 else _FAILED, place, message, return_code, failure)


def _store(outlet: int, target: Path) -> FileState:
    """Write all that comes out of a pipe into a new file; return the file's state."""
    digest, buffer = hashlib.sha256(), bytearray(_PIECE)
    with open(target, "xb", buffering=0) as file:
        sending = Writeback(file.fileno())
        while count := os.readv(outlet, [buffer]):
            piece = memoryview(buffer)[:count]
            digest.update(piece)
            write_file(file.fileno(), piece)
            sending.wrote(count)
        # The sync of the whole file system, which follows, does not tell of an error that somebody else was told of.
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest.hexdigest())


def _send(source: Path, inlet: int) -> str:
    """Write a file into a pipe, and close that; return the SHA-256 of the file."""
    digest, buffer = hashlib.sha256(), bytearray(_PIECE)
    try:
        with open(source, "rb", buffering=0, opener=no_link) as file:
            while count := file.readinto(buffer):
                piece = memoryview(buffer)[:count]
                digest.update(piece)
                write_all(inlet, piece)
    finally:
        os.close(inlet)
    return digest.hexdigest()
