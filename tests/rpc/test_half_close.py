"""What a client gets that says hello, sends and half-closes at once: its answers, its own messages, then OK."""

import asyncio
import contextlib
from itertools import combinations_with_replacement

import grpc
from parley.v1 import chat_pb2, conversation_pb2, message_pb2

from tests.support.people import Person, Stream, connected, registered
from tests.support.servers import RunningServer

LATEST = chat_pb2.START_LATEST


def send(conversation_id: str, *texts: str) -> chat_pb2.SendFrame:
    return chat_pb2.SendFrame(
        requests=[message_pb2.SendRequest(conversation_id=conversation_id, text=text) for text in texts]
    )


async def say_and_leave(stream: Stream, conversation_id: str, *texts: str, **hello: object) -> Stream:
    """Writes everything at once, and reads to the end."""
    await stream.write(hello=chat_pb2.Hello(start=LATEST, **hello))
    await stream.write(send=send(conversation_id, *texts))
    await stream.call.done_writing()
    assert await stream.end() is grpc.StatusCode.OK
    assert [result.WhichOneof("outcome") for result in stream.results] == ["accepted"] * len(texts)
    return stream


def pairs(people: list[Person]) -> list[tuple[Person, str]]:
    """Direct conversations that are not there yet: who is to write first, and the id."""
    found = combinations_with_replacement(sorted(people, key=lambda person: person.name), 2)
    return [(first, f"{first.name}:{second.name}") for first, second in found]


async def test_first_message_of_a_conversation_comes_back_before_the_end(server: RunningServer):
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(registered(server.target)) for _ in range(8)]
        for person, conversation_id in pairs(people):
            async with connected(server.target) as stub:  # on either worker
                stream = Stream(stub.Chat(metadata=person.metadata))
                await say_and_leave(stream, conversation_id, "first", "second")
                assert stream.texts(conversation_id) == ["first", "second"]
                assert [result.accepted.seq for result in stream.results] == stream.seqs(conversation_id)


async def test_two_streams_that_write_first_at_once_both_get_theirs(server: RunningServer):
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(registered(server.target)) for _ in range(6)]
        stubs = [await stack.enter_async_context(connected(server.target)) for _ in range(4)]
        for person, conversation_id in pairs(people):
            streams = [Stream(stub.Chat(metadata=person.metadata)) for stub in stubs]
            await asyncio.gather(
                *(say_and_leave(stream, conversation_id, f"text {nth}") for nth, stream in enumerate(streams))
            )
            for nth, stream in enumerate(streams):
                assert stream.texts(conversation_id).count(f"text {nth}") == 1
                assert stream.seqs(conversation_id) == sorted(set(stream.seqs(conversation_id)))


async def test_group_that_was_just_made_elsewhere_is_no_exception(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob:
        async with connected(server.target) as first, connected(server.target) as second:
            for stub in (first, second) * 10:
                stream = Stream(stub.Chat(metadata=bob.metadata))
                await stream.hello(start=LATEST)
                group = await alice.make_group(bob)
                await stream.write(send=send(group, "hello"))
                await stream.call.done_writing()
                assert await stream.end() is grpc.StatusCode.OK
                assert stream.texts(group) == ["hello"]


async def test_without_echo_the_stream_ends_without_the_message(server: RunningServer):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "makes the conversation")  # a stream whose send does so may read it from the log
        for _ in range(5):
            stream = Stream(alice.stub.Chat(metadata=alice.metadata))
            await say_and_leave(stream, own, "hello", no_echo=True)
            assert stream.texts(own) == []


async def test_what_does_not_fit_into_the_window_is_not_waited_for(server: RunningServer):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        stream = Stream(alice.stub.Chat(metadata=alice.metadata))
        await say_and_leave(stream, own, "one", "two", "three", window_messages=2)
        assert stream.texts(own) == ["one", "two"]


async def test_repeat_of_what_another_stream_sent_is_answered_and_not_waited_for(server: RunningServer):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "hello", request_id="once")
        stream = Stream(alice.stub.Chat(metadata=alice.metadata))
        await stream.write(hello=chat_pb2.Hello(start=LATEST))
        again = message_pb2.SendRequest(conversation_id=own, text="hello", request_id="once")
        await stream.write(send=chat_pb2.SendFrame(requests=[again]))
        await stream.call.done_writing()
        assert await stream.end() is grpc.StatusCode.OK
        assert [result.accepted.deduplicated for result in stream.results] == [True]
        assert stream.seqs(own) == []


async def test_what_was_sent_last_comes_back_also_when_the_group_is_left_right_after(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob:
        for _ in range(5):
            group = await alice.make_group(bob)
            stream = Stream(bob.stub.Chat(metadata=bob.metadata))
            await stream.hello(start=LATEST)
            assert await stream.say(group, "farewell") == 1
            leave = conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
            await bob.call("RemoveMembers", leave)
            await stream.call.done_writing()
            assert await stream.end() is grpc.StatusCode.OK
            assert stream.texts(group)[0] == "farewell"
