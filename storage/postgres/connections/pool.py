"""Connections that are lent, one user at a time. What a lent connection is used for is not known here.

asyncpg's own pool cancels, resets and keeps connections in ways that do not fit: see `Connection`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from storage.postgres.connections.connection import Connection

# A connection that was idle for longer is thrown away: something on the way may have forgotten it.
_MAX_IDLE_SECONDS = 300.0


class Pool:
    """At most `size` connections; who finds none free waits, first come first served.

    Args:
        connect: opens a connection.
        wait_seconds: how long one waits for a free one.
        on_lost: called when the server has closed one while it was not used; it calls `expire`.

    Attributes:
        size: connections at most.
        lent_count: connections that are lent now.
        wait_count: how often somebody had to wait for one.
        waited_seconds: how long in all.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        wait_seconds: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._on_lost = on_lost
        self.size = size
        self._wait_seconds = wait_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []  # with when it came back; the last one is lent first
        self._generation = 0
        self.lent_count = 0
        self.wait_count = 0
        self.waited_seconds = 0.0

    async def take(self) -> Connection:
        """Lends a connection, a new one where none is idle.

        Raises:
            TimeoutError: none became free in time.
        """
        if self._slots.locked():
            self.wait_count += 1
            begin = time.monotonic()
            try:
                await self._acquire()
            finally:
                self.waited_seconds += time.monotonic() - begin
        else:
            await self._acquire()
        self.lent_count += 1
        try:
            while self._idle:
                connection, since = self._idle.pop()
                if connection.is_closed():
                    self._on_lost()
                elif connection.is_usable() and time.monotonic() - since < _MAX_IDLE_SECONDS:
                    return connection
                connection.terminate()  # of no effect on a closed one
            return await self._connect()
        except BaseException:
            self._release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Takes a connection back; one that is not as it was lent is ended."""
        if connection.generation == self._generation and connection.is_usable():
            self._idle.append((connection, time.monotonic()))
        else:
            connection.terminate()
        self._release()

    async def _acquire(self) -> None:
        async with asyncio.timeout(self._wait_seconds):
            await self._slots.acquire()

    def _release(self) -> None:
        self._slots.release()
        self.lent_count -= 1

    def expire(self, generation: int) -> None:
        """Ends what is idle now, and what is lent of an earlier generation when it comes back."""
        self._generation = generation
        while self._idle:
            self._idle.pop()[0].terminate()

    async def close(self, timeout_seconds: float) -> None:
        """Waits for what is lent, then ends all."""
        try:
            async with asyncio.timeout(timeout_seconds):
                for _ in range(self.size):
                    await self._slots.acquire()
        except TimeoutError:
            pass  # it is ended when it comes back
        self.expire(self._generation + 1)
