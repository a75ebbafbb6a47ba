"""How often someone may try a password: token buckets, per account and per address, in the worker's memory.

A bucket holds a minute's worth and refills evenly. An attempt that succeeds gives its account's token back: the owner,
and a program that logs in again and again, are never held up by their own right passwords, and an attacker's bucket
does not get fuller by them. Who keeps an account's bucket empty can hold up its owner's next Login, for as long as
that goes on; logins that exist stay, and refresh is not limited here.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from service.domain.errors import RateLimited

# Buckets kept, of each kind. One that was not used for a minute is full, so forgetting the longest unused first loses
# nothing until so many names or networks are tried in one minute.
_MAX_BUCKETS = 20_000
# What one customer of a provider has at least, so that its addresses count as one.
_IPV6_PREFIX_BITS = 64


class Attempts:
    """Counts attempts and refuses those above the limits.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        per_account_per_minute: int,
        per_address_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = _Buckets(per_account_per_minute, clock)
        self._addresses = _Buckets(per_address_per_minute, clock)

    def limit(self, *, per_account_per_minute: int, per_address_per_minute: int) -> None:
        """Sets the limits from now on; what was tried before counts."""
        self._accounts.resize(per_account_per_minute)
        self._addresses.resize(per_address_per_minute)

    def check_address(self, address: str) -> None:
        """Takes a token of the caller's network.

        Raises:
            RateLimited: there is none.
        """
        self._addresses.take(_to_network(address), "attempts from your address")

    def check_account(self, username: str) -> None:
        """Takes a token of the account, whether there is such an account or not.

        Raises:
            RateLimited: there is none.
        """
        self._accounts.take(username, "attempts on this account")

    def give_back(self, username: str) -> None:
        """Puts one token of the account back: the attempt succeeded."""
        self._accounts.give_back(username)


class _Buckets:
    """Buckets by key. A bucket is (tokens at the last use, time of the last use)."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.resize(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def resize(self, per_minute: int) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60

    def take(self, key: str, what: str) -> None:
        now = self._clock()
        tokens = self._tokens(key, now)
        if tokens < 1:
            # The bucket is left as it is: attempts that are refused do not make the wait longer.
            raise RateLimited(what, math.ceil((1 - tokens) / self._per_second))
        self._put(key, tokens - 1, now)

    def give_back(self, key: str) -> None:
        now = self._clock()
        self._put(key, self._tokens(key, now) + 1, now)

    def _tokens(self, key: str, now: float) -> float:
        tokens, last_time = self._buckets.get(key, (self._size, now))
        return min(self._size, tokens + (now - last_time) * self._per_second)

    def _put(self, key: str, tokens: float, now: float) -> None:
        self._buckets[key] = (tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)


def _to_network(address: str) -> str:
    """Returns what counts as one caller: an IPv4 address, an IPv6 network of 64 bits, or the text as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed.packed, _IPV6_PREFIX_BITS), strict=False))
    return str(parsed)
