"""The forms of ids, labels and names that people give."""

import re

from dbcalm.errors import InvalidField, NotFound
from dbcalm_mariadb_cmd.command import LONGEST_REASON, RESERVED_IDS, valid_id, valid_replaced_id

_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SHOWN = 64
_LONGEST = {"username": 64, "label": 128, "reason": LONGEST_REASON}


def shown(given: str) -> str:
    """Return what somebody sent so that it fits into a sentence or a line of the log."""
    return repr(given if len(given) <= _SHOWN else given[:_SHOWN] + "…")


def backup_id(given: str) -> str:
    """Return a given id in kebab-case: ``Before upgrade`` and ``BeforeUpgrade`` are ``before-upgrade``; raise
    InvalidField if that is no id."""
    kebab = re.sub(r"[ _-]+", "-", _WORD_ENDS.sub("-", given)).strip("-").lower()
    if kebab in RESERVED_IDS:
        raise InvalidField("id", f"must not be one of the reserved names {', '.join(sorted(RESERVED_IDS))}")
    if not given.isascii() or not valid_id(kebab):
        raise InvalidField("id", "must be 1 to 64 letters a-z, digits and hyphens")
    return kebab


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
