"""The keyed hash that distinguishes a repeat of a request from another request with the same id.

The key is a secret of the deployment. So a hash in the database, also of a redacted message, does not help to guess the
text. Pure.
"""

import hashlib

_DIGEST_BYTES = 16
_LENGTH_BYTES = 8


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(_LENGTH_BYTES, "big") + part


# What follows the text in the hash of a Send: no data, no content type, a reply to nothing, no extras.
_NO_MORE = b"".join(_framed(part) for part in (b"", b"", b"0", b""))


class RequestHasher:
    """Makes the hashes of one deployment.

    Args:
        key: `Deployment.hash_key`, 1 to 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hashlib.blake2b(digest_size=_DIGEST_BYTES, key=key)
        self._text_only = self._keyed.copy()
        self._text_only.update(_framed(b"send"))

    def digest(self, *parts: bytes) -> bytes:
        """Returns 16 bytes for the parts; other parts, or another division of the same bytes, have other hashes.

        All verbs of a conversation share one space of request ids: Send has five parts, membership changes have three.
        """
        hasher = self._keyed.copy()
        for part in parts:
            hasher.update(_framed(part))
        return hasher.digest()

    def digest_text(self, text: bytes) -> bytes:
        """Returns the hash of a Send with nothing but a text."""
        hasher = self._text_only.copy()
        hasher.update(b"".join((len(text).to_bytes(_LENGTH_BYTES, "big"), text, _NO_MORE)))
        return hasher.digest()
