"""Live delivery and replay on one or two workers: nothing missing, nothing twice, in order, whatever the bus does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from parley.v1 import chat_pb2, message_pb2

from service.convert import responses
from service.convert.fast_wire import encodings
from service.convert.items import Item
from service.delivery import channel, hub
from service.delivery.outbox import MAX_BUFFERED_BYTES
from storage.postgres.connections.database import Database
from storage.postgres.conversations.members import Members
from storage.postgres.log.append import Appender
from storage.postgres.log.messages import Messages
from storage.records import EntryKind, MembershipAction, MembershipChange, Outcome, Role, Span, Stored
from tests.support.desks import announce
from tests.support.log import add_group, draft
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker


@pytest.fixture
async def db(database: Database) -> Database:
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    return database


@pytest.fixture
async def worker(db: Database, redis_url: str) -> AsyncIterator[Worker]:
    async with running_worker(db, redis_url, has_bus=False) as running:
        yield running


async def items(db: Database, first_seq: int, last_seq: int) -> list[Item]:
    """Entries as another worker's messages on the bus would bring them."""
    entries = await Messages(db).read_spans([Span("g", first_seq - 1, last_seq + 1)], limit_each=1000)
    return [responses.entry_item(entry) for entry in entries]


async def fill(db: Database, count: int, *, text: str = "hello") -> None:
    for _ in range(count):
        await send(db, "g", "ann", text)


async def test_entries_in_any_order_and_twice_come_in_order_and_once(worker, db):
    reader = await worker.attach("bob")
    await fill(db, 6)
    one = {item.seq: item for item in await items(db, 1, 6)}
    for seqs in ([2], [1, 2], [2, 3], [6, 5], [4], [1, 6]):
        worker.hub.deliver("g", [one[seq] for seq in seqs])
    assert reader.seqs("g") == [1, 2, 3, 4, 5, 6]
    assert worker.hub.gap_read_count == 0


async def test_gap_is_read_from_the_log_after_a_moment(worker, db):
    reader = await worker.attach("bob")
    await fill(db, 5)
    worker.hub.deliver("g", await items(db, 4, 5))
    assert reader.seqs("g") == []
    await reader.until("g", 1, 2, 3, 4, 5)
    assert worker.hub.gap_read_count == 1


async def test_gap_that_moves_is_left_to_the_bus_and_one_that_stays_is_read(worker, db, monkeypatch):
    """While two workers write there is often a gap; it is read only if it is the same one after a moment."""
    monkeypatch.setattr(hub, "PARK_SECONDS", 0)  # so that each step of the event loop is a look at the gap
    reader = await worker.attach("bob")
    await fill(db, 41)
    one = {item.seq: item for item in await items(db, 1, 41)}
    for seq in range(1, 41, 2):
        worker.hub.deliver("g", [one[seq + 1]])
        await asyncio.sleep(0)
        worker.hub.deliver("g", [one[seq], one[min(seq + 3, 41)]])
    assert reader.seqs("g") == list(range(1, 42))
    assert worker.hub.gap_read_count == 0
    await fill(db, 2)
    worker.hub.deliver("g", await items(db, 43, 43))
    await reader.until("g", *range(1, 44))
    assert worker.hub.gap_read_count == 1


async def test_last_message_that_nobody_published_is_found_by_its_seq(worker, db):
    reader = await worker.attach("bob")
    await fill(db, 3)
    worker.hub.note_last_seq("g", 3)
    worker.hub.note_last_seq("g", 2)
    worker.hub.note_last_seq("elsewhere", 9)
    await reader.until("g", 1, 2, 3)
    assert list(worker.hub.channels) == ["g"]


async def test_long_gap_is_read_in_parts(worker, db):
    reader = await worker.attach("bob")
    await db.execute(
        """INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                                 message_number, size_bytes)
           SELECT 'g', n, 1, 'ann', n::text, '', now(), n, 100 FROM generate_series(1, 1200) n"""
    )
    await db.execute("UPDATE conversations SET last_seq = 1200")
    worker.hub.note_last_seq("g", 1200)
    await reader.until("g", *range(1, 1201))
    assert worker.hub.gap_read_count == 3


async def test_full_session_lags_and_gets_the_rest_from_memory_or_the_log(worker, db):
    quick, slow = await worker.attach("ann"), await worker.attach("bob")
    text = "x" * 100_000
    for first in range(1, 31, 5):
        await fill(db, 5, text=text)
        worker.hub.deliver("g", await items(db, first, first + 4))
        assert quick.seqs("g")[-1] == first + 4
        assert slow.session.outbox._size_bytes <= MAX_BUFFERED_BYTES + 100_500
    assert slow.session.subscriptions.lags
    assert slow.session in worker.hub.channels["g"].lagging

    def read_on() -> bool:
        slow.read()
        worker.replayer.schedule(slow.session)
        return slow.seqs("g") == list(range(1, 31))

    await wait_for(read_on, what="all")
    await wait_for(lambda: slow.session in worker.hub.channels["g"].live, what="being live again")


