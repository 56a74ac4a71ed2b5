"""The API's certificate: told before it expires, and exchanged without the API being restarted."""

import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from dbcalm.api.certificate import judged
from tests.support.patience import eventually
from tests.unit.dbcalm.api.test_server import CHECKOUT, Installation

NOW = datetime.now(UTC)


def issue(folder: Path, authority: trustme.CA, *, ends: timedelta, name: str = "localhost") -> None:
    """Put a certificate and its key into the place of those that are there."""
    begins = NOW - timedelta(days=60) if ends > timedelta(0) else NOW - timedelta(days=90)
    issued = authority.issue_cert(name, not_before=begins, not_after=NOW + ends)
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())


@pytest.mark.parametrize(
    ("ends", "wrong", "soon"),
    [
        (timedelta(days=300), False, False),
        (timedelta(days=15), False, False),  # Renewed at a third of its life, it has had no chance to be.
        (timedelta(days=10), False, True),
        (timedelta(hours=2), False, True),
        (timedelta(days=-1), True, False),
    ],
)
def test_a_certificate_is_judged(tmp_path: Path, ends: timedelta, wrong: bool, soon: bool) -> None:
    issue(tmp_path, trustme.CA(), ends=ends)
    found = judged(tmp_path / "cert.pem", tmp_path / "key.pem", NOW)
    assert (found[0] is not None, found[1] is not None) == (wrong, soon)
    for sentence in filter(None, found):
        assert str(tmp_path / "cert.pem") in sentence
        assert sentence.endswith("and then: systemctl reload dbcalm-api")


def test_one_that_lives_for_days_is_not_always_about_to_expire(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert(
        "localhost", not_before=NOW - timedelta(days=2), not_after=NOW + timedelta(days=4)
    )
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    assert judged(tmp_path / "cert.pem", tmp_path / "key.pem", NOW) == (None, None)
    assert judged(tmp_path / "cert.pem", tmp_path / "key.pem", NOW + timedelta(days=3))[1] is not None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("running"))
    made.start()
    yield made
    assert made.process is not None
    if made.process.poll() is None:
        made.stop()


def presented(place: Installation) -> bytes:
    with place.connect() as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def on_disk(place: Installation) -> bytes:
    return ssl.PEM_cert_to_DER_cert(
        (place.folder / "cert.pem").read_text().split("-----END")[0] + "-----END CERTIFICATE-----"
    )


def reload(place: Installation) -> None:
    assert place.process is not None
    place.process.send_signal(signal.SIGHUP)


def said(place: Installation, words: str) -> None:
    assert place.process is not None
    assert place.process.stderr is not None
    for line in place.process.stderr:
        if words in line:
            return


def config_check(place: Installation) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "dbcalm.py", "config", "check"],
        cwd=CHECKOUT, env={"DBCALM_CONFIG": str(place.folder / "config.yml")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
class TestAReload:
    def test_exchanges_the_certificate_and_drops_nobody(self, running: Installation) -> None:
        talking = running.http()
        talking.request("GET", "/health")
        assert talking.getresponse().read()
        before = presented(running)
        issue(running.folder, running.authority, ends=timedelta(days=100))
        assert presented(running) == before
        reload(running)
        eventually(lambda: presented(running) == on_disk(running))
        said(running, "the certificate was loaded anew: for localhost until ")
        talking.request("GET", "/health")
        assert talking.getresponse().status == 200
        talking.close()

    @pytest.mark.parametrize("what", ["rubbish", "another key", "expired", "missing"])
    def test_goes_on_with_what_it_has_where_the_new_one_is_of_no_use(
        self, running: Installation, what: str
    ) -> None:
        issue(running.folder, running.authority, ends=timedelta(days=100))
        reload(running)
        said(running, "loaded anew")
        before = presented(running)
        if what == "rubbish":
            (running.folder / "cert.pem").write_text("rubbish")
        elif what == "another key":
            key = (running.folder / "key.pem").read_bytes()
            issue(running.folder, running.authority, ends=timedelta(days=50))
            (running.folder / "key.pem").write_bytes(key)
        elif what == "expired":
            issue(running.folder, running.authority, ends=timedelta(days=-1))
        else:
            (running.folder / "cert.pem").unlink()
        reload(running)
        said(running, "the API goes on with the certificate that it has")
        assert presented(running) == before
        checked = config_check(running)
        assert checked.returncode == 1
        assert "problem: ssl_cert" in checked.stdout

    def test_is_what_config_check_asks_for_before_it_expires(self, running: Installation) -> None:
        issue(running.folder, running.authority, ends=timedelta(days=3))
        checked = config_check(running)
        assert checked.returncode == 0, checked
        assert "warning: ssl_cert: " in checked.stdout
        assert "and then: systemctl reload dbcalm-api" in checked.stdout
