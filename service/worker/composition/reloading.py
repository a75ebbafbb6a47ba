"""What a worker does with settings that changed while it runs; which ones can is in `service/host/reloading.py`."""

from dataclasses import dataclass

from service import logs
from service.settings.tree import Settings
from service.worker.composition.auth import Auth
from service.worker.server_certificate import ServerCertificate


@dataclass(slots=True)
class LiveSettings:
    """The settings in force.

    Attributes:
        auth: set when it is built, as `certificate`; None before that, or where there is no TLS.
    """

    current: Settings
    auth: Auth | None = None
    certificate: ServerCertificate | None = None

    def take(self, settings: Settings) -> None:
        """Takes new ones over; reads certificate and keys again in any case."""
        self.current = settings
        logs.set_level(settings.log.level)
        tls = settings.tls
        if self.certificate is not None and tls.certificate_file is not None and tls.key_file is not None:
            self.certificate.follow(tls.certificate_file, tls.key_file)
        if self.auth is not None:
            self.auth.keys.refresh()
            self.auth.streams.limit(
                max_streams=settings.limits.max_streams, max_streams_per_user=settings.limits.max_streams_per_user
            )
            self.auth.accounts.limit(
                per_account_per_minute=settings.auth.attempts_per_minute,
                per_address_per_minute=settings.auth.attempts_per_minute_per_address,
                is_registration_open=settings.auth.registration == "open",
            )
