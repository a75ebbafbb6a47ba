"""What a loop waits for when it has nothing to do: an `asyncio.Event` for one who waits, in a tenth of its memory.

Each open stream has two, so that what an Event holds for many who wait, 900 bytes, is a part of what a stream takes.
"""

import asyncio


class WakeEvent:
    """Rings for the one who waits; a ring that nobody waits for is kept until it is cleared."""

    __slots__ = ("_has_rung", "_waiting")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Has who waits go on."""
        self._has_rung = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def clear(self) -> None:
        """Forgets that it has rung."""
        self._has_rung = False

    async def wait(self) -> None:
        """Waits until it has rung since it was cleared; for one at a time."""
        if self._has_rung:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
