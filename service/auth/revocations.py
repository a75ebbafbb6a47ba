"""What this worker knows about logins that ended before their tokens did.

`Revocations` is the knowledge, in memory and without I/O; `RevocationReader` brings it up to date from PostgreSQL. What
is announced on the bus comes here sooner, by `apply`; what the bus loses, the reader finds.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from service.domain.call import Principal
from service.domain.errors import TokenInvalid
from service.domain.times import micros_of, to_micros, to_time
from storage.postgres.accounts.accounts import Accounts
from storage.records import Revocation

# A row gets its id before the commit, and no transaction lasts this long. So rows with ids from before are visible.
_OVERLAP_SECONDS = 60.0
_PAGE_SIZE = 5000
_FORGET_EVERY_SECONDS = 60.0


class Revocations:
    """Ended logins, and for users the time up to which no token is good. Entries go when no such token can be left.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._logins: dict[str, float] = {}  # login id -> when to forget, Unix seconds
        self._users: dict[str, tuple[int, float]] = {}  # user -> revoked up to, microseconds; when to forget, seconds
        self._listeners: list[Callable[[Revocation], None]] = []
        self._forget_time = 0.0

    def is_revoked(self, principal: Principal) -> bool:
        """Whether the login ended, or all tokens of the user that were issued by then."""
        if principal.login_id in self._logins:
            return True
        entry = self._users.get(principal.username)
        return entry is not None and to_micros(principal.issue_time) <= entry[0]

    def check(self, principal: Principal) -> None:
        """Raises where the principal is revoked.

        Raises:
            TokenInvalid: the login has ended.
        """
        if self.is_revoked(principal):
            raise TokenInvalid("The access token is not accepted: its login has ended; log in again.")

    def listen(self, listener: Callable[[Revocation], None]) -> None:
        """Has `listener` called with each revocation that is new here, after `is_revoked` knows it.

        A listener ends the streams that are now revoked: it asks `is_revoked` of each of the user's. It must not wait.
        """
        self._listeners.append(listener)

    def apply(self, revocation: Revocation) -> None:
        """Takes over a revocation; one that is known or over changes nothing."""
        now = self._clock()
        self._forget(now)
        forget_time = micros_of(revocation.expire_time) / 1e6
        if forget_time <= now or not self._remember(revocation, forget_time):
            return
        for listener in self._listeners:
            listener(revocation)

    def load(self, revocations: Iterable[Revocation]) -> None:
        """Takes over several, as `apply` does."""
        for revocation in revocations:
            self.apply(revocation)

    def __len__(self) -> int:
        return len(self._logins) + len(self._users)

    def _remember(self, revocation: Revocation, forget_time: float) -> bool:
        """Stores a revocation; returns whether it was new."""
        if revocation.login_id is not None:
            is_news = revocation.login_id not in self._logins
            self._logins[revocation.login_id] = forget_time
            return is_news
        revoked_until = micros_of(revocation.revoke_time)
        known = self._users.get(revocation.username)
        if known is not None and known[0] >= revoked_until:
            return False
        self._users[revocation.username] = (revoked_until, forget_time)
        return True

    def _forget(self, now: float) -> None:
        if now < self._forget_time:
            return
        self._forget_time = now + _FORGET_EVERY_SECONDS
        self._logins = {key: forget_time for key, forget_time in self._logins.items() if forget_time > now}
        self._users = {key: entry for key, entry in self._users.items() if entry[1] > now}


class RevocationReader:
    """Reads on in the table of revocations.

    Each poll reads again what a transaction that was slow to commit can have added below the last id.

    Args:
        clock: Unix seconds.
        monotonic: monotonic seconds.
    """

    def __init__(
        self,
        accounts: Accounts,
        revocations: Revocations,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._revocations = revocations
        self._clock = clock
        self._monotonic = monotonic
        self._last_id = 0
        self._settled_id = 0  # nothing can appear below it any more
        self._past: deque[tuple[float, int]] = deque()  # (when a poll ended, its last id)

    async def poll(self) -> None:
        """Brings `Revocations` up to date; call it before serving and then every few seconds.

        Raises:
            Unavailable: (of `storage.errors`) PostgreSQL can't be reached; the next poll makes up for it.
        """
        settled_time = self._monotonic() - _OVERLAP_SECONDS
        while self._past and self._past[0][0] <= settled_time:
            self._settled_id = self._past.popleft()[1]
        after_id = self._settled_id
        while True:
            page = await self._accounts.list_revocations(after_id, now=to_time(self._clock()), limit=_PAGE_SIZE)
            self._revocations.load(page)
            if page:
                after_id = page[-1].revocation_id
            if len(page) < _PAGE_SIZE:
                break
        self._last_id = max(self._last_id, after_id)
        self._past.append((self._monotonic(), self._last_id))
