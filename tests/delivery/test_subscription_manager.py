"""Which conversations a session receives, also when the bus is away and when others come and go at the same time."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

import pytest

from service.convert import responses
from service.delivery import hub as hub_module
from service.delivery.session import Session
from service.domain.limits import MAX_FRAME_BYTES
from storage.postgres.connections.database import Database
from storage.postgres.conversations.members import Members
from storage.postgres.devices.cursors import Ack, Cursors
from storage.records import AckMode, DeviceMode, MembershipAction, MembershipChange, Role
from tests.support.log import add_group
from tests.support.logs import add_users, change_members, send
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the group g, which has 3 entries."""
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    for _ in range(3):
        await send(database, "g", "ann")
    return database


@pytest.fixture
async def worker(db: Database, redis_url: str) -> AsyncIterator[Worker]:
    """A worker whose bus is away: nothing comes but what the test, and the sweeps, bring."""
    async with running_worker(db, redis_url, has_bus=False) as running:
        yield running


class Gated(Cursors):
    """Reads the ends of logs only when it may."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.gate = asyncio.Event()
        self.waiting_count = 0

    async def last_seqs(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        self.waiting_count += 1
        await self.gate.wait()
        return await super().last_seqs(conversation_ids)


async def change(db: Database, action: MembershipAction, *members: str) -> int:
    """Changes who is in g; gives the seq."""
    made = MembershipChange(action, members, Role.GONE if action == MembershipAction.REMOVED else Role.MEMBER)
    number = str(await db.fetchval("SELECT last_seq FROM conversations WHERE conversation_id = 'g'"))
    result = await Members(db).change(
        "g", "ann", request_id=number, request_hash=b"", usernames=members, decide=lambda standing: [made]
    )
    return result.entries[0].seq


async def test_hello_takes_as_many_statements_for_forty_conversations_as_for_one(worker, db):
    async def statements(device_id: str) -> int:
        before = db.statement_count
        reader = await worker.attach("bob", device_id)
        await wait_for(lambda: not reader.session.subscriptions.lags)
        return db.statement_count - before

    await Cursors(db).enroll_device("bob", "one", max_devices=100)
    few = await statements("one")
    assert few <= 6
    for nth in range(31):
        await add_group(db, f"g{nth}", "ann", "bob")
        await send(db, f"g{nth}", "ann")
    await Cursors(db).enroll_device("bob", "two", max_devices=100)
    assert await statements("two") == few


async def test_marks_of_very_many_conversations_come_in_frames_that_fit(worker, db):
    await db.execute(
        """WITH many AS (SELECT lpad(n::text, 64, 'g') AS conversation_id FROM generate_series(1, 16000) n), made AS (
             INSERT INTO conversations (conversation_id, kind, creator) SELECT conversation_id, 2, '' FROM many)
           INSERT INTO members (conversation_id, username, role, visible, start_seq, read_seq, read_count)
           SELECT conversation_id, 'bob', 2, '{[1,)}', 0, 0, 0 FROM many"""
    )
    reader = await worker.attach("bob", g=3)
    sizes = []
    marks = 0
    while frame := reader.session.outbox.take_frame():
        sizes.append(len(frame))
        marks += frame.count(b"g" * 59)
    assert marks == 16_000
    assert max(sizes) <= MAX_FRAME_BYTES


async def test_second_stream_does_not_hide_from_the_first_what_the_bus_lost(worker, db):
    """The version is the user's: the stream that comes later has seen more than the one that was there."""
    first = await worker.attach("bob", "phone")
    await worker.subscriptions.refresh_changed()
    await add_group(db, "new", "ann", "bob")
    second = await worker.attach("bob", "tablet")
    assert "new" in second.session.subscriptions.conversation_ids
    await worker.subscriptions.refresh_changed()
    await wait_for(lambda: "new" in first.session.subscriptions.conversation_ids, what="the new conversation")


async def test_one_who_gives_up_while_channels_open_does_not_fail_those_who_wait(db, redis_url):
    cursors = Gated(db)
    async with running_worker(db, redis_url, has_bus=False, cursors=cursors) as worker:
        opener = asyncio.create_task(worker.attach("ann"))
        await wait_for(lambda: cursors.waiting_count == 1)
        waiter = asyncio.create_task(worker.attach("bob"))
        # bob's statements before that are done when he, too, needs the channel of g.
        await wait_for(lambda: db.fetchval("SELECT count(*) = 2 FROM devices"))
        opener.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opener
        cursors.gate.set()
        reader = await waiter
        await reader.until("g", 1, 2, 3)


async def test_idle_channel_that_is_asked_for_is_not_dropped_meanwhile(db, redis_url):
    cursors = Gated(db)
    cursors.gate.set()
    async with running_worker(db, redis_url, has_bus=False, cursors=cursors) as worker:
        reader = await worker.attach("bob")
        worker.hub.detach(reader.session)
        worker.hub.channels["g"].idle_since = asyncio.get_running_loop().time() - hub_module.LINGER_SECONDS - 1
        await add_group(db, "new", "ann", "bob")
        cursors.gate.clear()
        attaching = asyncio.create_task(worker.attach("bob"))
        await wait_for(lambda: cursors.waiting_count == 2)  # "new" is being opened; "g" is there
        assert worker.hub.drop_idle() == []
        cursors.gate.set()
        await (await attaching).until("g", 1, 2, 3)


async def test_user_whom_an_entry_adds_is_attached_though_nothing_else_told_of_it(worker, db):
    """The hub notes the user by itself: the message about the memberships is lost, and no version is compared."""
    await add_group(db, "new", "ann")
    await worker.attach("ann")
    reader = await worker.attach("bob")
    entry = await change_members(db, "new", MembershipAction.ADDED, "bob")
    worker.hub.deliver("new", [responses.entry_item(entry)])
    await reader.until("new", entry.seq)


