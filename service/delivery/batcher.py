"""The loop that writes in batches: what comes while one batch is written becomes the next.

Acks, ends of streams, receipts, presence and the lanes of messages are written by it. Each keeps what waits by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable

from storage.errors import Unavailable


class Batcher:
    """Flushes whenever something was noted.

    Args:
        flush: writes what waits; what it could not write, it keeps.
        gather_seconds: how long more may come before each flush; 0: no time.
        retry_seconds: how long to wait after a flush that raised Unavailable, before the next one.
        on_unavailable: called with the first error of a row of failures, for the log.
        filled: set when something waits. Default: an event of the batcher's own, which `notify` sets.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        flush: Callable[[], Awaitable[None]],
        *,
        gather_seconds: float = 0.0,
        retry_seconds: float = 0.5,
        on_unavailable: Callable[[Unavailable], object] = lambda _: None,
        filled: asyncio.Event | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._flush = flush
        self._gather_seconds = gather_seconds
        self._retry_seconds = retry_seconds
        self._on_unavailable = on_unavailable
        self._filled = asyncio.Event() if filled is None else filled
        self._pause = pause

    def notify(self) -> None:
        """Notes that something waits."""
        self._filled.set()

    async def run(self) -> None:
        """Flushes until it is cancelled, or until a flush raises another error than Unavailable."""
        is_failing = False
        while True:
            await self._filled.wait()
            if self._gather_seconds:
                await self._pause(self._gather_seconds)
            self._filled.clear()
            try:
                await self._flush()
                is_failing = False
            except Unavailable as error:
                if not is_failing:
                    self._on_unavailable(error)
                is_failing = True
                await self._pause(self._retry_seconds)
                self._filled.set()
