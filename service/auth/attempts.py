"""How often somebody may try a password: a token bucket for each account and each address, in the worker's memory.

A bucket holds a minute's tokens. An attempt that succeeds puts the account's token back. So right passwords never hold
up their owner, or a program that logs in again and again, and they add nothing to an attacker's bucket. An attacker
who keeps an account's bucket empty can hold up the owner's next Login for as long as the attack lasts. Existing logins
stay, and this limit does not apply to RefreshToken.
"""

import ipaddress
import math
import time
from collections.abc import Callable

from service.domain.errors import RateLimited
from service.domain.token_bucket import Rate, TokenBuckets

# Buckets kept, of each kind. A bucket that was not used for a minute is full, so nothing is lost by forgetting it until
# so many names or networks are tried in one minute.
_MAX_BUCKETS = 20_000
# A provider gives each customer at least such a network, so its addresses count as one.
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
        self._accounts = TokenBuckets(_per_minute(per_account_per_minute), max_count=_MAX_BUCKETS, clock=clock)
        self._addresses = TokenBuckets(_per_minute(per_address_per_minute), max_count=_MAX_BUCKETS, clock=clock)

    def limit(self, *, per_account_per_minute: int, per_address_per_minute: int) -> None:
        """Sets the limits from now on; earlier attempts count."""
        self._accounts.limit(_per_minute(per_account_per_minute))
        self._addresses.limit(_per_minute(per_address_per_minute))

    def check_address(self, address: str) -> None:
        """Takes a token of the caller's network.

        Raises:
            RateLimited: there is none.
        """
        _take(self._addresses, _to_network(address), "attempts from your address")

    def check_account(self, username: str) -> None:
        """Takes a token of the account, whether the account exists or not.

        Raises:
            RateLimited: there is none.
        """
        _take(self._accounts, username, "attempts on this account")

    def give_back(self, username: str) -> None:
        """Puts one token of the account back, after an attempt that succeeded."""
        self._accounts.give_back(username)


def _per_minute(count: int) -> Rate:
    return Rate(burst=count, per_second=count / 60)


def _take(buckets: TokenBuckets, key: str, what: str) -> None:
    wait_seconds = buckets.take(key)
    if wait_seconds:
        raise RateLimited(what, math.ceil(wait_seconds))


def _to_network(address: str) -> str:
    """Returns the name of one caller: an IPv4 address, an IPv6 network of 64 bits, or the text as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed.packed, _IPV6_PREFIX_BITS), strict=False))
    return str(parsed)
