"""The bus lies, or is away: what the log has reaches every reader all the same, once and in order.

The publisher here is one that misbehaves, over a real bus; or there is none, as when a worker died between its commit
and its publication.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence

import pytest
from parley.v1 import chat_pb2, presence_pb2
from redis.asyncio import Redis

from service.convert import responses
from service.delivery.bus_messages import REVOCATIONS_CHANNEL, EntriesStored, conversation_channel, publish_nowait
from service.delivery.session import Session
from service.worker.jobs import Job, JobRunner
from storage.embedded import EmbeddedValkey
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.log.append import Appender
from storage.postgres.log.feed import Feed
from storage.postgres.log.messages import Messages
from storage.records import Span
from storage.redis.bus import Bus
from tests.support.databases import frozen, running_valkey
from tests.support.log import add_group, draft, seqs
from tests.support.logs import add_users
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the groups g and h."""
    await add_users(database, "ann", "bob")
    for group in ("g", "h"):
        await add_group(database, group, "ann", "bob")
    return database


@contextlib.asynccontextmanager
async def swept(database: Database, worker: Worker) -> AsyncIterator[None]:
    """Reads the commit feed once a second, as the server does."""
    feed = Feed(database)
    await feed.read()

    async def sweep() -> None:
        for conversation_id, last_seq in (await feed.read()).items():
            worker.hub.note_last_seq(conversation_id, last_seq)

    sweeping = asyncio.create_task(JobRunner(Job("commit feed", 1.0), sweep).run())
    try:
        yield
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


@contextlib.asynccontextmanager
async def storing(database: Database) -> AsyncIterator[Appender]:
    """An appender of a worker that never publishes."""
    appender = Appender(database)
    try:
        yield appender
    finally:
        appender.discard()


async def store(appender: Appender, conversation_id: str, count: int) -> list[int]:
    return seqs(await appender.store([draft(conversation_id, "ann", "text") for _ in range(count)]))


async def publish(database: Database, bus: Bus, conversation_id: str, wanted: Sequence[int]) -> None:
    """Publishes these seqs, each in a bus message of its own, in this order."""
    entries = await Messages(database).read_spans([Span(conversation_id, 0, 501)], limit_each=500)
    items = {entry.seq: responses.entry_item(entry) for entry in entries}
    for seq in wanted:
        publish_nowait(bus, EntriesStored(conversation_id, [items[seq]]))


async def test_last_event_of_a_quiet_conversation_comes_though_its_worker_died_before_it_published(db, redis_url):
    async with running_worker(db, redis_url) as worker, swept(db, worker), storing(db) as appender:
        reader = await worker.attach("bob")
        assert await store(appender, "g", 1) == [1]
        await reader.until("g", 1)
        assert await store(appender, "h", 3) == [1, 2, 3]
        await reader.until("h", 1, 2, 3)


@pytest.mark.parametrize(
    "published",
    [
        pytest.param([2, 3, 5], id="lost"),
        pytest.param([1, 1, 2, 2, 3, 3, 4, 5, 1, 5], id="doubled"),
        pytest.param([5, 4, 3, 2, 1], id="reordered"),
        pytest.param([3, 1, 1, 5, 3], id="all of it"),
        pytest.param([], id="none"),
    ],
)
async def test_whatever_a_publisher_makes_of_it_each_comes_once_in_order(db, redis_url, published):
    prefix = secrets.token_hex(4)
    async with (
        running_worker(db, redis_url, prefix=prefix) as liar,
        running_worker(db, redis_url, prefix=prefix) as worker,
        swept(db, worker),
        storing(db) as appender,
    ):
        reader = await worker.attach("bob")
        await store(appender, "g", 5)
        await publish(db, liar.bus, "g", published)
        await reader.until("g", 1, 2, 3, 4, 5)
        await publish(db, liar.bus, "g", [1, 2, 3, 4, 5])  # late: long known
        await store(appender, "g", 1)
        await publish(db, liar.bus, "g", [6])
        await reader.until("g", 1, 2, 3, 4, 5, 6)


async def test_nonsense_on_the_bus_costs_nothing(db, redis_url):
    prefix = secrets.token_hex(4)
    async with (
        running_worker(db, redis_url, prefix=prefix) as liar,
        running_worker(db, redis_url, prefix=prefix) as worker,
        swept(db, worker),
        storing(db) as appender,
    ):
        reader = await worker.attach("bob")
        for payload in (b"", b"\x01", b"\xff" * 40, secrets.token_bytes(200)):
            liar.bus.publish_nowait(conversation_channel("g"), payload)
            liar.bus.publish_nowait(REVOCATIONS_CHANNEL, payload)
        await store(appender, "g", 2)
        await publish(db, liar.bus, "g", [1, 2])
        await reader.until("g", 1, 2)


