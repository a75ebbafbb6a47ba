"""How a worker is asked to end: after a delay in which it still serves, at once, or to start anew.

The signals that ask are in `main.py`; what a worker does on its way out is in `leaving.py`.
"""

import asyncio


class Stop:
    """Returns whether this worker is to end, and how.

    Attributes:
        is_serving: whether clients may have calls here, so that the end has to be graceful.
        is_planned: the worker ends by itself, to start anew.
    """

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._delay_seconds = 0.0
        self.is_serving = False
        self.is_planned = False

    @property
    def is_asked(self) -> bool:
        """Returns whether the worker is to end."""
        return self._asked.is_set()

    def ask(self, delay_seconds: float = 0.0) -> None:
        """Asks the worker to end; serves on for the delay first, a number of seconds from 0."""
        self._delay_seconds = delay_seconds
        self._asked.set()

    def hurry(self) -> None:
        """Asks the worker to end without a delay, or ends the delay."""
        self._hurried.set()
        self._asked.set()

    def restart(self) -> None:
        """Asks the worker to end so that it starts anew."""
        self.is_planned = True
        self.hurry()

    async def wait(self) -> None:
        """Waits until the worker is asked."""
        await self._asked.wait()

    async def pass_delay(self) -> None:
        """Waits for as long as the worker is to serve on."""
        try:
            async with asyncio.timeout(self._delay_seconds):
                await self._hurried.wait()
        except TimeoutError:
            pass  # the ordinary case: nobody was in a hurry

    @property
    def has_delay(self) -> bool:
        """Returns whether the worker is to serve on for a while."""
        return self._delay_seconds > 0 and not self._hurried.is_set()
