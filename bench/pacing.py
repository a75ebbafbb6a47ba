"""When to send. Open loop: at fixed times, whether the server keeps up or not; closed loop: when an answer came.

`Schedule` is pure. `Alarm` wakes a task at a time to some 50 us: an event loop's own timers have whole milliseconds.
"""

import asyncio
import signal
import time
from dataclasses import dataclass


@dataclass(slots=True)
class Schedule:
    """The times of one generator's sends, evenly spread between those of the others.

    What is late is due at once, with the time at which it was meant to be sent: latencies are measured from there, so a
    server that stalls is charged for all that it would have been sent meanwhile (no coordinated omission).

    Attributes:
        begin_ns: when the first generator's first send is due.
        per_second: of all generators together; above 0.
        place: which of them this is, from 0.
        places: how many there are.
        taken: how many of this one's were taken.
    """

    begin_ns: int
    per_second: float
    place: int
    places: int
    taken: int = 0

    def next_ns(self) -> int:
        """When the next one is due."""
        return self.begin_ns + int((self.taken * self.places + self.place) * 1e9 / self.per_second)

    def take_due(self, now_ns: int) -> list[int]:
        """Takes those that are due, oldest first; gives when each was meant to be sent."""
        due: list[int] = []
        while (next_ns := self.next_ns()) <= now_ns:
            due.append(next_ns)
            self.taken += 1
        return due


class Alarm:
    """Wakes one task at a time of the clock. One a process, on the main thread's event loop: it owns SIGALRM."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, self._rung.set)

    async def wait_until(self, time_ns: int) -> None:
        """Returns at that time of CLOCK_MONOTONIC, or at once if it has passed."""
        while (left_ns := time_ns - time.monotonic_ns()) > 0:
            self._rung.clear()
            signal.setitimer(signal.ITIMER_REAL, max(left_ns / 1e9, 1e-6))
            await self._rung.wait()

    def close(self) -> None:
        """Restores the signal's former handler."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGALRM)
