"""Waiting for a condition with a limit, instead of sleeping for a time that is hoped to be enough."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_POLL_SECONDS = 0.01

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, limit_seconds: float = 10.0, what: str = "the condition") -> T:
    """Calls until the answer is true, and gives it; fails after the limit. For tests that run no event loop."""
    deadline = time.monotonic() + limit_seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {limit_seconds} s"
        time.sleep(_POLL_SECONDS)
    return answer


async def wait_for(
    condition: Callable[[], Awaitable[T] | T], *, limit_seconds: float = 10.0, what: str = "the condition"
) -> T:
    """As `wait_until`, for tests on the event loop; the condition may be a coroutine function."""
    deadline = time.monotonic() + limit_seconds
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true within {limit_seconds} s"
        await asyncio.sleep(_POLL_SECONDS)
