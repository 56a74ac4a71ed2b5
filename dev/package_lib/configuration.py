"""The two configuration files of a new installation: every key with what it is for, at its default, commented out.

A key that the administrator leaves alone follows the default of the version that is installed.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import fields

from dbcalm_cmd.settings import FORMS, Settings
from dbcalm_mariadb_cmd.config.keys import KEYS

_WIDTH = 100


def config_yml() -> str:
    """Return config.yml."""
    lines = [
        *_comment(
            "The configuration of DBCalm: see dbcalm-config(5). Read by the API, the command line and "
            "dbcalm-mariadb-cmd at their start; everybody may read it, so keep no secret here. "
            "`dbcalm config check` says what is wrong with it. What stands here are the defaults."
        )
    ]
    for name, key in KEYS.items():
        about = (*_comment(key.about), *_comment(f"Allowed: {key.allowed}"))
        lines += ["", *about, f"#{name}: {json.dumps(key.default)}"]
    return "\n".join(lines) + "\n"


def cmd_toml() -> str:
    """Return cmd.toml."""
    lines = [
        *_comment(
            "The configuration of dbcalm-cmd, the service that runs as root: see dbcalm-config(5). Read at its start; "
            "it must be owned by root and not be writable by others. What stands here are the defaults."
        )
    ]
    for field in fields(Settings):
        about = _comment(f"Allowed: {FORMS[field.name][1]}")
        lines += ["", *about, f"#{field.name} = {json.dumps(field.default)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
