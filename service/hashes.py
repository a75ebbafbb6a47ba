"""The keyed hash by which a repeat of a request is told from another request with the same id.

Keyed with the deployment's secret, so that what is kept in the database (also of a redacted message) gives nothing away
to those who try texts. Pure.
"""

import hashlib

_DIGEST_BYTES = 16
_LENGTH_BYTES = 8


class RequestHasher:
    """Makes the hashes of one deployment.

    Args:
        key: `Deployment.hash_key`, 1 to 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hashlib.blake2b(digest_size=_DIGEST_BYTES, key=key)

    def digest(self, *parts: bytes) -> bytes:
        """Returns 16 bytes that stand for the parts; other parts, also otherwise divided, give other bytes.

        All verbs of a conversation share one space of request ids: Send has five parts, membership changes have three.
        """
        hasher = self._keyed.copy()
        for part in parts:
            hasher.update(len(part).to_bytes(_LENGTH_BYTES, "big"))
            hasher.update(part)
        return hasher.digest()
