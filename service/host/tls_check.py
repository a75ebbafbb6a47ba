"""Checks how a server would be reached: plaintext is for loopback alone, and TLS needs files that can be read."""

import time
from pathlib import Path

import structlog

from service.settings.certificates import CertificateError, read_certificate, warn_of_expiry
from service.settings.host_port import is_loopback, split_listen
from service.settings.start_error import StartError
from service.settings.tree import Settings

_log = structlog.get_logger(__name__)


def check_transport(settings: Settings) -> None:
    """Refuses plaintext beyond loopback unless the settings allow it, and certificate files that can't be used.

    Raises:
        StartError: the settings allow neither, or a file can't be used.
    """
    tls = settings.tls
    if tls.certificate_file is not None and tls.key_file is not None:
        _check_certificate(tls.certificate_file, tls.key_file)
        return
    if is_loopback(split_listen(settings.listen)[0]):
        return
    if not tls.allow_plaintext:
        raise StartError(
            f"{settings.listen} can be reached from other machines and TLS is not set up: set tls.certificate_file and"
            " tls.key_file, or tls.allow_plaintext (PARLEY_TLS_ALLOW_PLAINTEXT=true) behind a proxy that ends TLS"
        )
    _log.warning(
        "serving without TLS beyond loopback: passwords and tokens can be read on the way", listen=settings.listen
    )


def _check_certificate(certificate_file: Path, key_file: Path) -> None:
    try:
        certificate = read_certificate(certificate_file, key_file)
    except CertificateError as error:
        raise StartError(str(error)) from None
    warn_of_expiry(certificate, time.time())
    if not certificate.is_in_order:
        _log.warning(
            "the certificates are not in order, each before its issuer's: some clients won't find the chain",
            file=str(certificate_file),
        )
