"""What the ceiling of grpcio in pyproject.toml is for: releases that fail this are not taken (grpc/grpc#43462)."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc

from tests.support.waiting import wait_for


async def test_call_that_its_caller_drops_is_cancelled() -> None:
    """A client that forgets a stream, instead of cancelling it, doesn't hold it open at the server for ever."""
    ended = asyncio.Event()

    async def stream(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def read_one_and_forget(channel: grpc.aio.Channel) -> bytes:
        call: Any = channel.unary_stream("/probe.Probe/Stream")(b"")  # type: ignore[arg-type]
        return bytes(await call.read())

    def is_ended() -> bool:
        gc.collect()
        return ended.is_set()

    server = grpc.aio.server()
    methods: dict[str, Any] = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("probe.Probe", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await read_one_and_forget(channel) == b"first"
            await wait_for(is_ended, what="the end of a forgotten stream")
    finally:
        await server.stop(None)
