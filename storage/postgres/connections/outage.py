"""Whether the database is away, and the end of every wait for it as soon as it is back.

Nothing is probed while the database answers. The first failure starts a probe every half second. The first probe that
succeeds ends the pauses of all callers at once; the length of a pause is only its upper bound (ADR 8).
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from storage import errors

_log = structlog.get_logger(__name__)

PROBE_SECONDS = 0.5


class Outage:
    """The state of one database.

    Args:
        probe: opens a new connection; raises Unavailable when that fails.

    Attributes:
        is_away: whether the last probe failed.
    """

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._probe = probe
        self._suspicion = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.is_away = False

    def suspect(self) -> None:
        """Requests a probe, after a failure that another caller saw."""
        self._suspicion.set()
        self._settled.clear()

    async def pause(self, seconds: float) -> None:
        """Waits for `seconds`, or less when the database is away and comes back earlier."""
        if not self.is_away:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            pass  # the caller tries again all the same

    async def run(self) -> None:
        """Probes after each `suspect`, until the task is cancelled."""
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
