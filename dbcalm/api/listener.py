"""What the HTTPS server listens on, and its certificate."""

import socket
import ssl
from pathlib import Path

from dbcalm.errors import CannotStart


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the server's side of TLS, 1.2 or newer; raise CannotStart with one line if the files cannot be used."""
    for name, path in (("ssl_cert", certificate), ("ssl_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise CannotStart(f"{name}: cannot read {path}: {error.strerror}; TLS is always on") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty passphrase: a key that wants one is refused instead of asked for on a terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise CannotStart(
            f"ssl_cert {certificate} and ssl_key {key} are not a certificate and its own key without a passphrase, "
            f"both PEM: {getattr(error, 'reason', None) or error}"
        ) from error
    return context


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; raise CannotStart with one line if it is taken or not this host's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host} port {port} (api_host, api_port): {error.strerror}"
        ) from error
    return listener