async def test_user_who_was_added_elsewhere_is_attached_by_the_message_alone(db, redis_url):
    prefix = secrets.token_hex(4)
    async with (
        running_worker(db, redis_url, prefix=prefix) as there,
        running_worker(db, redis_url, prefix=prefix) as here,
    ):
        reader = await here.attach("bob")
        await add_group(db, "new", "ann", "bob")
        there.fanout.publish_memberships(["bob"])
        await wait_for(lambda: "new" in reader.session.subscriptions.conversation_ids, what="the new conversation")


async def test_one_who_comes_back_gets_nothing_a_second_time(worker, db):
    """The device's ack is below what it was handed before it was taken out."""
    reader = await worker.attach("bob")
    await reader.until("g", 1, 2, 3)
    await Cursors(db).store_acks([Ack("bob", "phone", "g", 1)])
    removed = await change(db, MembershipAction.REMOVED, "bob")
    worker.hub.note_last_seq("g", removed)
    await reader.until("g", 1, 2, 3, 4)
    assert "g" not in reader.session.subscriptions.conversation_ids
    added = await change(db, MembershipAction.ADDED, "bob")
    await send(db, "g", "ann")
    await worker.subscriptions.refresh_changed()
    worker.hub.note_last_seq("g", added + 1)
    await reader.until("g", 1, 2, 3, 4, 5, 6)
    assert worker.hub.delivered_seq("g", reader.session) == 6


async def test_what_is_hidden_from_one_who_comes_back_is_not_shown_from_memory(worker, db):
    """A session that lags over its own removal must never again be served from the tail that all share."""
    await db.execute("UPDATE conversations SET history_visible = false")
    witness = await worker.attach("ann")
    reader = await worker.attach("bob")
    await reader.until("g", 1, 2, 3)
    channel = worker.hub.channels["g"]
    # bob's buffer is full: he lags, and his replay has to wait.
    reader.session.outbox.put(b"\x0a\x00" * 300_000)
    channel.live.discard(reader.session)
    channel.lagging.add(reader.session)
    reader.session.subscriptions.fall_behind("g", 3)
    removed = await change(db, MembershipAction.REMOVED, "bob")
    await send(db, "g", "ann", "hidden")
    worker.hub.note_last_seq("g", removed + 1)
    await witness.until("g", 1, 2, 3, removed, removed + 1)
    added = await change(db, MembershipAction.ADDED, "bob")
    lag = reader.session.subscriptions.lags["g"]
    lag.position, lag.is_member = removed, True  # as a page leaves it that ended with the removal
    reader.read()
    worker.replayer.schedule(reader.session)
    worker.hub.note_last_seq("g", added)
    await reader.until("g", 1, 2, 3, added)


async def test_session_that_gave_up_is_not_attached_by_a_later_refresh(worker, db):
    session = Session(5, "bob", "phone")
    await worker.subscriptions.attach(session, {}, starts_at_latest=False)
    worker.hub.detach(session)
    await add_group(db, "new", "ann", "bob")
    worker.subscriptions.refresh("bob")
    await worker.subscriptions.refresh_changed()
    assert session.subscriptions.conversation_ids == {}
    assert "bob" not in worker.hub.users


async def test_what_was_there_at_hello_may_be_acknowledged_before_it_is_brought_again(worker, db):
    """An earlier stream of the device may have brought it; what came later, only this stream can have."""
    reader = await worker.attach("bob")
    assert reader.session.subscriptions.lags["g"].position == 0
    await send(db, "g", "ann")
    assert worker.hub.delivered_seq("g", reader.session) == 3
    worker.hub.note_last_seq("g", 4)
    await reader.until("g", 1, 2, 3, 4)
    assert worker.hub.delivered_seq("g", reader.session) == 4


async def test_hellos_that_wait_for_their_devices_mode_hold_back_nobody(worker, db, monkeypatch):
    """Else one user could keep all turns, and all others from opening a stream."""
    monkeypatch.setattr("service.delivery.device_modes._PATIENCE_SECONDS", 60.0)
    await worker.subscriptions._admission._modes._devices.beat()
    first = Session(1, "bob", "phone", mode=DeviceMode(AckMode.MANUAL))
    await worker.subscriptions.listen(first, starts_at_latest=False)
    waiting = [
        asyncio.create_task(worker.subscriptions.attach(Session(nth, "bob", "phone"), {}, starts_at_latest=False))
        for nth in range(2, 7)
    ]
    reader = await asyncio.wait_for(worker.attach("ann"), 10)
    await reader.until("g", 1, 2, 3)
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_hello_that_is_cancelled_while_it_waits_is_forgotten_everywhere(db, redis_url):
    cursors = Gated(db)
    async with running_worker(db, redis_url, has_bus=False, cursors=cursors) as worker:
        openers = [asyncio.create_task(worker.attach("ann", f"device-{nth}")) for nth in range(3)]
        await wait_for(lambda: len(worker.subscriptions._attaching) == 3, what="all turns taken")
        waiter = asyncio.create_task(worker.attach("bob"))
        last = asyncio.create_task(worker.attach("bob", "tablet"))
        await wait_for(lambda: len(worker.subscriptions._admission._slots._waiters or ()) == 2, what="two that wait")
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        assert "bob" not in worker.hub.users
        for opener in openers[:2]:
            opener.cancel()
        cursors.gate.set()
        await asyncio.gather(*openers, return_exceptions=True)
        reader = await last
        await reader.until("g", 1, 2, 3)
        assert worker.subscriptions._attaching == {}
        assert worker.subscriptions._admission._slots._value == 3
