"""Who calls: a method either needs no token, or gets a verified principal whose login has not ended."""

from collections.abc import Iterable

from service.auth.bearer import token_from_metadata
from service.auth.revocations import Revocations
from service.auth.verifier import TokenVerifier
from service.domain.call import Principal


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
        return self.verify(token_from_metadata(metadata))

    def verify(self, token: str) -> Principal:
        """Returns whom a token speaks for; raises as `principal_of`."""
        principal = self._verifier.verify(token)
        self._revocations.check(principal)
        return principal
