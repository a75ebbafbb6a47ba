"""Access tokens: JWTs that say who calls, by which login, until when.

What Parley's own tokens say is here: their claims, and the principal of such claims. `signer.py` makes tokens,
`verifier.py` checks them, `issuers.py` lists whose tokens are accepted. Refresh tokens, which are no JWTs, are in
`refresh_tokens.py`.
Source: RFC 7519 (claims), RFC 9068 (`typ`), RFC 8693 section 4.2 (`scope`).
"""

import secrets
from collections.abc import Collection
from typing import Any

from service.domain.call import Principal
from service.domain.checks import to_device_id, to_username
from service.domain.errors import InvalidRequest, TokenInvalid

TOKEN_TYPE = "at+jwt"  # noqa: S105 # RFC 9068 section 2.1
# The longest life of any token. A revocation of all tokens of a user is kept as long.
MAX_LIFE_SECONDS = 366 * 86_400
# Claims without which a token of Parley is refused.
REQUIRED_CLAIMS = ("exp", "iat", "sub", "aud", "iss", "jti", "sid")
_MAX_ID_LENGTH = 64


def to_claims(
    username: str, *, login_id: str, device_id: str, scopes: Collection[str], issue_time: float, expire_time: float
) -> dict[str, Any]:
    """Returns the claims of a token, but for `iss` and `aud`, with a `jti` of its own. Times are Unix seconds."""
    claims: dict[str, Any] = {
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
    return claims


def to_principal(claims: dict[str, Any]) -> Principal:
    """Returns the principal of verified claims that have all of `REQUIRED_CLAIMS`. The times are not compared.

    Raises:
        TokenInvalid: a claim has the wrong type or is out of its range.
    """
    username, login_id, device_id = claims["sub"], claims["sid"], claims.get("device", "")
    scope = claims.get("scope", "")
    if not all(isinstance(value, str) for value in (username, login_id, device_id, scope)):
        raise refusal("a claim has the wrong type")
    if not 0 < len(login_id) <= _MAX_ID_LENGTH:
        raise refusal("its `sid` is too long or empty")
    try:
        if to_username(username) != username:
            raise refusal("its `sub` is not a user name")
        to_device_id(device_id)
    except InvalidRequest:
        raise refusal("its `sub` or `device` is not a legal one") from None
    issue_time, expire_time = to_seconds(claims["iat"]), to_seconds(claims["exp"])
    return Principal(username, login_id, device_id, issue_time, expire_time, frozenset(scope.split()))


def to_seconds(value: object) -> float:
    """Returns the Unix seconds of a claim.

    Raises:
        TokenInvalid: the claim is not a number from 0 to 1e11. The bound keeps away infinities, and integers that no
            float can hold.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise refusal("a time in it is not a number of seconds")
    return float(value)


def refusal(why: str) -> TokenInvalid:
    """Returns the error of a token that is not accepted; `why` never quotes the token."""
    return TokenInvalid(f"The access token is not accepted: {why}.", metadata={"why": why})
