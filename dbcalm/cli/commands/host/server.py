"""``dbcalm server``: the API. Only this command loads this module, and with it the web framework."""

import os
from pathlib import Path

from dbcalm import __version__, config
from dbcalm.api.app import create_app
from dbcalm.api.certificate import Exchangeable
from dbcalm.api.deps import Application
from dbcalm.api.listener import listening_socket
from dbcalm.api.server import serve
from dbcalm.api.tokens import Tokens
from dbcalm.cli.common import loaded
from dbcalm.cli.common.start import settings as start_settings
from dbcalm.cli.common.system import assembled
from dbcalm.config import Settings
from dbcalm.errors import CannotStart
from dbcalm.logger import log
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_or_replace
from dbcalm.routes import ALL


def run() -> None:
    """Serve the API until SIGTERM; raise CannotStart with one line where it cannot.

    Everything that can be wrong with the host is looked at before the catalogue is touched.
    """
    settings = start_settings(terminal=False)
    _require_readable(Path(config.__file__).parent, settings.dbcalm_user)
    key = config.signing_key(settings)
    tls = Exchangeable(settings.ssl_cert, settings.ssl_key)
    with listening_socket(settings.api_host, settings.api_port) as listener:
        catalogue = Catalogue(open_or_replace(settings.database_file))
        application = Application(assembled(catalogue, settings), Tokens(key, settings.jwt_algorithm))
        loaded.remember(settings)
        app = create_app(application, ALL, __version__, settings.cors_origins)
        serve(app, listener, tls.context, lambda: _exchange(tls, settings))
        catalogue.close()


def _exchange(tls: Exchangeable, settings: Settings) -> None:
    """Load the certificate anew, or say why not, and go on with the one of before."""
    try:
        found = tls.reload()
    except CannotStart as error:
        log.error("%s; the API goes on with the certificate that it has", error)
        return
    loaded.remember(settings)
    log.info(
        "the certificate was loaded anew: for %s until %s",
        ", ".join(found.names),
        f"{found.expires:%Y-%m-%d}",
    )


def _require_readable(program: Path, user: str) -> None:
    """Raise CannotStart where root, now the API's user, left a folder that this user cannot enter: pages, and whatever
    is loaded later, would be missing."""
    if not os.access(program, os.R_OK | os.X_OK):
        raise CannotStart(
            f"user {user} cannot read {program}; put DBCalm where that user can, as dev/sandbox does"
        )
