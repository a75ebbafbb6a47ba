"""Users on a real server, as a stranger's client makes them: on the generated stubs alone."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, conversation_pb2, message_pb2

from tests.support.waiting import wait_for

PASSWORD = "correct horse battery"
_LOCAL = [("grpc.use_local_subchannel_pool", 1)]


def fresh_name(prefix: str = "u") -> str:
    """A user name that nobody has."""
    return f"{prefix}-{secrets.token_hex(5)}"


@dataclass(slots=True)
class Person:
    """A user with a connection of its own."""

    channel: grpc.aio.Channel
    stub: "chat_service_pb2_grpc.ChatServiceAsyncStub"
    name: str
    token: str
    refresh_token: str
    device_id: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call needs."""
        return (("authorization", f"Bearer {self.token}"),)

    async def call(self, method: str, request: Any) -> Any:
        """Makes a unary call."""
        return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=20)

    async def send(self, conversation_id: str, text: str, **fields: Any) -> message_pb2.SendResponse:
        """Sends one message by the unary call."""
        request = message_pb2.SendRequest(conversation_id=conversation_id, text=text, **fields)
        response: message_pb2.SendResponse = await self.call("Send", request)
        return response

    async def pull(self, conversation_id: str, **fields: Any) -> message_pb2.PullResponse:
        """Reads a page."""
        request = message_pb2.PullRequest(conversation_id=conversation_id, **fields)
        response: message_pb2.PullResponse = await self.call("Pull", request)
        return response

    async def make_group(self, *members: "Person | str", title: str = "") -> str:
        """Makes a group with these and gives its id."""
        names = [member if isinstance(member, str) else member.name for member in members]
        request = conversation_pb2.CreateConversationRequest(title=title, members=names)
        return str((await self.call("CreateConversation", request)).conversation.conversation_id)

    @asynccontextmanager
    async def chat(self, *, hello: bool = True, token: str | None = None, **fields: Any) -> "AsyncIterator[Stream]":
        """Opens a stream; says hello with these fields and waits for the welcome, unless told not to."""
        metadata = self.metadata if token is None else (("authorization", f"Bearer {token}"),)
        stream = Stream(self.stub.Chat(metadata=metadata))
        try:
            if hello:
                await stream.hello(**fields)
            yield stream
        finally:
            await stream.close()


