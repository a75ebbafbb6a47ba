"""Cursors and devices: acks never go back, devices are bounded, a new one begins where its user has read."""

import asyncio

import pytest

from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.postgres.devices.cursors import _ATTEND, Ack, Cursors
from storage.records import MembershipAction, SubscriptionStart
from tests.support.log import add_group
from tests.support.logs import add_users, change_members, send
from tests.support.patient import patient_database
from tests.support.waiting import wait_for

MAX_DEVICES = 3


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the group g, which has 5 entries."""
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    for _ in range(5):
        await send(database, "g", "ann")
    return database


@pytest.fixture
async def cursors(db: Database) -> Cursors:
    return Cursors(db)


async def enroll(cursors: Cursors, device_id: str, username: str = "bob") -> bool:
    return await cursors.enroll_device(username, device_id, max_devices=MAX_DEVICES)


async def start_of(cursors: Cursors, device_id: str, username: str = "bob") -> dict[str, int]:
    starts = await cursors.list_subscription_starts(username, device_id)
    return {item.conversation_id: item.start_seq for item in starts}


async def test_acks_never_go_back(cursors):
    for seq, expected in ((3, 3), (2, 3), (5, 5), (0, 5)):
        await cursors.store_acks([Ack("bob", "phone", "g", seq)])
        assert await start_of(cursors, "phone") == {"g": expected}


async def test_highest_ack_of_a_batch_counts(cursors):
    await cursors.store_acks([Ack("bob", "phone", "g", seq) for seq in (1, 4, 2)])
    assert await start_of(cursors, "phone") == {"g": 4}


async def test_acks_are_one_statement(cursors, db):
    before = db.statement_count
    await cursors.store_acks([Ack("bob", f"d{nth}", "g", nth) for nth in range(100)])
    assert db.statement_count - before == 1


async def test_writers_with_the_same_keys_do_not_wait_for_each_other(cursors, db):
    acks = [Ack("bob", f"d{nth:03}", "g", 1) for nth in range(400)]

    async def write(turn: int) -> None:
        # Batches name the keys in opposite orders; the rows must be locked in one order all the same.
        batch = [Ack(one.username, one.device_id, one.conversation_id, turn) for one in acks]
        await cursors.store_acks(batch if turn % 2 else batch[::-1])

    for first in range(1, 25, 4):
        await asyncio.gather(*(write(turn) for turn in range(first, first + 4)))
    stored = await db.fetch("SELECT DISTINCT acked_seq FROM cursors")
    assert [row["acked_seq"] for row in stored] == [24]


async def test_ack_keeps_the_epoch(cursors, db):
    await db.execute("UPDATE deployment SET epoch = 7")
    await cursors.store_acks([Ack("bob", "phone", "g", 1)])
    assert await db.fetchval("SELECT epoch FROM cursors") == 7


async def test_known_device_costs_one_statement(cursors, db):
    assert await enroll(cursors, "phone")
    before = db.statement_count
    assert await enroll(cursors, "phone")
    assert db.statement_count - before == 1


async def test_new_device_begins_at_the_read_positions_for_good(cursors, db):
    await Members(db).mark_read("g", "bob", 3)
    assert await enroll(cursors, "tablet")
    assert await start_of(cursors, "tablet") == {"g": 3}
    await Members(db).mark_read("g", "bob", 5)
    assert await enroll(cursors, "tablet")
    assert await start_of(cursors, "tablet") == {"g": 3}
    assert await enroll(cursors, "laptop")
    assert await start_of(cursors, "laptop") == {"g": 5}


async def test_one_who_read_nothing_begins_where_he_joined(cursors, db):
    await add_users(db, "cid")
    await change_members(db, "g", MembershipAction.ADDED, "cid")
    assert await enroll(cursors, "phone", "cid")
    assert await cursors.list_subscription_starts("cid", "phone") == [
        SubscriptionStart("g", 6, 5, 0, 1, is_member=True)
    ]
    assert await start_of(cursors, "phone") == {"g": 0}


async def test_devices_are_bounded_and_known_ones_stay_welcome(cursors):
    for nth in range(MAX_DEVICES):
        assert await enroll(cursors, f"d{nth}")
    assert not await enroll(cursors, "one more")
    assert await enroll(cursors, "d0")
    assert await enroll(cursors, "phone", "ann")


async def test_devices_that_come_at_once_keep_the_bound(cursors, db):
    enrolled = await asyncio.gather(*(enroll(cursors, f"d{nth}") for nth in range(8)))
    assert sum(enrolled) == MAX_DEVICES
    assert await db.fetchval("SELECT count(*) FROM devices WHERE username = 'bob'") == MAX_DEVICES


async def test_two_first_streams_of_the_last_device_are_both_let_in(postgres_url):
    async with patient_database(postgres_url) as db:
        await add_users(db, "bob")
        cursors = Cursors(db)
        for nth in range(MAX_DEVICES - 1):
            assert await enroll(cursors, f"d{nth}")
        holder = await db.connect()
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM users FOR NO KEY UPDATE")
            enrolling = [asyncio.create_task(enroll(cursors, "last")) for _ in range(2)]
            # Both have found that they are not known yet, and wait for the user's row.
            await wait_for(lambda: lock_waits(db), what="two waits")
        await holder.close()
        assert await asyncio.gather(*enrolling) == [True, True]


async def lock_waits(db: Database) -> bool:
    return bool(await db.fetchval("SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


async def test_devices_unused_for_90_days_make_room_and_lose_their_cursors(cursors, db):
    for nth in range(MAX_DEVICES):
        await enroll(cursors, f"d{nth}")
        await cursors.store_acks([Ack("bob", f"d{nth}", "g", 4)])
    await db.execute("UPDATE devices SET last_use_time = now() - interval '89 days' WHERE device_id = 'd0'")
    assert not await enroll(cursors, "new")
    await db.execute("UPDATE devices SET last_use_time = now() - interval '91 days' WHERE device_id = 'd0'")
    assert await enroll(cursors, "new")
    assert await start_of(cursors, "d0") == {"g": 0}
    assert await start_of(cursors, "d1") == {"g": 4}


async def test_use_keeps_a_device(cursors, db):
    await enroll(cursors, "old")
    await db.execute("UPDATE devices SET last_use_time = now() - interval '89 days'")
    await enroll(cursors, "old")
    assert await db.fetchval("SELECT last_use_time > now() - interval '1 minute' FROM devices")


async def test_subscription_start_says_where_to_begin_and_to_end(cursors, db):
    await add_group(db, "h", "bob")
    await cursors.store_acks([Ack("bob", "phone", "g", 2)])
    found = {item.conversation_id: item for item in await cursors.list_subscription_starts("bob", "phone")}
    assert found == {
        "g": SubscriptionStart("g", 5, 2, 1, 1, is_member=True),
        "h": SubscriptionStart("h", 0, 0, 0, 1, is_member=True),
    }
    assert [item.conversation_id for item in await cursors.list_subscription_starts("bob", "phone", only=["h"])] == [
        "h"
    ]


async def test_former_member_is_attended_until_everything_is_acked(cursors, db):
    await change_members(db, "g", MembershipAction.REMOVED, "bob")
    await send(db, "g", "ann")
    assert await cursors.list_subscription_starts("bob", "phone") == [
        SubscriptionStart("g", 6, 0, 0, 1, is_member=False)
    ]
    await cursors.store_acks([Ack("bob", "phone", "g", 5)])
    assert await start_of(cursors, "phone") == {"g": 5}
    await cursors.store_acks([Ack("bob", "phone", "g", 6)])
    assert await start_of(cursors, "phone") == {}
    found = await cursors.list_subscription_starts("bob", "phone", also_former=["g"])
    assert found == [SubscriptionStart("g", 6, 6, 1, 1, is_member=False)]


async def test_floor_is_where_the_last_interval_begins(cursors, db):
    await db.execute("UPDATE conversations SET history_visible = false")
    await change_members(db, "g", MembershipAction.REMOVED, "bob")
    await send(db, "g", "ann")
    await change_members(db, "g", MembershipAction.ADDED, "bob")
    (found,) = await cursors.list_subscription_starts("bob", "phone")
    # A device that never acked still lacks what it could see before the removal.
    assert (found.last_seq, found.start_seq, found.floor_seq) == (8, 0, 8)


async def test_deleted_conversation_is_not_attended(cursors, db):
    await db.execute("UPDATE conversations SET delete_time = now()")
    assert await cursors.list_subscription_starts("bob", "phone", also_former=["g"]) == []
    assert (await cursors.read_memberships("bob"))[1] == []


async def test_membership_version_grows_with_each_change(cursors, db):
    seen = [await cursors.membership_versions(["bob", "nobody"])]
    await Conversations(db).ensure_direct("ann:bob")
    seen.append(await cursors.membership_versions(["bob"]))
    await change_members(db, "g", MembershipAction.REMOVED, "bob")
    seen.append(await cursors.membership_versions(["bob"]))
    versions = [one["bob"] for one in seen]
    assert await cursors.changed_versions({"bob": versions[-1], "nobody": -1}) == {}
    assert await cursors.changed_versions({"bob": versions[0], "nobody": 1}) == {"bob": versions[-1]}
    assert versions == sorted(set(versions))
    assert set(seen[0]) == {"bob"}
    assert await cursors.read_memberships("bob") == (versions[-1], ["ann:bob"])
    assert await cursors.read_memberships("nobody") == (0, [])
    assert await cursors.last_seqs(["g", "ann:bob", "nosuchgroup"]) == {"g": 6, "ann:bob": 0}


async def test_many_names_are_looked_up_in_a_hash(db):
    """A hello may name ten thousand, and a user may have left as many conversations as there are."""
    async with db.acquire() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        try:
            await connection.execute(f"PREPARE attend AS {_ATTEND}")
            rows = await connection.fetch("EXPLAIN EXECUTE attend('bob', 'phone', NULL, '{x}', false)")
        finally:
            await connection.execute("RESET plan_cache_mode; DEALLOCATE attend")
    plan = "\n".join(row[0] for row in rows)
    assert plan.count("hashed SubPlan") == 2, plan
