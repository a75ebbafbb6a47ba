"""How many messages a second one stream sends."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import betterproto
from parley_betterproto.parley import v1

_TEXT = "x" * 100


async def measure(stub: v1.ChatServiceStub, metadata: dict[str, str], command: dict[str, Any]) -> dict[str, Any]:
    """Sends `count` messages, one a frame, with at most `outstanding` unanswered; gives the time that it took."""
    places = asyncio.Semaphore(command["outstanding"])
    welcomed = asyncio.Event()

    async def frames() -> AsyncIterator[v1.ChatRequest]:
        yield v1.ChatRequest(hello=v1.Hello(start=v1.Start.LATEST, no_echo=True))
        await welcomed.wait()
        send = v1.SendFrame(requests=[v1.SendRequest(conversation_id=command["conversation_id"], text=_TEXT)])
        for number in range(1, command["count"] + 1):
            await places.acquire()
            yield v1.ChatRequest(correlation_id=number, send=send)

    answered = accepted = 0
    started = 0.0
    async for frame in stub.chat(frames(), metadata=metadata):
        if frame.welcomes:
            started = time.perf_counter()
            welcomed.set()
        for result in frame.results:
            answered += 1
            accepted += betterproto.which_one_of(result, "outcome")[0] == "accepted"
            places.release()
        if answered == command["count"]:
            return {"seconds": time.perf_counter() - started, "accepted": accepted}
    raise RuntimeError("the stream ended before all was answered")
