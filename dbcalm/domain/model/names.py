"""The forms of ids, labels and names that people give."""

import re
import unicodedata

from dbcalm.errors import InvalidField, NotFound
from dbcalm_mariadb_cmd.command.requests import LONGEST_REASON, RESERVED_IDS, valid_id, valid_replaced_id

_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPELT = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH"}
)
"""Letters that are no a-z with an accent, as they are written where there is none of them."""

LATEST = "latest"
"""What means the newest at the command line. No backup gets this id; one that has it since before is what is meant."""

_OF_PATHS = ("/", "\\")
_LONGEST_ID = 64
_SHOWN = 64
_LONGEST = {"username": 64, "label": 128, "reason": LONGEST_REASON}


def shown(given: str) -> str:
    """Return what somebody sent so that it fits into a sentence or a line of the log."""
    return repr(given if len(given) <= _SHOWN else given[:_SHOWN] + "…")


def backup_id(given: str) -> str:
    """Return a given id in kebab-case: ``Nightly Copy #1`` is ``nightly-copy-1``, ``BeforeUpgrade`` is
    ``before-upgrade``, ``Übergröße`` is ``ubergrosse``, and what is longer than an id is cut, between words if it can
    be; raise InvalidField if that is no id. Who gives a path, or what no terminal shows, does not mean a name."""
    plain = unicodedata.normalize("NFKD", given.translate(_SPELT)).encode("ascii", "ignore").decode()
    if not given.isprintable() or any(sign in plain for sign in _OF_PATHS):
        raise InvalidField("id", f"must be printable, without {' and '.join(_OF_PATHS)}")
    words = re.findall(r"[a-z0-9]+", _WORD_ENDS.sub("-", plain).lower())
    kebab = _cut("-".join(words))
    if kebab in (*RESERVED_IDS, LATEST):
        reserved = ", ".join(sorted({*RESERVED_IDS, LATEST}))
        raise InvalidField("id", f"must not be one of the reserved names {reserved}")
    if not valid_id(kebab):
        raise InvalidField(
            "id", "must have a letter a-z or a digit: it becomes 1 to 64 of a-z, 0-9 and hyphens"
        )
    return kebab


def _cut(kebab: str) -> str:
    """Return an id that is not too long; of words only whole ones, unless that would be less than half of it."""
    if len(kebab) <= _LONGEST_ID:
        return kebab
    whole = kebab[: _LONGEST_ID + 1].rpartition("-")[0]
    return whole if len(whole) > _LONGEST_ID // 2 else kebab[:_LONGEST_ID].rstrip("-")


def known_backup_id(id: str) -> str:
    """Return an id by which there can be a backup; raise NotFound for one that none can have."""
    if not valid_id(id):
        raise NotFound(f"there is no backup {shown(id)}")
    return id


def known_replaced_id(id: str) -> str:
    """Return an id by which something that was replaced can be kept; raise NotFound for one that nothing can have."""
    if not valid_replaced_id(id):
        raise NotFound(f"nothing that was replaced is kept as {shown(id)}")
    return id


def text(field: str, given: str) -> str:
    """Return a name, label or reason without outer blanks; raise InvalidField if it is empty, long or unprintable."""
    stripped = given.strip()
    if not 1 <= len(stripped) <= _LONGEST[field] or not stripped.isprintable():
        raise InvalidField(field, f"must be 1 to {_LONGEST[field]} printable characters")
    return stripped
