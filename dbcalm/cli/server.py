"""``dbcalm server``: the API."""

from dbcalm import __version__, config
from dbcalm.cli.start import settings as start_settings
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.database import open_or_replace


def run() -> None:
    """Serve the API until SIGTERM; raise CannotStart with one line where it cannot.

    Everything that can be wrong with the host is looked at before the catalogue is touched.
    """
    settings = start_settings(terminal=False)
    key = config.signing_key(settings)

    # Only here: other commands start without the web framework.
    from dbcalm.api.app import create_app
    from dbcalm.api.endpoint import Application
    from dbcalm.api.listener import listening_socket, tls_context
    from dbcalm.api.server import serve
    from dbcalm.api.tokens import Tokens
    from dbcalm.domain.services import SystemClock, assemble
    from dbcalm.routes import ALL
    from dbcalm_mariadb_cmd_client import MariadbCmdClient

    context = tls_context(settings.ssl_cert, settings.ssl_key)
    with listening_socket(settings.api_host, settings.api_port) as listener:
        catalogue = Catalogue(open_or_replace(settings.database_file))
        services = assemble(catalogue, MariadbCmdClient(settings.mariadb_cmd_socket), SystemClock())
        application = Application(services, Tokens(key, settings.jwt_algorithm))
        serve(create_app(application, ALL, __version__, settings.cors_origins), listener, context)
        catalogue.close()
