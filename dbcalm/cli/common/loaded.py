"""What the API has loaded: its configuration and its certificate, told to the other programs by a file beside the
catalogue, so that a change which it has not loaded is seen."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from dbcalm import config
from dbcalm.config import Settings
from dbcalm.domain.services.status import Seen
from dbcalm.errors import InvalidConfig
from dbcalm.logger import log
from dbcalm_mariadb_cmd.config.keys import digest

_API = "dbcalm-api"
_FILE = "api.loaded"


def remember(settings: Settings) -> None:
    """Tell what the API has loaded just now."""
    path = _path(settings)
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps({"config": digest(settings), "certificate": _certificate(settings)}))
        fresh.replace(path)
    except OSError as error:  # It serves all the same.
        log.warning("cannot write %s: %s", path, error.strerror)


def changed(settings: Settings, path: Path, seen: Seen) -> Iterator[str]:
    """Tell what has changed on disk since the API, if it runs, has loaded it. ``path`` is the configuration's."""
    if not seen.services[_API]:
        return
    try:
        present = config.load(path)
    except InvalidConfig as error:
        yield f"{error}; no program can be started with it"
        return
    has: dict[str, object] = {}
    with contextlib.suppress(OSError, ValueError):  # An older version of the API has not told it.
        has = dict(json.loads(_path(settings).read_text()))
    if has.get("config") not in (None, digest(present)):
        yield f"{path} was changed after {_API} had loaded it: systemctl restart {_API}"
    elif has.get("certificate") not in (None, _certificate(present)):
        yield f"{present.ssl_cert} was changed after {_API} had loaded it: systemctl reload {_API}"


def _path(settings: Settings) -> Path:
    return settings.database_file.parent / _FILE


def _certificate(settings: Settings) -> str | None:
    try:
        return hashlib.sha256(settings.ssl_cert.read_bytes()).hexdigest()
    except OSError:
        return None  # That is told by who looks at the certificate.
