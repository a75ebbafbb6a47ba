"""Receipts of a worker: large conversations are counted, a lost bus is made good, nobody watching costs nothing."""

from collections.abc import Sequence

import pytest

from service.delivery.acks import AckWriter
from service.delivery.outbox import MAX_BUFFERED_BYTES
from service.delivery.session import Session
from service.delivery.window import Window
from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.conversations.members import Members
from storage.postgres.conversations.receipts import MAX_NAMED_MEMBERS, Receipts
from storage.postgres.devices.cursors import Ack, Cursors
from storage.records import MembershipAction, MembershipChange, Receipt, ReceiptCount, Role
from tests.support.log import add_group
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
    await Cursors(db).store_acks([Ack(username, "phone", conversation_id, seq)])
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
        await Cursors(db).store_acks([Ack(CROWD[1], "phone", "g", 2)])  # its publication is lost
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


async def test_one_who_was_removed_and_does_not_read_on_is_told_nothing_more(db, redis_url):
    """A full window keeps the removal from being brought, for as long as the client likes."""
    async with running_worker(db, redis_url) as worker:
        witness = await watch(worker, CROWD[0])
        reader = Reader(Session(7, CROWD[1], "phone", window=Window(1, 0)))
        await worker.subscriptions.attach(reader.session, {}, starts_at_latest=False)
        worker.receipts.watch(reader.session)
        await wait_for(lambda: len(reader.read().messages) == 1, what="the first entry")
        reader.session.subscriptions.to_catch_up.clear()  # as for a stream that fell behind after its past was brought
        removal = MembershipChange(MembershipAction.REMOVED, (CROWD[1],), Role.GONE)
        await Members(db).change(
            "g", CROWD[0], request_id="1", request_hash=b"", usernames=[CROWD[1]], decide=lambda standing: [removal]
        )
        worker.hub.note_last_seq("g", 3)
        await wait_for(lambda: worker.hub.channels["g"].position == 3, what="the removal at the hub")
        await acked(db, worker, CROWD[2], "g", 2)
        await wait_for(lambda: last(witness, "g", CROWD[2]) == (2, 0), what="the receipt")
        assert last(reader, "g", CROWD[2]) != (2, 0)


async def test_ack_that_moves_nothing_is_no_receipt(db):
    noted: list[tuple[str, str]] = []
    acks = AckWriter(Cursors(db), lambda *pair: noted.append(pair), epoch=1)
    for seq in (2, 2, 1):
        acks.note(CROWD[1], "phone", "g", seq)
        await acks.flush()
    assert noted == [("g", CROWD[1])]


class OneByOne(Receipts):
    """Notes how many conversations each count is of; the first one fails."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.counted: list[int] = []

    async def count(self, conversation_ids: Sequence[str]) -> list[ReceiptCount]:
        self.counted.append(len(conversation_ids))
        if len(self.counted) == 1:
            raise Unavailable("too slow")
        return await super().count(conversation_ids)


async def test_large_conversations_are_counted_one_by_one(db, redis_url, monkeypatch):
    """All at once a user of many could make the statement longer than its time limit, for everybody."""
    monkeypatch.setattr("service.receipts.tracker._COUNT_SECONDS", 0.01)
    for nth in range(5):
        await add_group(db, f"hall{nth}", *CROWD)
        await send(db, f"hall{nth}", CROWD[0])
    async with running_worker(db, redis_url) as worker:
        worker.receipts._receipts = counts = OneByOne(db)
        reader = await watch(worker, CROWD[0])

        def counted() -> set[str]:
            return {receipt.conversation_id for receipt in reader.read().receipts if not receipt.username}

        await wait_for(lambda: counted() == {"hall", *(f"hall{nth}" for nth in range(5))}, what="all counts")
        assert set(counts.counted) == {1}


async def test_state_is_not_piled_up_for_a_stream_that_is_not_read(db, redis_url):
    async with running_worker(db, redis_url) as worker:
        reader = await watch(worker, CROWD[0])
        await wait_for(lambda: last(reader, "g", CROWD[1]) == (0, 0), what="the state")
        reader.session.outbox.put(b"\x0a\x00" * (MAX_BUFFERED_BYTES // 2))
        before = reader.session.outbox._size_bytes
        other = await watch(worker, CROWD[1])
        for _ in range(3):
            other.got = None
            await worker.receipts.tell_all()
            await wait_for(lambda: last(other, "g", CROWD[1]) == (0, 0), what="the state of another stream")
        assert reader.session.outbox._size_bytes == before
        await Cursors(db).store_acks([Ack(CROWD[1], "phone", "g", 2)])
        await wait_for(lambda: last(reader, "g", CROWD[1]) == (2, 0), what="the state, once there is room")


class MovedMeanwhile(Receipts):
    """A member reads on while receipts are being read, after the statement has seen what it sees."""

    def __init__(self, database: Database, worker: Worker) -> None:
        super().__init__(database)
        self.database = database
        self.worker = worker
        self.read_count = 0

    async def read(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[Receipt], list[str]]:
        found = await super().read(pairs)
        self.read_count += 1
        if self.read_count == 1:
            await acked(self.database, self.worker, CROWD[1], "g", 2)
        return found


async def test_what_moves_while_receipts_are_read_is_told_too(db, redis_url):
    async with running_worker(db, redis_url) as worker:
        worker.receipts._receipts = MovedMeanwhile(db, worker)
        reader = await watch(worker, CROWD[0])
        await acked(db, worker, CROWD[1], "g", 1)
        await wait_for(lambda: last(reader, "g", CROWD[1]) == (2, 0), what="the later one")
