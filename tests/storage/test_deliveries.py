"""Claims, acks and failures in the database: what is unsettled has a row, and the cursor is right after each."""

import asyncio
import secrets

import pytest

from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.devices.cursors import Cursors
from storage.postgres.devices.dead_letters import DeadLetters
from storage.postgres.devices.deliveries import _LIST_ORPHANED, MAX_UNSETTLED, Deliveries, Nack, Place
from storage.postgres.devices.devices import Devices
from storage.postgres.log.append import Appender
from storage.records import AckMode, DeviceMode
from tests.support.log import add_group, draft
from tests.support.upkeep import keep_up

WAITS = [0.0, 0.0]
FAR = 3600.0


async def setup(database: Database, *, count: int = 3, is_ordered: bool = False) -> tuple[Deliveries, str]:
    """Bob's manual device, and a group with so many messages of alice."""
    await database.execute(
        "INSERT INTO users (username, issuer, subject) SELECT n, 'parley', n FROM unnest($1::text[]) AS n"
        " ON CONFLICT DO NOTHING",
        ["alice", "bob"],
    )
    group = secrets.token_hex(6)
    await add_group(database, group, "alice", "bob")
    await store(database, group, count)
    await Cursors(database).enroll_device("bob", "phone", max_devices=100)
    mode = DeviceMode(AckMode.MANUAL, is_ordered=is_ordered)
    assert await Devices(database, worker_id="w").admit_stream("bob", "phone", mode, session_id=1)
    return Deliveries(database, retry_seconds=WAITS), group


async def store(database: Database, group: str, count: int, sender: str = "alice") -> None:
    appender = Appender(database)
    for first in range(0, count, 500):
        await appender.store([draft(group, sender) for _ in range(first, min(count, first + 500))])
    appender.discard()


async def claim(deliveries: Deliveries, group: str, count: int, owner: int = 1, deadline: float = FAR) -> list[int]:
    claimed = await deliveries.claim("bob", "phone", [Place(owner, deadline)] * count, [group])
    return [delivery.entry.seq for delivery in claimed.deliveries]


async def cursor(database: Database, group: str) -> tuple[int, int]:
    row = await database.fetchrow(
        "SELECT acked_seq, claimed_seq FROM cursors WHERE username = 'bob' AND conversation_id = $1", group
    )
    assert row is not None
    return row["acked_seq"], row["claimed_seq"]


async def rows(database: Database) -> int:
    return int(await database.fetchval("SELECT count(*) FROM deliveries WHERE username = 'bob'"))


async def test_cursor_is_the_last_seq_below_which_all_is_settled(database: Database) -> None:
    deliveries, group = await setup(database, count=5)
    assert await claim(deliveries, group, 4) == [1, 2, 3, 4]
    assert await cursor(database, group) == (0, 4)
    await deliveries.ack("bob", "phone", [(group, 2), (group, 3)])
    assert await cursor(database, group) == (0, 4)
    await deliveries.ack("bob", "phone", [(group, 1)])
    assert await cursor(database, group) == (3, 4)
    await deliveries.ack("bob", "phone", [(group, 4)])
    assert await cursor(database, group) == (4, 4)
    assert await rows(database) == 0
    assert await claim(deliveries, group, 4) == [5]


async def test_dead_letter_counts_as_settled(database: Database) -> None:
    deliveries, group = await setup(database, count=2)
    for _ in range(3):
        assert 1 in await claim(deliveries, group, 2)
        await deliveries.nack("bob", "phone", [Nack(group, 1, 1, "no", 0.0)])
    assert await cursor(database, group) == (1, 2)
    assert await database.fetchval("SELECT attempts FROM dead_letters WHERE conversation_id = $1", group) == 3


@pytest.mark.parametrize("is_ordered", [False, True])
async def test_claims_at_once_give_each_message_once(database: Database, *, is_ordered: bool) -> None:
    deliveries, group = await setup(database, count=60, is_ordered=is_ordered)
    other = secrets.token_hex(6)
    await add_group(database, other, "alice", "bob")
    await store(database, other, 60)

    async def consume(owner: int) -> list[tuple[str, int]]:
        got: list[tuple[str, int]] = []
        idle = 0
        while idle < 20:
            claimed = await deliveries.claim("bob", "phone", [Place(owner, FAR)] * 3, [group, other])
            new = [(one.entry.conversation_id, one.entry.seq) for one in claimed.deliveries]
            assert all(one.owner == owner and one.attempt == 1 for one in claimed.deliveries)
            got += new
            idle = 0 if new else idle + 1
            if new:
                await deliveries.ack("bob", "phone", new)
        return got

    shares = await asyncio.gather(*(consume(owner) for owner in range(1, 6)))
    got = [one for share in shares for one in share]
    assert sorted(got) == sorted((name, seq) for name in (group, other) for seq in range(1, 61))
    assert await cursor(database, group) == (60, 60)


async def test_ordered_claim_gives_one_message_a_conversation(database: Database) -> None:
    deliveries, group = await setup(database, is_ordered=True)
    assert await claim(deliveries, group, 5) == [1]
    assert await claim(deliveries, group, 5) == []
    await deliveries.nack("bob", "phone", [Nack(group, 1, 1, "no", FAR)])
    assert await claim(deliveries, group, 5) == []
    await deliveries.ack("bob", "phone", [(group, 1)])
    assert await claim(deliveries, group, 5) == [2]


async def test_ordered_claim_keeps_the_order_of_what_was_redriven(database: Database) -> None:
    _, group = await setup(database, is_ordered=True)
    once = Deliveries(database, retry_seconds=[])
    for seq in (1, 2):
        assert await claim(once, group, 5, deadline=0.0) == [seq]
    assert await claim(once, group, 5) == [3]
    ids = [row["dead_letter_id"] for row in await database.fetch("SELECT dead_letter_id FROM dead_letters")]
    assert len(await DeadLetters(database).redrive(sorted(ids, reverse=True), "bob")) == 2
    assert await claim(once, group, 5) == []
    await once.ack("bob", "phone", [(group, 3)])
    assert await claim(once, group, 5) == [1]
    assert await claim(once, group, 5) == []
    await once.ack("bob", "phone", [(group, 1)])
    assert await claim(once, group, 5) == [2]


async def test_former_member_is_given_what_was_seen_and_one_who_comes_back_what_follows(database: Database) -> None:
    deliveries, group = await setup(database, count=2)
    visible = "UPDATE members SET visible = $1::text::int8multirange WHERE username = 'bob'"
    await database.execute(visible, "{[1,3)}")
    await store(database, group, 2)
    assert await claim(deliveries, group, 5) == [1, 2]
    assert await deliveries.list_ready("bob", "phone") == []
    await database.execute(visible, "{[1,3),[4,)}")
    assert await deliveries.list_ready("bob", "phone") == [group]
    assert await claim(deliveries, group, 5) == [4]
    await deliveries.ack("bob", "phone", [(group, 1), (group, 2), (group, 4)])
    assert await cursor(database, group) == (4, 4)


async def test_no_more_than_a_thousand_are_unsettled(database: Database) -> None:
    deliveries, group = await setup(database, count=1100)
    got = 0
    while new := await claim(deliveries, group, 300):
        got += len(new)
    assert got == MAX_UNSETTLED == await rows(database)
    await deliveries.ack("bob", "phone", [(group, 7)])
    assert await claim(deliveries, group, 300) == [1001]


async def test_deadline_fails_the_attempt_whoever_looks(database: Database) -> None:
    deliveries, group = await setup(database, count=1)
    assert await claim(deliveries, group, 1, owner=1, deadline=0.0) == [1]
    claimed = await deliveries.claim("bob", "phone", [Place(2, FAR)], [group])
    ((delivery,), due) = claimed.deliveries, claimed.due_seconds
    assert (delivery.owner, delivery.attempt) == (2, 2)
    assert due is not None
    assert FAR - 60 < due <= FAR
    # The first one's nack comes too late; anybody's ack counts.
    (settlement,) = await deliveries.nack("bob", "phone", [Nack(group, 1, 1, "late", None)])
    assert not settlement.is_found
    (settlement,) = await deliveries.ack("bob", "phone", [(group, 1)])
    assert settlement.is_found


async def test_release_gives_back_and_counts_as_told(database: Database) -> None:
    deliveries, group = await setup(database, count=2)
    assert await claim(deliveries, group, 2) == [1, 2]
    assert await deliveries.release("bob", "phone", 1, counts=False) == 2
    claimed = await deliveries.claim("bob", "phone", [Place(2, FAR)] * 2, [group])
    assert [one.attempt for one in claimed.deliveries] == [1, 1]
    assert await deliveries.release("bob", "phone", 1, counts=True) == 0
    assert await deliveries.release("bob", "phone", 2, counts=True) == 2
    claimed = await deliveries.claim("bob", "phone", [Place(3, FAR)] * 2, [group])
    assert [one.attempt for one in claimed.deliveries] == [2, 2]


async def test_claim_stops_at_its_limit_of_bytes_and_says_that_there_is_more(database: Database) -> None:
    deliveries, group = await setup(database, count=0)
    appender = Appender(database)
    await appender.store([draft(group, "alice", "x" * 10, size_bytes=500_000) for _ in range(5)])
    appender.discard()
    claimed = await deliveries.claim("bob", "phone", [Place(1, FAR)] * 5, [group])
    assert [one.entry.seq for one in claimed.deliveries] == [1, 2]
    assert claimed.rest == {group: True}
    assert await claim(deliveries, group, 5) == [3, 4]
    await deliveries.release("bob", "phone", 1, counts=True)
    # Those that come again are bounded, too.
    claimed = await deliveries.claim("bob", "phone", [Place(1, FAR)] * 5, [group])
    assert [one.entry.seq for one in claimed.deliveries] == [1, 2]
    assert claimed.rest == {group: False}


async def test_own_messages_are_passed_over_with_no_echo(database: Database) -> None:
    deliveries, group = await setup(database, count=1)
    await database.execute("UPDATE devices SET no_echo = true WHERE username = 'bob'")
    await store(database, group, 3, "bob")
    await store(database, group, 1)
    assert await claim(deliveries, group, 5) == [1, 5]
    await deliveries.ack("bob", "phone", [(group, 1), (group, 5)])
    await store(database, group, 2, "bob")
    assert await claim(deliveries, group, 5) == []
    assert await cursor(database, group) == (7, 7)


async def test_orphans_are_failed_by_any_worker(database: Database) -> None:
    deliveries, group = await setup(database, count=1)
    once = Deliveries(database, retry_seconds=[])
    assert await claim(once, group, 1, deadline=0.0) == [1]
    assert await once.fail_orphans() == 0  # its device comes first
    await database.execute("UPDATE deliveries SET due_time = due_time - interval '5 s'")
    assert await once.fail_orphans() == 1
    assert await rows(database) == 0
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 1
    assert await deliveries.list_due([("bob", "phone")]) == []


async def test_search_for_orphans_does_not_look_at_what_waits_for_a_stream(database: Database) -> None:
    """Which may be a thousand messages of each device that ever had one."""
    await database.execute(
        """INSERT INTO deliveries (username, device_id, conversation_id, seq, owner, attempts, due_time, first_time,
                                   last_time)
           SELECT 'bob', 'phone', 'g', n, 0, 1, now() - interval '1 day', now(), now()
           FROM generate_series(1, 1000) AS n"""
    )
    await database.execute("ANALYZE deliveries")
    plan = await database.fetch(f"EXPLAIN (ANALYZE) {_LIST_ORPHANED}", 2.0, 100)
    assert not [row[0] for row in plan if "Removed by Filter" in row[0]]


async def test_claims_acks_and_nacks_are_one_statement_each(database: Database) -> None:
    deliveries, group = await setup(database)
    before = database.statement_count
    await claim(deliveries, group, 3)
    await deliveries.ack("bob", "phone", [(group, 1), (group, 2)])
    await deliveries.nack("bob", "phone", [Nack(group, 3, 1, "no", None)])
    assert database.statement_count - before == 3


async def test_upkeep_leaves_no_orphans(database: Database) -> None:
    deliveries, group = await setup(database)
    await claim(deliveries, group, 1, deadline=0.0)
    await Deliveries(database, retry_seconds=[]).claim("bob", "phone", [], [])
    await claim(deliveries, group, 2)
    await keep_up(database)
    assert (await rows(database), await database.fetchval("SELECT count(*) FROM dead_letters")) == (2, 1)
    await database.execute("UPDATE conversations SET delete_time = clock_timestamp()")
    await keep_up(database)
    assert (await rows(database), await database.fetchval("SELECT count(*) FROM dead_letters")) == (0, 0)


async def test_device_that_ends_takes_its_rows_along(database: Database) -> None:
    deliveries, group = await setup(database)
    await claim(deliveries, group, 1, deadline=0.0)
    await Deliveries(database, retry_seconds=[]).claim("bob", "phone", [], [])
    await claim(deliveries, group, 2)
    await Devices(database, worker_id="w").forget_streams([1])
    await database.execute("UPDATE devices SET last_use_time = last_use_time - interval '91 days'")
    await Cursors(database).enroll_device("bob", "tablet", max_devices=100)
    assert (await rows(database), await database.fetchval("SELECT count(*) FROM dead_letters")) == (0, 0)


async def test_device_with_an_open_stream_does_not_end_however_old_its_hello_is(database: Database) -> None:
    deliveries, group = await setup(database)
    await claim(deliveries, group, 2)
    await database.execute("UPDATE devices SET last_use_time = last_use_time - interval '91 days'")
    await Cursors(database).enroll_device("bob", "tablet", max_devices=100)
    await Devices(database, worker_id="w").forget_streams([1])
    await Cursors(database).enroll_device("bob", "watch", max_devices=100)
    assert await rows(database) == 2


async def test_redrive_takes_what_the_device_has_room_for(database: Database) -> None:
    _, group = await setup(database, count=1002)
    once = Deliveries(database, retry_seconds=[])
    while await claim(once, group, 300, deadline=0.0):
        pass
    await once.claim("bob", "phone", [], [])
    letters = DeadLetters(database)
    ids = [row["dead_letter_id"] for row in await database.fetch("SELECT dead_letter_id FROM dead_letters")]
    assert len(ids) == 1002
    redriven = await letters.redrive(ids, "bob")
    assert [letter.dead_letter_id for letter in redriven] == sorted(ids)[:MAX_UNSETTLED]
    assert await letters.redrive(ids, "bob") == []
    (one,) = (await once.claim("bob", "phone", [Place(1, FAR)], [])).deliveries
    assert (one.entry.seq, one.attempt) == (1, 1)
    await once.ack("bob", "phone", [(group, 1)])
    assert len(await letters.redrive(ids, "bob")) == 1


async def test_streams_of_a_dead_worker_hold_no_mode(database: Database) -> None:
    await setup(database, count=0)
    living, dead = Devices(database, worker_id="w2"), Devices(database, worker_id="w")
    await dead.beat()
    assert await living.admit_stream("bob", "phone", DeviceMode(), session_id=2) is False
    await database.execute("UPDATE workers SET beat_time = beat_time - interval '20 s'")
    assert await living.admit_stream("bob", "phone", DeviceMode(), session_id=2) is True
    assert await living.admit_stream("bob", "nosuch", DeviceMode(), session_id=3) is None
    await database.execute("UPDATE workers SET beat_time = beat_time - interval '2 min'")
    await living.beat()
    await living.purge()
    await living.purge()
    assert [row["session_id"] for row in await database.fetch("SELECT session_id FROM open_streams")] == [2]
    await living.forget_streams([2])
    assert await database.fetchval("SELECT count(*) FROM open_streams") == 0


async def test_worker_that_was_silent_while_the_database_was_away_keeps_its_streams(database: Database) -> None:
    await setup(database, count=0)
    early, late = Devices(database, worker_id="w2"), Devices(database, worker_id="w")
    await late.beat()
    await database.execute("UPDATE workers SET beat_time = beat_time - interval '2 min'")
    await early.purge()
    await late.beat()
    await early.purge()
    assert await database.fetchval("SELECT count(*) FROM open_streams") == 1


async def test_direct_conversation_that_was_hidden_keeps_what_is_unsettled(database: Database) -> None:
    deliveries, _ = await setup(database, count=0)
    await Conversations(database).ensure_direct("alice:bob")
    await store(database, "alice:bob", 1)
    assert await claim(deliveries, "alice:bob", 1) == [1]
    await keep_up(database)
    assert await rows(database) == 1
