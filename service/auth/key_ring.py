"""The keys that sign and verify access tokens, in memory.

A key has one algorithm, written next to it, and is never used with another one. `keys.py` reads the file of the keys;
`key_rotation.py` changes it.
Source: RFC 7517 (JSON Web Key), RFC 8725 section 3.1 (one algorithm a key).
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from service.domain.distribution import install_command

# Key type and curve that go with each algorithm.
_SHAPES = {
    "HS256": ("oct", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
    "RS256": ("RSA", None),
}
# RFC 7518 section 3.2: an HMAC key is at least as long as the hash.
_MIN_SECRET_BYTES = 32
# RFC 7518 section 3.3.
_MIN_RSA_BITS = 2048
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# A refresh takes a millisecond; this is for a job that hangs.
_REFRESH_SECONDS = 2.0


class KeysError(Exception):
    """The signing keys can't be used; the text says why and what to do, and never shows a key."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key and its one algorithm. Has no repr that could show it in a log.

    Attributes:
        signing: what PyJWT signs with; None for a public key.
        verifying: what PyJWT verifies with.
    """

    key_id: str
    algorithm: str
    signing: Any
    verifying: Any


class KeyRing:
    """The keys in force, in memory: the last one signs, all verify.

    Args:
        keys: at least one; the last one can sign.
        read: returns other keys where they have changed, else None. Only `refresh` calls it.

    Attributes:
        version: grows when the keys change.
        wanted: set while a caller waits for a refresh. The job that refreshes waits for this event and clears it.
    """

    def __init__(self, keys: Sequence[Key], read: Callable[[], Sequence[Key] | None] = lambda: None) -> None:
        self._read = read
        self._keys = {key.key_id: key for key in keys}
        self._signing = keys[-1]
        self._refreshed = asyncio.Event()
        self.version = 0
        self.wanted = asyncio.Event()

    @property
    def signing_key(self) -> Key:
        """The key that signs, as of the last `refresh`."""
        return self._signing

    def find(self, key_id: str) -> Key | None:
        """Returns the key of this id, as of the last `refresh`."""
        return self._keys.get(key_id)

    async def wait_for(self, key_id: str) -> bool:
        """Asks for a refresh and waits for its end, up to 2 s; returns whether there is such a key then.

        All who wait at a time wait for the same refresh.
        """
        if not _KEY_ID.fullmatch(key_id):
            return False
        refreshed = self._refreshed
        self.wanted.set()
        try:
            async with asyncio.timeout(_REFRESH_SECONDS):
                await refreshed.wait()
        except TimeoutError:
            pass  # the job hangs; the keys are those of before
        return key_id in self._keys

    def refresh(self) -> None:
        """Reads the keys again, if they have changed. Costs a look at the file's times."""
        keys = self._read()
        if keys is not None:
            self._keys = {key.key_id: key for key in keys}
            self._signing = keys[-1]
            self.version += 1
        refreshed, self._refreshed = self._refreshed, asyncio.Event()
        refreshed.set()


def to_keys(document: object) -> list[Key]:
    """Returns the keys of a decoded JWK set, in its order.

    Raises:
        KeysError: the document is not a JWK set, or a key in it can't be used.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise KeysError('it is not a JWK set: {"keys": [...]} with at least one key')
    keys = [_to_key(entry, f"keys[{index}]") for index, entry in enumerate(entries)]
    if len({key.key_id for key in keys}) < len(keys):
        raise KeysError('two keys have the same "kid"')
    if keys[-1].signing is None:
        raise KeysError("the last key signs, but it is a public one; put a private or secret key last")
    return keys


def _to_key(entry: object, where: str) -> Key:
    if not isinstance(entry, dict):
        raise KeysError(f"{where} is not an object")
    key_id, algorithm = entry.get("kid"), entry.get("alg")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise KeysError(f'{where}: "kid" must be 1 to 64 of A-Z a-z 0-9 _ -')
    if not isinstance(algorithm, str) or algorithm not in _SHAPES:
        raise KeysError(f'{where}: "alg" must be one of {", ".join(_SHAPES)}')
    if (entry.get("kty"), entry.get("crv")) != _SHAPES[algorithm]:
        raise KeysError(f'{where}: "kty" and "crv" are not those of {algorithm}')
    if entry.get("use", "sig") != "sig":
        raise KeysError(f'{where}: "use" must be "sig"')
    try:
        material: Any = jwt.PyJWK(entry, algorithm).key
    except jwt.exceptions.MissingCryptographyError:
        command = install_command("crypto")
        raise KeysError(f"{where}: {algorithm} needs the package cryptography: {command}") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        # PyJWT's texts can show the key; so neither they nor the chain to them go on.
        raise KeysError(f"{where} is not a good {algorithm} key") from None
    return _checked(key_id, algorithm, material, where)


def _checked(key_id: str, algorithm: str, material: Any, where: str) -> Key:
    if isinstance(material, bytes):
        if len(material) < _MIN_SECRET_BYTES:
            raise KeysError(f"{where}: an HS256 key must have at least {_MIN_SECRET_BYTES} bytes")
        return Key(key_id, algorithm, material, material)
    if algorithm == "RS256" and material.key_size < _MIN_RSA_BITS:
        raise KeysError(f"{where}: an RS256 key must have at least {_MIN_RSA_BITS} bits")
    if hasattr(material, "public_key"):
        return Key(key_id, algorithm, material, material.public_key())
    return Key(key_id, algorithm, None, material)
