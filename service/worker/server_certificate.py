"""The certificate in force: follows its files, so that a renewed one is served without a restart.

New connections get the new one; those that are open stay. What can't be used, such as one file of two that was written,
is logged, and the certificate of before stays.
"""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import grpc
import structlog

from service.settings.certificates import Certificate, CertificateError, read_certificate, warn_of_expiry

_WARN_AGAIN_SECONDS = 86_400.0

_log = structlog.get_logger(__name__)


class ServerCertificate:
    """A certificate and the files that it comes from.

    Args:
        clock: Unix seconds.

    Raises:
        CertificateError: the files can't be used.
    """

    def __init__(self, certificate_file: Path, key_file: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._files = (certificate_file, key_file)
        self._clock = clock
        self._seen = self._look()
        self._certificate = read_certificate(*self._files)
        self._served = self._certificate
        self._warned_time = clock()  # the start has warned

    @property
    def expire_time(self) -> datetime:
        """When it is no longer good."""
        return self._certificate.expire_time

    def credentials(self) -> grpc.ServerCredentials:
        """Returns credentials that give each handshake the certificate in force."""
        return grpc.dynamic_ssl_server_credentials(_to_configuration(self._certificate), self._fetch)  # type: ignore[arg-type] # None is allowed

    def follow(self, certificate_file: Path, key_file: Path) -> None:
        """Takes the certificate from these files from now on."""
        self._files = (certificate_file, key_file)
        self.refresh(is_forced=True)

    def refresh(self, *, is_forced: bool = False) -> None:
        """Takes over what changed in the files. Costs a look at their times.

        Args:
            is_forced: reads the files also where their times say that nothing changed.
        """
        seen = self._look()
        if seen == self._seen and not is_forced:
            return
        try:
            found = read_certificate(*self._files)
        except CertificateError as error:
            self._seen = seen
            _log.warning("the new certificate can't be used; the one of before stays", error=str(error))
            return
        self._seen = seen
        if (found.chain, found.key) != (self._certificate.chain, self._certificate.key):
            self._certificate = found
            _log.info("certificate reloaded", expire_time=found.expire_time.isoformat())
            self._warned_time = 0.0

    def warn_if_due(self) -> None:
        """Warns once a day when it expires soon, or has."""
        now = self._clock()
        if now - self._warned_time >= _WARN_AGAIN_SECONDS and warn_of_expiry(self._certificate, now):
            self._warned_time = now

    def _look(self) -> tuple[object, ...]:
        """Returns what differs when a file was written or replaced."""
        seen: list[object] = []
        for path in self._files:
            try:
                stat = path.stat()
            except OSError as error:
                seen.append(error.errno)
            else:
                seen.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(seen)

    def _fetch(self) -> "grpc.ServerCertificateConfiguration | None":
        """Answers gRPC at each handshake, in one of its threads; None: the same as before."""
        certificate = self._certificate
        if certificate is self._served:
            return None
        self._served = certificate
        return _to_configuration(certificate)


def _to_configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)])
