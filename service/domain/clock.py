"""The clock of code that waits: the event loop's own, or one that a test moves by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and timers.

    Attributes:
        time: returns monotonic seconds.
        sleep: waits for so many seconds.
        call_later: has a function called after so many seconds.
    """

    time: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    call_later: Callable[[float, Callable[[], object]], object]


def loop_clock() -> Clock:
    """The clock of the running event loop."""
    loop = asyncio.get_running_loop()
    return Clock(time=loop.time, sleep=asyncio.sleep, call_later=loop.call_later)
