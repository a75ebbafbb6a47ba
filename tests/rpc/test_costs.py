"""What things cost, in statements, encodings and writes, which are the same on any machine; on a real server.

Statements are read off the wire between the server and PostgreSQL; frames are what a client gets, one for each write;
encodings and batches are the server's own metrics.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from parley.v1 import chat_pb2, message_pb2

from tests.measure.setting import add_conversations, add_messages
from tests.support.databases import Backends, open_database
from tests.support.people import Person, Stream, registered
from tests.support.scrapes import Metrics
from tests.support.servers import RunningServer
from tests.support.statements import Statements, watched_server
from tests.support.waiting import wait_for

# As `Statements.counted` shows it.
STORE = "SELECT ord, outcome, seq, create_time FROM append_entries(1:"


@dataclass(slots=True)
class Watched:
    """A server of which all is seen."""

    server: RunningServer
    statements: Statements
    postgres_url: str
    schema: str

    async def metrics(self) -> Metrics:
        """What has been counted by now; the worker publishes once a second."""
        begun = (await self._scrape()).value("event_loop_lag_seconds_count")

        async def is_published() -> bool:
            return (await self._scrape()).value("event_loop_lag_seconds_count") > begun

        await wait_for(is_published, what="the next numbers")
        return await self._scrape()  # the one before may have been under way while they were written

    async def waiting(self, count: int) -> None:
        """Waits until so many messages wait to be stored."""

        async def is_there() -> bool:
            return (await self._scrape()).value("lane_messages", worker="0") == count

        await wait_for(is_there, what=f"{count} messages that wait")

    async def _scrape(self) -> Metrics:
        return await asyncio.to_thread(Metrics, self.server)


@pytest.fixture(scope="module")
async def watched(backends: Backends) -> AsyncIterator[Watched]:
    """A server with one worker and one lane: what it sends, it passes on by itself, and no batch is beside another."""
    async with watched_server(backends) as (server, statements, schema):
        yield Watched(server, statements, backends.postgres.url, schema)


@dataclass(slots=True)
class Frames:
    """A stream that is read frame by frame."""

    call: Any
    frames: list[chat_pb2.ChatResponse] = field(default_factory=list)

    async def read_to(self, seq: int) -> None:
        """Reads until this seq has come."""
        while not any(message.seq >= seq for frame in self.frames for message in frame.messages):
            frame = await asyncio.wait_for(self.call.read(), 20)
            assert frame, "the stream ended"
            self.frames.append(frame)

    @property
    def with_messages(self) -> list[chat_pb2.ChatResponse]:
        return [frame for frame in self.frames if frame.messages]


@asynccontextmanager
async def frames_of(person: Person, device_id: str = "frames") -> AsyncIterator[Frames]:
    """A stream that has said hello and is caught up."""
    call = person.stub.Chat(metadata=person.metadata)
    await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello(device_id=device_id)))
    stream = Frames(call)
    try:
        while not any(mark.complete for frame in stream.frames for mark in frame.caught_up):
            stream.frames.append(await asyncio.wait_for(call.read(), 20))
        yield stream
    finally:
        call.cancel()


async def write_alone(stream: Stream, conversation_id: str, count: int) -> None:
    """Writes so many messages, each in a frame of its own, and waits for no answer."""
    for nth in range(count):
        request = message_pb2.SendRequest(conversation_id=conversation_id, text=f"{nth}")
        await stream.write(send=chat_pb2.SendFrame(requests=[request]))


async def test_idle_server_asks_nothing_that_is_not_known(watched: Watched) -> None:
    begun = (await watched.metrics()).value("feed_sweeps_total")
    with watched.statements.counted() as counted:
        while (await watched.metrics()).value("feed_sweeps_total") < begun + 8:
            pass
    assert counted == {}


async def test_batch_is_one_statement_and_what_waits_is_one_batch_and_one_frame(watched: Watched) -> None:
    """While PostgreSQL does not answer, sends of two streams wait; then they are one batch, and one write a reader."""
    async with registered(watched.server.target) as alice, registered(watched.server.target) as bob:
        pair = ":".join(sorted((alice.name, bob.name)))
        await alice.send(pair, "first")
        async with alice.chat(no_echo=True) as one, bob.chat(no_echo=True) as two, frames_of(bob) as reader:
            await reader.read_to(1)
            read_count = len(reader.with_messages)
            before = await watched.metrics()
            with watched.statements.counted() as counted:
                watched.statements.proxy.stall()
                await write_alone(one, pair, 1)
                await watched.waiting(1)
                await write_alone(one, pair, 39)
                await write_alone(two, pair, 40)
                await watched.waiting(80)
                watched.statements.proxy.restore()
                watched.statements.listen()
                await reader.read_to(81)
                await one.until(lambda: len(one.results) == 40, "results")
                await two.until(lambda: len(two.results) == 40, "results")
            assert counted == {STORE: 2}, "the one in flight, and one for all that waited"
            assert [len(frame.messages) for frame in reader.with_messages[read_count:]] == [1, 79]
            after = await watched.metrics()
            assert after.value("batch_messages_count") - before.value("batch_messages_count") == 2
            assert after.value("batch_messages_sum") - before.value("batch_messages_sum") == 80


async def test_message_is_encoded_once_and_stored_by_one_statement_whatever_the_number_of_readers(
    watched: Watched,
) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(registered(watched.server.target))
        readers = [await stack.enter_async_context(registered(watched.server.target)) for _ in range(12)]
        group = await alice.make_group(*readers)
        streams: list[Stream] = []
        for count in (2, 12):
            while len(streams) < count:
                streams.append(await stack.enter_async_context(readers[len(streams)].chat()))
            before = (await watched.metrics()).value("messages_encoded_total")
            sent = len(streams[0].seqs(group))
            with watched.statements.counted() as counted:
                for nth in range(20):
                    await alice.send(group, f"{nth}")
                for stream in streams:
                    await stream.until(lambda s=stream, last=sent + 20: s.seqs(group)[-1:] == [last], "all")
            assert counted == {STORE: 20}, "a delivery asks the database nothing"
            assert (await watched.metrics()).value("messages_encoded_total") == before + 20


async def test_frame_of_many_messages_is_one_statement_and_one_write_to_each_reader(watched: Watched) -> None:
    async with registered(watched.server.target) as alice, registered(watched.server.target) as bob:
        pair = ":".join(sorted((alice.name, bob.name)))
        await alice.send(pair, "first")
        async with alice.chat(no_echo=True) as sender, frames_of(bob) as reader:
            await reader.read_to(1)
            read_count = len(reader.with_messages)
            with watched.statements.counted() as counted:
                await sender.send(*[message_pb2.SendRequest(conversation_id=pair, text="x")] * 200)
                await reader.read_to(201)
            assert counted == {STORE: 1}
            assert [len(frame.messages) for frame in reader.with_messages[read_count:]] == [200]


async def test_what_waits_of_many_conversations_is_joined_into_one_write(watched: Watched) -> None:
    async with registered(watched.server.target) as alice, registered(watched.server.target) as bob:
        groups = [await alice.make_group(bob) for _ in range(30)]
        async with alice.chat(no_echo=True) as sender, frames_of(bob) as reader:
            with watched.statements.counted() as counted:
                await sender.send(*[message_pb2.SendRequest(conversation_id=group, text="x") for group in groups])
                await reader.read_to(1)
            assert counted == {STORE: 1}
            assert [len(frame.messages) for frame in reader.with_messages] == [30]


async def test_acks_of_many_conversations_are_one_statement(watched: Watched) -> None:
    async with registered(watched.server.target) as alice:
        groups = [await alice.make_group() for _ in range(30)]
        for group in groups:
            await alice.send(group, "hello")
        async with alice.chat() as stream:
            await stream.until(lambda: all(stream.seqs(group) == [1] for group in groups), "all")
            with watched.statements.counted() as counted:
                positions = [chat_pb2.Position(conversation_id=group, seq=1) for group in groups]
                await stream.write(ack=chat_pb2.AckFrame(positions=positions))
                await wait_for(lambda: "cursors" in " ".join(watched.statements.texts[-1:]), what="the acks")
        (text,) = counted
        assert counted[text] == 1, counted


@pytest.mark.parametrize("behind", [0, 3], ids=["nothing new", "three new in each of ten"])
async def test_connecting_takes_as_many_statements_for_a_thousand_conversations_as_for_ten(
    watched: Watched, behind: int
) -> None:
    found = []
    for size in (10, 1000):
        async with (
            registered(watched.server.target) as one,
            open_database(watched.postgres_url, watched.schema) as database,
        ):
            names = [f"{one.name}-{nth}" for nth in range(size)]
            await add_conversations(database, names, [one.name])
            await add_messages(database, names[:10], "somebody", behind)
            counts = []
            for _ in ("a device that is new", "the same again"):
                with watched.statements.counted() as counted:
                    async with one.chat() as stream:
                        await stream.until(lambda s=stream: s.caught_up and s.caught_up[-1].complete, "all")
                        assert len(stream.messages) == 10 * behind
                        assert len({mark.conversation_id for mark in stream.caught_up}) == size
                counts.append(counted)
            found.append(counts)
    few, many = found
    assert many == few
    new, again = (counted.total() for counted in few)
    assert (new <= 12 + bool(behind), again <= 4) == (True, True), few