@dataclass(slots=True)
class Stream:
    """A Chat stream; what comes is gathered by field."""

    call: Any
    welcomes: list[chat_pb2.Welcome] = field(default_factory=list)
    results: list[message_pb2.SendResult] = field(default_factory=list)
    messages: list[message_pb2.Message] = field(default_factory=list)
    caught_up: list[chat_pb2.CaughtUp] = field(default_factory=list)
    presence: list[Any] = field(default_factory=list)
    typing: list[Any] = field(default_factory=list)
    errors: list[chat_pb2.StreamError] = field(default_factory=list)
    receipts: list[chat_pb2.Receipt] = field(default_factory=list)
    resets: list[chat_pb2.Reset] = field(default_factory=list)
    heartbeats: list[chat_pb2.Heartbeat] = field(default_factory=list)
    go_aways: list[chat_pb2.GoAway] = field(default_factory=list)
    ending: grpc.aio.AioRpcError | None = None
    has_ended: bool = False
    _ids: Any = field(default_factory=lambda: itertools.count(1))
    _reader: "asyncio.Task[None] | None" = None

    async def hello(self, **fields: Any) -> chat_pb2.Welcome:
        """Says hello and waits for the welcome."""
        number = await self.write(hello=chat_pb2.Hello(**fields))

        def refused() -> list[chat_pb2.StreamError]:
            return [error for error in self.errors if error.correlation_id == number]

        await self.until(lambda: self.welcomes or refused() or self.has_ended, "welcome")
        assert self.welcomes, (self.errors, self.ending)
        return self.welcomes[0]

    async def write(self, *, correlation_id: int | None = None, **payload: Any) -> int:
        """Writes a frame; gives its correlation id."""
        self.start()
        number = next(self._ids) if correlation_id is None else correlation_id
        await self.call.write(chat_pb2.ChatRequest(correlation_id=number, **payload))
        return number

    async def send(self, *requests: message_pb2.SendRequest) -> list[message_pb2.SendResult]:
        """Sends messages and waits for their results."""
        number = await self.write(send=chat_pb2.SendFrame(requests=requests))

        def mine() -> list[message_pb2.SendResult]:
            return [result for result in self.results if result.correlation_id == number]

        await self.until(lambda: len(mine()) == len(requests) or self.has_ended, "results")
        assert len(mine()) == len(requests), self.ending
        return mine()

    async def say(self, conversation_id: str, text: str) -> int:
        """Sends one message and gives its seq."""
        (result,) = await self.send(message_pb2.SendRequest(conversation_id=conversation_id, text=text))
        assert result.HasField("accepted"), result.error
        return result.accepted.seq

    async def refused(self, number: int) -> str:
        """Waits for the error that answers a frame; gives its reason."""
        await self.until(lambda: any(error.correlation_id == number for error in self.errors), "an error")
        (error,) = [error for error in self.errors if error.correlation_id == number]
        return reason_of(error.error)

    async def until(self, condition: Callable[[], Any], what: str, *, limit_seconds: float = 10.0) -> None:
        """Waits for something about what came."""
        self.start()
        await wait_for(condition, what=what, limit_seconds=limit_seconds)

    async def end(self, limit_seconds: float = 10.0) -> grpc.StatusCode:
        """Waits for the stream's end; gives its status code."""
        await self.until(lambda: self.has_ended, "the end", limit_seconds=limit_seconds)
        return grpc.StatusCode.OK if self.ending is None else self.ending.code()

    def texts(self, conversation_id: str) -> list[str]:
        """The texts that came of a conversation, in order."""
        return [message.text for message in self.messages if message.conversation_id == conversation_id]

    def seqs(self, conversation_id: str) -> list[int]:
        """The seqs that came of a conversation, in order."""
        return [message.seq for message in self.messages if message.conversation_id == conversation_id]

    def start(self) -> Self:
        """Starts to read."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        return self

    async def close(self) -> None:
        """Hangs up."""
        self.call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while (frame := await self.call.read()) is not grpc.aio.EOF:
                for descriptor, values in frame.ListFields():
                    getattr(self, descriptor.name).extend(values)
        except grpc.aio.AioRpcError as error:
            self.ending = error
        finally:
            self.has_ended = True


@asynccontextmanager
async def connected(target: str) -> "AsyncIterator[chat_service_pb2_grpc.ChatServiceAsyncStub]":
    """A connection without a login."""
    async with grpc.aio.insecure_channel(target, options=_LOCAL) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


@asynccontextmanager
async def registered(target: str, name: str | None = None, device_id: str = "phone") -> AsyncIterator[Person]:
    """A new user with a connection of its own."""
    async with grpc.aio.insecure_channel(target, options=_LOCAL) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        request = account_pb2.RegisterRequest(username=name or fresh_name(), password=PASSWORD, device_id=device_id)
        answer = await stub.Register(request, timeout=20)
        yield Person(channel, stub, answer.user.username, answer.access_token, answer.refresh_token, answer.device_id)


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status that a failed call carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"no details: {error!r}")


def reason_of(status: status_pb2.Status) -> str:
    """The ErrorInfo's reason."""
    return _info_of(status).reason


def _info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "parley.v1"
            return info
    raise AssertionError(f"no ErrorInfo: {status}")


@asynccontextmanager
async def refusal(reason: str, code: grpc.StatusCode | None = None, **metadata: str) -> AsyncIterator[None]:
    """Expects the call inside to be refused for this reason, with this among the ErrorInfo's metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert reason_of(status_of(caught.value)) == reason, caught.value.details()
    assert code is None or caught.value.code() is code
    told = _info_of(status_of(caught.value)).metadata
    assert metadata.items() <= dict(told).items()
