"""Refresh tokens: their format, how one token follows another, and when a second use is a repeat. No I/O.

A token is `<login id>.<48 bytes>`: 24 random bytes, and a seal of 24 bytes by which the deployment recognizes its own
tokens without storing them. So a token that was exchanged long ago differs from an invented one, and only the former
ends a login. A valid seal gives no access: the database has the sha256 of the one token of a login that is accepted.
Source: RFC 9700 section 4.14 (rotation); the contract's RefreshTokenRequest.
"""

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta

from service.domain.errors import TokenInvalid
from storage.records import Login

# How long after an exchange its response can be requested again.
REPEAT_WINDOW = timedelta(seconds=60)
_RANDOM_BYTES = 24
_SEAL_BYTES = 24
_TOKEN = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{64})")


class RefreshTokens:
    """Makes refresh tokens and recognizes them.

    Args:
        hash_key: of the deployment; a key for each purpose is derived from it.
    """

    def __init__(self, hash_key: bytes) -> None:
        self._successor_key = _derive(hash_key, b"parley refresh successor")
        self._seal_key = _derive(hash_key, b"parley refresh seal")

    def first(self, login_id: str) -> str:
        """Returns the first token of a login."""
        return self._sealed(login_id, secrets.token_bytes(_RANDOM_BYTES))

    def successor(self, token: str, request_id: str) -> str:
        """Returns the next token: always the same one for a request_id, a new one each time where request_id is ""."""
        login_id = self.login_id_of(token)
        if not request_id:
            return self.first(login_id)
        derived = hmac.digest(self._successor_key, f"{token}\0{request_id}".encode(), hashlib.sha256)
        return self._sealed(login_id, derived[:_RANDOM_BYTES])

    def login_id_of(self, token: str) -> str:
        """Returns the login id of a token that this deployment made, whether the token is still accepted or not.

        Raises:
            TokenInvalid: this deployment did not make the token.
        """
        match = _TOKEN.fullmatch(token)
        if match is not None:
            login_id, body = match[1], base64.urlsafe_b64decode(match[2])
            if hmac.compare_digest(self._seal(login_id, body[:_RANDOM_BYTES]), body[_RANDOM_BYTES:]):
                return login_id
        raise TokenInvalid("This is not a refresh token of this server.")

    def _sealed(self, login_id: str, random: bytes) -> str:
        return f"{login_id}.{base64.urlsafe_b64encode(random + self._seal(login_id, random)).decode()}"

    def _seal(self, login_id: str, random: bytes) -> bytes:
        return hmac.digest(self._seal_key, login_id.encode() + random, hashlib.sha256)[:_SEAL_BYTES]


def new_login_id() -> str:
    """Returns an id that no other login has."""
    return secrets.token_hex(16)


def hash_of(token: str) -> bytes:
    """Returns the hash that is stored of a token. A token is random, so a plain hash is safe."""
    return hashlib.sha256(token.encode()).digest()


def is_repeat(login: Login, token_hash: bytes, request_id: str, now: datetime) -> bool:
    """Returns whether a request repeats the login's latest exchange, whose response may have been lost.

    It does not once the next token was used, since then the response had arrived.
    """
    return (
        request_id != ""
        and request_id == login.previous_request
        and token_hash == login.previous_hash
        and login.exchange_time is not None
        and now <= login.exchange_time + REPEAT_WINDOW
    )


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(purpose, key=key, digest_size=32).digest()
