"""A service of the shared skeleton whose commands show how it treats them: ``echo_service.py SOCKET SECONDS UID...``.

SECONDS is what a caller has to hand over its line. Run as a program by the tests of the server.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from dbcalm_cmd import process
from dbcalm_cmd.wire import Command


@dataclass(frozen=True)
class Echo(Command):
    text: object


@dataclass(frozen=True)
class Wait(Command):
    seconds: float


@dataclass(frozen=True)
class Hold(Command):
    """Answered as soon as there is a file of this name."""

    file: str


@dataclass(frozen=True)
class Fail(Command):
    message: str


@dataclass(frozen=True)
class Unsendable(Command):
    """Answered with something that no line of JSON can hold."""

    kind: str


def echo(command: Echo) -> process.Answer:
    return {"code": 200, "status": "ok", "text": command.text}


def wait(command: Wait) -> process.Answer:
    process.log("info", "waiting")
    time.sleep(command.seconds)
    return {"code": 200, "status": "ok"}


def hold(command: Hold) -> process.Answer:
    process.log("info", "waiting")
    while not Path(command.file).exists():
        time.sleep(0.01)
    return {"code": 200, "status": "ok"}


def fail(command: Fail) -> process.Answer:
    raise RuntimeError(command.message)


def unsendable(command: Unsendable) -> process.Answer:
    values = {"nan": float("nan"), "object": object(), "long": "x" * (1 << 20)}
    return {"code": 200, "status": "ok", "value": values[command.kind]}


HANDLERS: process.Handlers = {Echo: echo, Wait: wait, Hold: hold, Fail: fail, Unsendable: unsendable}

if __name__ == "__main__":
    process.REQUEST_SECONDS = float(sys.argv[2])
    user = process.pwd.getpwuid(os.getuid()).pw_name
    listener = process.listening_socket(Path(sys.argv[1]), user)
    process.Server(listener, HANDLERS, map(int, sys.argv[3:])).run()
