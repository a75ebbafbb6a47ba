"""The storing function, by the connection that calls it: one order, one effect a request id, no holes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from storage.errors import BadData, LockTimeout, OutcomeUnknown, Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.postgres.log.append import Appender
from storage.records import MembershipAction, MembershipChange, Outcome, Role, Stored
from tests.support.databases import fresh_schema, open_database
from tests.support.log import add_group, draft, locked, log_of, seqs, wait_until_blocked
from tests.support.logs import add_users


@pytest.fixture
async def db(database: Database) -> Database:
    """ann (owner), bob and cid are in the group g; dan is in none."""
    await add_users(database, "ann", "bob", "cid", "dan")
    await add_group(database, "g", "ann", "bob", "cid")
    return database


@contextlib.asynccontextmanager
async def appender_of(database: Database, lock_timeout_ms: int = 20_000) -> AsyncIterator[Appender]:
    appender = Appender(database, lock_timeout_ms=lock_timeout_ms)
    try:
        yield appender
    finally:
        appender.discard()


@pytest.fixture
async def appender(db: Database) -> AsyncIterator[Appender]:
    async with appender_of(db) as opened:
        yield opened


def outcomes(answers: list[Stored]) -> list[Outcome]:
    return [answer.outcome for answer in answers]


async def feed_rows(database: Database) -> int:
    return int(await database.fetchval("SELECT count(*) FROM commit_feed"))


async def test_duplicate_that_waited_for_the_lock_sees_the_first(db):
    """Two workers store the same request at once: no abort, no hole, and the second learns of the first."""
    same = draft("g", "ann", "once", request_id="same")
    async with appender_of(db) as one, appender_of(db) as other:
        async with locked(db, "g"):
            first = asyncio.create_task(one.store([same, draft("g", "ann", "after one")]))
            await wait_until_blocked(db, 1)
            second = asyncio.create_task(other.store([draft("g", "bob", "before"), same, draft("g", "ann", "after")]))
            await wait_until_blocked(db, 2)
        answers = await asyncio.gather(first, second)
    assert outcomes(answers[0]) == [Outcome.STORED, Outcome.STORED]
    assert outcomes(answers[1]) == [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
    assert (answers[1][1].seq, answers[1][1].create_time) == (answers[0][0].seq, answers[0][0].create_time)
    assert await log_of(db, "g") == [(1, "once"), (2, "after one"), (3, "before"), (4, "after")]


async def test_message_of_one_who_was_removed_while_it_waited_is_refused(db):
    async with appender_of(db) as appender:
        async with locked(db, "g") as holder:
            storing = asyncio.create_task(appender.store([draft("g", "bob", "too late"), draft("g", "ann", "in time")]))
            await wait_until_blocked(db)
            await holder.execute("UPDATE members SET role = 0 WHERE username = 'bob'")
        answers = await storing
    assert outcomes(answers) == [Outcome.NOT_A_MEMBER, Outcome.STORED]
    assert await log_of(db, "g") == [(1, "in time")]


async def test_real_removal_at_the_same_time_leaves_the_removal_last_for_the_removed(db):
    members = Members(db)

    def decide(_standing: object) -> list[MembershipChange]:
        return [MembershipChange(MembershipAction.REMOVED, ("bob",), Role.GONE)]

    async with appender_of(db) as appender:
        removing = asyncio.create_task(
            members.change("g", "ann", request_id="x", request_hash=b"", usernames=["bob"], decide=decide)
        )
        batches = [await appender.store([draft("g", "bob")]) for _ in range(20)]
        (entry,) = (await removing).entries
    stored = [answer.seq for (answer,) in batches if answer.outcome is Outcome.STORED]
    assert stored == list(range(1, len(stored) + 1))
    assert all(seq < entry.seq for seq in stored)


async def test_refusals_leave_no_hole_and_say_why(db, appender):
    await db.execute("UPDATE members SET role = $1 WHERE username = 'cid'", Role.READER)
    await appender.store([draft("g", "ann", "first", request_id="taken")])
    answers = await appender.store(
        [
            draft("g", "ann", "2"),
            draft("nosuchgroup", "ann"),
            draft("g", "dan"),
            draft("g", "cid"),
            draft("g", "bob", "reply", reply_to_seq=1),
            draft("g", "bob", reply_to_seq=99),
            draft("g", "bob", reply_to_seq=2),  # not yet there when the batch began: nobody can have seen it
            draft("g", "ann", "first", request_id="taken"),
            draft("g", "ann", "other", request_id="taken"),
            draft("g", "bob", "first", request_id="taken"),
            draft("g", "ann", "last"),
        ]
    )
    assert outcomes(answers) == [
        Outcome.STORED,
        Outcome.NO_CONVERSATION,
        Outcome.NOT_A_MEMBER,
        Outcome.ROLE_TOO_LOW,
        Outcome.STORED,
        Outcome.REPLY_NOT_FOUND,
        Outcome.REPLY_NOT_FOUND,
        Outcome.DUPLICATE,
        Outcome.REUSED,
        Outcome.STORED,
        Outcome.STORED,
    ]
    assert [seq for seq, _ in await log_of(db, "g")] == [1, 2, 3, 4, 5]
    row = await db.fetchrow("SELECT last_seq, message_count FROM conversations WHERE conversation_id = 'g'")
    assert tuple(row) == (5, 5)


async def test_batch_of_refusals_alone_stores_nothing_and_feeds_nothing(db, appender):
    before = await feed_rows(db)
    assert outcomes(await appender.store([draft("g", "dan"), draft("no", "ann")])) == [
        Outcome.NOT_A_MEMBER,
        Outcome.NO_CONVERSATION,
    ]
    assert (await log_of(db, "g"), await feed_rows(db)) == ([], before)


async def test_reply_to_what_the_sender_can_not_see_is_refused(db, appender):
    await appender.store([draft("g", "ann", "hidden"), draft("g", "ann", "seen")])
    await db.execute("UPDATE members SET visible = '{[2,)}' WHERE username = 'bob'")
    answers = await appender.store([draft("g", "bob", reply_to_seq=1), draft("g", "bob", reply_to_seq=2)])
    assert outcomes(answers) == [Outcome.REPLY_NOT_FOUND, Outcome.STORED]


async def test_deleted_group_takes_nothing_more_but_knows_its_repeats(db, appender):
    await appender.store([draft("g", "ann", "mine", request_id="r")])
    await db.execute("UPDATE conversations SET delete_time = clock_timestamp()")
    answers = await appender.store([draft("g", "ann", "mine", request_id="r"), draft("g", "ann")])
    assert outcomes(answers) == [Outcome.DUPLICATE, Outcome.NO_CONVERSATION]


async def test_first_of_equal_request_ids_in_a_batch_counts(db, appender):
    answers = await appender.store(
        [
            draft("g", "ann", "a", request_id="same"),
            draft("g", "ann", "a", request_id="same"),
            draft("g", "ann", "b", request_id="same"),
            draft("g", "bob", "a", request_id="same"),
            draft("g", "dan", "a", request_id="refused"),
            draft("g", "dan", "b", request_id="refused"),
            draft("g", "ann", "last"),
        ]
    )
    assert [(answer.outcome, answer.seq) for answer in answers] == [
        (Outcome.STORED, 1),
        (Outcome.DUPLICATE, 1),
        (Outcome.REUSED, 1),
        (Outcome.STORED, 2),
        (Outcome.NOT_A_MEMBER, 0),
        (Outcome.NOT_A_MEMBER, 0),
        (Outcome.STORED, 3),
    ]
    assert answers[1].create_time == answers[0].create_time
    assert await log_of(db, "g") == [(1, "a"), (2, "a"), (3, "last")]


async def test_appenders_that_meet_in_many_conversations_store_densely_without_deadlock(db):
    groups = [f"g{nth}" for nth in range(6)]
    for group in groups:
        await add_group(db, group, "ann", "bob")

    async def write(appender: Appender, number: int) -> int:
        # Each appender names the conversations in its own order: the locks must still be taken in one order.
        mine = groups[number:] + groups[:number]
        if number % 2:
            mine = mine[::-1]
        for _ in range(12):
            answers = await appender.store([draft(group, "ann") for group in mine])
            assert outcomes(answers) == [Outcome.STORED] * len(mine)
        return len(mine) * 12

    async with contextlib.AsyncExitStack() as stack:
        appenders = [await stack.enter_async_context(appender_of(db)) for _ in range(4)]
        count = sum(await asyncio.gather(*(write(appender, number) for number, appender in enumerate(appenders))))
    for group in groups:
        assert [seq for seq, _ in await log_of(db, group)] == list(range(1, count // 6 + 1))
    counted = await db.fetch(
        "SELECT own_unread, role FROM members WHERE conversation_id LIKE 'g_' AND username = 'ann'"
    )
    assert {row["own_unread"] for row in counted} == {count // 6}


async def test_create_time_never_falls(db, appender):
    ahead = await db.fetchval("UPDATE conversations SET last_time = last_time + interval '1 hour' RETURNING last_time")
    first, second = await appender.store([draft("g", "ann"), draft("g", "ann")])
    assert first.create_time == second.create_time == ahead
    await db.execute("UPDATE conversations SET last_time = last_time - interval '2 hours'")
    (third,) = await appender.store([draft("g", "ann")])
    assert ahead - timedelta(hours=2) < third.create_time < ahead


async def test_conversation_that_stays_locked_fails_the_batch_whole(db):
    await add_group(db, "free", "ann")
    async with appender_of(db, lock_timeout_ms=50) as appender:
        drafts = [draft("free", "ann"), draft("g", "ann")]
        async with locked(db, "g"):
            with pytest.raises(LockTimeout):
                await appender.store(drafts)
        assert await log_of(db, "free") == []
        assert outcomes(await appender.store(drafts)) == [Outcome.STORED, Outcome.STORED]


@pytest.mark.parametrize(
    "bad",
    [
        {"text": "nul\0"},
        {"text": "x", "extras": "{no json"},
        {"text": "x", "extras": r'{"a": "\u0000"}'},
        {"text": "lone surrogate \ud800"},
        {"text": "x", "size_bytes": 2**31},
    ],
    ids=["nul", "no json", "nul in json", "surrogate", "too large a number"],
)
async def test_data_that_the_database_can_not_hold_is_told_apart(db, appender, bad):
    with pytest.raises(BadData):
        await appender.store([draft("g", "ann", "good"), draft("g", "ann", **bad)])
    assert await log_of(db, "g") == []
    assert seqs(await appender.store([draft("g", "ann", "next")])) == [1]


async def test_batch_is_one_statement(db, appender):
    await appender.store([draft("g", "ann")])
    before = db.statement_count
    await appender.store([draft("g", "ann") for _ in range(50)] + [draft("g", "dan"), draft("no", "ann")])
    assert db.statement_count - before == 1


async def test_answer_that_did_not_come_is_found_out_by_asking_again(db, appender):
    """The backend is ended while it waits for the lock: nothing was stored, and nobody could know."""
    drafts = [draft("g", "ann", "one"), draft("g", "bob", "two")]
    async with locked(db, "g"):
        storing = asyncio.create_task(appender.store(drafts))
        (backend,) = await wait_until_blocked(db)
        await db.fetchval("SELECT pg_terminate_backend($1)", backend)
        with pytest.raises(OutcomeUnknown):
            await storing
    assert [(answer.outcome, answer.seq) for answer in await appender.store(drafts)] == [
        (Outcome.STORED, 1),
        (Outcome.STORED, 2),
    ]
    again = await appender.store(drafts)
    assert [(answer.outcome, answer.seq) for answer in again] == [(Outcome.DUPLICATE, 1), (Outcome.DUPLICATE, 2)]


async def test_write_that_took_too_long_is_left_alone_and_not_cancelled(postgres_url):
    """A cancelled wait for a standby would be visible, be acknowledged as a repeat, and be lost with the primary."""
    async with fresh_schema(postgres_url) as schema, open_database(postgres_url, schema) as db:
        await add_users(db, "ann")
        await add_group(db, "g", "ann")
        hurried = Database(postgres_url, schema=schema, command_timeout_seconds=0.3)
        one = draft("g", "ann", "slow")
        async with appender_of(hurried) as appender, appender_of(db) as other:
            async with locked(db, "g"):
                with pytest.raises(OutcomeUnknown):
                    await appender.store([one])
                # It still waits, and will be stored when it gets the lock.
                assert len(await wait_until_blocked(db)) == 1
            # The repeat waits for it by the lock, and so finds it.
            assert outcomes(await other.store([one])) == [Outcome.DUPLICATE]
    assert hurried.statement_count == 1


async def test_store_that_is_given_up_leaves_an_appender_that_works(db, appender):
    async with locked(db, "g"):
        storing = asyncio.create_task(appender.store([draft("g", "ann")]))
        await wait_until_blocked(db)
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
    await appender.store([draft("g", "ann", "next")])
    assert "next" in [text for _, text in await log_of(db, "g")]


async def test_no_connection_is_told_as_nothing_stored():
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", command_timeout_seconds=1)
    async with appender_of(nowhere) as appender:
        with pytest.raises(Unavailable) as caught:
            await appender.store([draft("g", "ann")])
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_conversation_made_while_the_batch_waits_is_not_written_without_its_lock(db):
    """The batch's locks are taken with the eyes of before; what is made meanwhile is stored in the next attempt."""
    await add_group(db, "zoo", "ann")
    async with appender_of(db) as appender, appender_of(db) as other:
        async with locked(db, "zoo"):
            waiting = asyncio.create_task(appender.store([draft("ann:bob", "ann", "hi"), draft("zoo", "ann")]))
            await wait_until_blocked(db, 1)
            await Conversations(db).ensure_direct("ann:bob")
            assert seqs(await other.store([draft("ann:bob", "bob", "hi")])) == [1]
        assert outcomes(await waiting) == [Outcome.NO_CONVERSATION, Outcome.STORED]
        assert seqs(await appender.store([draft("ann:bob", "ann", "hi again")])) == [2]