@pytest.fixture
def small_fanout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams are a large fan-out."""
    monkeypatch.setattr(hub, "LARGE_FANOUT", 2)


def sent_together(reader: Reader) -> list[list[int]]:
    """The seqs of each piece that waits to be written."""
    pieces = [chat_pb2.ChatResponse.FromString(piece) for piece in reader.session.outbox._pieces]
    return [seqs for piece in pieces if (seqs := [message.seq for message in piece.messages])]


@pytest.mark.usefixtures("small_fanout")
async def test_large_fanout_gets_together_what_comes_while_it_is_written_to(worker, db, monkeypatch):
    monkeypatch.setattr(hub, "PARK_SECONDS", 0)  # each step of the event loop is a look at what is missing
    readers = [await worker.attach("ann"), await worker.attach("bob")]
    await fill(db, 6)
    one = {item.seq: item for item in await items(db, 1, 6)}
    for seq in (1, 3, 2, 2, 4):
        worker.hub.deliver("g", [one[seq]])
    worker.hub.note_last_seq("g", 4)
    assert [sent_together(reader) for reader in readers] == [[[1]], [[1]]]
    loop = asyncio.get_running_loop()
    for nth, reader in enumerate(readers):  # the next ones come in the turn of the event loop after the second run
        reader.on_wake = lambda seq=5 + nth: loop.call_soon(worker.hub.deliver, "g", [one[seq]])
    await wait_for(lambda: worker.hub.channels["g"].position == 6, what="the end of the cooldown")
    assert [sent_together(reader) for reader in readers] == [[[1], [2, 3, 4], [5, 6]]] * 2
    assert worker.hub.gap_read_count == 0


@pytest.mark.usefixtures("small_fanout")
async def test_large_fanout_that_is_none_any_more_gets_what_waits_before_what_comes(worker, db, monkeypatch):
    monkeypatch.setattr(hub, "PARK_SECONDS", 0)
    ann, bob = await worker.attach("ann"), await worker.attach("bob")
    await fill(db, 3)
    first, second, third = await items(db, 1, 3)
    worker.hub.deliver("g", [first])
    worker.hub.deliver("g", [second])
    worker.hub.detach(bob.session)
    worker.hub.deliver("g", [third])
    await ann.until("g", 1, 2, 3)
    assert worker.hub.gap_read_count == 0


@pytest.mark.usefixtures("small_fanout")
async def test_large_fanouts_cool_down_together_and_the_others_go_on(worker, db):
    await add_group(db, "h", "ann", "bob")
    await add_group(db, "alone", "ann")
    for name in ("g", "h", "alone"):
        await send(db, name, "ann", "hello")
    entries = {}
    for name in ("g", "h", "alone"):
        (entry,) = await Messages(db).read_spans([Span(name, 0, 2)], limit_each=1)
        entries[name] = responses.entry_item(entry)
    ann, bob = await worker.attach("ann", g=1, h=1, alone=1), await worker.attach("bob", g=1, h=1)
    for name in ("alone", "g", "h", "alone"):
        channel = worker.hub.channels[name]
        worker.hub.deliver(name, [entries[name]._replace(seq=channel.position + 1)])
    assert [worker.hub.channels[name].position for name in ("g", "h", "alone")] == [2, 1, 3]
    await wait_for(lambda: worker.hub.channels["h"].position == 2, what="the end of the cooldown")
    assert (len(ann.read().messages), len(bob.read().messages)) == (4, 2)


async def test_few_streams_get_each_message_at_once(worker, db):
    readers = [await worker.attach("ann"), await worker.attach("bob")]
    await fill(db, 3)
    for item in await items(db, 1, 3):
        worker.hub.deliver("g", [item])
    assert [sent_together(reader) for reader in readers] == [[[1], [2], [3]]] * 2


@pytest.mark.usefixtures("small_fanout")
@pytest.mark.parametrize("lost", [[], [2]])
async def test_what_is_missing_after_a_cooldown_is_read_and_more_than_can_wait_is_not_lost(
    worker, db, monkeypatch, lost
):
    monkeypatch.setattr(channel, "MAX_PARKED", 2)
    readers = [await worker.attach("ann"), await worker.attach("bob")]
    await fill(db, 6)
    first, *rest = await items(db, 1, 6)
    worker.hub.deliver("g", [first])
    worker.hub.deliver("g", [item for item in rest if item.seq not in lost])
    for reader in readers:
        await reader.until("g", *range(1, 7))


@pytest.mark.usefixtures("small_fanout")
async def test_one_who_comes_or_goes_during_a_cooldown_gets_what_the_log_says(worker, db):
    readers = [await worker.attach("ann"), await worker.attach("bob")]
    await fill(db, 2)
    worker.hub.deliver("g", await items(db, 1, 1))
    worker.hub.deliver("g", await items(db, 2, 2))
    change = MembershipChange(MembershipAction.REMOVED, ("bob",), Role.GONE)
    await Members(db).change(
        "g", "ann", request_id="x", request_hash=b"", usernames=["bob"], decide=lambda standing: [change]
    )
    await fill(db, 1)
    worker.hub.deliver("g", await items(db, 3, 4))
    late = await worker.attach("ann", "tablet", g=2)
    for reader, expected in ((readers[0], [1, 2, 3, 4]), (readers[1], [1, 2, 3]), (late, [3, 4])):
        await reader.until("g", *expected)
    assert not readers[1].session.subscriptions.is_in("g")


async def test_short_lag_is_served_from_memory(worker, db):
    reader = await worker.attach("bob")
    await fill(db, 20)
    worker.hub.deliver("g", await items(db, 1, 20))
    assert reader.seqs("g")[-1] == 20
    before = db.statement_count
    worker.hub.channels["g"].live.discard(reader.session)
    worker.hub.channels["g"].lagging.add(reader.session)
    reader.session.subscriptions.fall_behind("g", 15)
    worker.replayer.schedule(reader.session)
    await wait_for(lambda: not reader.session.subscriptions.lags)
    assert reader.seqs("g") == [*range(1, 21), *range(16, 21)]
    assert db.statement_count == before


async def test_stream_that_opens_while_messages_are_stored_has_no_seam(db, redis_url):
    async with (
        running_worker(db, redis_url, prefix="seam") as here,
        running_worker(db, redis_url, prefix="seam") as there,
    ):
        appender = Appender(db)
        is_over = asyncio.Event()

        async def talk() -> int:
            last = 0
            while not is_over.is_set():
                drafts = [draft("g", "ann") for _ in range(3)]
                answers = await appender.store(drafts)
                message = message_pb2.Message(conversation_id="g").SerializeToString()
                # Published where it was not stored first, every other time, and now and then not at all.
                worker = there if last % 2 else here
                if last % 5:
                    announce(worker.fanout.publish_items, [(one, message) for one in drafts], answers)
                else:
                    for one in (here, there):
                        one.hub.note_last_seq("g", answers[-1].seq)
                last = answers[-1].seq
            return last

        talking = asyncio.create_task(talk())
        readers = []
        for turn in range(6):
            reader = await (here if turn % 2 else there).attach("bob", f"d{turn}")
            await wait_for(lambda reader=reader, turn=turn: len(reader.seqs("g")) > 20 * turn, what="some")
            readers.append(reader)
        is_over.set()
        last = await talking
        for worker in (here, there):
            worker.hub.note_last_seq("g", last)
        for reader in readers:
            await wait_for(lambda reader=reader: reader.seqs("g")[-1:] == [last], what="the last one")
            assert reader.seqs("g") == list(range(1, last + 1))
        appender.discard()


async def test_removal_is_applied_at_its_seq_and_before_the_next(worker, db):
    ann, bob = await worker.attach("ann"), await worker.attach("bob")
    await fill(db, 1)
    change = MembershipChange(MembershipAction.REMOVED, ("bob",), Role.GONE)
    await Members(db).change(
        "g", "ann", request_id="x", request_hash=b"", usernames=["bob"], decide=lambda standing: [change]
    )
    await fill(db, 2)
    run = await items(db, 1, 4)
    assert [item.kind for item in run] == [
        EntryKind.MESSAGE,
        EntryKind.MEMBERSHIP,
        EntryKind.MESSAGE,
        EntryKind.MESSAGE,
    ]
    worker.hub.deliver("g", run)
    assert ann.seqs("g") == [1, 2, 3, 4]
    assert bob.seqs("g") == [1, 2]
    # He may ack the removal's own entry, and nothing above.
    assert worker.hub.delivered_seq("g", bob.session) == 2
    assert "g" not in bob.session.subscriptions.conversation_ids


async def test_deleted_conversation_ends_for_all(worker, db):
    readers = [await worker.attach(name) for name in ("ann", "bob")]
    change = MembershipChange(MembershipAction.CONVERSATION_DELETED, (), Role.GONE)
    await Members(db).change("g", "ann", request_id="x", request_hash=b"", usernames=[], decide=lambda _: [change])
    worker.hub.deliver("g", await items(db, 1, 1))
    for reader in readers:
        assert reader.seqs("g") == [1]
        assert reader.session.subscriptions.conversation_ids == {}
    assert worker.hub.channels["g"].idle_since is not None


async def test_stored_batch_is_encoded_once_and_reaches_other_workers(db, redis_url):
    async with (
        running_worker(db, redis_url, prefix="fan") as here,
        running_worker(db, redis_url, prefix="fan") as there,
    ):
        readers = [await worker.attach("bob", f"d{nth}") for nth in range(3) for worker in (here, there)]
        now = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        messages = [message_pb2.Message(conversation_id="g", text=f"text {seq}") for seq in range(1, 101)]
        answers = [Stored(Outcome.STORED, seq, now) for seq in range(1, 101)]
        stored = [(draft("g", "ann"), message.SerializeToString()) for message in messages]
        before = encodings.count
        announce(here.fanout.publish_items, stored, answers)
        for reader in readers:
            await reader.until("g", *range(1, 101))
        assert encodings.count - before == 100
        assert here.bus.dropped_count == 0
