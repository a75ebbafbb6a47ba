"""Batches of one sender in one conversation take a shorter way through the storing function, to the same effect."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from storage.postgres.connections.database import Database
from storage.postgres.log.append import Appender
from storage.records import Draft, Outcome, Role
from tests.support.log import add_group, draft, locked, log_of, wait_until_blocked
from tests.support.logs import add_users


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the groups g and h; dan is in none."""
    await add_users(database, "ann", "bob", "dan")
    await add_group(database, "g", "ann", "bob")
    await add_group(database, "h", "ann", "bob")
    return database


@pytest.fixture
async def appender(db: Database) -> AsyncIterator[Appender]:
    appender = Appender(db, lock_timeout_ms=20_000)
    yield appender
    appender.discard()


def drafts_of(count: int, sender: str = "ann") -> list[Draft]:
    return [draft("g", sender, f"{nth}", request_id=f"r{nth}") for nth in range(count)]


async def state_of(database: Database, conversation_id: str = "g") -> dict[str, Any]:
    row = await database.fetchrow(
        """SELECT c.last_seq, c.message_count, c.last_time, array_agg(m.own_unread ORDER BY m.username) AS own,
                  (SELECT array_agg(f.last_seqs ORDER BY f.feed_id) FROM commit_feed f
                   WHERE f.conversation_ids = ARRAY[c.conversation_id]) AS fed
           FROM conversations c JOIN members m USING (conversation_id)
           WHERE conversation_id = $1 GROUP BY 1, 2, 3, 5""",
        conversation_id,
    )
    assert row is not None
    return dict(row)


@pytest.mark.parametrize("count", [1, 3])
async def test_shorter_way_stores_what_the_longer_one_would(db, appender, count):
    """In h there is one more message, of another sender, behind the same ones."""
    names = ("request_id", "request_hash", "text", "data", "content_type", "extras", "size_bytes", "kind", "sender")
    names += ("message_number", "reply_to_seq", "seq")
    logs = []
    for conversation_id, more in (("g", []), ("h", [draft("h", "bob")])):
        await appender.store([draft(conversation_id, "bob", request_id="first")])
        batch = [
            draft(conversation_id, "ann", "", request_id="1", data=b"\x00\xff", content_type="a/b", extras='{"a": 1}'),
            draft(conversation_id, "ann", "b", request_id="2", size_bytes=7),
            draft(conversation_id, "ann", "c", request_id="3", reply_to_seq=1),
        ][:count]
        answers = (await appender.store([*batch, *more]))[:count]
        assert [(answer.outcome, answer.seq) for answer in answers] == [
            (Outcome.STORED, seq) for seq in range(2, 2 + count)
        ]
        rows = await db.fetch("SELECT * FROM messages WHERE conversation_id = $1 ORDER BY seq", conversation_id)
        assert [row["create_time"] for row in rows[1 : count + 1]] == [answer.create_time for answer in answers]
        logs.append([tuple(row[name] for name in names) for row in rows[: count + 1]])
        if not more:
            assert await state_of(db) == {
                "last_seq": count + 1,
                "message_count": count + 1,
                "last_time": answers[0].create_time,
                "own": [count, 1],
                "fed": [[1], [count + 1]],
            }
    assert logs[0] == logs[1]


@pytest.mark.parametrize("count", [1, 3])
async def test_repeat_that_waited_for_the_lock_sees_the_first(db, appender, count):
    other = Appender(db, lock_timeout_ms=20_000)
    async with locked(db, "g"):
        first = asyncio.create_task(other.store(drafts_of(1)))
        await wait_until_blocked(db, 1)
        second = asyncio.create_task(appender.store(drafts_of(count)))
        await wait_until_blocked(db, 2)
    ((stored,), answers) = await asyncio.gather(first, second)
    other.discard()
    assert (stored.outcome, stored.seq) == (Outcome.STORED, 1)
    assert [(answer.outcome, answer.seq) for answer in answers] == [
        (Outcome.DUPLICATE, 1),
        *((Outcome.STORED, seq) for seq in range(2, count + 1)),
    ]
    assert answers[0].create_time == stored.create_time
    assert (await state_of(db))["own"] == [count, 0]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("UPDATE members SET role = 0 WHERE username = 'ann'", Outcome.NOT_A_MEMBER),
        (f"UPDATE members SET role = {Role.READER:d} WHERE username = 'ann'", Outcome.ROLE_TOO_LOW),
        ("UPDATE conversations SET delete_time = clock_timestamp()", Outcome.NO_CONVERSATION),
    ],
)
async def test_refusal_for_what_changed_while_the_lock_was_waited_for_leaves_all_as_it_was(
    db, appender, change, outcome, count
):
    before = await state_of(db)
    async with locked(db, "g") as holder:
        storing = asyncio.create_task(appender.store(drafts_of(count)))
        await wait_until_blocked(db)
        await holder.execute(change)
    assert [answer.outcome for answer in await storing] == [outcome] * count
    assert (await log_of(db, "g"), await state_of(db)) == ([], before)


async def test_stranger_and_unknown_conversation_are_refused(db, appender):
    before = await state_of(db)
    for refused, outcome in ((draft("g", "dan"), Outcome.NOT_A_MEMBER), (draft("no", "ann"), Outcome.NO_CONVERSATION)):
        assert [answer.outcome for answer in await appender.store([refused])] == [outcome]
    assert await state_of(db) == before


@pytest.mark.parametrize("count", [1, 3])
async def test_own_repeat_is_answered_and_counts_once(db, appender, count):
    first = await appender.store(drafts_of(count))
    before = await state_of(db)
    again = await appender.store(drafts_of(count))
    assert [(answer.outcome, answer.seq) for answer in again] == [(Outcome.DUPLICATE, answer.seq) for answer in first]
    assert await state_of(db) == before
    (reused,) = await appender.store([draft("g", "ann", "another text", request_id="r0")])
    assert (reused.outcome, reused.seq) == (Outcome.REUSED, 1)


@pytest.mark.parametrize("count", [1, 3])
async def test_time_of_the_clock_that_went_back_is_that_of_the_entry_before(db, appender, count):
    ahead = await db.fetchval(
        "UPDATE conversations SET last_time = last_time + interval '1 hour' WHERE conversation_id = 'g'"
        " RETURNING last_time"
    )
    assert {answer.create_time for answer in await appender.store(drafts_of(count))} == {ahead}
    assert (await state_of(db))["last_time"] == ahead
