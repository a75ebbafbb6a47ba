"""A connection through the proxy ends on both sides, whichever side ends it and however."""

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest

from tests.support.proxy import open_proxy
from tests.support.waiting import wait_for

# SO_LINGER with 0 s: close() sends a reset, as it does for a program that leaves bytes unread.
_RESET = struct.pack("ii", 1, 0)


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@pytest.mark.parametrize("end", [_close, _reset])
@pytest.mark.parametrize("is_client", [True, False], ids=["client", "upstream"])
async def test_the_end_of_one_side_reaches_the_other_side(
    is_client: bool, end: Callable[[asyncio.StreamWriter], None]
) -> None:
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    upstream = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    host, port = upstream.sockets[0].getsockname()
    async with upstream, open_proxy(f"{host}:{port}") as proxy:
        client = await asyncio.open_connection("127.0.0.1", proxy.port)
        there = await accepted.get()
        (_, ending), (remaining, remaining_writer) = (client, there) if is_client else (there, client)
        end(ending)
        try:
            async with asyncio.timeout(10):
                assert await remaining.read() == b""
            await wait_for(lambda: not proxy.links, what="the end of the link")
        finally:
            remaining_writer.close()
