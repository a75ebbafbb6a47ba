"""How a worker is asked to end: after a delay in which it still serves, at once, or to start anew.

The signals that ask are in `worker.py`; what a worker does on its way out is in `leaving.py`.
"""

import asyncio

from service.config import ShutdownSettings
from service.host_port import is_loopback, split_listen

# The default of `shutdown.delay_seconds` where other machines reach the server: balancers look every few seconds, and
# `docker stop` kills after 10 s.
_REACHED_DELAY_SECONDS = 5.0
# What is begun is stored and connections are closed, after the last call.
_CLOSING_SECONDS = 4.0


class Stop:
    """Says whether this worker is to end, and how.

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
        """Says whether the worker is to end."""
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
        """Says whether the worker is to serve on for a while."""
        return self._delay_seconds > 0 and not self._hurried.is_set()


def find_delay_seconds(shutdown: ShutdownSettings, listen: str) -> float:
    """Returns how long a server on this address serves on after SIGTERM."""
    if shutdown.delay_seconds is not None:
        return shutdown.delay_seconds
    return 0.0 if is_loopback(split_listen(listen)[0]) else _REACHED_DELAY_SECONDS


def find_stop_seconds(shutdown: ShutdownSettings, listen: str) -> float:
    """Returns how long a worker's end takes at most, after SIGTERM: the delay, the calls' end, and what is stored."""
    return find_delay_seconds(shutdown, listen) + shutdown.drain_seconds + _CLOSING_SECONDS
