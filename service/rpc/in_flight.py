"""How many unary calls a worker serves at once; more are refused at once, with advice when to come again.

Before the port closes, calls are held for a moment, so that none is on its way then.
"""

import asyncio

from service.domain.errors import Overloaded

MAX_UNARY_CALLS = 2000


class InFlight:
    """Counts unary calls.

    Attributes:
        count: how many are being served, those that are held included.
        begun_count: how many have begun since the start.
        is_held: whether a call that begins has to `wait` first.
    """

    def __init__(self, maximum: int = MAX_UNARY_CALLS) -> None:
        self._maximum = maximum
        self.count = 0
        self.begun_count = 0
        self.is_held = False
        self._empty = asyncio.Event()
        self._released = asyncio.Event()

    def __enter__(self) -> None:
        """Takes a place, for the time of a call.

        Raises:
            Overloaded: all places are taken.
        """
        if self.count >= self._maximum:
            raise Overloaded("calls")
        self.count += 1
        self.begun_count += 1
        self._empty.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if not self.count:
            self._empty.set()

    async def wait_for_end(self) -> None:
        """Waits until no call is being served."""
        while self.count:
            await self._empty.wait()

    async def hold(self, *, quiet_seconds: float, limit_seconds: float) -> None:
        """Lets calls that begin wait for `release`; returns when none has begun for a while, or at the limit.

        Clients that wait for an answer send nothing else, so what is left on its way are first calls.
        """
        self.is_held = True
        loop = asyncio.get_running_loop()
        deadline, begun_count = loop.time() + limit_seconds, -1
        while begun_count != self.begun_count and loop.time() < deadline:
            begun_count = self.begun_count
            await asyncio.sleep(quiet_seconds)

    def release(self) -> None:
        """Lets all calls go on, those that are still to come, too."""
        self.is_held = False
        self._released.set()

    async def wait(self) -> None:
        """Waits for the release."""
        await self._released.wait()
