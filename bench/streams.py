"""A Chat stream of the load generator: opened until it is level with the log, then read and written as bytes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grpc import aio
from parley.v1 import chat_pb2

from bench.at_once import at_once
from bench.connections import begin_chat, in_words, reason_of_status
from bench.errors import RunBroken
from bench.meter import now_us

_OPEN_SECONDS = 60.0
_OPENING_AT_ONCE = 50


class Stream:
    """One stream. A single task may read at a time; writes of several take turns.

    Attributes:
        name: `user/device`, for what is said of it.
        welcome_us: when hello was answered.
        is_level: whether the past has been brought.
    """

    def __init__(self, channel: aio.Channel, token: str, name: str) -> None:
        self._channel = channel
        self._token = token
        self._call: Any = None
        self._write_lock = asyncio.Lock()
        self.username = name.partition("/")[0]
        self.name = name
        self.welcome_us = 0
        self.is_level = False

    async def open(self, hello: chat_pb2.Hello, on_frame: Callable[[bytes], None] = lambda _: None) -> None:
        """Says hello and reads until the past has been brought.

        Args:
            on_frame: called with each frame that comes.

        Raises:
            RunBroken: the server refused, or the stream ended.
        """
        self._call = begin_chat(self._channel, self._token)
        await self.write(chat_pb2.ChatRequest(correlation_id=1, hello=hello))
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                while not self.is_level:
                    data = await self.read()
                    frame = chat_pb2.ChatResponse.FromString(data)
                    for refused in frame.errors:
                        raise RunBroken(f"{self.name}: hello was refused: {reason_of_status(refused.error)}")
                    if frame.welcomes:
                        self.welcome_us = now_us()
                    on_frame(data)
                    self.is_level = any(mark.complete for mark in frame.caught_up)
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
            raise RunBroken(await self._describe_end())
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
            raise RunBroken(await self._describe_end()) from error

    async def renew(self, tokens: Mapping[str, str]) -> None:
        """Goes on with the user's fresh token, if there is one among these.

        Raises:
            RunBroken: the stream ended.
        """
        self._token = tokens.get(self.username, self._token)
        if self.username in tokens and self._call is not None:
            fresh = chat_pb2.Authenticate(access_token=self._token)
            await self.write(chat_pb2.ChatRequest(authenticate=fresh))

    async def finish(self) -> None:
        """Says that nothing more is to come, and waits until the server has done what it was told.

        Raises:
            RunBroken: the stream ended otherwise.
        """
        try:
            await self._call.done_writing()
            while await self._call.read() is not aio.EOF:
                pass
        except aio.AioRpcError as error:
            raise RunBroken(f"{self.name}: the stream ended: {in_words(error)}") from error

    async def _describe_end(self) -> str:
        """Why the stream, which has ended, did."""
        code, details = await self._call.code(), await self._call.details()
        return f"{self.name}: the server ended the stream: {code.name}: {details}"

    def cancel(self) -> None:
        """Hangs up."""
        if self._call is not None:
            self._call.cancel()


async def open_all(streams: Sequence[tuple[Stream, chat_pb2.Hello]]) -> None:
    """Opens streams, some at a time.

    Raises:
        RunBroken: one could not be opened; the first that was told.
    """
    await at_once(lambda pair: pair[0].open(pair[1]), streams, _OPENING_AT_ONCE)
