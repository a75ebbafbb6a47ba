"""Opening many streams, some at a time."""

import asyncio
from collections.abc import Sequence

from parley.v1 import chat_pb2

from bench.errors import RunBroken
from bench.streams import Stream

_OPENING_AT_ONCE = 50


async def open_all(streams: Sequence[tuple[Stream, chat_pb2.Hello]]) -> None:
    """Opens streams until each has been brought its past.

    Raises:
        RunBroken: one could not be opened; the first that was told.
    """
    gate = asyncio.Semaphore(_OPENING_AT_ONCE)

    async def open_one(stream: Stream, hello: chat_pb2.Hello) -> None:
        async with gate:
            await stream.open(hello)

    try:
        async with asyncio.TaskGroup() as group:
            for stream, hello in streams:
                group.create_task(open_one(stream, hello))
    except* RunBroken as errors:
        raise errors.exceptions[0] from None
