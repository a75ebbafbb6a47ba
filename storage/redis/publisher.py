"""PUBLISH, many in one round trip, on a connection that is held.

A pipeline of redis-py takes a connection from the pool and builds an object for each command; that was an eighth of
what a worker spent on a message that came alone. `Connection` is what a pipeline uses, too. Its `pack_commands` took
nearly half of what was left, so the commands are written here.
"""

import asyncio
from collections.abc import Sequence

from redis.asyncio import Connection

from storage.redis.servers import Servers

_TIMEOUT_SECONDS = 2.0
# How often the server is asked whether it is still the primary.
_CHECK_SECONDS = 2.0
# The three parts of the command as the protocol has them. Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
_PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b%b\r\n"


class Publisher:
    """One held connection; opened at the first use and after each failure.

    Args:
        servers: gives the connection.
        stamp: begins every payload.
    """

    def __init__(self, servers: Servers, *, stamp: bytes = b"") -> None:
        self._servers = servers
        self._stamp = stamp
        self._connection: Connection | None = None
        self._check_time = 0.0  # when the server is to be asked again, on the event loop's clock
        self._is_to_leave = False

    async def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Publishes (channel, payload) in order, in one write.

        Raises:
            RedisError, OSError, TimeoutError: some or all may be lost. ReadOnlyError: the server is a replica now, and
                nobody else may have heard them.
        """
        if self._is_to_leave:
            await self.close()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                connection = await self._open()
                stamp = self._stamp
                commands = [
                    _PUBLISH % (len(channel), channel, len(stamp) + len(payload), stamp, payload)
                    for channel, payload in messages
                ]
                await connection.send_packed_command(b"".join(commands), check_health=False)
                for _ in messages:
                    await connection.read_response()
                await self._check(connection)
        except BaseException:
            # Answers may be left in it, which would be taken for those of the next round.
            await self.close()
            raise

    async def is_current(self) -> bool:
        """Whether the server is still the one to use, as far as somebody else says."""
        return self._connection is None or await self._servers.is_current(self._connection)

    def leave_soon(self) -> None:
        """Has the next call connect anew."""
        self._is_to_leave = True

    async def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _open(self) -> Connection:
        if self._connection is None:
            self._connection = await self._servers.connect(hears=False)
            self._is_to_leave = False
            self._check_time = asyncio.get_running_loop().time() + _CHECK_SECONDS
        return self._connection

    async def _check(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._check_time:
            self._check_time = now + _CHECK_SECONDS
            await self._servers.check_role(connection)
