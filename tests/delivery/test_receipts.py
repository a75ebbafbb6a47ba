"""Receipts of a worker: large conversations are counted, a lost bus is made good, nobody watching costs nothing."""

import pytest

from storage.postgres.database import Database
from storage.postgres.positions import Ack, Positions
from storage.postgres.receipts import MAX_NAMED_MEMBERS, Receipts
from storage.records import Receipt
from tests.support.lanes import add_group
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker

CROWD = [f"user-{number:03}" for number in range(MAX_NAMED_MEMBERS + 1)]


@pytest.fixture
async def db(database: Database) -> Database:
    """g has three members and 2 entries, the hall has one member too many to name each, and 1 entry."""
    await add_users(database, *CROWD)
    await add_group(database, "g", *CROWD[:3])
    await add_group(database, "hall", *CROWD)
    for name in ("g", "g", "hall"):
        await send(database, name, CROWD[0])
    return database


async def watch(worker: Worker, username: str) -> Reader:
    reader = await worker.attach(username)
    worker.receipts.watch(reader.session)
    return reader


async def acked(db: Database, worker: Worker, username: str, conversation_id: str, seq: int) -> None:
    """A device acknowledges, as the worker's ack writer does it."""
    await Positions(db).store_acks([Ack(username, "phone", conversation_id, seq)])
    worker.receipts.note(conversation_id, username)


def last(reader: Reader, conversation_id: str, username: str) -> tuple[int, int]:
    found = [r for r in reader.read().receipts if (r.conversation_id, r.username) == (conversation_id, username)]
    return (found[-1].delivered_seq, found[-1].read_seq) if found else (-1, -1)


async def test_large_conversation_is_counted(db, redis_url):
    async with running_worker(db, redis_url) as worker:
        reader = await watch(worker, CROWD[0])
        await db.execute("UPDATE members SET read_seq = 1 WHERE username = $1", CROWD[1])
        for username in CROWD[:5]:
            await acked(db, worker, username, "hall", 1)

        def counts() -> list[tuple[int, int, int]]:
            found = [receipt for receipt in reader.read().receipts if receipt.conversation_id == "hall"]
            assert not any(receipt.username for receipt in found)
            return [(receipt.seq, receipt.delivered_count, receipt.read_count) for receipt in found]

        await wait_for(lambda: counts()[-1:] == [(1, 5, 1)], what="the count")


async def test_receipts_cross_workers_and_come_again_when_the_bus_was_away(db, redis_url):
    async with (
        running_worker(db, redis_url, prefix="receipts") as here,
        running_worker(db, redis_url, prefix="receipts") as there,
    ):
        reader = await watch(here, CROWD[0])
        await wait_for(lambda: there.receipts._heard_time > 0, what="word that somebody watches")
        await acked(db, there, CROWD[1], "g", 1)
        await wait_for(lambda: last(reader, "g", CROWD[1]) == (1, 0), what="the receipt")
        await Positions(db).store_acks([Ack(CROWD[1], "phone", "g", 2)])  # its publication is lost
        await here.receipts.tell_all()
        await wait_for(lambda: last(reader, "g", CROWD[1]) == (2, 0), what="the state")


async def test_nothing_is_read_while_nobody_watches(db, redis_url):
    async with running_worker(db, redis_url) as worker:
        await acked(db, worker, CROWD[1], "g", 2)
        assert worker.receipts._moved == {}
        await watch(worker, CROWD[0])
        await acked(db, worker, CROWD[1], "g", 2)
        assert list(worker.receipts._moved) == [("g", CROWD[1])]


async def test_one_statement_reads_many_and_none_is_above_the_end(db, redis_url):
    receipts = Receipts(db)
    await db.execute("INSERT INTO cursors VALUES ($1, 'phone', 'g', 9, 1)", CROWD[1])
    await db.execute("UPDATE members SET role = 0 WHERE username = $1", CROWD[2])
    before = db.statement_count
    pairs = [("g", CROWD[0]), ("g", CROWD[1]), ("g", CROWD[2]), ("g", "nobody"), ("nowhere", CROWD[0])]
    named, counted = await receipts.read([*pairs, ("hall", CROWD[0]), ("hall", CROWD[1])])
    assert db.statement_count - before == 1
    assert sorted(named, key=lambda receipt: receipt.username) == [
        Receipt("g", CROWD[0], 0, 0),
        Receipt("g", CROWD[1], 2, 0),
    ]
    assert counted == ["hall"]
    assert await receipts.list_for(CROWD[0], max_conversations=5, limit=1) == [Receipt("g", CROWD[0], 0, 0)]
