"""Refresh tokens: what they look like, how one follows another, and which second use of one is honest. No I/O.

A token is `<login id>.<48 bytes>`: 24 that nobody can guess and 24 by which we know our own, for as long as the
deployment lives, without keeping it. So a token that was exchanged long ago is told from an invention, and only the
former ends a login. What lets one in is the database's sha256 of the one token that is good, nothing in the token.
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

# How long an answer that got lost can be asked for again.
REPEAT_WINDOW = timedelta(seconds=60)
_RANDOM_BYTES = 24
_SEAL_BYTES = 24
_TOKEN = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{64})")


class RefreshTokens:
    """Makes refresh tokens and knows them again.

    Args:
        hash_key: the deployment's; the keys used here are derived from it, each for its one purpose.
    """

    def __init__(self, hash_key: bytes) -> None:
        self._successor_key = _derive(hash_key, b"parley refresh successor")
        self._seal_key = _derive(hash_key, b"parley refresh seal")

    def first(self, login_id: str) -> str:
        """Returns the first token of a login."""
        return self._sealed(login_id, secrets.token_bytes(_RANDOM_BYTES))

    def successor(self, token: str, request_id: str) -> str:
        """Returns the token that follows: with a request_id always the same one, without a new one each time."""
        login_id = self.login_id_of(token)
        if not request_id:
            return self.first(login_id)
        derived = hmac.digest(self._successor_key, f"{token}\0{request_id}".encode(), hashlib.sha256)
        return self._sealed(login_id, derived[:_RANDOM_BYTES])

    def login_id_of(self, token: str) -> str:
        """Returns the login of a token that this deployment made, good or not.

        Raises:
            TokenInvalid: it made no such token.
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
    """Returns what is stored of a token. It is random enough for a plain hash."""
    return hashlib.sha256(token.encode()).digest()


def is_repeat(login: Login, token_hash: bytes, request_id: str, now: datetime) -> bool:
    """Says whether this is the login's latest exchange asked for again, its answer having got lost.

    Once the successor was used the answer had arrived, so then it is not.
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
