"""What a stream stored comes to it before a half-closed stream ends, though nobody told this worker of the membership.

The bus is away in all of these: what is not asked for does not come.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.postgres.devices.cursors import Ack, Cursors
from storage.records import MembershipAction, MembershipChange, Role
from tests.support.log import add_group
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker


@pytest.fixture
async def db(database: Database) -> Database:
    await add_users(database, "ann", "bob")
    return database


@pytest.fixture
async def worker(db: Database, redis_url: str) -> AsyncIterator[Worker]:
    async with running_worker(db, redis_url, has_bus=False) as running:
        yield running


async def store(db: Database, reader: Reader, conversation_id: str) -> None:
    """Stores a message as if another worker's lane had done it for this stream."""
    sent = await send(db, conversation_id, reader.session.username)
    assert sent.seq is not None
    reader.session.note_stored(conversation_id, sent.seq)


async def remove_bob(db: Database) -> None:
    gone = MembershipChange(MembershipAction.REMOVED, ("bob",), Role.GONE)
    await Members(db).change(
        "g", "ann", request_id="bye", request_hash=b"", usernames=["bob"], decide=lambda standing: [gone]
    )


async def test_conversation_that_was_made_elsewhere_is_attached(worker, db):
    reader = await worker.attach("bob")
    await Conversations(db).ensure_direct("ann:bob")
    await store(db, reader, "ann:bob")
    reader.read()
    await worker.subscriptions.attach_own(reader.session)
    assert not reader.session.is_settled
    await reader.until("ann:bob", 1)
    await wait_for(lambda: reader.session.is_settled, what="to be settled")


async def test_message_that_was_not_handed_on_is_owed(worker, db):
    await Conversations(db).ensure_direct("ann:bob")
    reader = await worker.attach("bob")
    reader.read()
    assert not worker.hub.has_pending_own(reader.session)
    await store(db, reader, "ann:bob")
    assert reader.session.is_settled
    assert worker.hub.has_pending_own(reader.session)
    worker.hub.note_last_seq("ann:bob", 1)
    await reader.until("ann:bob", 1)
    assert not worker.hub.has_pending_own(reader.session)


async def test_refresh_at_the_same_time_brings_it_once(worker, db):
    readers = [await worker.attach("bob", device_id) for device_id in ("phone", "tablet")]
    await Conversations(db).ensure_direct("ann:bob")
    for reader in readers:
        await store(db, reader, "ann:bob")
    worker.subscriptions.refresh("bob")
    await asyncio.gather(*(worker.subscriptions.attach_own(reader.session) for reader in readers))
    await wait_for(lambda: not worker.subscriptions._refreshing, what="the refresh")
    for reader in readers:
        await reader.until("ann:bob", 1, 2)
        await wait_for(lambda reader=reader: reader.session.is_settled, what="to be settled")
    await send(db, "ann:bob", "ann")
    worker.hub.note_last_seq("ann:bob", 3)
    for reader in readers:
        await reader.until("ann:bob", 1, 2, 3)


async def test_one_who_was_removed_gets_the_own_message_and_the_removal(worker, db):
    reader = await worker.attach("bob")
    await add_group(db, "g", "ann", "bob")
    await store(db, reader, "g")
    await remove_bob(db)
    await send(db, "g", "ann", "secret")
    await worker.subscriptions.attach_own(reader.session)
    await reader.until("g", 1, 2)
    await wait_for(lambda: reader.session.is_settled, what="to be settled")
    assert not worker.hub.has_pending_own(reader.session)
    assert worker.hub.delivered_seq("g", reader.session) == 2


async def test_refresh_does_not_set_back_one_who_is_being_brought_to_the_removal(worker, db):
    reader = await worker.attach("bob")
    await add_group(db, "g", "ann", "bob")
    await store(db, reader, "g")
    await remove_bob(db)
    reader.session.outbox.put(b"\x0a\x00" * 300_000)  # full, so that the replay has to wait
    await worker.subscriptions.attach_own(reader.session)
    lag = reader.session.subscriptions.lags["g"]
    lag.position = 1  # as a page leaves it
    await worker.subscriptions._attach_more(reader.session, ["g"])
    assert reader.session.subscriptions.lags["g"] is lag
    reader.read()
    worker.replayer.schedule(reader.session)
    await reader.until("g", 2)
    await wait_for(lambda: reader.session.is_settled, what="to be settled")


async def test_what_the_device_acknowledged_elsewhere_is_not_owed(worker, db):
    reader = await worker.attach("bob")
    await Conversations(db).ensure_direct("ann:bob")
    await store(db, reader, "ann:bob")
    await Cursors(db).store_acks([Ack("bob", "phone", "ann:bob", 1)])
    await worker.subscriptions.attach_own(reader.session)
    assert not worker.hub.has_pending_own(reader.session)
    assert reader.seqs("ann:bob") == []
    assert reader.session.is_settled


async def test_conversation_that_is_gone_is_not_waited_for(worker, db):
    reader = await worker.attach("bob")
    await add_group(db, "g", "ann", "bob")
    await store(db, reader, "g")
    await db.execute("UPDATE conversations SET delete_time = clock_timestamp() WHERE conversation_id = 'g'")
    await worker.subscriptions.attach_own(reader.session)
    assert not worker.hub.has_pending_own(reader.session)
    assert not reader.session.subscriptions.lags


class Faltering(Cursors):
    """Can't read the ends of logs the first times."""

    fault_count = 0

    async def last_seqs(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        if self.fault_count:
            self.fault_count -= 1
            raise Unavailable("not now")
        return await super().last_seqs(conversation_ids)


async def test_database_that_is_away_is_waited_for(db, redis_url):
    cursors = Faltering(db)
    async with running_worker(db, redis_url, has_bus=False, cursors=cursors) as worker:
        reader = await worker.attach("bob")
        await Conversations(db).ensure_direct("ann:bob")
        await store(db, reader, "ann:bob")
        cursors.fault_count = 2
        await worker.subscriptions.attach_own(reader.session)
        assert cursors.fault_count == 0
        await reader.until("ann:bob", 1)


async def test_without_echo_nothing_is_owed(worker, db):
    reader = await worker.attach("bob")
    reader.session.no_echo = True
    await Conversations(db).ensure_direct("ann:bob")
    await store(db, reader, "ann:bob")
    await worker.subscriptions.attach_own(reader.session)
    assert not worker.hub.has_pending_own(reader.session)
    assert reader.session.subscriptions.conversation_ids == {}


async def test_end_of_a_lag_wakes_the_stream_also_when_it_brings_nothing(worker, db):
    await add_group(db, "g", "ann", "bob")
    await send(db, "g", "ann")
    reader = await worker.attach("bob", g=1)
    session = reader.session
    reader.read()
    was_settled: list[bool] = []
    worker.hub.channels["g"].live.discard(session)
    session.subscriptions.fall_behind("g", 1)
    reader.on_wake = lambda: was_settled.append(session.is_settled)
    worker.replayer.schedule(session)
    await wait_for(lambda: was_settled, what="to be woken")
    assert was_settled == [True]
