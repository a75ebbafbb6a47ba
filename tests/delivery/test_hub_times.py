"""What the hub and the replays wait for, on a clock that the test moves: no test takes the time that it is about."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from service.convert import responses
from service.convert.items import Item
from service.delivery import hub as hub_module
from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.log.messages import Messages
from storage.records import Entry, Span
from tests.support.clocks import ManualClock
from tests.support.log import add_group
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker


class Faltering(Messages):
    """Can't read the log the next times."""

    fault_count = 0

    async def read_spans(self, spans: Sequence[Span], *, limit_each: int) -> list[Entry]:
        if self.fault_count:
            self.fault_count -= 1
            raise Unavailable("not now")
        return await super().read_spans(spans, limit_each=limit_each)


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in the groups g and h, which have 4 entries each."""
    await add_users(database, "ann", "bob")
    for name in ("g", "h"):
        await add_group(database, name, "ann", "bob")
        for _ in range(4):
            await send(database, name, "ann")
    return database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def messages(db: Database) -> Faltering:
    return Faltering(db)


@pytest.fixture
async def worker(db: Database, redis_url: str, clock: ManualClock, messages: Faltering) -> AsyncIterator[Worker]:
    async with running_worker(db, redis_url, has_bus=False, clock=clock.clock, messages=messages) as running:
        yield running


async def more(db: Database, count: int) -> list[Item]:
    """Stores entries in g; returns them as the bus brings them."""
    for _ in range(count):
        await send(db, "g", "ann")
    entries = await Messages(db).read_spans([Span("g", 4, 1000)], limit_each=1000)
    return [responses.entry_item(entry) for entry in entries]


@pytest.mark.parametrize(("took", "lasts"), [(0.02, 0.02), (0.1, 0.1), (5.0, 0.1)])
async def test_cooldown_lasts_as_long_as_the_writes_took_and_a_tenth_of_a_second_at_most(
    worker, db, clock, monkeypatch, took, lasts
):
    monkeypatch.setattr(hub_module, "LARGE_FANOUT", 2)
    readers = [await worker.attach(name, g=4, h=4) for name in ("ann", "bob")]
    first, second = await more(db, 2)
    worker.hub.deliver("g", [first])
    clock.advance(took)  # while the streams begin their writes
    await asyncio.sleep(0)
    worker.hub.deliver("g", [second])
    clock.advance(lasts * 0.999)
    assert [reader.seqs("g") for reader in readers] == [[5], [5]]
    clock.advance(lasts * 0.002)
    assert [reader.seqs("g") for reader in readers] == [[5, 6], [5, 6]]
    assert worker.hub.gap_read_count == 0


async def test_gap_is_read_after_30_ms_and_not_before(worker, db, clock):
    reader = await worker.attach("bob", g=4, h=4)
    _, late = await more(db, 2)
    worker.hub.deliver("g", [late])
    await wait_for(lambda: clock.waits, what="the wait for the bus")
    assert clock.waits == [0.03]
    clock.advance(0.0299)
    await asyncio.sleep(0)
    assert worker.hub.gap_read_count == 0
    clock.advance(0.0002)
    await reader.until("g", 5, 6)
    assert worker.hub.gap_read_count == 1


async def test_gap_that_can_not_be_read_is_tried_again_after_a_quarter_of_a_second(worker, db, clock, messages):
    reader = await worker.attach("bob", g=4, h=4)
    _, late = await more(db, 2)
    messages.fault_count = 1
    worker.hub.deliver("g", [late])
    for seconds in (0.03, 0.25, 0.03):
        await wait_for(lambda seconds=seconds: clock.waits == [pytest.approx(seconds)], what=f"a wait of {seconds} s")
        assert reader.seqs("g") == []
        clock.advance(seconds)
    await reader.until("g", 5, 6)


async def test_replay_that_can_not_read_is_tried_again_after_a_quarter_of_a_second(worker, clock, messages):
    messages.fault_count = 2
    reader = await worker.attach("bob")
    for _ in range(2):
        await wait_for(lambda: clock.waits == [0.25], what="the wait")
        assert reader.seqs("g") == []
        clock.advance(0.25)
    await reader.until("g", 1, 2, 3, 4)


async def test_channel_is_dropped_when_nobody_listened_for_thirty_seconds(worker, clock):
    reader = await worker.attach("bob", g=4, h=4)
    clock.advance(100.0)
    assert worker.hub.drop_idle() == []
    worker.hub.detach(reader.session)
    assert worker.hub.users == {}
    await worker.attach("bob", g=4, h=4)
    worker.hub.leave("h", next(iter(worker.hub.users["bob"])))
    clock.advance(30.0)
    assert worker.hub.drop_idle() == []
    clock.advance(0.1)
    assert worker.hub.drop_idle() == ["h"]
    assert list(worker.hub.channels) == ["g"]


async def test_of_many_messages_the_age_of_one_in_a_tenth_of_a_second_is_looked_at(worker, db, clock):
    await worker.attach("bob", g=4, h=4)
    ages = []
    for item in await more(db, 4):
        worker.hub.deliver("g", [item])
        ages.append(sum(worker.hub.delivery_seconds.counts))
        clock.advance(0.04)
    assert ages == [1, 1, 1, 2]
