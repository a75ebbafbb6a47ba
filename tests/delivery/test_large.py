"""What must not grow: encodings with readers, reads of the log with writers, commands with conversations.

At sizes that a test affords; `make measure` has the large ones.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from parley.v1 import message_pb2
from redis.asyncio import Redis

from service.convert import fast_wire
from service.delivery import hub
from storage.postgres.connections.database import Database
from storage.postgres.log.append import Appender
from tests.support.desks import announce
from tests.support.log import add_group, draft
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker

SENDERS = [f"sender{nth}" for nth in range(64)]
READERS = [f"reader{nth}" for nth in range(40)]


@dataclass(slots=True)
class Storing:
    """A worker with an appender of its own."""

    worker: Worker
    appender: Appender

    async def store(self, senders: list[str]) -> None:
        """Stores a message of each in one batch and publishes it, as the writer does."""
        batch = [draft("g", sender) for sender in senders]
        answers = await self.appender.store(batch)
        messages = [message_pb2.Message(conversation_id="g", sender=one.sender, text=one.text) for one in batch]
        stored = [(one, message.SerializeToString()) for one, message in zip(batch, messages, strict=True)]
        announce(self.worker.fanout.publish_items, stored, answers)


@pytest.fixture
async def db(database: Database) -> Database:
    await add_users(database, *SENDERS, *READERS)
    await add_group(database, "g", *SENDERS, *READERS)
    return database


@pytest.fixture
async def two(db: Database, redis_url: str) -> AsyncIterator[tuple[Storing, Storing]]:
    """Two workers that hear each other."""
    async with (
        running_worker(db, redis_url, prefix="two") as here,
        running_worker(db, redis_url, prefix="two") as there,
    ):
        appenders = Appender(db), Appender(db)
        yield Storing(here, appenders[0]), Storing(there, appenders[1])
        for appender in appenders:
            appender.discard()


async def attach_all(*workers: Worker) -> list[Reader]:
    """All readers, in turn on the workers."""
    return [await workers[nth % len(workers)].attach(name) for nth, name in enumerate(READERS)]


async def test_message_is_encoded_once_for_all_sessions_of_all_workers(two, monkeypatch):
    monkeypatch.setattr(hub, "PARK_SECONDS", 60.0)  # nobody reads, and so encodes, what the bus is about to bring
    readers = await attach_all(two[0].worker, two[1].worker)
    before = fast_wire.encodings.count
    for turn in range(10):
        await two[turn % 2].store(SENDERS[:3])
    for reader in readers:
        await reader.until("g", *range(1, 31))
    assert fast_wire.encodings.count - before == 30


async def test_sessions_of_a_worker_share_the_bytes(two):
    here, there = two
    readers = [await worker.attach(name) for name in READERS for worker in (here.worker, there.worker)]
    await here.store(SENDERS[:1])
    await wait_for(
        lambda: all(any(b"sender0" in piece for piece in reader.session.outbox._pieces) for reader in readers)
    )
    pieces = [reader.session.outbox._pieces[-1] for reader in readers]
    assert len({id(piece) for piece in pieces}) == 2  # one for each worker
    assert len(set(pieces)) == 1


async def test_many_senders_on_two_workers_make_one_dense_log_and_the_bus_fills_every_gap(two, db, monkeypatch):
    """Each worker passes on its own batches before the other's came: the gaps are filled by the bus, none is read."""
    monkeypatch.setattr(hub, "PARK_SECONDS", 60.0)
    readers = await attach_all(two[0].worker, two[1].worker)

    async def talk(storing: Storing, senders: list[str]) -> None:
        for turn in range(25):
            await storing.store(senders[turn % 5 :: 5])

    await asyncio.gather(talk(two[0], SENDERS[::2]), talk(two[1], SENDERS[1::2]))
    total = await db.fetchval("SELECT last_seq FROM conversations")
    assert total == 2 * 25 * 32 // 5
    for reader in readers:
        await reader.until("g", *range(1, total + 1))
    assert [one.worker.hub.gap_read_count for one in two] == [0, 0]


async def test_hello_takes_as_many_commands_of_the_bus_for_hundreds_of_conversations_as_for_one(db, redis_url):
    await add_users(db, "busy", "idle")
    await add_group(db, "g-one", "idle", SENDERS[0])
    for nth in range(300):
        await add_group(db, f"g{nth}", "busy", SENDERS[nth % 64])
        await send(db, f"g{nth}", "busy")
    async with running_worker(db, redis_url) as worker, Redis.from_url(redis_url) as redis:

        async def subscribe_count(username: str) -> tuple[int, int]:
            """The commands of a hello, and of the same user's next one."""
            counts = []
            for _ in range(3):
                counts.append((await redis.info("commandstats"))["cmdstat_subscribe"]["calls"])
                reader = await worker.attach(username)
                await wait_for(lambda reader=reader: not reader.session.subscriptions.lags, what="the past")
            return counts[1] - counts[0], counts[2] - counts[1]

        assert await subscribe_count("idle") == (2, 0)  # the user's own channel, and the conversations'
        assert await subscribe_count("busy") == (2, 0)
