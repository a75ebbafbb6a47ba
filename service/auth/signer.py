"""Makes access tokens. Verifying them is another object's work (`verifier.py`)."""

from collections.abc import Collection
from dataclasses import dataclass

import jwt

from service.auth.key_ring import KeyRing
from service.auth.tokens import MAX_LIFE_SECONDS, TOKEN_TYPE, to_claims


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token. `expire_time` is in Unix seconds."""

    text: str
    expire_time: float


class TokenSigner:
    """Makes access tokens of one issuer.

    Args:
        keys: the last key signs. Each signing first looks whether the keys changed, which may read their file.
        issuer: the `iss` of the tokens.
        audience: the `aud` of the tokens.
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
            username: the user whom the token speaks for.
            login_id: the token's `sid`; for a token that belongs to no login, any id of its own.
            device_id: the device on which the token is used; "": none in particular.
            now: Unix seconds. The token has it to the microsecond, since revocations compare with it.
            life_seconds: above 0, at most MAX_LIFE_SECONDS.
            scopes: what the token allows beyond the user's own things.

        Raises:
            ValueError: `life_seconds` is out of its range.
        """
        life_seconds = self.life_seconds if life_seconds is None else life_seconds
        if not 0 < life_seconds <= MAX_LIFE_SECONDS:
            raise ValueError(f"a token lives up to {MAX_LIFE_SECONDS} s, not {life_seconds}")
        self._keys.refresh()
        key = self._keys.signing_key
        expire_time = round(now + life_seconds, 6)
        claims = to_claims(
            username,
            login_id=login_id,
            device_id=device_id,
            scopes=scopes,
            issue_time=round(now, 6),
            expire_time=expire_time,
        )
        claims = {"iss": self._issuer, "aud": self._audience, **claims}
        text = jwt.encode(claims, key.signing, key.algorithm, headers={"kid": key.key_id, "typ": TOKEN_TYPE})
        return AccessToken(text, expire_time)
