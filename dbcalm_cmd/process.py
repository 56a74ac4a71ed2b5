"""What makes a program of DBCalm a service: its socket, its callers, its signals, its word to systemd.

TRUST: a caller is who the kernel says it is (SO_PEERCRED), whatever the socket's mode bits allow. What it sends is
bounded in bytes, depth and time before anything is made of it.
"""

import contextlib
import os
import pwd
import select
import signal
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from dbcalm_cmd.wire import MAX_FRAME, UNKNOWN_COMMAND, Command, WireError, decode, encode

Answer = dict[str, object]
"""``{"code": int, "status": str, ...}``"""

Handlers = Mapping[type[Command], Callable[..., Answer]]
"""The whitelist: a command that is not a key of this table does not exist."""

REQUEST_SECONDS = 5.0
"""A caller has this long to hand over its whole line."""

_CALLERS_AT_ONCE = 64
_BACKLOG = 512
_LONGEST_REASON = 500
_SYSTEMD_FIRST_FD = 3
caller = threading.local()  # Its ``uid`` is who calls, in the thread that answers.
_PRIORITIES = {"error": 3, "warning": 4, "info": 6}


def utc_now() -> str:
    """Return the time as DBCalm writes it everywhere: UTC, fixed width, so that text order is time order."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def log(level: str, message: str) -> None:
    """Write one line to standard error, in journald's form where that reads it; it shows only what is printable."""
    prefix = f"<{_PRIORITIES[level]}>" if "JOURNAL_STREAM" in os.environ else f"{utc_now()} {level}: "
    print(prefix + "".join(c if c.isprintable() else " " for c in message), file=sys.stderr, flush=True)


def allowed_uids(user: str) -> frozenset[int]:
    """Return the uids that may call: root and this user; raise LookupError with a clear line if it does not exist."""
    try:
        return frozenset({0, pwd.getpwnam(user).pw_uid})
    except KeyError as error:
        raise LookupError(f"dbcalm_user is {user!r}, and the host has no such user") from error


def listening_socket(path: Path, user: str) -> socket.socket:
    """Return the socket that systemd handed over, or else one bound at the path.

    A socket of our own is open to the user's group where we may give it to that group. Where we may not (a service
    that is neither root nor in the group) the mode bits are open and the peer's credentials alone decide.
    Raise OSError that names the path if it cannot be used.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        inherited = socket.socket(fileno=_SYSTEMD_FIRST_FD)
        inherited.set_inheritable(False)
        return inherited
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear_stale(path)
        _bind(listener, path, pwd.getpwnam(user).pw_gid)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def _bind(listener: socket.socket, path: Path, group: int) -> None:
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    try:
        os.chown(path, -1, group)
        path.chmod(0o660)
    except PermissionError:
        path.chmod(0o666)


def _clear_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; raise OSError if somebody does, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("a file that is no socket is in its place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError("another service already listens there")


def notify_systemd(state: str) -> None:
    """Send a state such as ``READY=1`` to systemd, where systemd started us with Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.send(state.encode())


class Server:
    """Answers one request a connection, many connections at once, until SIGTERM or SIGINT.

    ``stopping`` is set when the end has come; handlers that wait look at it.
    """

    def __init__(self, listener: socket.socket, handlers: Handlers, uids: Iterable[int]) -> None:
        self.stopping = threading.Event()
        self._listener = listener
        self._handlers = {command.wire_name: (command, handler) for command, handler in handlers.items()}
        self._uids = frozenset(uids)
        self._free = threading.BoundedSemaphore(_CALLERS_AT_ONCE)

    def run(self) -> None:
        """Serve until told to stop, then let the calls that are under way finish."""
        wake, woken = socket.socketpair()
        with wake, woken, self._listener:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            wake.setblocking(False)
            signal.set_wakeup_fd(wake.fileno())
            notify_systemd("READY=1")
            self._accept_until(woken)
            notify_systemd("STOPPING=1")
            signal.set_wakeup_fd(-1)
        deadline = time.monotonic() + REQUEST_SECONDS
        for _ in range(_CALLERS_AT_ONCE):
            self._free.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()

    def _accept_until(self, woken: socket.socket) -> None:
        # A blocked accept() could only be ended by shutdown(), which would end systemd's end of the socket with ours.
        pause, told_at = int(os.environ.get("WATCHDOG_USEC", "0")) / 4e6 or None, 0.0
        while not self.stopping.is_set():
            self._free.acquire()  # While all calls hang, systemd hears nothing.
            readable, _, _ = select.select([self._listener, woken], [], [], pause)
            if pause and time.monotonic() - told_at > pause:
                told_at = time.monotonic()
                notify_systemd("WATCHDOG=1")
            if self._listener not in readable or woken in readable or not self._accept():
                self._free.release()

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except (OSError, RuntimeError) as error:  # Out of descriptors, or of threads.
            log("error", f"cannot accept a caller: {error}")
            time.sleep(0.1)
            return False
        return True

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                if (uid := _peer_uid(connection)) in self._uids:
                    caller.uid = uid
                    connection.sendall(self._answer(connection))
                else:
                    log("warning", f"uid {uid} may not call this service")
        except OSError:
            pass  # The caller went away: there is nobody to tell.
        finally:
            self._free.release()

    def _answer(self, connection: socket.socket) -> bytes:
        try:
            return self._dispatch(decode(_read_line(connection)))
        except WireError as error:
            return encode({"code": 400, "status": str(error)[:_LONGEST_REASON]})

    def _dispatch(self, request: dict[str, object]) -> bytes:
        if set(request) != {"cmd", "args"}:
            raise WireError("a request has the keys cmd and args, and no others")
        known = self._handlers.get(request["cmd"]) if isinstance(request["cmd"], str) else None
        if known is None:
            return encode(UNKNOWN_COMMAND)
        command, handler = known
        decoded = command.from_args(request["args"])
        try:
            return encode(handler(decoded))
        except Exception as error:
            # The caller gets a constant line, the log gets the cause, and the service lives on.
            log("error", f"{command.wire_name} failed: {type(error).__name__}: {error}")
            return encode({"code": 500, "status": f"{command.wire_name} failed; the service's log says why"})


def _peer_uid(connection: socket.socket) -> int:
    pid_uid_gid = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", pid_uid_gid)[1])


def _read_line(connection: socket.socket) -> bytes:
    """Return what the caller sends up to its first newline; raise WireError if there is none, more, or too late."""
    deadline = time.monotonic() + REQUEST_SECONDS
    line = bytearray()
    while not line.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise WireError(f"no whole line came within {REQUEST_SECONDS:g} s")
        connection.settimeout(remaining)
        try:
            chunk = connection.recv(65536)
        except TimeoutError:
            continue
        if not chunk:
            raise WireError("the line ended without a newline")
        line += chunk
        if len(line) > MAX_FRAME:
            raise WireError(f"a frame holds {MAX_FRAME} bytes")
    connection.settimeout(REQUEST_SECONDS)
    if b"\n" in line[:-1]:
        raise WireError("a connection carries one line")
    return bytes(line)
