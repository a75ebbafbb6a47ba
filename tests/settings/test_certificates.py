"""What is found wrong with certificate and key before a handshake would, and when they are taken over."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from service.settings.certificates import CertificateError, read_certificate, warn_of_expiry
from service.worker.server_certificate import ServerCertificate
from tests.support.certificates import make_certificate

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


def other_key(folder: Path) -> None:
    (folder / "other").mkdir()
    _, key = make_certificate(folder / "other")
    shutil.copy(key, folder / "key.pem")


def encrypted_key(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    (folder / "key.pem").write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, secret))


def der_certificate(folder: Path) -> None:
    path = folder / "certificate.pem"
    path.write_bytes(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(DER))


def der_key(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(DER, serialization.PrivateFormat.PKCS8, plain))


def issuer_first(folder: Path) -> None:
    (folder / "issuer").mkdir()
    issuer, _ = make_certificate(folder / "issuer", host="issuer")
    path = folder / "certificate.pem"
    path.write_bytes(issuer.read_bytes() + path.read_bytes())


def cut_off(folder: Path) -> None:
    path = folder / "certificate.pem"
    path.write_bytes(path.read_bytes()[:-100] + b"\n-----END CERTIFICATE-----\n")


def pipe(folder: Path) -> None:
    (folder / "key.pem").unlink()
    os.mkfifo(folder / "key.pem")


def missing(folder: Path) -> None:
    (folder / "key.pem").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (pipe, "is no regular file"),
        (other_key, "does not belong to the first certificate"),
        (issuer_first, "does not belong to the first certificate"),
        (encrypted_key, "is encrypted"),
        (der_certificate, "openssl x509 -inform der"),
        (der_key, "openssl pkey -inform der"),
        (cut_off, "can't be used"),
        (missing, "No such file"),
    ],
)
def test_files_that_can_not_be_used_are_one_line(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    files = make_certificate(tmp_path)
    read_certificate(*files)
    spoil(tmp_path)
    with pytest.raises(CertificateError) as caught:
        read_certificate(*files)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("days", [10, 90, 365 * 40])
def test_the_end_is_that_of_the_first_certificate_that_ends(tmp_path: Path, days: int) -> None:
    certificate, key = make_certificate(tmp_path, days=days)
    wanted = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    (tmp_path / "later").mkdir()
    later, _ = make_certificate(tmp_path / "later", days=365 * 60, host="later")
    certificate.write_bytes(certificate.read_bytes() + later.read_bytes())
    found = read_certificate(certificate, key)
    assert found.expire_time == wanted
    assert not found.is_in_order


@pytest.mark.parametrize(("days", "warns"), [(-1, True), (13, True), (15, False)])
def test_it_is_warned_of_from_14_days_on(tmp_path: Path, days: float, warns: bool) -> None:
    assert warn_of_expiry(read_certificate(*make_certificate(tmp_path, days=days)), time.time()) is warns


def test_half_of_a_renewal_leaves_the_one_of_before_and_the_whole_is_taken_over(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    served = ServerCertificate(certificate, key)
    before = served.expire_time
    (tmp_path / "new").mkdir()
    renewed = make_certificate(tmp_path / "new", days=200)
    shutil.copy(renewed[0], certificate)
    served.refresh()
    assert served.expire_time == before
    shutil.copy(renewed[1], key)
    served.refresh()
    assert (served.expire_time - before).days == 110
    key.unlink()
    served.refresh()
    assert (served.expire_time - before).days == 110
