"""After a restore to an earlier state: what devices have above it is void, and they are told from where on."""

import pytest
from parley.v1 import chat_pb2

from service.delivery.acks import AckWriter
from storage.postgres.connections.database import Database
from storage.postgres.devices.cursors import Ack, Cursors
from storage.postgres.log.epochs import Epochs
from storage.records import MembershipAction
from tests.support.log import add_group
from tests.support.logs import add_users, change_members, send
from tests.support.worker import Reader, running_worker


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in g and h, which have 6 entries each; bob's phone has acknowledged 4 of g."""
    await add_users(database, "ann", "bob")
    for group in ("g", "h"):
        await add_group(database, group, "ann", "bob")
        for _ in range(6):
            await send(database, group, "ann", "lost later")
    await Cursors(database).enroll_device("bob", "phone", max_devices=9)
    await Cursors(database).store_acks([Ack("bob", "phone", "g", 4)])
    return database


async def restore(db: Database, conversation_id: str, seq: int) -> None:
    """The state of a conversation as it was when it ended at seq."""
    await db.execute("DELETE FROM messages WHERE conversation_id = $1 AND seq > $2", conversation_id, seq)
    await db.execute("UPDATE conversations SET last_seq = $2 WHERE conversation_id = $1", conversation_id, seq)


def resets(reader: Reader) -> dict[str, int]:
    """Takes all frames that wait; gives where to start again, and sees to it that nothing stood beside a reset."""
    found = {}
    reader.got = reader.got or chat_pb2.ChatResponse()
    while frame := reader.session.outbox.take_frame():
        response = chat_pb2.ChatResponse.FromString(frame)
        if response.resets:
            assert len(response.ListFields()) == 1, "a reset is alone in its frame"
            assert not reader.got.messages, "a reset comes first"
        found.update({reset.conversation_id: reset.seq for reset in response.resets})
        reader.got.MergeFrom(response)
    return found


async def acked_seq(db: Database) -> int:
    """What bob's phone has acknowledged of g."""
    return int(await db.fetchval("SELECT acked_seq FROM cursors WHERE device_id = 'phone' AND conversation_id = 'g'"))


@pytest.mark.parametrize(("restored_seqs", "expected"), [([2], 2), ([6], 4), ([2, 5], 2), ([3, 2], 2), ([], 4)])
async def test_ack_that_came_late_for_the_old_history_does_not_hide_the_new_one(
    db: Database, restored_seqs: list[int], expected: int
) -> None:
    """A worker that has not heard of a restore goes on storing acks, between the restore and the word of it."""
    for seq in restored_seqs:
        await restore(db, "g", seq)
        await Epochs(db).begin_epoch()
        for _ in range(4):
            await send(db, "g", "ann", "new history")
    assert await acked_seq(db) == 4
    await Cursors(db).store_acks([Ack("bob", "phone", "g", 1)])
    assert await acked_seq(db) == expected
    await Cursors(db).store_acks([Ack("bob", "phone", "g", 5)])
    assert await acked_seq(db) == 5


async def test_device_of_the_epoch_before_starts_again_where_the_log_is_the_same(db, redis_url):
    await restore(db, "g", 5)
    assert await Epochs(db).begin_epoch() > 1
    for _ in range(3):
        await send(db, "g", "ann", "new history")
    async with running_worker(db, redis_url, has_bus=False) as worker:
        reader = await worker.attach("bob", "tablet", epoch=1, g=6, h=6)
        assert resets(reader) == {"g": 5, "h": 6}
        await reader.until("g", 6, 7, 8)
        assert reader.seqs("h") == []


async def test_acks_of_the_epoch_before_are_reset_once_the_device_acknowledges_anew(db, redis_url):
    await restore(db, "g", 5)
    await Epochs(db).begin_epoch()
    async with running_worker(db, redis_url, has_bus=False) as worker:
        reader = await worker.attach("bob")
        assert resets(reader) == {"g": 4}, "h has no cursor, so nothing is known to be of another epoch"
        await reader.until("g", 5)
        await Cursors(db).store_acks([Ack("bob", "phone", "g", 3)])  # lower than before: stays, but is of this epoch
        reader = await worker.attach("bob")
        assert resets(reader) == {}
        await reader.until("g", 5)


