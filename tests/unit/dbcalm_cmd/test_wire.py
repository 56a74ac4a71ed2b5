"""The frames that DBCalm's programs exchange: what is one, and what is refused."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbcalm_cmd.wire import (
    MAX_DEPTH,
    MAX_FRAME,
    Command,
    InvalidCommand,
    WireError,
    decode,
    encode,
    require_integer,
    require_word,
)


def nested(depth: int) -> bytes:
    """Return a frame of an object with this many objects and lists within one another."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}\n"


def test_a_message_survives_the_wire_on_one_line_of_ascii() -> None:
    message = {"cmd": "é\n\u2028\ud800", "args": {"n": -(2**63), "f": 0.1, "l": [None, True, ""], "o": {}}}
    line = encode(message)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
_values = _scalars
for _ in range(3):
    _values = _scalars | st.lists(_values, max_size=3) | st.dictionaries(st.text(), _values, max_size=3)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.text(), _values, max_size=4))
def test_any_message_survives_the_wire(message: dict[str, object]) -> None:
    assert decode(encode(message)) == message


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(line: bytes) -> None:
    try:
        message = decode(line)
    except WireError:
        return
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b'"text"\n',
        b"5\n",
        b"{\n",
        b"{}{}\n",
        b"{} {}\n",
        b"{}\0\n",
        b"{},\n",
        b'{"a":1,}\n',
        b"{'a':1}\n",
        b"{a:1}\n",
        b'{"a":01}\n',
        b'{"a":.5}\n',
        b'{"a":+1}\n',
        b'{"a":0x10}\n',
        b'{"a":"\t"}\n',
        b'{"a":"\\x41"}\n',
        b'{"a":1}//\n',
        b"\xef\xbb\xbf{}\n",
        '{"a":1}\n'.encode("utf-16"),
        b'{"a":"\xff"}\n',
        b'{"a":"\xed\xa0\x80"}\n',
        b'{"a":NaN}\n',
        b'{"a":Infinity}\n',
        b'{"a":[-Infinity]}\n',
        b'{"a":1e999}\n',
        b'{"a":-1e999}\n',
        b'{"a":' + b"9" * 5000 + b"}\n",
        b'{"a":1,"a":1}\n',
        b'{"a":{"b":1,"c":2,"b":3}}\n',
        b'{"a":[{"b":1,"\\u0062":3}]}\n',
        b"[" * (MAX_FRAME - 1) + b"\n",
        b'{"a":' * ((MAX_FRAME - 1) // 5) + b"\n",
    ],
    ids=lambda line: ascii(line[:24]),
)
def test_what_is_not_one_object_is_refused(line: bytes) -> None:
    with pytest.raises(WireError, match=r"^the frame is not one JSON object$"):
        decode(line)


def test_eight_levels_are_taken_and_nine_are_not() -> None:
    assert decode(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 900):
        with pytest.raises(WireError, match="nested deeper than 8"):
            decode(nested(depth))
    with pytest.raises(WireError):
        decode(nested(100_000))


def test_width_is_no_depth() -> None:
    message = {"a": [[{"b": [n]}] for n in range(10_000)]}
    assert decode(encode(message)) == message


def test_a_frame_holds_a_mebibyte_and_not_a_byte_more() -> None:
    whole = {"a": "x" * (MAX_FRAME - len(b'{"a":""}\n'))}
    line = encode(whole)
    assert len(line) == MAX_FRAME
    assert decode(line) == whole
    with pytest.raises(WireError, match=f"has {MAX_FRAME + 1} bytes, and a frame holds {MAX_FRAME}"):
        encode({"a": whole["a"] + "x"})
    with pytest.raises(WireError, match=f"a frame holds {MAX_FRAME} bytes"):
        decode(b" " + line)


def test_large_numbers_keep_their_value() -> None:
    for number in (2**63, -(2**64), 10**4000, 1.7976931348623157e308, 5e-324):
        assert decode(encode({"n": number})) == {"n": number}


@dataclass(frozen=True)
class PolishSilver(Command):
    spoons: int
    word: str

    def __post_init__(self) -> None:
        require_integer(self.spoons, "spoons", 1, 12)
        require_word(self.word, "word", ("yes", "no"))


def test_a_command_is_named_after_its_class_and_bound_by_name() -> None:
    assert PolishSilver.wire_name == "polish_silver"
    assert PolishSilver.from_args({"word": "no", "spoons": 3}) == PolishSilver(3, "no")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (None, "args must be an object"),
        ([3, "no"], "args must be an object"),
        ({"spoons": 3}, "argument word is missing"),
        ({}, "argument spoons is missing"),
        (
            {"spoons": 3, "word": "no", "forks": 1},
            "unknown argument 'forks'; polish_silver takes spoons, word",
        ),
        ({"spoons": 3, "word": "no", "__class__": 1}, "unknown argument '__class__'; .*"),
    ],
)
def test_arguments_that_do_not_fit_are_named(args: object, message: str) -> None:
    with pytest.raises(InvalidCommand, match=f"^{message}$"):
        PolishSilver.from_args(args)


def test_only_integers_in_range_are_integers() -> None:
    for value in (0, 13, True, False, 3.0, "3", "3\n", "\u0663", None, [3], {}, 10**5000, -(10**5000), 2**64):
        with pytest.raises(InvalidCommand, match=r"^spoons must be an integer from 1 to 12$"):
            PolishSilver(value, "no")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("value", ["", "YES", "yes ", "yes\n", None, True, 1, ["yes"], {"yes": 1}])
def test_only_the_listed_words_are_words(value: object) -> None:
    with pytest.raises(InvalidCommand, match=r"^word must be one of yes, no$"):
        PolishSilver(3, value)  # type: ignore[arg-type]  # wrong on purpose
