"""``systemctl reload dbcalm-api`` on a booted host: a renewed certificate is loaded, one of no use is refused."""

from dev.sandbox_lib.api import Api
from tests.e2e.machine import Machine

CERTIFICATE = "/etc/dbcalm/ssl/fullchain-cert.pem"
LAST_WORDS = "journalctl --unit dbcalm-api --lines 20 --output cat --no-pager"


def test_the_certificate_is_loaded_by_a_reload(machine: Machine, api: Api) -> None:
    api.call("GET", "/ready")
    before = machine.main_process("dbcalm-api")
    machine.run(f"cp --archive {CERTIFICATE} /srv/kept.pem && echo >> {CERTIFICATE}")
    assert any("systemctl reload dbcalm-api" in one for one in api.call("GET", "/ready")["attention"])
    machine.run("systemctl reload dbcalm-api")
    assert not any("reload" in one for one in api.call("GET", "/ready")["attention"])
    assert "the certificate was loaded anew: for " in machine.run(LAST_WORDS)
    machine.run(f"echo rubbish > {CERTIFICATE}")
    refused = machine.try_to("systemctl reload dbcalm-api")
    try:
        assert refused.returncode != 0
        assert "problem: ssl_cert" in machine.run(LAST_WORDS)
        assert any("not a certificate" in one for one in api.call("GET", "/ready")["attention"])
    finally:
        machine.run(f"cp --archive /srv/kept.pem {CERTIFICATE}")
    machine.run("systemctl reload dbcalm-api")
    assert machine.main_process("dbcalm-api") == before
