"""Finds the access token in a call's metadata. Pure; `verifier.py` checks the token.

Source: RFC 6750 section 2.1; the case of the scheme does not matter (RFC 9110 section 11.1).
"""

from collections.abc import Iterable

from service.domain.errors import TokenInvalid, TokenMissing

_KEY = "authorization"
_SCHEME = "bearer"


def token_from_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Returns the token of the one `authorization: Bearer <token>` in the metadata.

    Raises:
        TokenMissing: there is no such entry, or the entry is empty.
        TokenInvalid: there are several entries, or the scheme is not Bearer.
    """
    values = [value for key, value in metadata or () if key.lower() == _KEY]
    if not values:
        raise TokenMissing
    if len(values) > 1:
        raise TokenInvalid("The metadata has more than one `authorization`; send one.")
    value = values[0]
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    scheme, _, token = text.strip().partition(" ")
    token = token.strip()
    if not scheme:
        raise TokenMissing
    if scheme.lower() != _SCHEME:
        raise TokenInvalid("The `authorization` in the metadata must be `Bearer <access token>`.")
    if not token:
        raise TokenMissing
    return token
