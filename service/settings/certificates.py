"""Reads certificate and key of the server from their files, and checks them before a handshake can fail.

Only one date of a certificate is read, so no library for X.509 is needed. `worker/server_certificate.py` uses them.
Source: RFC 5280 section 4.1 (the fields of a certificate), X.690 (their encoding).
"""

import re
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import structlog

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_WARN_SECONDS = 14 * 86_400.0
_VERSION, _UTC_TIME = 0xA0, 0x17

_log = structlog.get_logger(__name__)


class CertificateError(Exception):
    """Certificate and key can't be used; the text is one line with the file and what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """A chain and the key of its first certificate. The class has no repr, so that no log shows the key.

    Attributes:
        chain: PEM.
        key: PEM.
        expire_time: when the first of the chain's certificates expires.
        is_in_order: whether each certificate is followed by its issuer's.
    """

    chain: bytes
    key: bytes
    expire_time: datetime
    is_in_order: bool


def read_certificate(certificate_file: Path, key_file: Path) -> Certificate:
    """Returns the certificate and the key of both files.

    Raises:
        CertificateError: a file can't be read or is not PEM, or the key is not that of the certificate.
    """
    chain, key = _read(certificate_file), _read(key_file)
    certificates = _CERTIFICATE.findall(chain)
    if not certificates:
        raise CertificateError(
            f"the certificate file {certificate_file} has no PEM certificate; make one of DER by"
            f" `openssl x509 -inform der -in {certificate_file} -out FILE`"
        )
    if b"PRIVATE KEY-----" not in key:
        raise CertificateError(
            f"the key file {key_file} has no PEM private key; make one of DER by"
            f" `openssl pkey -inform der -in {key_file} -out FILE`"
        )
    if b"ENCRYPTED" in key:
        raise CertificateError(
            f"the key in {key_file} is encrypted, and nobody is asked for its passphrase; decrypt it by"
            f" `openssl pkey -in {key_file} -out FILE`"
        )
    _check_pair(certificate_file, key_file)
    if (_read(certificate_file), _read(key_file)) != (chain, key):
        raise CertificateError(f"{certificate_file} and {key_file} change while they are read; they are read again")
    try:
        fields = [_Fields.of(ssl.PEM_cert_to_DER_cert(each.decode())) for each in certificates]
    except (ValueError, IndexError):
        raise CertificateError(f"the certificate file {certificate_file} has a certificate that is damaged") from None
    is_in_order = all(one.issuer == after.subject for one, after in pairwise(fields))
    return Certificate(chain, key, min(each.expire_time for each in fields), is_in_order)


def warn_of_expiry(certificate: Certificate, now: float) -> bool:
    """Logs a warning where the certificate expires within 14 days of `now` (Unix seconds); returns whether it did."""
    left_seconds = certificate.expire_time.timestamp() - now
    if left_seconds > _WARN_SECONDS:
        return False
    text = "the certificate has expired" if left_seconds <= 0 else "the certificate expires soon"
    _log.warning(f"{text}; renew it", expire_time=certificate.expire_time.astimezone(UTC).isoformat())
    return True


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for ever
            raise CertificateError(f"the TLS file {path} is no regular file, which each worker could read again")
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"can't read the TLS file {path}: {error.strerror}") from None


def _check_pair(certificate_file: Path, key_file: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate_file, key_file, password=lambda: "")  # else it would ask on the terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(
                f"the key in {key_file} does not belong to the first certificate in {certificate_file}; the server's"
                " own certificate comes first, then its issuers'"
            ) from None
        reason = (error.reason or "not PEM").lower().replace("_", " ")
        raise CertificateError(f"{certificate_file} and {key_file} can't be used: {reason}") from None
    except OSError as error:
        raise CertificateError(f"can't read {certificate_file} and {key_file}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _Fields:
    """Fields of a certificate; names are as encoded."""

    issuer: bytes
    subject: bytes
    expire_time: datetime

    @classmethod
    def of(cls, der: bytes) -> "_Fields":
        """Returns the fields of a DER certificate. Raises ValueError or IndexError where it is damaged."""
        (_, certificate) = next(_elements(der))
        (_, body) = next(_elements(certificate))
        elements = [each for each in _elements(body) if each[0] != _VERSION]  # left out in version 1
        _serial, _algorithm, (_, issuer), (_, validity), (_, subject) = elements[:5]
        _, (tag, end) = _elements(validity)
        return cls(issuer, subject, _to_time(tag, end.decode()))


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields tag and content of each element."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            digits = size & 0x7F
            size = int.from_bytes(data[at : at + digits], "big")
            at += digits
        yield tag, data[at : at + size]
        at += size


def _to_time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits of the year, of 1950 to 2049
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
