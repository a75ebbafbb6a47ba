"""A device's Chat stream, kept open: sends with their answers, receives, connects again. Nothing of the logs is here.

A broken stream is opened again after a pause; sends without an answer go out again with the same request_id, in the
order in which they were sent, so each takes effect once. Few frames wait for their answers at a time, and what is sent
meanwhile makes up the next one: a server reads a stream frame by frame, so who says much in a hurry says it in one.
"""

import asyncio
import collections
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from grpc import aio
from parley.v1 import chat_pb2, message_pb2

from bench.replay.channel import Stub
from bench.replay.tally import Tally

_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.1, 5.0
_PATIENCE_SECONDS = 180.0
"""How long a server may be away, and how long an end may take."""

_FRAMES_WAITING = 2
_REQUESTS_A_FRAME = 100
_BYTES_A_FRAME = 128 * 1024

OnMessage = Callable[[message_pb2.Message], None]
Call: TypeAlias = aio.StreamStreamCall[chat_pb2.ChatRequest, chat_pb2.ChatResponse]


class Refused(Exception):
    """A send had no effect. `code` is the status code's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def passes(self) -> bool:
        """Whether the same send may be accepted later."""
        return self.code in (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], grpc.StatusCode.UNAVAILABLE.value[0])


@dataclass(frozen=True, slots=True)
class _Outstanding:
    request: message_pb2.SendRequest
    answer: asyncio.Future[message_pb2.Accepted]


class DeviceStream:
    """One device of one user, on one stream at a time.

    Attributes:
        tallies: conversation -> what came.
        reconnect_count: how often the stream was opened again.
        received_count: entries that came, repeats included.
        error_messages: refused frames, in the server's words.
    """

    def __init__(
        self,
        stub: Stub,
        token: str,
        device_id: str,
        *,
        on_message: OnMessage | None = None,
        ack_every: int = 0,
        resumes_from_acks: bool = False,
    ) -> None:
        """Nothing happens before `open`.

        Args:
            stub: the service's.
            token: the user's.
            device_id: names the device.
            on_message: called for each entry that is new to the device.
            ack_every: after how many entries the device acknowledges what it has; 0: never.
            resumes_from_acks: after a break, begin at what was acknowledged instead of at what was received.
        """
        self.tallies: dict[str, Tally] = {}
        self.reconnect_count = 0
        self.received_count = 0
        self.error_messages: list[str] = []
        self._stub = stub
        self._token = token
        self._device_id = device_id
        self._on_message = on_message
        self._ack_every = ack_every
        self._resumes_from_acks = resumes_from_acks
        self._acked_count = 0
        self._drops = False
        self._closing = False
        self._outbox: collections.deque[_Outstanding] = collections.deque()
        self._frames: dict[int, dict[int, _Outstanding]] = {}
        self._ids = itertools.count(1)
        self._call: Call | None = None
        self._ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Returns when the session is open: from then on it receives.

        Raises:
            grpc.aio.AioRpcError: the server refuses the stream, or is away for too long.
        """
        self._task = asyncio.create_task(self._run(), name=f"stream of {self._device_id}")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            await self._task
            raise ConnectionError("the server ended the stream before its welcome")

    def submit(self, request: message_pb2.SendRequest) -> asyncio.Future[message_pb2.Accepted]:
        """Sends, in the order of the calls; the answer is Accepted, or Refused raised.

        Raises:
            ConnectionError: the stream has ended for good.
        """
        if self._task is None or self._task.done():
            raise ConnectionError("the stream has ended")
        answer: asyncio.Future[message_pb2.Accepted] = asyncio.get_running_loop().create_future()
        self._outbox.append(_Outstanding(request, answer))
        self._wake.set()
        return answer

    def last_seq(self, conversation_id: str) -> int:
        """Returns the highest seq that came; 0 when none did."""
        tally = self.tallies.get(conversation_id)
        return tally.last_seq if tally is not None else 0

    def describe(self) -> str:
        """Returns in what state the stream is, for a report of trouble."""
        state = "open" if self._ready.is_set() else "not open"
        return (
            f"stream {state}, opened again {self.reconnect_count} times, {self.received_count:,} entries received,"
            f" {len(self._frames)} frames without an answer"
        )

    def drop(self) -> None:
        """Breaks the stream off at the next frame, unread; it is opened again as after any break."""
        self._drops = True

    async def close(self) -> None:
        """Ends our half and waits for the server to end its own."""
        self._closing = True
        if self._task is None:
            return
        try:
            if self._call is not None and self._ready.is_set():
                await self._call.done_writing()
                await asyncio.wait({self._task}, timeout=_PATIENCE_SECONDS)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            pass  # It ended by itself in that moment; the task below knows why.
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause_seconds, patience_ends = _FIRST_PAUSE_SECONDS, loop.time() + _PATIENCE_SECONDS
        try:
            while True:
                try:
                    await self._run_once()
                except aio.AioRpcError as error:
                    is_over = not self._ready.is_set() and loop.time() > patience_ends
                    if is_over or error.code() not in _RETRIED:
                        raise
                if self._closing:
                    return
                if self._ready.is_set():
                    pause_seconds, patience_ends = _FIRST_PAUSE_SECONDS, loop.time() + _PATIENCE_SECONDS
                    self._ready.clear()
                await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - so that not all come at once
                pause_seconds = min(2 * pause_seconds, _LAST_PAUSE_SECONDS)
                self.reconnect_count += 1
        finally:
            self._fail_outstanding()

    async def _run_once(self) -> None:
        """One stream, from hello to its end.

        Raises:
            grpc.aio.AioRpcError: it ended with another status than OK.
        """
        self._begin()
        call = self._call = self._stub.Chat(metadata=(("authorization", f"Bearer {self._token}"),))
        writer: asyncio.Task[None] | None = None
        try:
            await call.write(chat_pb2.ChatRequest(correlation_id=next(self._ids), hello=self._hello()))
            async for frame in call:
                if self._drops:
                    return
                if frame.welcomes:
                    self._ready.set()
                    writer = asyncio.create_task(self._write_all(call))
                self._take(frame)
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            call.cancel()

    def _begin(self) -> None:
        """Makes ready for a new stream: what was not answered goes out again, before anything newer."""
        self._drops = False
        for tally in self.tallies.values():
            tally.begin_stream()
        unanswered = [waiting for frame in self._frames.values() for waiting in frame.values()]
        self._frames.clear()
        self._outbox.extendleft(reversed(unanswered))
        self._wake.set()

    def _hello(self) -> chat_pb2.Hello:
        if not self.reconnect_count:
            return chat_pb2.Hello(device_id=self._device_id, start=chat_pb2.START_LATEST)
        # What came up while this device was away has no position here, so it comes by the device's acks.
        positions = [] if self._resumes_from_acks else self._positions()
        return chat_pb2.Hello(device_id=self._device_id, start=chat_pb2.START_FROM_ACKS, positions=positions)

    def _positions(self) -> list[chat_pb2.Position]:
        return [
            chat_pb2.Position(conversation_id=conversation_id, seq=tally.last_seq)
            for conversation_id, tally in self.tallies.items()
        ]

    def _ackable(self) -> list[chat_pb2.Position]:
        # What came on this stream: what an earlier one brought, and was not acknowledged, comes again here.
        return [
            chat_pb2.Position(conversation_id=conversation_id, seq=tally.last_on_stream)
            for conversation_id, tally in self.tallies.items()
            if tally.last_on_stream
        ]

    async def _write_all(self, call: Call) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._ack_every and self.received_count - self._acked_count >= self._ack_every:
                    self._acked_count = self.received_count
                    await call.write(chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=self._ackable())))
                while self._outbox and len(self._frames) < _FRAMES_WAITING:
                    await call.write(self._next_frame())
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # The stream has ended; who reads it learns why.

    def _next_frame(self) -> chat_pb2.ChatRequest:
        """Takes what waits in the outbox, as much as fits."""
        correlation_id = next(self._ids)
        frame: dict[int, _Outstanding] = {}
        size_bytes = 0
        while self._outbox and len(frame) < _REQUESTS_A_FRAME and size_bytes < _BYTES_A_FRAME:
            waiting = self._outbox.popleft()
            size_bytes += waiting.request.ByteSize()
            frame[len(frame)] = waiting
        self._frames[correlation_id] = frame
        requests = [waiting.request for waiting in frame.values()]
        return chat_pb2.ChatRequest(correlation_id=correlation_id, send=chat_pb2.SendFrame(requests=requests))

    def _take(self, frame: chat_pb2.ChatResponse) -> None:
        self.received_count += len(frame.messages)
        for message in frame.messages:
            tally = self.tallies.get(message.conversation_id)
            if tally is None:
                tally = self.tallies[message.conversation_id] = Tally()
            if tally.add(message.seq) and self._on_message is not None:
                self._on_message(message)
        if self._ack_every and frame.messages:
            self._wake.set()
        for result in frame.results:
            self._take_result(result)
        self.error_messages += [error.error.message for error in frame.errors]

    def _take_result(self, result: message_pb2.SendResult) -> None:
        waiting = self._frames.get(result.correlation_id, {}).pop(result.index, None)
        if waiting is None:
            return
        if not self._frames[result.correlation_id]:
            del self._frames[result.correlation_id]
            self._wake.set()
        if waiting.answer.done():
            return
        if result.HasField("accepted"):
            waiting.answer.set_result(result.accepted)
        else:
            waiting.answer.set_exception(Refused(result.error.code, result.error.message))

    def _fail_outstanding(self) -> None:
        self._begin()
        for waiting in self._outbox:
            if not waiting.answer.done():
                waiting.answer.set_exception(ConnectionError("the stream ended before the answer"))
                waiting.answer.exception()  # Whoever waits is told; nobody may wait any more, and that is no fault.
        self._outbox.clear()
