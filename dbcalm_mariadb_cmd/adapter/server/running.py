"""The running server, asked by a proof what its tables are like, with what the backup tool's account may ask."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.server.origin import PLUGINS
from dbcalm_mariadb_cmd.adapter.server.rows import Row, ask
from dbcalm_mariadb_cmd.builder.argv import asking_argv
from dbcalm_mariadb_cmd.builder.likeness import KEY_SETTINGS, PLUGIN_DIR, SETTINGS

_DENIED = re.compile(r"ERROR (?:1142|1143|1044|1227)\b")
_SILENT = re.compile(r"ERROR (?:20\d\d|1040|1045|1130|1205|1698|1862|1969|4151)\b")
_SECONDS = 30.0


class Denied(Exception):
    """The account may not ask this."""


class Silent(Exception):
    """There is no server that answers; the message is what the client said."""


@dataclass(frozen=True)
class Running:
    """The server to which these credentials lead."""

    client: str
    credentials: str

    def rows(self, sql: str, seconds: float = _SECONDS) -> list[Row]:
        """Return the rows that statements give; raise Silent, Denied, or ValueError with what the server said."""
        try:
            asked = ask(asking_argv(self.client, self.credentials), sql, Path("/"), seconds)
        except subprocess.TimeoutExpired as error:
            raise Silent(f"the server does not answer within {seconds:.0f} s") from error
        if not asked.return_code:
            return asked.rows
        if _DENIED.match(asked.said):
            raise Denied(asked.said)
        if _SILENT.match(asked.said) or not asked.said.startswith("ERROR"):
            raise Silent(asked.said)
        raise ValueError(asked.said)


@dataclass(frozen=True)
class Ways:
    """How a running server reads its data: the values of SETTINGS and KEY_SETTINGS, the files of its loaded plugins,
    and where these lie. All are empty where no server answers."""

    settings: dict[str, str]
    plugins: frozenset[str]
    plugin_dir: str


NO_WAYS = Ways({}, frozenset(), "")


def ways(server: Running) -> Ways:
    """Ask a running server for its ways."""
    names = ", ".join(f"'{name}'" for name in (*SETTINGS, *KEY_SETTINGS, PLUGIN_DIR))
    try:
        variables = server.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names});\n")
        plugins = server.rows("SHOW PLUGINS;\n")
    except (Silent, ValueError):
        return NO_WAYS
    values = {row[0] or "": row[1] or "" for row in variables}
    plugin_dir = values.pop(PLUGIN_DIR, "")
    return Ways(values, frozenset(row[3] for row in plugins if row[1] == "ACTIVE" and row[3]), plugin_dir)


def as_noted(found: Ways, settings: Mapping[str, str]) -> Ways:
    """Return the ways that were noted with a backup, where they were, and else those of the running server; where its
    keys and its plugins lie the running server alone can say."""
    kept = {name: settings[name] for name in SETTINGS if name in settings}
    noted = {f"{name}.so" for name in settings.get(PLUGINS, "").split(",") if name.startswith("provider_")}
    return Ways({**found.settings, **kept}, found.plugins | noted, found.plugin_dir)
