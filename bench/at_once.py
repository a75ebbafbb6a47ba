"""Doing something with many things, a number of them at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

AT_ONCE = 32


async def at_once(work: Callable[[_T], Awaitable[_R]], things: Sequence[_T], limit: int = AT_ONCE) -> list[_R]:
    """Does something with each; gives what came of it, in order. The first failure ends all and is raised."""
    gate = asyncio.Semaphore(limit)

    async def one(thing: _T) -> _R:
        async with gate:
            return await work(thing)

    tasks = [asyncio.ensure_future(one(thing)) for thing in things]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
