"""What the fields of an account must look like, but for names and ids, which are in `service/domain/checks.py`.

Pure; every refusal is InvalidRequest.
"""

import re
from urllib.parse import urlsplit

from service.domain.checks import to_line, to_text
from service.domain.errors import InvalidRequest

MAX_DISPLAY_NAME_BYTES = 128
MAX_AVATAR_URI_BYTES = 2048
MIN_PASSWORD_BYTES = 8
MAX_PASSWORD_BYTES = 256

# RFC 3986: what a URI is made of; others are percent-encoded.
_URI = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.IGNORECASE)


def to_display_name(value: str, field: str = "display_name") -> str:
    """Returns the name to show; "" stays."""
    return to_line(value, field, max_bytes=MAX_DISPLAY_NAME_BYTES)


def to_avatar_uri(value: str, field: str = "avatar_uri") -> str:
    """Returns an absolute http or https URI; "" stays."""
    uri = to_text(value, field, max_bytes=MAX_AVATAR_URI_BYTES)
    if uri and not (_URI.fullmatch(uri) and _has_host(uri)):
        raise InvalidRequest(field, "must be an absolute http or https URI")
    return uri


def to_new_password(value: str, field: str = "password") -> str:
    """Returns a password that an account may get."""
    return to_text(value, field, min_bytes=MIN_PASSWORD_BYTES, max_bytes=MAX_PASSWORD_BYTES)


def to_password(value: str, field: str = "password") -> str:
    """Returns a password that is to be compared: any that fits."""
    return to_text(value, field, max_bytes=MAX_PASSWORD_BYTES)


def _has_host(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
