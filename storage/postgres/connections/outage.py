"""Knows whether the database is away, and tells at once when it is back.

Nothing is looked at while all is well. The first sign of trouble starts a probe every half second, until one is
answered: then everybody who waits goes on at once. Their own pauses are only the upper bound.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from storage import errors

_log = structlog.get_logger(__name__)

PROBE_SECONDS = 0.5


class Watch:
    """The state of one database.

    Args:
        probe: a new connection; raises Unavailable when there is none to be had.
    """

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._probe = probe
        self._suspicion = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.is_away = False

    def suspect(self) -> None:
        """Takes word of trouble: has the database looked at."""
        self._suspicion.set()
        self._settled.clear()

    async def pause(self, seconds: float) -> None:
        """Waits so long, or until the database is back when it is away."""
        if not self.is_away:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            pass  # the caller tries again all the same

    async def run(self) -> None:
        """Probes whenever there is suspicion, until it is cancelled."""
        while True:
            await self._suspicion.wait()
            self._suspicion.clear()
            await self._probe_until_answered()
            self._settled.set()

    async def _probe_until_answered(self) -> None:
        clock = asyncio.get_running_loop().time
        begin = clock()
        while True:
            turn = clock()
            try:
                await self._probe()
            except errors.Unavailable as error:
                if not self.is_away:
                    _log.warning("database away", error=str(error))
                self.is_away = True
                # Set by the last answer where suspicion came while that was awaited; nobody may go on now.
                self._settled.clear()
            else:
                if self.is_away:
                    _log.warning("database back", away_seconds=round(clock() - begin, 1))
                self.is_away = False
                return
            await asyncio.sleep(max(0.0, turn + PROBE_SECONDS - clock()))