async def test_without_redis_everything_arrives_by_the_feed(db):
    """Readers that are there, and those who come while it is away; and live again when it is back."""
    with running_valkey() as valkey:
        prefix = secrets.token_hex(4)
        async with (
            running_worker(db, valkey.url, prefix=prefix) as liar,
            running_worker(db, valkey.url, prefix=prefix) as worker,
            swept(db, worker),
            storing(db) as appender,
        ):
            reader = await worker.attach("bob")
            async with killed(valkey):
                await store(appender, "g", 2)
                await reader.until("g", 1, 2)
                late = await worker.attach("bob", "tablet")
                await store(appender, "h", 1)
                await reader.until("h", 1)
                await late.until("h", 1)
            await wait_alive(worker, liar)
            await store(appender, "g", 1)
            await publish(db, liar.bus, "g", [3])
            await reader.until("g", 1, 2, 3)


async def test_hung_redis_holds_up_neither_readers_nor_those_who_come(db):
    with running_valkey() as valkey:
        async with running_worker(db, valkey.url) as worker, swept(db, worker), storing(db) as appender:
            reader = await worker.attach("bob")
            with frozen(valkey):
                await store(appender, "g", 1)
                await reader.until("g", 1)
                late = await worker.attach("bob", "tablet")
                await store(appender, "h", 1)
                await late.until("h", 1)
            await wait_alive(worker)


async def test_member_who_was_added_unheard_hears_at_the_next_comparison(db, redis_url):
    async with running_worker(db, redis_url, has_bus=False) as worker:
        reader = await worker.attach("bob")
        await Conversations(db).ensure_direct("ann:bob")
        await worker.subscriptions.refresh_changed()
        async with storing(db) as appender, swept(db, worker):
            await wait_for(lambda: "ann:bob" in reader.session.subscriptions.conversation_ids)
            await store(appender, "ann:bob", 1)
            await reader.until("ann:bob", 1)


@contextlib.asynccontextmanager
async def killed(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    """Ends it; at the end it comes back, empty."""
    assert valkey.process is not None
    valkey.process.kill()
    await asyncio.to_thread(valkey.process.wait)
    yield
    await asyncio.to_thread(valkey.start)


@contextlib.asynccontextmanager
async def hung(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    with frozen(valkey):
        yield


@pytest.mark.parametrize("hurt", [killed, hung])
async def test_presence_is_unknown_without_redis_and_made_anew_afterwards(db, hurt):
    with running_valkey() as valkey:
        async with running_worker(db, valkey.url) as worker:
            running = asyncio.create_task(worker.presence.run())
            ann, bob = Session(1, "ann", "d"), Session(2, "bob", "d")
            await worker.presence.arrive(bob)
            await worker.presence.watch(ann, ["bob"], 1)
            told: list[int] = []

            def hears(state: int) -> bool:
                while frame := ann.outbox.take_frame():
                    told.extend(event.presence.state for event in chat_pb2.ChatResponse.FromString(frame).presence)
                return bool(told) and told[-1] == state

            assert hears(presence_pb2.PRESENCE_STATE_ONLINE)
            async with hurt(valkey):
                await wait_for(lambda: hears(presence_pb2.PRESENCE_STATE_UNKNOWN), limit_seconds=15, what="unknown")
            await wait_for(lambda: hears(presence_pb2.PRESENCE_STATE_ONLINE), limit_seconds=15, what="online again")
            assert len(told) == 3
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_presence_and_messages_go_on_when_redis_has_no_memory_left(db):
    with running_valkey() as valkey:
        prefix = secrets.token_hex(4)
        async with (
            running_worker(db, valkey.url, prefix=prefix) as there,
            running_worker(db, valkey.url, prefix=prefix) as worker,
            storing(db) as appender,
            Redis.from_url(valkey.url) as operator,
        ):
            await operator.config_set("maxmemory", "1")
            reader = await worker.attach("ann")
            await worker.presence.watch(reader.session, ["bob"], 1)
            await there.presence.arrive(Session(2, "bob", "d"))
            await store(appender, "g", 1)
            await publish(db, there.bus, "g", [1])
            await reader.until("g", 1)
            states = [event.presence.state for event in reader.read().presence]
            assert states[-1] == presence_pb2.PRESENCE_STATE_ONLINE


async def wait_alive(*workers: Worker) -> None:
    await wait_for(lambda: all(worker.bus.is_alive for worker in workers), limit_seconds=15, what="the bus")
