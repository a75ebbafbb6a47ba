"""The pool of connections to Redis or Valkey. Every call has a limit of its own where it is made."""

from redis.asyncio import BlockingConnectionPool

_CONNECTIONS = 8
_CONNECT_SECONDS = 1.0


def make_pool(url: str) -> BlockingConnectionPool:
    """Makes a pool; connects at the first use.

    redis-py's own time limit of a command is off: it is an `asyncio.wait_for`, which on Python 3.11 loses a
    cancellation that comes in the step in which the command is sent (python/cpython#86296). A loop would never end.

    RESP 2, since redis-py writes every published message of RESP 3 into a text for a log that nobody reads: of 4 KB,
    22 instead of 44 microseconds of CPU a message that is heard; of 64 KB, 77 instead of 356.
    """
    return BlockingConnectionPool.from_url(
        url,
        protocol=2,
        max_connections=_CONNECTIONS,
        timeout=1,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=None,
    )
