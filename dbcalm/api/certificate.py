"""What the API's certificate says to who connects: for which names it is, and until when."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbcalm.errors import CannotStart


@dataclass(frozen=True)
class Certificate:
    """The host names and addresses that it is for, and when it expires, in UTC."""

    names: tuple[str, ...]
    expires: datetime


def presented(context: ssl.SSLContext, path: Path) -> Certificate:
    """Return what a client sees of the certificate of a server's context, which was loaded from ``path``; raise
    CannotStart if it is not valid now.

    Both sides of a handshake are played in memory. The client trusts what is in the file, whoever signed it.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        while not all([_shaken(client), _shaken(server)]):  # Each in turn, as long as one of them waits.
            pass
    except ssl.SSLError as error:
        said = getattr(error, "verify_message", None) or error.reason
        raise CannotStart(f"ssl_cert: {path}: {said}; the API's clients refuse it") from error
    return _read(client.getpeercert() or {}, path)


def _shaken(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _read(told: Mapping[str, object], path: Path) -> Certificate:
    alternatives = told.get("subjectAltName") or ()
    names = tuple(str(value) for _kind, value in alternatives)  # type: ignore[attr-defined]  # pairs
    if not names:
        raise CannotStart(f"ssl_cert: {path} names no host (subjectAltName); the API's clients refuse it")
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), UTC)
    return Certificate(names, expires)
