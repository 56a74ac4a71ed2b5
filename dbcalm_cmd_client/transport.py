"""One request, one answer, over a Unix socket."""

import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dbcalm_cmd.wire import MAX_FRAME, Command, WireError, decode, encode


class ServiceUnreachable(Exception):
    """The service did not answer. The command may or may not have arrived; asking again with its id is safe."""


@dataclass(frozen=True)
class Answer:
    """What a service said: an HTTP-like code, one sentence, and whatever else the command returns."""

    code: int
    status: str
    data: dict[str, object]


def call(path: Path, command: Command, timeout: float) -> Answer:
    """Send a command and return the answer; raise ServiceUnreachable if none came within ``timeout`` seconds, and
    WireError if the command does not fit into a frame."""
    line = encode({"cmd": command.wire_name, "args": asdict(command)})
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.settimeout(_left(deadline))
            connection.sendall(line)
            answer = decode(_receive(connection, deadline))
    except (OSError, WireError) as error:
        raise ServiceUnreachable(f"the service at {path} does not answer: {error}") from error
    code, status = answer.pop("code", None), answer.pop("status", None)
    if type(code) is not int or not isinstance(status, str):
        raise ServiceUnreachable(f"the service at {path} gave an answer without code and status")
    return Answer(code, status, answer)


def _receive(connection: socket.socket, deadline: float) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        connection.settimeout(_left(deadline))
        chunk = connection.recv(65536)
        if not chunk:
            raise WireError("the connection was closed before the answer")
        line += chunk
        if len(line) > MAX_FRAME:
            raise WireError(f"the answer is longer than {MAX_FRAME} bytes")
    return bytes(line)


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds
