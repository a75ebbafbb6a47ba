"""Read positions and unread counts, which are kept as running numbers: every order of sending and reading."""

import asyncio
from itertools import product

import pytest

from storage.errors import Absent
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.records import MembershipAction, MembershipChange, ReadPosition, Role
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for

# What may happen in a conversation of ann and bob; ann's view is looked at.
STEPS = ("ann sends", "bob sends", "ann reads one more", "ann reads to the end")


@pytest.fixture
async def members(database: Database) -> Members:
    await add_users(database, "ann", "bob", "cid")
    await Conversations(database).ensure_direct("ann:bob")
    return Members(database)


async def unread(database: Database, username: str = "ann", conversation_id: str = "ann:bob") -> tuple[int, int]:
    seen = await Conversations(database).get(conversation_id, username)
    return seen.read_seq, seen.unread_count


async def test_mark_read_is_one_statement(members, database):
    for sender in ("ann", "bob", "bob"):
        await send(database, "ann:bob", sender)
    before = database.statement_count
    assert await members.mark_read("ann:bob", "ann", 2) == ReadPosition(2, 1, 3, is_moved=True)
    assert database.statement_count - before == 1


async def test_lower_equal_and_too_high_seqs_move_nothing(members, database):
    for _ in range(3):
        await send(database, "ann:bob", "bob")
    await members.mark_read("ann:bob", "ann", 2)
    for seq in (0, 1, 2, 4, 2**62):
        assert await members.mark_read("ann:bob", "ann", seq) == ReadPosition(2, 1, 3, is_moved=False)


@pytest.mark.parametrize(("conversation_id", "username"), [("ann:bob", "cid"), ("g1", "ann")])
async def test_only_members_have_a_read_position(members, conversation_id, username):
    with pytest.raises(Absent):
        await members.mark_read(conversation_id, username, 0)


async def test_unread_is_right_in_every_order_of_sending_and_reading(members, database):
    conversations = Conversations(database)
    for nth, steps in enumerate(product(STEPS, repeat=4)):
        conversation_id = f"g{nth}"
        await conversations.create_group(
            conversation_id, "ann", others=["bob"], title="", history_visible=True, request_id=None, request_hash=None
        )
        log: list[str] = []
        read_seq = 0
        for step in steps:
            if step.endswith("sends"):
                log.append(step.split()[0])
                await send(database, conversation_id, log[-1])
                continue
            read_seq = len(log) if step.endswith("end") else min(read_seq + 1, len(log))
            position = await members.mark_read(conversation_id, "ann", read_seq)
            assert (position.read_seq, position.unread_count) == (read_seq, log[read_seq:].count("bob")), steps
        assert await unread(database, "ann", conversation_id) == (read_seq, log[read_seq:].count("bob")), steps


async def test_membership_entries_are_not_unread(members, database):
    await Conversations(database).create_group(
        "g1", "ann", others=["bob"], title="", history_visible=True, request_id=None, request_hash=None
    )
    await send(database, "g1", "ann")
    change = MembershipChange(MembershipAction.ADDED, ("cid",), Role.MEMBER)
    await members.change(
        "g1", "ann", request_id="r1", request_hash=b"", usernames=["cid"], decide=lambda standing: [change]
    )
    await send(database, "g1", "ann")
    assert await unread(database, "ann", "g1") == (0, 0)
    assert (await members.mark_read("g1", "ann", 2)).unread_count == 0
    assert await unread(database, "bob", "g1") == (0, 2)
    assert (await members.mark_read("g1", "bob", 2)).unread_count == 1
    assert await unread(database, "cid", "g1") == (1, 1)


async def lock_waits(database: Database) -> bool:
    return bool(await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


async def test_reading_while_an_own_message_is_being_stored_counts_it_once(members, database):
    await send(database, "ann:bob", "bob")
    await send(database, "ann:bob", "ann")
    connection = await database.connect()
    try:
        async with connection.transaction():
            await send(connection, "ann:bob", "ann")  # holds ann's row, and is not committed
            reading = asyncio.create_task(members.mark_read("ann:bob", "ann", 1))
            await wait_for(lambda: lock_waits(database), what="a wait for the row")
        assert (await reading).read_seq == 1
    finally:
        await connection.close()
    assert await unread(database) == (1, 0)
    await send(database, "ann:bob", "bob")
    assert await unread(database) == (1, 1)
    assert (await members.mark_read("ann:bob", "ann", 4)).unread_count == 0


async def test_lower_of_two_reads_at_once_tells_the_higher(members, database):
    for _ in range(3):
        await send(database, "ann:bob", "bob")
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute("UPDATE members SET read_seq = 3, read_count = 3 WHERE username = 'ann'")
            reading = asyncio.create_task(members.mark_read("ann:bob", "ann", 2))
            await wait_for(lambda: lock_waits(database), what="a wait for the row")
        assert await reading == ReadPosition(3, 0, 3, is_moved=False)
    finally:
        await connection.close()


async def test_reading_and_sending_at_once_ends_with_the_right_count(members, database):
    async def read_all() -> None:
        for seq in range(1, 31, 3):
            await wait_for(lambda seq=seq: has_seq(database, seq))
            await members.mark_read("ann:bob", "ann", seq)

    async def send_all() -> None:
        for nth in range(30):
            await send(database, "ann:bob", ("ann", "ann", "bob")[nth % 3])

    await asyncio.gather(read_all(), send_all())
    assert await unread(database) == (28, 1)


async def has_seq(database: Database, seq: int) -> bool:
    return bool(await database.fetchval("SELECT last_seq >= $1 FROM conversations", seq))
