"""Windows over the wire: no more comes than the client lets, and all comes in the end."""

from collections.abc import AsyncIterator

import pytest
from parley.v1 import chat_pb2, message_pb2

from tests.support.people import Person, Stream, refusal, registered
from tests.support.servers import RunningServer

COUNT = 60


@pytest.fixture
async def alice(server: RunningServer) -> AsyncIterator[Person]:
    async with registered(server.target) as person:
        yield person


@pytest.fixture
async def own(alice: Person) -> str:
    """alice's notes to herself, COUNT of them."""
    name = f"{alice.name}:{alice.name}"
    requests = [message_pb2.SendRequest(conversation_id=name, text=f"note {number}") for number in range(COUNT)]
    await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
    return name


async def quiet(stream: Stream) -> None:
    """Waits until the server has done what was asked before: it answers in order."""
    assert await stream.refused(await stream.write()) == "UNKNOWN_PAYLOAD"


async def ack(stream: Stream, conversation_id: str, seq: int) -> None:
    position = chat_pb2.Position(conversation_id=conversation_id, seq=seq)
    await stream.write(ack=chat_pb2.AckFrame(positions=[position]))


async def test_no_more_comes_than_the_window_and_each_ack_opens_it(alice, own):
    async with alice.chat(window_messages=7) as stream:
        for acked in range(0, COUNT, 5):
            await stream.until(lambda acked=acked: len(stream.messages) >= min(acked + 7, COUNT), f"after {acked}")
            await quiet(stream)
            assert stream.seqs(own) == list(range(1, min(acked + 7, COUNT) + 1))
            await ack(stream, own, acked + 5)
        await stream.until(lambda: any(mark.complete for mark in stream.caught_up), "complete")


async def test_flow_opens_it_and_acknowledges_nothing(alice, own):
    async with alice.chat(window_messages=10) as stream:
        await stream.until(lambda: len(stream.messages) == 10, "ten")
        await stream.write(flow=chat_pb2.FlowFrame(total_messages=4))
        await stream.write(flow=chat_pb2.FlowFrame(total_messages=4))
        await stream.write(flow=chat_pb2.FlowFrame(total_messages=1))
        await stream.until(lambda: len(stream.messages) >= 14, "four more")
        await quiet(stream)
        assert stream.seqs(own) == list(range(1, 15))
        await stream.write(flow=chat_pb2.FlowFrame(total_messages=14))
        await stream.until(lambda: len(stream.messages) >= 24, "ten more")
    async with alice.chat() as stream:
        await stream.until(lambda: len(stream.messages) == COUNT, "all again")


async def test_live_messages_wait_for_the_window_too_and_nothing_is_lost(alice, own):
    async with alice.chat(window_messages=3, start=chat_pb2.START_LATEST) as stream:
        for number in range(20):
            await alice.send(own, f"live {number}")
        await stream.until(lambda: len(stream.messages) >= 3, "the window")
        await quiet(stream)
        assert len(stream.messages) == 3
        while len(stream.messages) < 20:
            got = len(stream.messages)
            await ack(stream, own, stream.messages[-1].seq)
            await stream.until(lambda got=got: len(stream.messages) > got, f"more than {got}")
        assert stream.seqs(own) == list(range(COUNT + 1, COUNT + 21))


async def test_window_of_bytes_counts_what_a_client_can_measure(alice, own):
    async with alice.chat() as stream:
        await stream.until(lambda: len(stream.messages) == COUNT, "all")
        sizes = [message.ByteSize() for message in stream.messages]
    async with alice.chat(window_bytes=sum(sizes[:5])) as stream:
        await stream.until(lambda: len(stream.messages) >= 5, "five")
        await quiet(stream)
        assert len(stream.messages) == 5
    async with alice.chat(window_bytes=sum(sizes[:5]) - 1) as stream:
        await stream.until(lambda: len(stream.messages) >= 4, "four")
        await quiet(stream)
        assert len(stream.messages) == 4
    async with alice.chat(window_bytes=1) as stream:
        await stream.until(lambda: stream.messages, "one, however large")
        await quiet(stream)
        assert len(stream.messages) == 1
        await ack(stream, own, 1)
        await stream.until(lambda: len(stream.messages) >= 2, "the next one")


async def test_half_close_with_a_full_window_ends_the_stream(alice, own):
    async with alice.chat(window_messages=2) as stream:
        await stream.until(lambda: len(stream.messages) == 2, "two")
        await stream.call.done_writing()
        assert (await stream.end()).name == "OK"
        assert len(stream.messages) == 2


@pytest.mark.parametrize("fields", [{"window_messages": -1}, {"window_bytes": -1}])
async def test_negative_windows_are_refused(alice, fields):
    async with alice.chat(hello=False) as stream:
        assert await stream.refused(await stream.write(hello=chat_pb2.Hello(**fields))) == "INVALID_REQUEST"


async def test_flow_that_claims_what_never_came_is_refused(alice, own):
    async with alice.chat(window_messages=2) as stream:
        await stream.until(lambda: len(stream.messages) == 2, "two")
        for total in (-1, 3):
            number = await stream.write(flow=chat_pb2.FlowFrame(total_messages=total))
            assert await stream.refused(number) == "INVALID_REQUEST"
        await stream.write(flow=chat_pb2.FlowFrame(total_messages=2))
        await stream.until(lambda: len(stream.messages) == 4, "the stream goes on")


async def test_subscribe_has_no_window(alice):
    request = chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(window_messages=5))
    async with refusal("INVALID_REQUEST"):
        await alice.stub.Subscribe(request, metadata=alice.metadata).read()