async def test_device_that_slept_over_two_restores_goes_back_to_the_lowest(db, redis_url):
    await restore(db, "g", 2)
    second = await Epochs(db).begin_epoch()
    for _ in range(8):
        await send(db, "g", "ann")
    await restore(db, "g", 7)
    third = await Epochs(db).begin_epoch()
    assert third > second
    async with running_worker(db, redis_url, has_bus=False) as worker:
        assert resets(await worker.attach("bob", "one", epoch=1, g=6)) == {"g": 2, "h": 0}
        assert resets(await worker.attach("bob", "two", epoch=second, g=9)) == {"g": 7, "h": 0}
        assert resets(await worker.attach("bob", "three", epoch=third, g=7)) == {}


async def test_conversation_that_the_restored_state_did_not_have_starts_from_nothing(db, redis_url):
    await Epochs(db).begin_epoch()
    await add_group(db, "younger", "bob")
    await send(db, "younger", "bob")
    async with running_worker(db, redis_url, has_bus=False) as worker:
        assert resets(await worker.attach("bob", "tablet", epoch=1, younger=1))["younger"] == 0


async def test_one_who_was_removed_in_the_state_that_came_back_is_told_too(db, redis_url):
    """Added again, the device would take new entries for those of the epoch before, with the same seqs."""
    await change_members(db, "g", MembershipAction.REMOVED, "bob")
    await Cursors(db).store_acks([Ack("bob", "phone", "g", 7)])
    await Epochs(db).begin_epoch()
    await send(db, "g", "ann", "new history")
    async with running_worker(db, redis_url, has_bus=False) as worker:
        reader = await worker.attach("bob", "phone", epoch=1)
        assert resets(reader) == {"g": 7, "h": 0}
        assert resets(await worker.attach("bob", "phone")) == {}, "who says no epoch has nothing above the end"
        await change_members(db, "g", MembershipAction.ADDED, "bob")
        worker.subscriptions.refresh("bob")
        await reader.until("g", 8, 9)


@pytest.mark.parametrize("epoch", [2, 2**62])
async def test_epoch_that_never_was_starts_from_nothing(db, redis_url, epoch):
    async with running_worker(db, redis_url, has_bus=False) as worker:
        reader = await worker.attach("bob", "tablet", epoch=epoch, g=6)
        assert resets(reader) == {"g": 0, "h": 0}
        await reader.until("g", 1, 2, 3, 4, 5, 6)


async def test_present_epoch_and_no_epoch_at_all_reset_nothing(db, redis_url):
    async with running_worker(db, redis_url, has_bus=False) as worker:
        for device_id, epoch in (("phone", 0), ("phone", 1), ("tablet", 1)):
            assert resets(await worker.attach("bob", device_id, epoch=epoch)) == {}


async def test_ack_of_a_worker_that_does_not_know_of_the_restore_is_void(db, redis_url):
    """Such a worker still has entries that are gone; an ack of them must not pass for one of the new history."""
    acks = AckWriter(Cursors(db), lambda *_: None, epoch=1)
    await restore(db, "g", 5)
    await Epochs(db).begin_epoch()
    acks.note("bob", "phone", "g", 6)
    await acks.flush()
    assert await db.fetchrow("SELECT acked_seq, epoch FROM cursors WHERE device_id = 'phone'") == (4, 1)


async def test_what_a_reset_made_void_may_not_be_acknowledged_until_it_came(db, redis_url):
    """An ack that was on its way when the reset came would move the cursor over entries that the device never had."""
    await restore(db, "g", 3)
    await Epochs(db).begin_epoch()
    for _ in range(3):
        await send(db, "g", "ann", "new history")
    async with running_worker(db, redis_url, has_bus=False) as worker:
        reader = await worker.attach("bob", "tablet", epoch=1, g=6)
        assert worker.hub.delivered_seq("g", reader.session) == 3
        await reader.until("g", 4, 5, 6)
        assert worker.hub.delivered_seq("g", reader.session) == 6


async def test_two_restores_of_one_backup_do_not_begin_the_same_epoch(db):
    """A device that was on the first of the two timelines must not be taken for one that is on the second."""
    first = await Epochs(db).begin_epoch()
    await db.execute("UPDATE deployment SET epoch = 1")  # the backup again
    await db.execute("DELETE FROM restores")
    await db.execute("DELETE FROM epochs WHERE epoch > 1")
    assert await Epochs(db).begin_epoch() > first > 1
    assert await Epochs(db).common_seqs({"g": first}) == {"g": 0}
    assert await Epochs(db).common_seqs({"g": 1}) == {"g": 6}
