"""Ends of streams that a client does not see to, on a transport that the test holds up; without gRPC and its clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from parley.v1 import chat_pb2

from service.consumers.service import ManualDelivery
from service.delivery.streams import Streams
from service.domain import errors
from service.domain.call import Call, Principal
from service.rpc.chat.stream import ChatHandlers, FrameCounts
from service.rpc.telemetry import ErrorCounts
from storage.postgres.connections.database import Database
from storage.postgres.devices.deliveries import Deliveries
from storage.records import Revocation
from tests.rpc.test_chat_frames import parts_of
from tests.storage.test_deliveries import setup
from tests.support.queue_transport import HalfClose, QueueTransport
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker

BOB = Call("call", "", None, Principal("bob", "login", "desk", 0, 2**31))
MANUAL = chat_pb2.Hello(ack_mode=chat_pb2.ACK_MODE_MANUAL, device_id="desk")


class DeafClient(QueueTransport):
    """A client that reads nothing, so that the first write does not end."""

    def __init__(self) -> None:
        super().__init__()
        self.write_count = 0

    async def write(self, frame: bytes) -> None:
        """Waits for ever."""
        self.write_count += 1
        await asyncio.Event().wait()


@dataclass
class Pause:
    """A pause that begins when it is asked for, and lasts until the test ends it."""

    begun: asyncio.Event
    may_end: asyncio.Event

    async def __call__(self, _: float) -> None:
        self.begun.set()
        await self.may_end.wait()


def say(client: QueueTransport, **payload: object) -> None:
    client.sent.put_nowait(chat_pb2.ChatRequest(correlation_id=1, **payload).SerializeToString())


@asynccontextmanager
async def chat_of(
    worker: Worker, database: Database, streams: Streams, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> AsyncIterator[ChatHandlers]:
    """The handlers of one worker whose failed deliveries come again at once."""
    manual = ManualDelivery(
        Deliveries(database, retry_seconds=[0.0] * 9),
        worker.subscriptions,
        announce=lambda *_: None,
        on_acked=lambda *_: None,
    )
    parts = replace(parts_of(worker), manual=manual, ack_deadline_seconds=60.0)
    yield ChatHandlers(
        parts,
        worker.replayer,
        streams,
        counts=FrameCounts(),
        errors=ErrorCounts(),
        pause=pause,
    )
    await manual.close()


def make_streams(monotonic: Callable[[], float] = lambda: 0.0) -> Streams:
    return Streams(
        max_streams=9, max_streams_per_user=9, is_revoked=lambda _: True, clock=lambda: 0.0, monotonic=monotonic
    )


async def attempts_of(client: QueueTransport, count: int) -> list[int]:
    """The attempts of the first messages that come."""
    got = chat_pb2.ChatResponse()
    while len(got.messages) < count:
        got.MergeFromString(await asyncio.wait_for(client.frames.get(), 20))
    return [message.delivery_attempt for message in got.messages]


async def test_end_of_the_login_ends_a_stream_whose_client_does_not_read(database: Database, redis_url: str) -> None:
    """Else who took a token could keep its stream open by not reading."""
    await setup(database)
    now = 100.0
    streams = make_streams(lambda: now)
    async with running_worker(database, redis_url) as worker, chat_of(worker, database, streams) as handlers:
        client = DeafClient()
        serving = asyncio.create_task(handlers.chat(None, client, BOB))
        say(client, hello=chat_pb2.Hello())
        await wait_for(lambda: client.write_count, what="the write of the welcome")
        assert worker.hub.users["bob"]
        streams.end_revoked(Revocation(1, "bob", "login", datetime.now(UTC), datetime.now(UTC)))
        for _ in range(2):  # at the first look the time begins that the end may take
            streams.look()
            now += 2.1
        with pytest.raises(errors.TokenInvalid):  # which the client is told, should it read on
            await asyncio.wait_for(serving, 20)
        assert len(streams) == 0
        assert "bob" not in worker.hub.users
        assert client.write_count == 1


async def test_stream_that_breaks_off_just_after_it_looked_half_closed_counts_an_attempt(
    database: Database, redis_url: str
) -> None:
    """gRPC says both at once, in any order: a client that crashes on a message must not get it for ever."""
    await setup(database, count=1)
    pause = Pause(asyncio.Event(), asyncio.Event())
    async with (
        running_worker(database, redis_url) as worker,
        chat_of(worker, database, make_streams(), pause) as handlers,
    ):
        attempts = []
        for breaks_off in (True, False, False):
            client = QueueTransport()
            serving = asyncio.create_task(handlers.chat(None, client, BOB))
            say(client, hello=MANUAL)
            attempts += await attempts_of(client, 1)
            client.sent.put_nowait(HalfClose())
            beginning = asyncio.create_task(pause.begun.wait())
            await asyncio.wait([serving, beginning], return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert pause.begun.is_set(), "the stream is sure of a half-close too soon"
            if breaks_off:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                assert serving.cancelled()
            pause.begun.clear()
            pause.may_end.set()
            if not breaks_off:
                await asyncio.wait_for(serving, 20)
            pause.may_end.clear()
        # The first stream broke off, which counts; the second one half-closed, which does not.
        assert attempts == [1, 2, 2]


async def test_stream_with_cumulative_acks_ends_at_its_half_close_without_a_pause(
    database: Database, redis_url: str
) -> None:
    await setup(database)
    pause = Pause(asyncio.Event(), asyncio.Event())
    async with (
        running_worker(database, redis_url) as worker,
        chat_of(worker, database, make_streams(), pause) as handlers,
    ):
        client = QueueTransport()
        serving = asyncio.create_task(handlers.chat(None, client, BOB))
        say(client, hello=chat_pb2.Hello(device_id="phone-2"))
        client.sent.put_nowait(HalfClose())
        await asyncio.wait_for(serving, 20)
        assert not pause.begun.is_set()
