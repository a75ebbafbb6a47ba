"""Token buckets: the one limit of how often something may happen. Clocks are arguments; nothing here does I/O.

A bucket holds up to `burst` tokens and refills evenly. So in any window of `s` seconds at most `burst + s * per_second`
tokens are taken. A clock that jumps back refills nothing and empties nothing.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(slots=True)
class Rate:
    """The limit of one or many buckets.

    Attributes:
        burst: tokens of a full bucket, at least 1.
        per_second: tokens that come back each second, above 0.
    """

    burst: float
    per_second: float


class TokenBucket:
    """One bucket, full at first.

    Args:
        clock: seconds, of a monotonic clock.
    """

    __slots__ = ("_clock", "_rate", "_time", "_tokens")

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = rate.burst
        self._time = clock()

    def take(self) -> bool:
        """Takes a token, if there is one. A refusal changes nothing, so refused tries do not make the wait longer."""
        now = self._clock()
        tokens = self._tokens_at(now)
        if tokens < 1:
            return False
        self._tokens = tokens - 1
        self._time = now
        return True

    def give_back(self) -> None:
        """Puts a token back, if the bucket is not full."""
        now = self._clock()
        self._tokens = self._tokens_at(now) + 1  # `_tokens_at` caps it at the next use
        self._time = now

    def wait_seconds(self) -> float:
        """Returns the time until there is a token; 0 where there is one."""
        return max(0.0, (1 - self._tokens_at(self._clock())) / self._rate.per_second)

    def _tokens_at(self, now: float) -> float:
        self._time = min(self._time, now)
        return min(self._rate.burst, self._tokens + (now - self._time) * self._rate.per_second)


class TokenBuckets:
    """A bucket for each key, in bounded memory.

    A bucket that is forgotten comes back full. The bucket whose last token was taken longest ago is forgotten first.

    Args:
        rate: of each bucket, until `limit` sets another one.
        max_count: buckets kept, at least 1.
        clock: as of `TokenBucket`.
    """

    def __init__(self, rate: Rate, *, max_count: int, clock: Callable[[], float]) -> None:
        self._rate = replace(rate)  # a copy that the buckets share, so that `limit` reaches all of them
        self._max_count = max_count
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def limit(self, rate: Rate) -> None:
        """Sets the rate of all buckets from now on; tokens that were taken before count."""
        self._rate.burst, self._rate.per_second = rate.burst, rate.per_second

    def take(self, key: str) -> float:
        """Takes a token of this key. Returns 0, or the seconds until there is one; then none was taken."""
        bucket = self._buckets.get(key) or TokenBucket(self._rate, self._clock)
        if not bucket.take():
            return bucket.wait_seconds()
        self._keep(key, bucket)
        return 0.0

    def give_back(self, key: str) -> None:
        """Puts a token of this key back; a key that has no bucket has a full one."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.give_back()
            self._keep(key, bucket)

    def _keep(self, key: str, bucket: TokenBucket) -> None:
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_count:
            self._buckets.popitem(last=False)
