"""A Chat stream of the load generator: opened until it is level with the log, then read and written as bytes."""

import asyncio
from typing import Any

from grpc import aio
from parley.v1 import chat_pb2

from bench.connections import begin_chat, in_words, reason_of_status
from bench.errors import RunBroken

_OPEN_SECONDS = 60.0


class Stream:
    """One stream. A single task may read and a single one write at a time."""

    def __init__(self, channel: aio.Channel, token: str, name: str) -> None:
        self._channel = channel
        self._token = token
        self._call: Any = None
        self._write_lock = asyncio.Lock()
        self.name = name
        self.welcome_us = 0

    async def open(self, hello: chat_pb2.Hello) -> list[chat_pb2.ChatResponse]:
        """Says hello and reads until the past has been brought; gives what came with it.

        Raises:
            RunBroken: the server refused, or the stream ended.
        """
        self._call = begin_chat(self._channel, self._token)
        await self.write(chat_pb2.ChatRequest(correlation_id=1, hello=hello))
        frames: list[chat_pb2.ChatResponse] = []
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                while True:
                    frame = chat_pb2.ChatResponse.FromString(await self.read())
                    frames.append(frame)
                    for refused in frame.errors:
                        raise RunBroken(f"{self.name}: hello was refused: {reason_of_status(refused.error)}")
                    if any(mark.complete for mark in frame.caught_up):
                        return frames
        except TimeoutError as error:
            raise RunBroken(f"{self.name}: not caught up within {_OPEN_SECONDS:.0f} s of hello") from error

    async def read(self) -> bytes:
        """Waits for the next frame.

        Raises:
            RunBroken: the stream ended.
        """
        try:
            data = await self._call.read()
        except aio.AioRpcError as error:
            raise RunBroken(f"{self.name}: the stream ended: {in_words(error)}") from error
        if data is aio.EOF:
            code = await self._call.code()
            raise RunBroken(f"{self.name}: the server ended the stream: {code.name}: {await self._call.details()}")
        frame: bytes = data
        return frame

    async def write(self, frame: chat_pb2.ChatRequest | bytes) -> None:
        """Writes a frame; waits while the transport is full.

        Raises:
            RunBroken: the stream ended.
        """
        try:
            async with self._write_lock:
                await self._call.write(frame)
        except aio.AioRpcError as error:
            raise RunBroken(f"{self.name}: the stream ended: {in_words(error)}") from error
        except asyncio.InvalidStateError as error:
            raise RunBroken(f"{self.name}: the stream had ended") from error

    def cancel(self) -> None:
        """Hangs up."""
        if self._call is not None:
            self._call.cancel()
