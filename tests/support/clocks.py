"""A clock that stands still until a test moves it, for code that also waits for databases."""

import asyncio
from collections.abc import Callable

from service.domain.clock import Clock


class ManualClock:
    """Time and timers of a Clock in the hands of a test; begins at 0."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._timers: list[tuple[float, Callable[[], object]]] = []
        self.clock = Clock(time=lambda: self.seconds, sleep=self._sleep, call_later=self._call_later)

    @property
    def waits(self) -> list[float]:
        """How long each of those that wait has still to wait, the shortest first."""
        return sorted(time - self.seconds for time, _ in self._timers)

    def advance(self, seconds: float) -> None:
        """Moves the clock and runs what is due, in order."""
        end = self.seconds + seconds
        while due := [timer for timer in self._timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self._timers.remove(first)
            self.seconds = max(self.seconds, first[0])
            first[1]()
        self.seconds = end

    def _call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        self._timers.append((self.seconds + seconds, callback))

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        await woken
