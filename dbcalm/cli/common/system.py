"""The services over the configuration's catalogue and sockets, for commands that need more than users and clients."""

import os
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial

from dbcalm import config
from dbcalm.cli.common.loaded import changed
from dbcalm.cli.common.start import settings
from dbcalm.config import Settings
from dbcalm.domain.rules.retention import Rules
from dbcalm.domain.services.assembly import Services, SystemClock, assemble
from dbcalm.domain.services.schedules import ROOT_SECONDS
from dbcalm.domain.services.status import Seen
from dbcalm.repository.catalogue import Catalogue
from dbcalm.repository.recovery.opening import open_database
from dbcalm_cmd_client import CmdClient
from dbcalm_mariadb_cmd_client import MariadbCmdClient


def services(loaded: Settings | None = None) -> Services:
    """Return the services over the catalogue and the sockets of the configuration; raise CannotStart."""
    loaded = loaded or settings()
    return assembled(Catalogue(open_database(loaded.database_file)), loaded)


def assembled(opened: Catalogue, loaded: Settings) -> Services:
    """Return the services over an open catalogue, the sockets and the rules of the configuration."""
    return assemble(
        opened,
        MariadbCmdClient(loaded.mariadb_cmd_socket),
        CmdClient(loaded.cmd_socket, ROOT_SECONDS),
        SystemClock(),
        Rules(**{each.name: getattr(loaded, each.name) for each in fields(Rules)}),
        loaded.schedule_patience,
        checks=(
            partial(_of_certificate, loaded),
            partial(changed, loaded, config.config_path(os.environ)),
        ),
    )


def _of_certificate(loaded: Settings, _seen: Seen) -> Iterator[str]:
    """Tell what clients will find wrong with the certificate. That there is none is for ``config check``: the API does
    not start without, and one that answers has one."""
    from dbcalm.api.certificate import judged  # Other commands load no TLS.

    if not loaded.ssl_cert.exists():
        return
    yield from filter(None, judged(loaded.ssl_cert, loaded.ssl_key, datetime.now(UTC)))
