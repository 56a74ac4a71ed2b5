"""docs/configuration.md documents every key of both configuration files, each with its default.

A key has a row ``| `key` | default | …`` in a table; an empty default reads ``""`` or ``empty``.
"""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dbcalm_cmd.settings import Settings
from dbcalm_mariadb_cmd.config.keys import KEYS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
CONFIG_YML = {name: key.default for name, key in KEYS.items()}
CMD_TOML = {field.name: field.default for field in fields(Settings)}
_ROW = re.compile(r"^\| `([a-z_]+)` \|([^|]*)\|", re.MULTILINE)


def documented(key: str) -> set[str]:
    """Return the defaults that the page's rows give for this key."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {default.strip().strip("`") for name, default in rows if name == key}


@pytest.mark.parametrize(
    ("key", "default"),
    [*CONFIG_YML.items(), *CMD_TOML.items()],
    ids=lambda value: str(value) if value else "empty",
)
def test_a_key_is_documented_with_its_default(key: str, default: object) -> None:
    shown = documented(key)
    assert shown, f"no row of {PAGE.name} begins with | `{key}` |"
    if default == "":
        assert shown <= {'""', "empty", ""}
    else:
        assert shown == {str(default).lower() if isinstance(default, bool) else str(default)}
