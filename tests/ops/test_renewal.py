"""A certificate is renewed under a server that runs: new connections get it, within seconds and without a restart."""

import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from tests.support.certificates import make_certificate
from tests.support.processes import run
from tests.support.scrapes import ON, scrape
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until


def served_certificate(target: str) -> str:
    """The certificate that a new connection gets, as PEM."""
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(plain) as secured:
        return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")


def test_a_renewed_certificate_is_served_and_told_by_the_metrics(
    directory: Path, start: Callable[..., RunningServer]
) -> None:
    certificate, key = make_certificate(directory, days=3)
    tls = {"PARLEY_TLS_CERTIFICATE_FILE": str(certificate), "PARLEY_TLS_KEY_FILE": str(key)}
    server = start(settings=tls | ON)
    assert "the certificate expires soon" in server.text
    assert served_certificate(server.target) == certificate.read_text()
    name = ("parley_certificate_expiry_timestamp_seconds", (("worker", "0"),))
    before = scrape(server)[name]
    (directory / "new").mkdir()
    for new, old in zip(make_certificate(directory / "new", days=90), (certificate, key), strict=True):
        shutil.copy(new, old)
    wait_until(
        lambda: served_certificate(server.target) == certificate.read_text(), limit_seconds=20, what="the new one"
    )
    wait_until(lambda: round((scrape(server)[name] - before) / 86_400) == 87, what="its end in the metrics")
    certificate.write_text("half")
    wait_until(lambda: "the one of before stays" in server.text, limit_seconds=20, what="word of it")
    assert run("health", "--listen", server.target).returncode == 0


def test_a_key_of_another_certificate_ends_the_start_with_a_line(directory: Path) -> None:
    (directory / "other").mkdir()
    certificate, _ = make_certificate(directory)
    _, key = make_certificate(directory / "other")
    done = run(
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(directory / "d"),
        PARLEY_TLS_CERTIFICATE_FILE=str(certificate),
        PARLEY_TLS_KEY_FILE=str(key),
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "does not belong to the first certificate" in done.stderr
