"""Clients that misbehave: each gets a clear end, and the server goes on for the others."""

import asyncio
import contextlib
from collections import Counter

import grpc
import pytest
from parley.v1 import chat_pb2, message_pb2

from tests.support.people import Person, Stream, reason_of, registered, status_of
from tests.support.servers import RunningServer

LOCAL = [("grpc.use_local_subchannel_pool", 1)]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA = 4, 1, 0


def frame(kind: int, flags: int, stream_id: int, payload: bytes, *, claims: int | None = None) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1); may claim another length than it has."""
    length = len(payload) if claims is None else claims
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def headers(**fields: str) -> bytes:
    """A header block of literals without Huffman coding or indexing (RFC 7541, section 6.2.2)."""

    def text(value: bytes) -> bytes:
        if len(value) < 127:
            return bytes([len(value)]) + value
        rest, encoded = len(value) - 127, bytearray([127])
        while rest > 127:
            encoded.append(rest & 127 | 128)
            rest >>= 7
        return bytes(encoded) + bytes([rest]) + value

    return b"".join(b"\0" + text(name.encode()) + text(value.encode()) for name, value in fields.items())


def opening(alice: Person) -> bytes:
    """All that opens a Chat stream, up to its headers."""
    block = headers(
        **{
            ":method": "POST",
            ":scheme": "http",
            ":path": "/parley.v1.ChatService/Chat",
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
            "authorization": f"Bearer {alice.token}",
        }
    )
    return PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 1, block)


async def serves(alice: Person) -> bool:
    """Whether the server answers this user, by a call and by a stream."""
    own = f"{alice.name}:{alice.name}"
    sent = await alice.send(own, "are you there?")
    async with alice.chat(device_id="probe", start=chat_pb2.START_LATEST) as stream:
        return await stream.say(own, "and you?") == sent.message.seq + 1


async def test_thousand_streams_of_one_user_are_capped_and_others_are_served(server: RunningServer):
    async with (
        registered(server.target) as alice,
        registered(server.target) as bob,
        contextlib.AsyncExitStack() as stack,
    ):
        # The transport takes 100 streams a connection; a hostile client opens more connections.
        stubs = []
        for _ in range(12):
            options = [*LOCAL, ("grpc.max_reconnect_backoff_ms", 1000)]
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.target, options=options))
            stubs.append(channel.stream_stream("/parley.v1.ChatService/Chat"))
        calls = [stubs[number % 12](metadata=alice.metadata) for number in range(1000)]
        ends: Counter[tuple[grpc.StatusCode, str]] = Counter()

        async def watch(call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                ends[(error.code(), reason_of(status_of(error)))] += 1

        watching = [asyncio.create_task(watch(call)) for call in calls]
        refused = (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        # 250 a worker may stay, on two workers.
        while ends[refused] < 500:
            await asyncio.wait(watching, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            watching = [task for task in watching if not task.done()]
        assert set(ends) == {refused}
        assert await serves(bob)
        for call in calls:
            call.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

        async def is_free() -> bool:
            stream = Stream(alice.stub.Chat(metadata=alice.metadata))
            await stream.write(hello=chat_pb2.Hello())
            await stream.until(lambda: stream.welcomes or stream.has_ended, "an answer")
            await stream.close()
            return bool(stream.welcomes)

        for _ in range(50):
            if await is_free():
                break
        else:
            raise AssertionError("the places of streams that are gone stay taken")


@pytest.mark.parametrize(
    "bytes_",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
        PREFACE[:10],
        PREFACE + b"\xff" * 64,
        PREFACE + frame(SETTINGS, 0, 0, b"abc"),
        PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 1, b"\xff" * 40),
    ],
    ids=["nothing", "http/1", "tls", "half a preface", "garbage", "bad settings", "bad headers"],
)
async def test_bytes_that_are_no_grpc_hurt_nobody(server: RunningServer, bytes_: bytes):
    host, _, port = server.target.rpartition(":")
    async with registered(server.target) as alice:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(bytes_)
        await writer.drain()
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                await reader.read()  # the server closes
        writer.close()
        assert await serves(alice)


@pytest.mark.parametrize("is_hello_sent", [False, True])
async def test_client_that_vanishes_in_mid_frame_hurts_nobody(server: RunningServer, is_hello_sent: bool):
    host, _, port = server.target.rpartition(":")
    hello = chat_pb2.ChatRequest(hello=chat_pb2.Hello(device_id="gone")).SerializeToString()
    whole = b"\0" + len(hello).to_bytes(4, "big") + hello
    async with registered(server.target) as alice:
        for _ in range(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(opening(alice))
            if is_hello_sent:
                writer.write(frame(DATA, 0, 1, whole))
                async with asyncio.timeout(10):
                    while b"gone" not in await reader.read(4096):
                        pass
            # Half a gRPC message, in half an HTTP/2 frame.
            writer.write(frame(DATA, 0, 1, b"\0" + (100).to_bytes(4, "big") + b"\x0a\x05", claims=200))
            await writer.drain()
            writer.transport.abort()
        assert await serves(alice)


async def test_client_that_never_reads_holds_up_nobody(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        lazy = bob.stub.Chat(metadata=bob.metadata)
        await lazy.write(chat_pb2.ChatRequest(hello=chat_pb2.Hello(device_id="lazy")))
        async with alice.chat() as stream, bob.chat(device_id="eager") as eager:
            for _ in range(20):
                requests = [message_pb2.SendRequest(conversation_id=group, text="x" * 10_000) for _ in range(20)]
                await stream.send(*requests)
            await eager.until(lambda: len(eager.seqs(group)) == 400, "all of it")
            assert eager.seqs(group) == list(range(1, 401))
        lazy.cancel()
        assert await serves(bob)


async def test_client_that_asks_without_reading_is_not_read_any_more(server: RunningServer):
    """What it is owed is bounded: the server stops reading it, so that its writes come to a halt."""
    async with registered(server.target) as alice:
        frame_ = chat_pb2.ChatRequest(
            correlation_id=1,
            send=chat_pb2.SendFrame(requests=[message_pb2.SendRequest(conversation_id="absent", text="x" * 400)] * 500),
        )
        call = alice.stub.Chat(metadata=alice.metadata)
        await call.write(chat_pb2.ChatRequest(hello=chat_pb2.Hello(device_id="rude")))
        written = 0
        with contextlib.suppress(TimeoutError):
            while written < 400:
                async with asyncio.timeout(1):
                    await call.write(frame_)
                written += 1
        assert written < 400
        call.cancel()
        assert await serves(alice)


async def test_metadata_above_the_limit_is_refused(server: RunningServer):
    async with registered(server.target) as alice:
        for size in (20_000, 60_000):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await alice.stub.Chat(metadata=(*alice.metadata, ("x-much", "a" * size))).read()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await serves(alice)


async def test_compressed_bomb_is_refused_before_it_is_unpacked(server: RunningServer):
    async with registered(server.target) as alice:
        bomb = message_pb2.SendRequest(conversation_id="absent", text="x" * 32 * 1024 * 1024)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.stub.Send(bomb, metadata=alice.metadata, compression=grpc.Compression.Gzip, timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await serves(alice)
