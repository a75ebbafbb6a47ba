"""The seam between methods and what carries their calls: all that is behind it serves a front that is not gRPC."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2
from parley.v1 import account_pb2, chat_pb2, message_pb2, server_info_pb2

from service.rpc.pipeline import Serve
from tests.support.databases import Backends
from tests.support.people import PASSWORD, fresh_name
from tests.support.queue_transport import Aborted, HalfClose, QueueTransport, serving_by_queues


@pytest.fixture(scope="module")
async def serve(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, Serve]]:
    directory: Path = tmp_path_factory.mktemp("queues")
    async with serving_by_queues(backends, directory) as methods:
        yield methods


async def registered_token(serve: Mapping[str, Serve], name: str) -> str:
    request = account_pb2.RegisterRequest(username=name, password=PASSWORD)
    answer = await serve["Register"](request.SerializeToString(), QueueTransport())
    return account_pb2.RegisterResponse.FromString(answer).access_token


async def read_until(transport: QueueTransport, is_enough: Any) -> chat_pb2.ChatResponse:
    """Reads frames into one until it has what is wanted."""
    got = chat_pb2.ChatResponse()
    while not is_enough(got):
        got.MergeFromString(await asyncio.wait_for(transport.frames.get(), 20))
    return got


async def refusal_of(serving: Any, transport: QueueTransport) -> tuple[int, str]:
    """Awaits a call that is refused; gives (status code, reason)."""
    with pytest.raises(Aborted):
        await serving
    assert transport.status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in transport.status.details)
    return transport.status.code, info.reason


async def test_unary_call_is_named_authenticated_decoded_and_answered(serve: Mapping[str, Serve]) -> None:
    name = fresh_name()
    transport = QueueTransport(await registered_token(serve, name))
    request = message_pb2.SendRequest(conversation_id=f"{name}:{name}", text="to myself")
    answer = await serve["Send"](request.SerializeToString(), transport)
    assert message_pb2.SendResponse.FromString(answer).message.text == "to myself"
    assert len(transport.call_id) == 12
    info = await serve["GetServerInfo"](b"", QueueTransport(seconds=None))
    assert server_info_pb2.GetServerInfoResponse.FromString(info).name == "parley"


async def test_unary_call_is_refused_by_the_step_that_finds_what_is_wrong(serve: Mapping[str, Serve]) -> None:
    token = await registered_token(serve, fresh_name())
    for data, transport, expected in (
        (b"\xff", QueueTransport(), (16, "TOKEN_MISSING")),  # whoever it is comes before what it says
        (b"\xff", QueueTransport(token), (3, "INVALID_REQUEST")),
        (b"", QueueTransport(token), (3, "INVALID_REQUEST")),
    ):
        assert await refusal_of(serve["Send"](data, transport), transport) == expected
        assert transport.call_id, "who is refused gets the id, too"


async def test_stream_reads_writes_and_ends_by_its_half_close(serve: Mapping[str, Serve]) -> None:
    name = fresh_name()
    transport = QueueTransport(await registered_token(serve, name))
    stream = asyncio.create_task(serve["Chat"](None, transport))
    request = message_pb2.SendRequest(conversation_id=f"{name}:{name}", text="note")
    for frame in (
        chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello()),
        chat_pb2.ChatRequest(correlation_id=2, send=chat_pb2.SendFrame(requests=[request])),
        chat_pb2.ChatRequest(correlation_id=3, hello=chat_pb2.Hello()),
    ):
        transport.sent.put_nowait(frame.SerializeToString())
    transport.sent.put_nowait(b"\xff")
    got = await read_until(transport, lambda got: got.messages and got.results and len(got.errors) == 2)
    assert [welcome.username for welcome in got.welcomes] == [name]
    assert [message.text for message in got.messages] == ["note"]
    assert [error.correlation_id for error in got.errors] == [3, 0], "a refused frame is no end"
    transport.sent.put_nowait(HalfClose())
    await asyncio.wait_for(stream, 20)
    assert transport.status is None


async def test_stream_and_subscription_are_refused_as_calls_are(serve: Mapping[str, Serve]) -> None:
    nobody = QueueTransport()
    assert await refusal_of(serve["Chat"](None, nobody), nobody) == (16, "TOKEN_MISSING")
    someone = QueueTransport(await registered_token(serve, fresh_name()))
    assert await refusal_of(serve["Subscribe"](b"\xff", someone), someone) == (3, "INVALID_REQUEST")
