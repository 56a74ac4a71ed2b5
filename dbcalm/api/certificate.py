"""What the API's certificate says to who connects: for which names it is, and until when; and exchanging it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbcalm.api.listener import tls_context
from dbcalm.errors import CannotStart

RELOAD = "systemctl reload dbcalm-api"

_SOON = timedelta(days=14)
_LAST_PART = 5
"""Within this part of its life a certificate that lives for days only is about to expire."""


@dataclass(frozen=True)
class Certificate:
    """The host names and addresses that it is for, and when it expires, in UTC."""

    names: tuple[str, ...]
    begins: datetime
    expires: datetime

    def expires_soon(self, now: datetime) -> bool:
        """Tell whether whatever renews it should have done so."""
        return self.expires - now < min(_SOON, (self.expires - self.begins) / _LAST_PART)


def presented(context: ssl.SSLContext, path: Path, *, named: bool = True) -> Certificate:
    """Return what a client sees of the certificate of a server's context, which was loaded from ``path``; raise
    CannotStart if it is not valid now or, unless it need not be ``named``, names no host.

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
    found = _read(client.getpeercert() or {})
    if named and not found.names:
        raise CannotStart(_nameless(path))
    return found


def _nameless(path: Path) -> str:
    return f"ssl_cert: {path} names no host (subjectAltName); the API's clients refuse it"


def _shaken(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _read(told: Mapping[str, object]) -> Certificate:
    alternatives = told.get("subjectAltName") or ()
    names = tuple(str(value) for _kind, value in alternatives)  # type: ignore[attr-defined]  # pairs
    begins, expires = (
        datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told[name])), UTC)
        for name in ("notBefore", "notAfter")
    )
    return Certificate(names, begins, expires)


def judged(certificate: Path, key: Path, now: datetime) -> tuple[str | None, str | None]:
    """Return what is wrong with the files, and, where the API can serve with them, what should be changed all the
    same: that the certificate expires soon, or names no host."""
    try:
        found = presented(tls_context(certificate, key), certificate, named=False)
    except CannotStart as error:
        return f"{error}; renew it, and then: {RELOAD}", None
    if not found.names:
        return None, f"{_nameless(certificate)}; renew it, and then: {RELOAD}"
    if not found.expires_soon(now):
        return None, None
    return None, f"ssl_cert: {certificate} expires on {found.expires:%Y-%m-%d}: renew it, and then: {RELOAD}"


class Exchangeable:
    """The server's side of TLS with a certificate that can be exchanged while it serves.

    ``context`` is what the server listens with; each new connection gets what was loaded last."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._present = self.context = tls_context(certificate, key)
        self.context.sni_callback = self._choose

    def reload(self) -> Certificate:
        """Load the files anew and return what they say; raise CannotStart, and go on with what there was, where they
        cannot be used or clients would refuse them."""
        fresh = tls_context(*self._files)
        found = presented(fresh, self._files[0], named=False)
        self._present = fresh
        return found

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called at the beginning of each connection, whether or not it names a host."""
        connection.context = self._present
