"""A connection to the server."""

import contextlib
from collections.abc import AsyncIterator
from typing import TypeAlias

from grpc import aio
from parley.v1 import chat_service_pb2_grpc

STREAMS_A_CONNECTION = 80
"""A server allows 100 on one; the rest is for unary calls."""

Stub: TypeAlias = "chat_service_pb2_grpc.ChatServiceAsyncStub"  # it is in the stubs' types only


@contextlib.asynccontextmanager
async def open_stub(target: str) -> AsyncIterator[Stub]:
    """Yields a stub on a connection of its own to host:port; closes the connection in the end."""
    # Without a pool of its own all channels to one address share one connection; a proxy's loopback is another one.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with aio.insecure_channel(target, options=options) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)
