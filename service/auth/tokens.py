"""Access tokens: JWTs that say who calls, by which login, until when.

Minting and verifying are here, and nothing else: whether a login was ended before its token is in `revocations.py`,
refresh tokens (which are no JWTs) in `refresh_tokens.py`.
Source: RFC 7519, RFC 9068 (`typ`), RFC 8725 (best current practices).
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import jwt

from service.auth.key_ring import KeyRing
from service.domain.call import Principal
from service.domain.checks import to_device_id, to_username
from service.domain.errors import InvalidRequest, TokenExpired, TokenInvalid

TOKEN_TYPE = "at+jwt"  # noqa: S105 # RFC 9068 section 2.1
_TYPES = {TOKEN_TYPE, "application/at+jwt"}
MAX_TOKEN_BYTES = 4096
# The longest life of any token. A revocation of all tokens of a user is kept as long.
MAX_LIFE_SECONDS = 366 * 86_400
# How far another server's clock may be ahead of ours. Never applies to the end of a token.
_LEEWAY_SECONDS = 5.0
_MAX_ID_LENGTH = 64
_CLAIMS = ("exp", "iat", "sub", "aud", "iss", "jti", "sid")
# A verified token is looked at again after this long.
_CACHED_SECONDS = 60.0
_CACHED_COUNT = 8192


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A minted token. `expire_time` is in Unix seconds."""

    text: str
    expire_time: float


class TokenIssuer:
    """Mints access tokens.

    Args:
        keys: the last one signs.
        life_seconds: of a token, unless `mint` is told otherwise.
    """

    def __init__(self, keys: KeyRing, *, issuer: str, audience: str, life_seconds: float) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self.life_seconds = life_seconds

    def mint(
        self,
        username: str,
        *,
        login_id: str,
        device_id: str = "",
        now: float,
        life_seconds: float | None = None,
        scopes: Collection[str] = (),
    ) -> AccessToken:
        """Makes a token.

        Args:
            username: whom it speaks for.
            login_id: its `sid`; for a token that belongs to no login, any id of its own.
            device_id: the device on which it is used; "": none in particular.
            now: Unix seconds; goes in to the microsecond, since revocations compare with it.
            life_seconds: at most MAX_LIFE_SECONDS.
            scopes: what it allows beyond the user's own things (RFC 8693 section 4.2).
        """
        life_seconds = self.life_seconds if life_seconds is None else life_seconds
        if not 0 < life_seconds <= MAX_LIFE_SECONDS:
            raise ValueError(f"a token lives up to {MAX_LIFE_SECONDS} s, not {life_seconds}")
        key = self._keys.signing_key
        issue_time = round(now, 6)
        expire_time = round(now + life_seconds, 6)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": username,
            "iat": issue_time,
            "exp": expire_time,
            "jti": secrets.token_urlsafe(12),
            "sid": login_id,
        }
        if device_id:
            claims["device"] = device_id
        if scopes:
            claims["scope"] = " ".join(sorted(scopes))
        text = jwt.encode(claims, key.signing, key.algorithm, headers={"kid": key.key_id, "typ": TOKEN_TYPE})
        return AccessToken(text, expire_time)


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    forget_time: float
    keys_version: int


class TokenVerifier:
    """Says whom a token speaks for; remembers up to 8,192 tokens for up to 60 s, by their hashes.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, keys: KeyRing, *, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self.signature_count = 0

    def verify(self, token: str) -> Principal:
        """Returns whom the token speaks for. Says nothing about logins that were ended.

        Raises:
            TokenInvalid: it is not a token of ours, or not one for access.
            TokenExpired: it was good and its time is over.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise _invalid("it is too long")
        if not token.isascii():
            raise _invalid("it is not a token")
        now = self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and known.forget_time > now and known.keys_version == self._keys.version:
            self._verified.move_to_end(digest)
            return known.principal
        principal = self._verify(token, now)
        self._verified[digest] = _Verified(
            principal, min(principal.expire_time, now + _CACHED_SECONDS), self._keys.version
        )
        self._verified.move_to_end(digest)
        if len(self._verified) > _CACHED_COUNT:
            self._verified.popitem(last=False)
        return principal

    def _verify(self, token: str, now: float) -> Principal:
        try:
            key_id, kind = _read_header(token)
            key = self._keys.find(key_id)
            if key is None:
                raise _invalid("no key of this server signed it")
            self.signature_count += 1
            claims = jwt.decode(
                token,
                key.verifying,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                # Times are judged below, by our clock and without a leeway at the end.
                options={
                    "require": list(_CLAIMS),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidAudienceError:
            raise _invalid("it is for another audience") from None
        except jwt.InvalidIssuerError:
            raise _invalid("another issuer made it") from None
        except jwt.InvalidSignatureError:
            raise _invalid("its signature is wrong") from None
        except jwt.PyJWTError:
            # Texts of PyJWT can quote the token: they don't go on, nor does the chain to them.
            raise _invalid("it is not a token") from None
        if kind not in _TYPES:
            raise _invalid("it is not an access token")
        principal = _to_principal(claims)
        _check_times(principal, claims.get("nbf"), now)
        return principal


def _read_header(token: str) -> tuple[str, str]:
    """Returns the `kid` and the `typ`, "" where they are missing. Whatever else a header says is not looked at."""
    header = jwt.get_unverified_header(token)
    key_id, kind = header.get("kid"), header.get("typ")
    return key_id if isinstance(key_id, str) else "", kind.lower() if isinstance(kind, str) else ""


def _to_principal(claims: dict[str, Any]) -> Principal:
    """Reads the claims of a token whose signature is right."""
    username, login_id, device_id = claims["sub"], claims["sid"], claims.get("device", "")
    scope = claims.get("scope", "")
    if not all(isinstance(value, str) for value in (username, login_id, device_id, scope)):
        raise _invalid("a claim has the wrong type")
    if not 0 < len(login_id) <= _MAX_ID_LENGTH:
        raise _invalid("its `sid` is too long or empty")
    try:
        if to_username(username) != username:
            raise _invalid("its `sub` is not a user name")
        to_device_id(device_id)
    except InvalidRequest:
        raise _invalid("its `sub` or `device` is not a legal one") from None
    issue_time, expire_time = _to_seconds(claims["iat"]), _to_seconds(claims["exp"])
    return Principal(username, login_id, device_id, issue_time, expire_time, frozenset(scope.split()))


def _to_seconds(value: object) -> float:
    # The bound keeps infinities, and integers that no float can hold, away from comparisons.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise _invalid("a time in it is not a number of seconds")
    return float(value)


def _check_times(principal: Principal, not_before: object, now: float) -> None:
    if principal.expire_time - principal.issue_time > MAX_LIFE_SECONDS + 1:
        raise _invalid("it lives too long")
    begin = max(principal.issue_time, 0.0 if not_before is None else _to_seconds(not_before))
    if begin > now + _LEEWAY_SECONDS:
        raise _invalid("its time has not come")
    if now >= principal.expire_time:
        raise TokenExpired


def _invalid(why: str) -> TokenInvalid:
    return TokenInvalid(f"The access token is not accepted: {why}.", metadata={"why": why})
