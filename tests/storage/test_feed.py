"""The commit feed: every committed batch is told, also one that commits late, and none twice."""

import asyncio

import pytest

from storage.postgres.connections.database import Database
from storage.postgres.log.feed import KEEP_SECONDS, Feed
from tests.support.log import add_group, locked
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for


@pytest.fixture
async def db(database: Database) -> Database:
    await add_users(database, "ann")
    for name in ("a", "b", "c"):
        await add_group(database, name, "ann")
    return database


async def test_first_read_marks_the_place_and_the_next_tell_what_grew(db):
    await send(db, "a", "ann")
    feed = Feed(db)
    assert await feed.read() == {}
    await send(db, "a", "ann")
    await send(db, "b", "ann")
    await send(db, "a", "ann")
    assert await feed.read() == {"a": 3, "b": 1}
    assert await feed.read() == {}
    await send(db, "b", "ann")
    assert await feed.read() == {"b": 2}


async def test_batch_that_commits_late_with_a_lower_id_is_not_missed(db):
    feed = Feed(db)
    await feed.read()
    async with locked(db, "a") as late:
        await send(late, "a", "ann")  # takes its id now, and commits at the end
        await send(db, "b", "ann")
        assert await feed.read() == {"b": 1}
        await send(db, "c", "ann")
        assert await feed.read() == {"c": 1}
        assert await feed.read() == {}
    ids = await db.fetchval("SELECT array_agg(conversation_ids[1] ORDER BY feed_id) FROM commit_feed")
    assert ids == ["a", "b", "c"]
    assert await feed.read() == {"a": 1}
    assert await feed.read() == {}


async def test_what_is_open_at_the_first_read_is_told_when_it_commits(db):
    feed = Feed(db)
    async with locked(db, "a") as late:
        await send(late, "a", "ann")
        await feed.read()
    assert await feed.read() == {"a": 1}


async def test_transaction_ids_that_a_failover_gives_anew_are_not_taken_for_known(db):
    """The lost primary had got further than what its standby has."""
    feed = Feed(db)
    await feed.read()
    assert feed._horizon is not None
    feed._horizon += 500  # as far as the one before had come
    db.expire()  # as after any loss of the server
    await send(db, "a", "ann")
    await send(db, "b", "ann")
    assert await feed.read() == {"a": 1, "b": 1}
    await send(db, "a", "ann")
    assert await feed.read() == {"a": 2}


async def test_row_ids_that_a_failover_gives_anew_are_not_taken_for_known(db):
    """The standby had not got the last batch that was told, and gives its id to another one."""
    feed = Feed(db)
    await feed.read()
    await send(db, "a", "ann")
    assert await feed.read() == {"a": 1}
    assert feed._seen
    await db.execute("UPDATE commit_feed SET conversation_ids = '{b}', last_seqs = '{1}'")
    db.expire()
    assert await feed.read() == {"b": 1}


async def test_what_was_rolled_back_is_never_told(db):
    feed = Feed(db)
    await feed.read()
    connection = await db.connect()
    transaction = connection.transaction()
    await transaction.start()
    await send(connection, "a", "ann")
    await feed.read()
    await transaction.rollback()
    await connection.close()
    assert await feed.read() == {}


async def test_each_read_is_one_statement_and_reads_only_what_is_new(db):
    feed = Feed(db)
    await feed.read()
    for _ in range(30):
        await send(db, "a", "ann")
        before = db.statement_count
        await feed.read()
        assert db.statement_count - before == 1
    assert len(feed._seen) <= 1


async def test_readers_and_writers_at_once_lose_nothing(db):
    feed = Feed(db)
    await feed.read()
    told: list[tuple[str, int]] = []

    async def write(name: str) -> None:
        for _ in range(25):
            await send(db, name, "ann")

    writing = [asyncio.create_task(write(name)) for name in "abc"]
    while not all(task.done() for task in writing):
        told += (await feed.read()).items()
    told += (await feed.read()).items()
    assert {name: max(seq for other, seq in told if other == name) for name in "abc"} == {"a": 25, "b": 25, "c": 25}
    assert len(told) == len(set(told))


async def test_old_rows_go_and_young_ones_stay(db):
    await send(db, "a", "ann")
    await db.execute(
        "UPDATE commit_feed SET create_time = create_time - make_interval(secs => $1)", float(KEEP_SECONDS + 1)
    )
    await send(db, "b", "ann")
    await asyncio.gather(Feed(db).purge(), Feed(db).purge())

    async def rest() -> bool:
        return await db.fetchval("SELECT array_agg(conversation_ids[1]) FROM commit_feed") == ["b"]

    await wait_for(rest)
