"""A server of a newer contract, for clients that know only today's: fields, payloads and entry kinds that they skip.

It has no storage and no accounts; each answer is today's message with fields appended that today's contract lacks, and
it joins frames by joining their bytes, as the contract allows.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio
from parley.v1 import chat_pb2, message_pb2, server_info_pb2

JOINED_COUNT = 1000
# Field 1000, length-delimited, "newer": what no message of today has.
UNKNOWN_FIELD = b"\xc2\x3e\x05newer"
_CONVERSATION = "newer"


def _entry(seq: int) -> message_pb2.Message:
    return message_pb2.Message(
        conversation_id=_CONVERSATION, seq=seq, sender="newer", text=f"text {seq}", message=message_pb2.PlainMessage()
    )


def _unknown_entry(seq: int) -> bytes:
    """A frame whose entry is of a kind that today's oneof lacks, and has a field that today's Message lacks."""
    entry = message_pb2.Message(conversation_id=_CONVERSATION, seq=seq, sender="newer")
    content = entry.SerializeToString() + UNKNOWN_FIELD
    assert len(content) < 128, "the length is one byte"
    return b"\x1a" + bytes([len(content)]) + content  # field 3 of ChatResponse, messages


async def _info(_request: bytes, _context: Any) -> bytes:
    info = server_info_pb2.GetServerInfoResponse(name="parley", version="99.0.0", api_version="parley.v1", epoch=7)
    return info.SerializeToString() + UNKNOWN_FIELD


async def _chat(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    """Welcomes, then one frame with all kinds of what is not known, then 1,000 frames joined into one.

    It knows the payload that today's contract lacks, and accepts it: so a client that was to write it has done so.
    """
    hello = chat_pb2.ChatRequest.FromString(await anext(requests))
    welcome = chat_pb2.Welcome(correlation_id=hello.correlation_id, username="newer", device_id="newer", epoch=7)
    yield chat_pb2.ChatResponse(welcomes=[welcome]).SerializeToString() + UNKNOWN_FIELD
    yield chat_pb2.ChatResponse(messages=[_entry(1)]).SerializeToString() + UNKNOWN_FIELD + _unknown_entry(2)
    frames = [chat_pb2.ChatResponse(messages=[_entry(seq)]) for seq in range(3, 3 + JOINED_COUNT)]
    yield b"".join(frame.SerializeToString() for frame in frames)
    async for request in requests:  # until the client is done
        if UNKNOWN_FIELD in request:
            result = message_pb2.SendResult(correlation_id=chat_pb2.ChatRequest.FromString(request).correlation_id)
            result.accepted.SetInParent()
            yield chat_pb2.ChatResponse(results=[result]).SerializeToString()


@contextlib.asynccontextmanager
async def newer_server() -> AsyncIterator[str]:
    """Serves; gives host:port."""
    server = aio.server()
    handlers = {
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(_info),
        "Chat": grpc.stream_stream_rpc_method_handler(_chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("parley.v1.ChatService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=1)
