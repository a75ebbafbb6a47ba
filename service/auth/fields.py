"""Checks of an account's fields. Checks of user names and ids are in `service/domain/checks.py`.

Pure; each function raises InvalidRequest for a value that is not allowed.
"""

import re
from urllib.parse import urlsplit

from service.domain.checks import to_line, to_text
from service.domain.errors import InvalidRequest
from service.domain.limits import (
    MAX_AVATAR_URI_BYTES,
    MAX_DISPLAY_NAME_BYTES,
    MAX_PASSWORD_BYTES,
    MIN_PASSWORD_BYTES,
)

# The characters of a URI (RFC 3986); all others must be percent-encoded.
_URI = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.IGNORECASE)


def to_display_name(value: str, field: str = "display_name") -> str:
    """Returns the display name: one line of at most 128 bytes; "" is allowed."""
    return to_line(value, field, max_bytes=MAX_DISPLAY_NAME_BYTES)


def to_avatar_uri(value: str, field: str = "avatar_uri") -> str:
    """Returns an absolute http or https URI of at most 2,048 bytes; "" is allowed."""
    uri = to_text(value, field, max_bytes=MAX_AVATAR_URI_BYTES)
    if uri and not (_URI.fullmatch(uri) and _has_host(uri)):
        raise InvalidRequest(field, "must be an absolute http or https URI")
    return uri


def to_new_password(value: str, field: str = "password") -> str:
    """Returns a password for an account: 8 to 256 bytes."""
    return to_text(value, field, min_bytes=MIN_PASSWORD_BYTES, max_bytes=MAX_PASSWORD_BYTES)


def to_password(value: str, field: str = "password") -> str:
    """Returns a password to compare with a hash: at most 256 bytes."""
    return to_text(value, field, max_bytes=MAX_PASSWORD_BYTES)


def _has_host(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
