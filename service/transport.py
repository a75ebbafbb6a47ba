"""Whether the settings allow serving as they say: plaintext is for loopback, and TLS needs files that can be read."""

import structlog

from service.config import Settings
from service.host_port import is_loopback, split_listen
from service.start_error import StartError

_log = structlog.get_logger(__name__)


def check_transport(settings: Settings) -> None:
    """Refuses plaintext beyond loopback unless the settings allow it, and certificate files that can't be read.

    Raises:
        StartError: one of these.
    """
    tls = settings.tls
    for path in (tls.certificate_file, tls.key_file):
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise StartError(f"can't read the TLS file {path}: {error.strerror}") from None
    if tls.certificate_file is not None or is_loopback(split_listen(settings.listen)[0]):
        return
    if not tls.allow_plaintext:
        raise StartError(
            f"{settings.listen} can be reached from other machines and TLS is not set up: set tls.certificate_file and"
            " tls.key_file, or tls.allow_plaintext (PARLEY_TLS_ALLOW_PLAINTEXT=true) behind a proxy that ends TLS"
        )
    _log.warning(
        "serving without TLS beyond loopback: passwords and tokens can be read on the way", listen=settings.listen
    )
