"""An open stream: frames go out through a queue, and come in through another, read by a task."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from parley_betterproto.parley import v1

from conformance.errors import cancelled, describe
from conformance.forms import to_json


class Stream:
    """A Chat or Subscribe that is open.

    Args:
        start: begins the call, given the frames to write; gives the frames that come.
    """

    def __init__(self, start: Callable[[AsyncIterator[v1.ChatRequest]], AsyncIterator[v1.ChatResponse]]) -> None:
        self._out: asyncio.Queue[v1.ChatRequest | None] = asyncio.Queue()
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task = asyncio.create_task(self._listen(start(self._frames())))

    def write(self, frame: v1.ChatRequest) -> bool:
        """Writes a frame; gives whether the stream is open."""
        self._out.put_nowait(frame)
        return not self._task.done()

    async def read(self, timeout_seconds: float) -> dict[str, Any]:
        """Gives the next frame, the end, or nothing."""
        try:
            return await asyncio.wait_for(self._in.get(), timeout_seconds)
        except TimeoutError:
            return {"nothing": True}

    def close(self) -> None:
        """Half-closes."""
        self._out.put_nowait(None)

    def cancel(self) -> None:
        """Cancels."""
        self._task.cancel()

    async def _frames(self) -> AsyncIterator[v1.ChatRequest]:
        while (frame := await self._out.get()) is not None:
            yield frame

    async def _listen(self, frames: AsyncIterator[v1.ChatResponse]) -> None:
        try:
            async for frame in frames:
                self._in.put_nowait({"frame": to_json(frame)})
            self._in.put_nowait({"end": {"code": "OK"}})
        except asyncio.CancelledError:
            self._in.put_nowait({"end": cancelled()})
            raise
        except Exception as error:  # noqa: BLE001 # described, and raised again there when it is none of the call
            self._in.put_nowait({"end": describe(error)})
