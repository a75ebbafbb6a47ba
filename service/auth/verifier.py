"""Verifies access tokens: signature, audience, issuer, times. Whether a login has ended is in `revocations.py`.

Source: RFC 7519, RFC 9068 (`typ`), RFC 8725 (best current practices).
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from service.auth.issuers import Issuer, Issuers
from service.auth.key_ring import Key, KeyRing
from service.auth.tokens import MAX_LIFE_SECONDS, TOKEN_TYPE, refusal, to_seconds
from service.domain.call import Principal
from service.domain.errors import TokenExpired

MAX_TOKEN_BYTES = 4096
_TYPES = {TOKEN_TYPE, "application/at+jwt"}
# How far another server's clock may be ahead of this one. Never applies to the end of a token.
_LEEWAY_SECONDS = 5.0
# A verified token is verified again after this long.
_CACHED_SECONDS = 60.0
_CACHED_COUNT = 8192


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    forget_time: float
    keys: KeyRing
    keys_version: int


class TokenVerifier:
    """Returns the principal of a token. Remembers up to 8,192 tokens for up to 60 s, by their hashes.

    Args:
        clock: Unix seconds.

    Attributes:
        signature_count: signatures that were checked, ever.
    """

    def __init__(self, issuers: Issuers, *, clock: Callable[[], float] = time.time) -> None:
        self._issuers = issuers
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self.signature_count = 0

    def verify(self, token: str) -> Principal:
        """Returns the principal that the token speaks for. Does not ask whether the login has ended; reads no file.

        Raises:
            TokenInvalid: no issuer of the table made such an access token.
            TokenExpired: the token was good and its time is over.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise refusal("it is too long")
        if not token.isascii():
            raise refusal("it is not a token")
        now = self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and known.forget_time > now and known.keys_version == known.keys.version:
            self._verified.move_to_end(digest)
            return known.principal
        issuer = self._issuers.issuer_of(token)
        principal = self._verify(token, issuer, now)
        self._verified[digest] = _Verified(
            principal, min(principal.expire_time, now + _CACHED_SECONDS), issuer.keys, issuer.keys.version
        )
        self._verified.move_to_end(digest)
        if len(self._verified) > _CACHED_COUNT:
            self._verified.popitem(last=False)
        return principal

    async def has_new_key(self, token: str) -> bool:
        """Returns whether the key of a refused token was unknown and is known after a refresh of the keys, up to 2 s.

        Then another `verify` can succeed: an operator has just put the key into the file, and another worker signs with
        it already.
        """
        if len(token) > MAX_TOKEN_BYTES:
            return False
        try:
            key_id, _ = _read_header(token)
        except jwt.PyJWTError:
            return False
        keys = self._issuers.issuer_of(token).keys
        return keys.find(key_id) is None and await keys.wait_for(key_id)

    def _verify(self, token: str, issuer: Issuer, now: float) -> Principal:
        try:
            key_id, kind = _read_header(token)
            key = issuer.keys.find(key_id)
            if key is None:
                raise refusal("no key of this server signed it")
            self.signature_count += 1
            claims = _decode(token, issuer, key)
        except jwt.InvalidAudienceError:
            raise refusal("it is for another audience") from None
        except jwt.InvalidIssuerError:
            raise refusal("another issuer made it") from None
        except jwt.InvalidSignatureError:
            raise refusal("its signature is wrong") from None
        except jwt.PyJWTError:
            # Texts of PyJWT can quote the token: neither they nor the chain to them go on.
            raise refusal("it is not a token") from None
        if kind not in _TYPES:
            raise refusal("it is not an access token")
        principal = issuer.to_principal(claims)
        _check_times(principal, claims.get("nbf"), now)
        return principal


def _read_header(token: str) -> tuple[str, str]:
    """Returns the `kid` and the `typ`, "" where they are missing. The rest of the header is not looked at."""
    header = jwt.get_unverified_header(token)
    key_id, kind = header.get("kid"), header.get("typ")
    return key_id if isinstance(key_id, str) else "", kind.lower() if isinstance(kind, str) else ""


def _decode(token: str, issuer: Issuer, key: Key) -> dict[str, Any]:
    """Returns the claims of a token that this key of the issuer signed.

    Raises:
        PyJWTError: (of `jwt`) another key or issuer signed it, it is for another audience, or a claim is missing.
    """
    return jwt.decode(
        token,
        key.verifying,
        algorithms=[key.algorithm],
        audience=issuer.audience,
        issuer=issuer.name,
        # `_check_times` compares the times, by the clock of this object and without a leeway at the end.
        options={
            "require": list(issuer.required_claims),
            "strict_aud": True,
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        },
    )


def _check_times(principal: Principal, not_before: object, now: float) -> None:
    if principal.expire_time - principal.issue_time > MAX_LIFE_SECONDS + 1:
        raise refusal("it lives too long")
    begin = max(principal.issue_time, 0.0 if not_before is None else to_seconds(not_before))
    if begin > now + _LEEWAY_SECONDS:
        raise refusal("its time has not come")
    if now >= principal.expire_time:
        raise TokenExpired
