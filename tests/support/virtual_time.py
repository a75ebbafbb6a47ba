"""An event loop with a clock of its own: what waits for a time has it at once, and no test takes the time it is about.

For code that waits by `asyncio.sleep` and `asyncio.timeout` alone. The clock stands still while anything can run, and
jumps to the next timer when nothing can.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time` begins at 0 and is as late as its timers."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Returns the seconds that have passed on this loop's clock."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Lets time pass."""
        self._now += seconds


class _Jumping(selectors.SelectSelector):
    """Waits for nothing but the loop's next timer, by moving its clock."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing can run any more, and no timer is set")
        self._loop.jump(max(timeout, 0.0))
        return super().select(0)


def run_virtually(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end on such a loop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)
