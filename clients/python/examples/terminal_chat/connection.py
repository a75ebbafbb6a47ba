"""The Chat stream, kept open: what is sent here takes effect once, whatever happens to the connection.

Reads, writes and waits; the rules are in `session.py` and `endings.py`.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio
from parley.v1 import chat_pb2, message_pb2

from terminal_chat.endings import Pauses, Step, judge, wait_seconds_after
from terminal_chat.errors import LeaveChat, Refusal, to_refusal
from terminal_chat.login import Login
from terminal_chat.session import HEARTBEAT_SECONDS, Arrived, HelloRefused, Session, State

_SILENCE_SECONDS = 3.0 * HEARTBEAT_SECONDS


class Connection:
    """One stream at a time with the server."""

    def __init__(
        self, stub: Any, login: Login, on_arrival: Callable[[Arrived], None], on_change: Callable[[str], None]
    ) -> None:
        """Nothing happens before `run`.

        Args:
            stub: the service's, asynchronous.
            login: whose tokens are used.
            on_arrival: gets what each frame brought.
            on_change: gets "" when a stream is open and what is wrong when it ended.
        """
        self._stub = stub
        self._login = login
        self._on_arrival = on_arrival
        self._on_change = on_change
        self._session = Session(login.device_id)
        self._pauses = Pauses()
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._is_leaving = False
        self._was_open = False
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def waiting_count(self) -> int:
        """How many sends have no answer yet."""
        return len(self._session.outbox)

    def send(self, conversation_id: str, text: str) -> None:
        """Sends a message: now, or as soon as there is a stream."""
        self._session.send(
            message_pb2.SendRequest(conversation_id=conversation_id, text=text, request_id=uuid.uuid4().hex)
        )
        self._wake.set()

    def say(self, frame: chat_pb2.ChatRequest) -> None:
        """Writes a frame that is worth something on this stream alone; forgotten when there is none."""
        self._session.say(frame)
        self._wake.set()

    def note_dealt(self, message: message_pb2.Message) -> None:
        """An entry is on the screen."""
        self._session.note_dealt(message)
        self._wake.set()

    def note_read(self, conversation_id: str, seq: int) -> None:
        """The user has seen a conversation up to a seq."""
        self._session.note_read(conversation_id, seq)
        self._wake.set()

    async def leave(self) -> None:
        """Waits until each send has its answer, acknowledges what was shown, and ends the stream in good order."""
        while self.waiting_count:
            self._answered.clear()
            await self._answered.wait()
        self._is_leaving = True
        self._wake.set()
        await self._ended.wait()

    async def run(self) -> None:
        """Keeps a stream open, and the login fresh, until it is cancelled or `leave` is done.

        Raises:
            LeaveChat: the server will not have us.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                keeper = tasks.create_task(self._keep_login())
                await self._keep_stream()
                keeper.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _keep_stream(self) -> None:
        while True:
            end = await self._run_stream()
            if self._is_leaving:
                return
            step = judge(end)
            if step is Step.GIVE_UP:
                raise LeaveChat(end.message)
            self._on_change(end.message)
            come_back_time = self._session.come_back_time
            wait_seconds = wait_seconds_after(
                end,
                self._pauses,
                come_back_seconds=None if come_back_time is None else come_back_time - time.monotonic(),
                was_welcomed=self._was_open,
            )
            await asyncio.sleep(wait_seconds)
            if step is Step.REFRESH:
                # After the pause, in which a short token ends, also one that was renewed since the stream began.
                await self._login.refresh(self._login.access_token)

    async def _run_stream(self) -> Refusal:
        """Opens a stream and serves it; returns why it ended."""
        call = self._stub.Chat(metadata=self._login.metadata)
        self._was_open = False
        self._ended.clear()
        try:
            await call.write(self._session.open())
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(call))
                await self._read(call)
                writer.cancel()
        except aio.AioRpcError as error:
            return to_refusal(error)
        except BaseExceptionGroup as group:
            return _to_end(_first(group))
        finally:
            call.cancel()
            self._session.close()
            self._ended.set()
        return Refusal(grpc.StatusCode.OK, message="the server ended the connection")

    async def _read(self, call: Any) -> None:
        """Takes frames until the stream ends with OK.

        Raises:
            AioRpcError: it ended otherwise.
            TimeoutError: nothing came, not even a heartbeat.
            HelloRefused: the server will not open a session.
        """
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                frame = await call.read()
            if frame is aio.EOF:
                if (code := await call.code()) is grpc.StatusCode.OK:
                    return
                raise aio.AioRpcError(code, aio.Metadata(), await call.trailing_metadata(), await call.details())
            arrived = self._session.receive(frame, time.monotonic())
            for welcome in frame.welcomes:
                self._was_open = True
                self._pauses.reset()
                self._login.note_server_time(welcome.server_time.ToMicroseconds() / 1e6)
                self._on_change("")
            self._on_arrival(arrived)
            if not self.waiting_count:
                self._answered.set()
            self._wake.set()

    async def _write(self, call: Any) -> None:
        """Writes what the session has. Reads go on meanwhile: the server reads nothing while its answers wait."""
        try:
            while True:
                self._wake.clear()
                is_last = self._is_leaving or self._session.is_leaving
                for frame in self._session.take_frames(time.monotonic(), is_last=is_last):
                    await call.write(frame)
                if is_last:
                    await call.done_writing()
                    return
                due_time = self._session.due_time()
                try:
                    async with asyncio.timeout(None if due_time is None else max(0.0, due_time - time.monotonic())):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # The stream has ended; the reader learns why.

    async def _keep_login(self) -> None:
        while True:
            token = self._login.access_token
            await self._login.wait_until_stale()
            await self._login.refresh(token)
            if self._session.state is not State.AWAY:
                fresh = chat_pb2.Authenticate(access_token=self._login.access_token)
                self.say(chat_pb2.ChatRequest(authenticate=fresh))


def _to_end(error: BaseException) -> Refusal:
    """Says how a stream ended; raises what says nothing about that."""
    match error:
        case aio.AioRpcError():
            return to_refusal(error)
        case HelloRefused():
            return error.refusal
        case TimeoutError():
            return Refusal(grpc.StatusCode.UNAVAILABLE, message="the server is silent")
        case _:
            raise error


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
