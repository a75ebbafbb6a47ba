"""The Chat stream, kept open: what is sent here arrives once, whatever happens to the connection.

A broken stream is opened again with growing pauses. Sends that were not answered go out again with the same
request_id, so a repeat has no second effect; what was received is acknowledged, so the next stream begins after it.
"""

import asyncio
import itertools
import random
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import duration_pb2
from grpc import aio
from parley.v1 import chat_pb2, message_pb2

from terminal_chat.errors import LeaveChat, explain
from terminal_chat.login import Login

_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.5, 15.0
_HEARTBEAT_SECONDS = 10
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
_ACK_SECONDS = 1.0
_POSITIONS_A_FRAME = 1000


class Connection:
    """One session at a time with the server."""

    def __init__(
        self,
        stub: Any,
        login: Login,
        on_frame: Callable[[chat_pb2.ChatResponse], None],
        on_refusal: Callable[[message_pb2.SendRequest, str], None],
        on_change: Callable[[str], None],
    ) -> None:
        """Nothing happens before `run`.

        Args:
            stub: the service's, asynchronous.
            login: whose tokens are used.
            on_frame: gets each frame.
            on_refusal: gets each send that had no effect, and why.
            on_change: gets "" when a session is open and what is wrong when it broke.
        """
        self._stub = stub
        self._login = login
        self._on_frame = on_frame
        self._on_refusal = on_refusal
        self._on_change = on_change
        self._ids = itertools.count(1)
        self._waiting: dict[int, message_pb2.SendRequest] = {}
        self._outgoing: asyncio.Queue[chat_pb2.ChatRequest] = asyncio.Queue()
        self._unacked: dict[str, int] = {}
        self._is_open = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting_count(self) -> int:
        """How many sends have no answer yet."""
        return len(self._waiting)

    def send(self, conversation_id: str, text: str) -> None:
        """Sends a message: now, or as soon as there is a session."""
        request = message_pb2.SendRequest(conversation_id=conversation_id, text=text, request_id=uuid.uuid4().hex)
        correlation_id = next(self._ids)
        self._waiting[correlation_id] = request
        self._idle.clear()
        self.say(_send_frame(correlation_id, request))

    def say(self, frame: chat_pb2.ChatRequest) -> None:
        """Writes a frame when a session is open; else it is forgotten."""
        if self._is_open:
            self._outgoing.put_nowait(frame)

    async def wait_for_answers(self) -> None:
        """Returns when no send waits for its answer."""
        await self._idle.wait()

    async def run(self) -> None:
        """Keeps a session open until it is cancelled.

        Raises:
            LeaveChat: the server will not have us.
        """
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            trouble = "the server ended the connection"
            try:
                await self._run_once()
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    await self._login.refresh()
                elif error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED):
                    raise LeaveChat(explain(error)) from error
                trouble = explain(error)
            except TimeoutError:
                trouble = "the server is silent"
            if self._is_open:
                pause_seconds = _FIRST_PAUSE_SECONDS
            self._is_open = False
            self._on_change(trouble)
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_seconds = min(2 * pause_seconds, _LAST_PAUSE_SECONDS)

    async def _run_once(self) -> None:
        call = self._stub.Chat(metadata=self._login.metadata)
        while not self._outgoing.empty():
            self._outgoing.get_nowait()  # It was for the session before.
        try:
            hello = chat_pb2.Hello(
                device_id=self._login.device_id, heartbeat=duration_pb2.Duration(seconds=_HEARTBEAT_SECONDS)
            )
            await call.write(chat_pb2.ChatRequest(correlation_id=next(self._ids), hello=hello))
            async with asyncio.TaskGroup() as tasks:
                writers = [tasks.create_task(task) for task in (self._write(call), self._keep_login(), self._ack())]
                try:
                    await self._read(call)
                finally:
                    for writer in writers:
                        writer.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            call.cancel()

    async def _read(self, call: Any) -> None:
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                frame = await call.read()
            if frame is aio.EOF:
                if (code := await call.code()) is grpc.StatusCode.OK:
                    return
                raise aio.AioRpcError(code, aio.Metadata(), await call.trailing_metadata(), await call.details())
            if frame.welcomes:
                self._begin()
            self._take_results(frame)
            for message in frame.messages:
                self._unacked[message.conversation_id] = message.seq
            self._on_frame(frame)

    def _begin(self) -> None:
        """A session is open: what was not answered goes out again, before anything new."""
        self._is_open = True
        for correlation_id, request in self._waiting.items():
            self._outgoing.put_nowait(_send_frame(correlation_id, request))
        self._on_change("")

    async def _write(self, call: Any) -> None:
        try:
            while True:
                await call.write(await self._outgoing.get())
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # The stream has ended; the reader learns why.

    async def _keep_login(self) -> None:
        while True:
            await self._login.wait_until_stale()
            await self._login.refresh()
            self.say(chat_pb2.ChatRequest(authenticate=chat_pb2.Authenticate(access_token=self._login.access_token)))

    async def _ack(self) -> None:
        while True:
            await asyncio.sleep(_ACK_SECONDS)
            while self._unacked:
                keys = list(self._unacked)[:_POSITIONS_A_FRAME]
                positions = [chat_pb2.Position(conversation_id=key, seq=self._unacked.pop(key)) for key in keys]
                self.say(chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=positions)))

    def _take_results(self, frame: chat_pb2.ChatResponse) -> None:
        for result in frame.results:
            request = self._waiting.pop(result.correlation_id, None)
            if request is not None and result.HasField("error"):
                self._on_refusal(request, result.error.message)
        if not self._waiting:
            self._idle.set()


def _send_frame(correlation_id: int, request: message_pb2.SendRequest) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(correlation_id=correlation_id, send=chat_pb2.SendFrame(requests=[request]))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
