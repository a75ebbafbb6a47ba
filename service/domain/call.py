"""What a handler knows about a call besides its request."""

from dataclasses import dataclass
from typing import NamedTuple

# What a token can allow beyond its user's own things; `parley token --scope` mints such ones.
DEAD_LETTERS_SCOPE = "dead_letters"
SCOPES = frozenset({DEAD_LETTERS_SCOPE})


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a verified access token speaks for.

    Attributes:
        login_id: the token's `sid`.
        device_id: the login's device; "" for minted tokens that name none.
        issue_time: Unix seconds at which the token was issued (its `iat`).
        expire_time: Unix seconds at which the token ends.
        scopes: what it allows beyond the user's own things; those that this version does not know are in it too.
    """

    username: str
    login_id: str
    device_id: str
    issue_time: float
    expire_time: float
    scopes: frozenset[str] = frozenset()

    def device_for(self, wanted_id: str) -> str:
        """Returns the device that a request is about: the one that it names, else the login's, else "default"."""
        return wanted_id or self.device_id or "default"


class Call(NamedTuple):
    """One call. A tuple, since there is one for each: a frozen dataclass takes several times as long to make.

    Attributes:
        call_id: names the call in the log.
        address: the peer's host, without port; "" for a Unix socket.
        deadline: when the caller stops waiting, on the event loop's clock; None: never.
        principal: who calls; None for calls that need no token.
    """

    call_id: str
    address: str
    deadline: float | None = None
    principal: Principal | None = None

    @property
    def caller(self) -> Principal:
        """Who calls; for handlers of methods that need a token."""
        if self.principal is None:
            raise AssertionError("this method is registered as one that needs no token")
        return self.principal
