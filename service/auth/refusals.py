"""Log events of logins, passwords and refresh tokens that were refused. No event has the password or the token.

An event has a user name only where an account has that name, since people type passwords into the wrong field.
"""

import time
from collections.abc import Callable

import structlog

from service.domain.errors import ParleyError, RateLimited

_log = structlog.get_logger(__name__)

# A rate-limited attempt costs its sender nothing and must not fill the disk: one event in this time, with a count.
_LIMITED_SECONDS = 1.0


class RefusalLog:
    """Writes the events of one worker.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limited_time = float("-inf")
        self._limited_count = 0

    def note(self, what: str, refusal: ParleyError, *, address: str = "", username: str | None = None) -> None:
        """Writes an event, at the level warning.

        Args:
            what: the kind of attempt: "login", "refresh", "password change" or "account deletion".
            address: of the caller.
            username: of the account that the attempt is about; None where there is no such account.
        """
        known = {"username": username} if username else {}
        if isinstance(refusal, RateLimited):
            self._limited_count += 1
            if self._clock() < self._limited_time + _LIMITED_SECONDS:
                return
            known["count"] = str(self._limited_count)
            self._limited_time, self._limited_count = self._clock(), 0
        _log.warning(f"{what} refused", reason=refusal.reason, address=address, **known)
