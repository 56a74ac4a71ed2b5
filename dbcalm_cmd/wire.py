"""The wire between DBCalm's programs: one JSON object on one line, each way.

A request is ``{"cmd": <name>, "args": {<field>: <value>}}``, an answer ``{"code": <int>, "status": <sentence>, ...}``.
Codes are those of HTTP. A frame that is longer, deeper or looser than what stands here is refused unread, so that
nothing of what a caller sends is ever guessed at.
"""

import json
import math
import re
from dataclasses import dataclass, fields
from typing import ClassVar, NoReturn, Self

MAX_FRAME = 1 << 20
"""Bytes of one line, its newline included."""

MAX_DEPTH = 8
"""Nested objects and lists in one frame."""

UNKNOWN_COMMAND = {"code": 404, "status": "unknown command"}
"""The constant answer to every name that is not in the table: it tells a prober nothing."""


class WireError(Exception):
    """A frame that is not of the protocol's form; the message says what is wrong with it."""


class InvalidCommand(WireError):
    """A command whose arguments are missing, unknown or out of range; the message names the argument.

    ``field`` is its name where the message is ``<field> <problem>``, else empty.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def encode(message: dict[str, object]) -> bytes:
    """Return the message as one line of ASCII JSON; raise WireError if it is longer than a frame."""
    line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_FRAME:
        raise WireError(f"the message has {len(line)} bytes, and a frame holds {MAX_FRAME}")
    return line


def decode(line: bytes) -> dict[str, object]:
    """Return the one JSON object of a line; raise WireError for anything else, duplicate keys and NaN included."""
    if len(line) > MAX_FRAME:
        raise WireError(f"a frame holds {MAX_FRAME} bytes")
    try:
        message = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise WireError("the frame is not one JSON object") from error
    if not isinstance(message, dict):
        raise WireError("the frame is not one JSON object")
    if _deeper_than(message, MAX_DEPTH):
        raise WireError(f"the frame is nested deeper than {MAX_DEPTH}")
    return message


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999
        raise ValueError(f"{text} is too large")
    return number


def _deeper_than(value: object, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (depth == 0 or any(_deeper_than(item, depth - 1) for item in inner))


@dataclass(frozen=True)
class Command:
    """A request as a value. Subclasses validate themselves in ``__post_init__``, so that the client refuses a bad
    call before it is sent and the service refuses it again on arrival, from the same lines."""

    wire_name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.wire_name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def from_args(cls, args: object) -> Self:
        """Return the command with these arguments, bound by name; raise InvalidCommand where they do not fit."""
        if not isinstance(args, dict):
            raise InvalidCommand("args must be an object")
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(args) - names):
            raise InvalidCommand(
                f"unknown argument {unknown[0]!r}; {cls.wire_name} takes {', '.join(sorted(names))}"
            )
        if missing := sorted(names - set(args)):
            raise InvalidCommand(f"argument {missing[0]} is missing")
        return cls(**args)


def require_word(value: object, name: str, allowed: tuple[str, ...]) -> None:
    """Raise InvalidCommand unless the value is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidCommand(f"{name} must be one of {', '.join(allowed)}", name)


def require_integer(value: object, name: str, low: int, high: int) -> None:
    """Raise InvalidCommand unless the value is an integer in [low, high]; a bool is none."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidCommand(f"{name} must be an integer from {low} to {high}", name)
