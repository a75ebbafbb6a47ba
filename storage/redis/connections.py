"""Pools of connections to one server of Redis or Valkey. Every call has a limit of its own where it is made.

redis-py's own time limit of a command is off: the caller has one for all that it does.

RESP 2, since redis-py writes every published message of RESP 3 into a text for a log that nobody reads: of 4 KB, 22
instead of 44 microseconds of CPU a message that is heard; of 64 KB, 77 instead of 356.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from storage.redis.urls import Kind, RedisAddress

_CONNECTIONS = 8
_CONNECT_SECONDS = 1.0
_WAIT_SECONDS = 1.0
# Of a Sentinel, which answers within a millisecond; several may hang before one answers.
_SENTINEL_SECONDS = 0.5


class Sentinels(Sentinel):
    """Asks all Sentinels at once, so that some that hang cost half a second and not each that; believes the newest."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Returns the address of the primary. Raises: MasterNotFoundError: no Sentinel that answers names one."""
        answers = await asyncio.gather(*(one.sentinel_masters() for one in self.sentinels), return_exceptions=True)
        known = [answer[service_name] for answer in answers if isinstance(answer, dict) and service_name in answer]
        named = [state for state in known if self.check_master_state(state, service_name)]
        if named:
            newest = max(named, key=lambda state: state["config-epoch"])
            return newest["ip"], newest["port"]
        failures = [f"{type(answer).__name__}: {answer}" for answer in answers if isinstance(answer, Exception)]
        raise MasterNotFoundError("; ".join([f"No master found for {service_name!r}", *failures]))


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary that Sentinels name; each new one asks them again."""


def make_pool(address: RedisAddress, node: tuple[str, int] | None = None) -> BlockingConnectionPool:
    """Makes a pool; connects at the first use.

    Args:
        node: of a cluster; None: the server that the address leads to.
    """
    options = {
        "max_connections": _CONNECTIONS,
        "timeout": _WAIT_SECONDS,
        "protocol": 2,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        **address.options,
    }
    if address.path:
        return BlockingConnectionPool(connection_class=UnixDomainSocketConnection, path=address.path, **options)
    options["socket_keepalive"] = True
    if address.kind is Kind.SENTINEL:
        return _make_sentinel_pool(address, options)
    host, port = node or address.nodes[0]
    return BlockingConnectionPool(
        connection_class=SSLConnection if address.is_tls else Connection, host=host, port=port, **options
    )


def _make_sentinel_pool(address: RedisAddress, options: Mapping[str, Any]) -> SentinelPool:
    sentinels = Sentinels(  # type: ignore[no-untyped-call] # as redis-py has it
        address.nodes,
        sentinel_kwargs={
            "protocol": 2,
            "ssl": address.is_tls,
            "socket_connect_timeout": _SENTINEL_SECONDS,
            "socket_timeout": _SENTINEL_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            **address.sentinel_options,
        },
    )
    return SentinelPool(  # type: ignore[no-untyped-call] # as redis-py has it
        address.service_name,
        sentinels,
        connection_class=SentinelManagedSSLConnection if address.is_tls else SentinelManagedConnection,
        **options,
    )
