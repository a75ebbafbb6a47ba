"""Rare writes that wait for a locked row: again and again for some seconds, since a single wait is kept short.

The writer's lanes wait otherwise: they let the locked conversation out of their batch (`log/append.py`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from storage.errors import LockTimeout

# All attempts together; the largest change, deleting a group of 20,000, holds its locks for about a second.
LIMIT_SECONDS = 3.0
_FIRST_DELAY_SECONDS = 0.02
_MAX_DELAY_SECONDS = 0.32

T = TypeVar("T")


async def retry_while_locked(write: Callable[[], Awaitable[T]], *, limit_seconds: float = LIMIT_SECONDS) -> T:
    """Runs a transaction until no row that it needs is locked; gives its result.

    Args:
        write: one whole transaction, which writes nothing when it raises LockTimeout.
        limit_seconds: no attempt begins later than this.

    Raises:
        LockTimeout: a row stayed locked; nothing was written.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + limit_seconds
    delay_seconds = _FIRST_DELAY_SECONDS
    while True:
        try:
            return await write()
        except LockTimeout:
            if clock() + delay_seconds >= end:
                raise
            # Spread out, so that those who waited for the same row do not come back as one.
            await asyncio.sleep(delay_seconds * random.uniform(0.5, 1.0))  # noqa: S311 # no secret
            delay_seconds = min(2 * delay_seconds, _MAX_DELAY_SECONDS)
