"""What may enter: JSON values are judged against the dataclass that they are to become, by one function.

Whatever lies in a file or comes over the wire may have been written by somebody else, or have rotted. So types and
ranges stand in the dataclass itself, and nothing is made of values that do not fit: a whole number is one of 64 bits,
as the catalogue's are, and no bool; a number is finite; a text is Unicode and of bounded length. ``Annotated`` says
what is narrower than that.
"""

import dataclasses
import functools
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from dbcalm_cmd.wire import WireError, decode

T = TypeVar("T")

LONGEST_TEXT = 1 << 20
"""Characters of a text, unless its field says otherwise: what fits into a frame."""

_LOW, _HIGH = -(2**63), 2**63 - 1
_LONGEST_TIME = 40
_FIRST_YEAR, _LAST_YEAR = 1970, 8999
_MANY: dict[Any, type] = {tuple: tuple, list: list, dict: dict, Mapping: dict, Sequence: tuple}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unfit(ValueError):
    """A value that is not of the form that its place wants; the message says where and what is wanted."""


@dataclasses.dataclass(frozen=True)
class Between:
    """Numbers from ``low`` to ``high``."""

    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Upto:
    """Texts of at most so many characters, and lists of so many items."""

    length: int


@dataclasses.dataclass(frozen=True)
class Where:
    """Values of which ``holds`` is true; ``wanted`` says in words what that is."""

    holds: Callable[[Any], bool]
    wanted: str


def is_time(text: str) -> bool:
    """Tell whether this is a time in ISO's form, of a year with which can be reckoned."""
    try:
        return len(text) <= _LONGEST_TIME and _FIRST_YEAR <= datetime.fromisoformat(text).year <= _LAST_YEAR
    except ValueError:
        return False


Time = Annotated[str, Where(is_time, "a time such as 2026-01-31T03:00:00.000000Z")]
Seq = Annotated[int, Between(-(2**53), 2**53)]
"""The number of a backup or a restore among all. A forged one near the end leaves none for the next, which is then
refused in words."""

Count = Annotated[int, Between(0, 2**60)]
"""Bytes, files and the like."""

Unsigned = Annotated[int, Between(0, 2**64 - 1)]
"""What the kernel and InnoDB count in 64 bits without a sign. The catalogue cannot hold it."""

Seconds = Annotated[float, Where(lambda seconds: 0 <= seconds < 2**40, "a number of seconds")]


def fitted(shape: type[T], values: object, *, others: bool = False, of: str = "") -> T:
    """Return the dataclass of these JSON values; raise Unfit. With ``others`` keys that it does not have are passed
    over, as in an event, of which each reader takes what it needs. ``of`` begins the names in the message."""
    if not isinstance(values, Mapping):
        raise Unfit(f"{of.rstrip('.') or 'it'} must be an object")
    made: dict[str, object] = {}
    for name, hint, required in _fields(cast(Any, shape)):
        if name in values:
            made[name] = _fit(hint, values[name], of + name, others)
        elif required:
            raise Unfit(f"{of}{name} is missing")
    if not others and len(made) < len(values):
        unknown = next(name for name in values if name not in made)
        raise Unfit(f"{of}{legible(str(unknown)[:40])} is unknown")
    return shape(**made)


def parsed(stored: bytes) -> dict[str, Any]:
    """Return the one JSON object of a small file; raise Unfit where it is not just that, a key stands twice in it, or
    it is nested too deep."""
    try:
        return decode(stored)
    except WireError as error:
        raise Unfit(str(error).replace("the frame", "it")) from error


def legible(value: Any) -> Any:
    """Return a JSON value whose texts can be shown and stored: what was no UTF-8 in a file's name is written ``\\xe9``.
    A value that has none of that is returned itself."""
    if isinstance(value, str):
        return _SURROGATE.sub(_escaped, value) if _SURROGATE.search(value) else value
    if isinstance(value, dict):
        return {legible(name): legible(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [legible(inner) for inner in value]
    return value


def _escaped(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


@functools.cache
def _fields(shape: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(shape, include_extras=True)
    return tuple(
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(shape)
        if field.init
    )


def _fit(hint: Any, value: object, of: str, others: bool) -> object:
    if hint is object or hint is Any:
        return value
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _narrowed(inner[1:], value if inner[0] is int else _fit(inner[0], value, of, others), of)
    if origin in (Union, types.UnionType):
        return _fit_one_of(inner, value, of, others)
    if origin is Literal:
        if type(value) is not type(inner[0]) or value not in inner:
            raise Unfit(f"{of} must be one of {', '.join(map(str, inner))}")
        return value
    if (kind := _MANY.get(origin or hint)) is not None:
        return _fit_many(kind, inner, value, of, others)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return fitted(hint, value, others=others, of=f"{of}.")
    return _fit_plain(hint, value, of)


def _fit_one_of(hints: tuple[Any, ...], value: object, of: str, others: bool) -> object:
    if value is None and type(None) in hints:
        return None
    wanted = [hint for hint in hints if hint is not type(None)]
    for hint in wanted[:-1]:
        try:
            return _fit(hint, value, of, others)
        except Unfit:
            continue
    return _fit(wanted[-1], value, of, others)


def _fit_many(kind: type, inner: tuple[Any, ...], value: object, of: str, others: bool) -> object:
    if kind is dict:
        if not isinstance(value, dict):
            raise Unfit(f"{of} must be an object")
        if not inner or inner[1] is Any:
            return value
        return {
            _fit_plain(str, name, of): _fit(inner[1], one, f"{of}.{name[:40]}", others)
            for name, one in value.items()
        }
    if not isinstance(value, (list, tuple)):
        raise Unfit(f"{of} must be a list")
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise Unfit(f"{of} must be a list of {len(inner)}")
        return tuple(_fit(hint, one, of, others) for hint, one in zip(inner, value, strict=True))
    return kind(_fit(inner[0], one, of, others) if inner else one for one in value)


def _fit_plain(hint: Any, value: object, of: str) -> object:
    if hint is bool:
        if not isinstance(value, bool):
            raise Unfit(f"{of} must be true or false")
    elif hint is int:
        _require_whole(value, of, _LOW, _HIGH)
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise Unfit(f"{of} must be a number")
    elif hint is str:
        if not isinstance(value, str):
            raise Unfit(f"{of} must be a text")
        if len(value) > LONGEST_TEXT or _SURROGATE.search(value):
            raise Unfit(f"{of} must be a text of at most {LONGEST_TEXT} characters, in UTF-8")
    else:
        raise TypeError(f"{of} cannot be judged: {hint}")
    return value


def _narrowed(marks: tuple[Any, ...], value: object, of: str) -> object:
    for mark in marks:
        if isinstance(mark, Between):
            _require_whole(value, of, mark.low, mark.high)
        elif isinstance(mark, Upto):
            if len(value) > mark.length:  # type: ignore[arg-type]  # a text or a list
                raise Unfit(f"{of} must not be longer than {mark.length}")
        elif isinstance(mark, Where) and not mark.holds(value):
            raise Unfit(f"{of} must be {mark.wanted}")
    return value


def _require_whole(value: object, of: str, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise Unfit(f"{of} must be a whole number from {low} to {high}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number that is larger than any float.
        return False
