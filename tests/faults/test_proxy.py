"""The proxy does to connections what it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import wait_for


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy to a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)

    async with open_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as opened:
        yield opened
    server.close()


opened_writers: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def close_writers() -> AsyncIterator[None]:
    yield
    while opened_writers:
        writer = opened_writers.pop()
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    opened_writers.append(writer)
    return reader, writer


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    async with asyncio.timeout(5):
        return await reader.readexactly(len(data))


async def test_forwards_and_tells_connections_apart(proxy: Proxy) -> None:
    first, second = await connect(proxy), await connect(proxy)
    assert await ask(*first, b"one") == b"one"
    assert await ask(*second, b"two") == b"two"
    assert proxy.drop(lambda link: link.sent == b"one") == 1
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await ask(*first, b"gone")
    assert await ask(*second, b"still") == b"still"


async def test_cut_lets_nobody_through_until_it_is_restored(proxy: Proxy) -> None:
    reader, writer = await connect(proxy)
    assert await ask(reader, writer, b"hello") == b"hello"
    proxy.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await ask(reader, writer, b"gone")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await ask(*await connect(proxy), b"gone")
    proxy.restore()
    reader, writer = await connect(proxy)
    assert await ask(reader, writer, b"back") == b"back"


async def test_stall_holds_back_and_loses_nothing(proxy: Proxy) -> None:
    reader, writer = await connect(proxy)
    proxy.stall()
    answer = asyncio.create_task(ask(reader, writer, b"slow"))
    await wait_for(lambda: proxy.links, what="the connection")
    assert not answer.done()
    proxy.restore()
    assert await answer == b"slow"


@pytest.mark.parametrize("direction", ["questions", "answers"])
async def test_swallowed_bytes_are_gone_and_the_connection_is_not(proxy: Proxy, direction: str) -> None:
    reader, writer = await connect(proxy)
    assert await ask(reader, writer, b"1") == b"1"
    if direction == "questions":
        proxy.swallow(lambda _, data: data == b"lost")
    else:
        proxy.swallow_answers()
    writer.write(b"lost")
    await wait_for(lambda: proxy.swallowed_bytes == 4, what="the loss")
    proxy.restore()
    assert await ask(reader, writer, b"2") == b"2"


async def test_cut_after_breaks_off_within_what_was_sent(proxy: Proxy) -> None:
    reader, writer = await connect(proxy)
    proxy.cut_after(3)
    writer.write(b"abcdef")
    got = b""
    try:
        async with asyncio.timeout(5):
            got = await reader.read()
    except ConnectionError:
        pass
    assert got in (b"", b"abc")
    await wait_for(lambda: not proxy.links, what="the end of the connection")
