"""Who calls: a method either needs no token, or gets a verified principal whose login has not ended.

Verifying waits for nothing, but for one case: a key signed the token that this worker does not know yet. Then the job
that reads the keys is woken, and the token is verified once more (docs/adr/0022-issuers.md).
"""

from collections.abc import Iterable

from service.auth.bearer import token_from_metadata
from service.auth.revocations import Revocations
from service.auth.verifier import TokenVerifier
from service.domain.call import Principal
from service.domain.errors import TokenInvalid


class Authenticator:
    """Verifies the access tokens of calls and of `authenticate` frames."""

    def __init__(self, verifier: TokenVerifier, revocations: Revocations) -> None:
        self._verifier = verifier
        self._revocations = revocations

    def principal_of(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Principal:
        """Returns whom a call's metadata speaks for.

        Raises:
            TokenMissing: there is no token.
            TokenInvalid: there is one that is not accepted.
            TokenExpired: there is one past its time.
        """
        return self._verify(token_from_metadata(metadata))

    async def principal_of_new_key(
        self, metadata: Iterable[tuple[str, str | bytes]] | None, refusal: TokenInvalid
    ) -> Principal:
        """Returns the principal of a call that `principal_of` refused, if the token's key has just been added.

        Raises:
            TokenInvalid: `refusal`, where no new key signed the token; or another one.
            TokenExpired: the token is past its time.
        """
        return await self._retry(token_from_metadata(metadata), refusal)

    async def authenticate(self, token: str) -> Principal:
        """Returns whom the token of a frame speaks for; raises as `principal_of`."""
        try:
            return self._verify(token)
        except TokenInvalid as refusal:
            return await self._retry(token, refusal)

    async def _retry(self, token: str, refusal: TokenInvalid) -> Principal:
        if not await self._verifier.has_new_key(token):
            raise refusal
        return self._verify(token)

    def _verify(self, token: str) -> Principal:
        principal = self._verifier.verify(token)
        self._revocations.check(principal)
        return principal
