"""When a message that failed comes again, and who gets what is there. Pure.

Source of the schedule: truncated exponential backoff, as in the work queues that people know.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """How often a message is tried, and how long it waits in between.

    Attributes:
        first_delay_seconds: after the first failed attempt; each further one waits twice as long.
        max_delay_seconds: no wait is longer.
        max_attempts: the last one that fails makes a dead letter.
    """

    first_delay_seconds: float
    max_delay_seconds: float
    max_attempts: int

    @property
    def waits_seconds(self) -> tuple[float, ...]:
        """The wait after each failed attempt but the last."""
        return tuple(
            # The exponent is bounded, so that many attempts can't overflow.
            min(self.max_delay_seconds, self.first_delay_seconds * 2.0 ** min(failed, 64))
            for failed in range(self.max_attempts - 1)
        )


def deal(rooms: Sequence[tuple[int, int]], limit: int) -> Iterable[int]:
    """Deals places round, one to each owner in turn, until none has room or the limit is reached.

    Args:
        rooms: (owner, how many messages it has room for).
    """
    left = dict(rooms)
    dealt = 0
    while left and dealt < limit:
        for owner in list(left):
            if dealt == limit:
                return
            if left[owner] <= 0:
                del left[owner]
                continue
            left[owner] -= 1
            dealt += 1
            yield owner
