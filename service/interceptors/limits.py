"""How many unary calls a worker serves at once; more are refused at once, with advice when to come again."""

import asyncio

from service.errors import Overloaded

MAX_UNARY_CALLS = 2000


class InFlight:
    """Counts unary calls."""

    def __init__(self, maximum: int = MAX_UNARY_CALLS) -> None:
        self._maximum = maximum
        self.count = 0
        self._empty = asyncio.Event()

    def __enter__(self) -> None:
        """Takes a place, for the time of a call.

        Raises:
            Overloaded: all places are taken.
        """
        if self.count >= self._maximum:
            raise Overloaded("calls")
        self.count += 1
        self._empty.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if not self.count:
            self._empty.set()

    async def wait_for_end(self) -> None:
        """Waits until no call is being served."""
        while self.count:
            await self._empty.wait()
