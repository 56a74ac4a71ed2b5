"""``dbcalm server``: the API. Only this command loads this module, and with it the web framework."""

import os
from pathlib import Path

from dbcalm import __version__, config
from dbcalm.api.app import create_app
from dbcalm.api.endpoint import Application
from dbcalm.api.listener import listening_socket, tls_context
from dbcalm.api.server import serve
from dbcalm.api.tokens import Tokens
from dbcalm.cli.start import settings as start_settings
from dbcalm.cli.system import assembled
from dbcalm.errors import CannotStart
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.database import open_or_replace
from dbcalm.routes import ALL


def run() -> None:
    """Serve the API until SIGTERM; raise CannotStart with one line where it cannot.

    Everything that can be wrong with the host is looked at before the catalogue is touched.
    """
    settings = start_settings(terminal=False)
    _require_readable(Path(config.__file__).parent, settings.dbcalm_user)
    key = config.signing_key(settings)
    context = tls_context(settings.ssl_cert, settings.ssl_key)
    with listening_socket(settings.api_host, settings.api_port) as listener:
        catalogue = Catalogue(open_or_replace(settings.database_file))
        application = Application(assembled(catalogue, settings), Tokens(key, settings.jwt_algorithm))
        serve(create_app(application, ALL, __version__, settings.cors_origins), listener, context)
        catalogue.close()


def _require_readable(program: Path, user: str) -> None:
    """Raise CannotStart where root, now the API's user, left a folder that this user cannot enter: pages, and whatever
    is loaded later, would be missing."""
    if not os.access(program, os.R_OK | os.X_OK):
        raise CannotStart(
            f"user {user} cannot read {program}; put DBCalm where that user can, as dev/sandbox does"
        )
