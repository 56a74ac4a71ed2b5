"""The form of age's keys: public ones, to which backups are encrypted, and private ones, identities, which open them.

Both are bech32 (BIP 173): a prefix, a 1, 52 letters and digits, and a checksum of 6 more, so that a mistyped key is
told when it is read and not when it is needed.
"""

import re

IDENTITY_FORM = "AGE-SECRET-KEY-1 and 58 letters and digits, as age-keygen writes it"
RECIPIENT_FORM = "age1 and 58 letters and digits, as age-keygen -y writes it"

LONGEST_IDENTITY = 74
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_RECIPIENT = re.compile(rf"age1[{_LETTERS}]{{58}}")
_IDENTITY = re.compile(rf"AGE-SECRET-KEY-1[{_LETTERS.upper()}]{{58}}")
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def is_recipient(value: object) -> bool:
    """Tell whether this is a public key of age."""
    return isinstance(value, str) and _RECIPIENT.fullmatch(value) is not None and _is_whole(value)


def is_identity(value: object) -> bool:
    """Tell whether this is a private key of age."""
    return isinstance(value, str) and _IDENTITY.fullmatch(value) is not None and _is_whole(value.lower())


def _is_whole(text: str) -> bool:
    """Tell whether the checksum of a bech32 text holds."""
    prefix, _, data = text.rpartition("1")
    values = [*(ord(letter) >> 5 for letter in prefix), 0, *(ord(letter) & 31 for letter in prefix)]
    checksum = 1
    for value in (*values, *map(_LETTERS.index, data)):
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum == 1
