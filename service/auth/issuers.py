"""The issuers whose access tokens are accepted: for each `iss` the keys, the audience, and the meaning of the claims.

The table has one row, for the tokens that Parley signs itself. Another issuer is one more row: a `KeyRing` that its own
job fills, and a function from that issuer's claims to a principal (docs/adr/0022-issuers.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from service.auth.key_ring import KeyRing
from service.auth.tokens import REQUIRED_CLAIMS, to_principal
from service.domain.call import Principal


@dataclass(frozen=True, slots=True)
class Issuer:
    """One row.

    Attributes:
        name: the `iss` of the issuer's tokens.
        audience: the one `aud` that is accepted.
        keys: verify the issuer's signatures.
        required_claims: a token without one of these is refused.
        to_principal: makes a principal of claims that are signed and complete; raises TokenInvalid for those that are
            not good.
    """

    name: str
    audience: str
    keys: KeyRing
    required_claims: tuple[str, ...]
    to_principal: Callable[[dict[str, Any]], Principal]


class Issuers:
    """The table.

    Args:
        own: also judges the tokens of issuers that are not in the table, and refuses them.
        others: accepted besides; each has a name of its own.
    """

    def __init__(self, own: Issuer, *others: Issuer) -> None:
        self._own = own
        self._by_name = {issuer.name: issuer for issuer in (own, *others)}
        if len(self._by_name) <= len(others):
            raise ValueError("two issuers have the same name")

    def issuer_of(self, token: str) -> Issuer:
        """Returns the row that judges this token, by the `iss` that the token claims. Nothing is verified here."""
        if len(self._by_name) == 1:
            return self._own  # without a look at the claims
        try:
            name = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError:
            return self._own
        return self._by_name.get(name, self._own) if isinstance(name, str) else self._own


def own_issuer(keys: KeyRing, *, name: str, audience: str) -> Issuer:
    """Returns the row of the tokens that Parley signs itself."""
    return Issuer(name, audience, keys, REQUIRED_CLAIMS, to_principal)
