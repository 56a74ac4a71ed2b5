"""A certificate for this host alone: signed by a small authority whose key is thrown away at once."""

import subprocess
import tempfile
from pathlib import Path

from dev.sandbox_lib.errors import SandboxError

_CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = ${ENV::NAME}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:dbcalm.localhost, DNS:localhost, IP:127.0.0.1, IP:::1
"""


def issue() -> tuple[str, str, str]:
    """Return three PEM texts: the authority's certificate, the server's certificate with it, the server's key."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "openssl.cnf").write_text(_CONFIG)
        _request(folder, "authority", "DBCalm development authority", [])
        _request(folder, "server", "dbcalm.localhost", ["-CA", "authority.pem", "-CAkey", "authority.key"])
        authority, server = (folder / "authority.pem").read_text(), (folder / "server.pem").read_text()
        return authority, server + authority, (folder / "server.key").read_text()


def _request(folder: Path, what: str, name: str, signer: list[str]) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", f"{what}.key"]
    profile = ["-config", "openssl.cnf", "-extensions", what, "-sha256", "-days", "825"]
    made = subprocess.run(
        ["openssl", "req", "-x509", *key, *profile, *signer, "-out", f"{what}.pem"],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NAME": name},
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise SandboxError(f"openssl cannot make a certificate: {made.stderr.strip().splitlines()[-1]}")
