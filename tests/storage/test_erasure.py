"""What deleted accounts left behind goes in short batches that anybody goes on with."""

import asyncio

import pytest

from storage.errors import LockTimeout
from storage.postgres.accounts.erasure import Batch, Erasures, Progress
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.records import Outcome
from tests.support.log import add_group, locked
from tests.support.logs import add_users, delete_user, send

BATCH_MESSAGES = 500


async def fill(database: Database, conversation_id: str, sender: str, count: int) -> None:
    """Stores many messages of one sender, by SQL."""
    await database.execute(
        """INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                                 message_number, size_bytes, text, data, content_type, extras)
           SELECT $1, c.last_seq + n, 1, $2, 'r' || n, 'h', clock_timestamp(), n, 5000, 'secret', 'x', 'a/b',
                  '{"mentions": ["bob"]}'
           FROM conversations c, generate_series(1, $3) n WHERE c.conversation_id = $1""",
        conversation_id,
        sender,
        count,
    )
    await database.execute(
        "UPDATE conversations SET last_seq = last_seq + $2 WHERE conversation_id = $1", conversation_id, count
    )


async def count_full(database: Database, sender: str) -> int:
    return int(
        await database.fetchval(
            "SELECT count(*) FROM messages WHERE sender = $1 AND (text <> '' OR data IS NOT NULL OR extras IS NOT NULL"
            " OR content_type IS NOT NULL)",
            sender,
        )
    )


async def finish(erasures: Erasures, username: str) -> list[Batch]:
    batches = []
    while not batches or batches[-1].progress is Progress.MORE:
        batches.append(await erasures.run_batch(username))
    return batches


async def test_devices_and_all_that_is_theirs_go_and_others_keep_theirs(database: Database) -> None:
    await add_users(database, "ann", "bob")
    for name in ("ann", "bob"):
        await database.execute("INSERT INTO devices (username, device_id) VALUES ($1, 'd')", name)
        await database.execute(
            "INSERT INTO cursors SELECT $1, 'd', 'g' || n, 1, 1 FROM generate_series(1, 1500) n", name
        )
    await delete_user(database, "ann")
    batches = await finish(Erasures(database), "ann")
    assert [batch.progress for batch in batches] == [Progress.MORE] * 3 + [Progress.DONE]
    for table, left in (("devices", 1), ("cursors", 1500)):
        rows = await database.fetch(f"SELECT username, count(*) AS rows FROM {table} GROUP BY 1")
        assert [tuple(row) for row in rows] == [("bob", left)]
    assert await Erasures(database).run_batch("ann") == Batch(Progress.NOTHING)
    assert await Erasures(database).run_batch("bob") == Batch(Progress.NOTHING), "bob was not deleted"


async def test_messages_are_emptied_batch_by_batch_by_whoever_comes(database: Database) -> None:
    await add_users(database, "ann", "bob")
    await add_group(database, "g1", "ann", "bob")
    await add_group(database, "g2", "ann", "bob")
    await send(database, "g1", "bob", "of bob")
    await fill(database, "g1", "ann", BATCH_MESSAGES + 100)
    await fill(database, "g2", "ann", 50)
    await delete_user(database, "ann")
    await Erasures(database).request_messages("ann")
    assert await Erasures(database).run_batch("ann") == Batch(Progress.MORE, BATCH_MESSAGES)
    assert await count_full(database, "ann") == 150
    await Erasures(database).request_messages("ann")  # again: what was done is not looked at again
    assert await Erasures(database).run_batch("ann") == Batch(Progress.DONE, BATCH_MESSAGES + 150)
    assert await count_full(database, "ann") == 0
    assert await count_full(database, "bob") == 1
    row = await database.fetchrow(
        "SELECT count(*) AS rows, count(DISTINCT seq) AS seqs, max(seq) AS last, max(size_bytes) AS size"
        " FROM messages WHERE conversation_id = 'g1'"
    )
    assert row is not None
    assert (row["rows"], row["seqs"], row["last"], row["size"]) == (601, 601, 601, 200)
    changed = await database.fetch("SELECT DISTINCT conversation_id FROM content_changes ORDER BY 1")
    assert [row["conversation_id"] for row in changed] == ["g1", "g2"]


async def test_messages_stay_unless_that_was_asked_for_and_nothing_of_the_living_is_touched(database: Database) -> None:
    await add_users(database, "ann", "bob")
    await add_group(database, "g1", "ann", "bob")
    await fill(database, "g1", "ann", 3)
    await Erasures(database).request_messages("ann")
    assert await Erasures(database).run_batch("ann") == Batch(Progress.NOTHING)
    await delete_user(database, "ann")
    assert [batch.progress for batch in await finish(Erasures(database), "ann")] == [Progress.DONE]
    assert await count_full(database, "ann") == 3


async def test_two_at_once_take_turns_and_nothing_is_done_twice(database: Database) -> None:
    await add_users(database, "ann")
    await add_group(database, "g1", "ann")
    await fill(database, "g1", "ann", 3 * BATCH_MESSAGES)
    await delete_user(database, "ann")
    await Erasures(database).request_messages("ann")

    async def work() -> int:
        emptied, before = 0, 0
        while (batch := await Erasures(database).run_batch("ann")).progress is not Progress.NOTHING:
            if batch.progress is not Progress.BUSY:
                emptied, before = emptied + 1, batch.message_count
        assert before <= 3 * BATCH_MESSAGES
        return emptied

    done = await asyncio.gather(work(), work(), work())
    assert sum(done) == 4
    assert await count_full(database, "ann") == 0


async def test_account_that_somebody_works_on_is_left_to_them_for_a_while(database: Database) -> None:
    await add_users(database, "ann", "bob")
    for name in ("ann", "bob"):
        await delete_user(database, name)
    erasures = Erasures(database)
    assert await erasures.list_usernames(limit=10) == []
    await database.execute("UPDATE erasures SET turn_time = turn_time - interval '11 seconds' WHERE username = 'bob'")
    assert await erasures.list_usernames(limit=10) == ["bob"]
    async with database.transaction() as connection:
        await connection.execute("SELECT 1 FROM erasures FOR UPDATE")
        assert await erasures.run_batch("bob") == Batch(Progress.BUSY)


async def test_nothing_is_stored_behind_the_batch_that_empties_a_direct_conversation(database: Database) -> None:
    """A stream of the account lives on for seconds on a worker that has not heard; what it just stores goes, too."""
    await add_users(database, "ann", "bob")
    await Conversations(database).ensure_direct("ann:bob")
    await send(database, "ann:bob", "ann", "secret")
    await delete_user(database, "ann")
    erasures = Erasures(database)
    await erasures.request_messages("ann")
    async with locked(database, "ann:bob") as connection:
        await send(connection, "ann:bob", "ann", "secret, too")
        with pytest.raises(LockTimeout):
            await erasures.run_batch("ann")
    assert await erasures.run_batch("ann") == Batch(Progress.DONE, 2)
    assert (await send(database, "ann:bob", "ann", "late")).outcome is Outcome.ROLE_TOO_LOW
    assert (await send(database, "ann:bob", "bob", "still here")).outcome is Outcome.STORED
    assert await count_full(database, "ann") == 0
