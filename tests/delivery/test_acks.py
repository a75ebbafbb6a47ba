"""Acks on their way to the database: gathered, the highest counts, and none is lost while the database is away."""

import asyncio
from collections.abc import Sequence

import pytest

from service.delivery.acks import AckWriter
from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.devices.cursors import Ack, Cursors
from tests.support.log import add_group
from tests.support.logs import add_users
from tests.support.waiting import wait_for


@pytest.fixture
async def db(database: Database) -> Database:
    """bob is in the group g."""
    await add_users(database, "bob")
    await add_group(database, "g", "bob")
    return database


class Flaky(Cursors):
    """Fails so many times first."""

    def __init__(self, database: Database, failures: int = 0) -> None:
        super().__init__(database)
        self.failures = failures
        self.batches: list[int] = []

    async def store_acks(self, acks: Sequence[Ack], *, epoch: int | None = None) -> set[tuple[str, str]]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        self.batches.append(len(acks))
        return await super().store_acks(acks, epoch=epoch)


async def stored(database: Database) -> dict[tuple[str, str, str], int]:
    rows = await database.fetch("SELECT username, device_id, conversation_id, acked_seq FROM cursors")
    return {(row["username"], row["device_id"], row["conversation_id"]): row["acked_seq"] for row in rows}


async def test_acks_that_come_together_are_one_batch_and_the_highest_counts(db):
    cursors = Flaky(db)
    acks = AckWriter(cursors, lambda *_: None, epoch=1)
    running = asyncio.create_task(acks.run())
    for seq in (1, 5, 3):
        acks.note("bob", "phone", "g", seq)
        acks.note("bob", "tablet", "g", seq + 1)
    expected = {("bob", "phone", "g"): 5, ("bob", "tablet", "g"): 6}

    async def is_stored() -> bool:
        return await stored(db) == expected

    await wait_for(is_stored)
    assert cursors.batches == [2]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_could_not_be_written_waits_and_later_acks_count(db):
    acks = AckWriter(Flaky(db, failures=1), lambda *_: None, epoch=1)
    acks.note("bob", "phone", "g", 4)
    with pytest.raises(Unavailable):
        await acks.flush()
    acks.note("bob", "phone", "g", 3)
    await acks.flush()
    assert await stored(db) == {("bob", "phone", "g"): 4}


async def test_higher_ack_that_comes_during_a_write_that_fails_counts(db):
    class Overtaken(Flaky):
        async def store_acks(self, acks: Sequence[Ack], *, epoch: int | None = None) -> set[tuple[str, str]]:
            if self.failures:
                writer.note("bob", "phone", "g", 9)
                writer.note("bob", "phone", "h", 2)
            return await super().store_acks(acks, epoch=epoch)

    await add_group(db, "h", "bob")
    writer = AckWriter(Overtaken(db, failures=1), lambda *_: None, epoch=1)
    writer.note("bob", "phone", "g", 4)
    writer.note("bob", "phone", "h", 3)
    with pytest.raises(Unavailable):
        await writer.flush()
    await writer.settle("bob", "phone")
    assert await stored(db) == {("bob", "phone", "g"): 9, ("bob", "phone", "h"): 3}


async def test_loop_outlives_a_database_that_is_away(db):
    async def no_pause(_: float) -> None:
        await asyncio.sleep(0)

    acks = AckWriter(Flaky(db, failures=3), lambda *_: None, epoch=1, pause=no_pause)
    running = asyncio.create_task(acks.run())
    acks.note("bob", "phone", "g", 4)

    async def is_stored() -> bool:
        return await stored(db) == {("bob", "phone", "g"): 4}

    await wait_for(is_stored)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_many_acks_are_written_in_batches(db):
    cursors = Flaky(db)
    acks = AckWriter(cursors, lambda *_: None, epoch=1)
    for number in range(4500):
        acks.note("bob", f"d{number}", "g", 1)
    await acks.flush()
    assert cursors.batches == [2000, 2000, 500]
    assert len(await stored(db)) == 4500


class Held(Cursors):
    """Begins to store, and goes on when it is let go."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[list[str]] = []  # the devices of each batch that has begun
        self.goes_on = asyncio.Event()

    async def store_acks(self, acks: Sequence[Ack], *, epoch: int | None = None) -> set[tuple[str, str]]:
        self.batches.append([ack.device_id for ack in acks])
        await self.goes_on.wait()
        return await super().store_acks(acks, epoch=epoch)


async def test_device_waits_for_its_own_acks_that_are_just_written_and_for_no_others(db):
    cursors = Held(db)
    acks = AckWriter(cursors, lambda *_: None, epoch=1)
    acks.note("bob", "phone", "g", 4)
    flushing = asyncio.create_task(acks.flush())
    await wait_for(lambda: cursors.batches == [["phone"]])
    await acks.settle("bob", "tablet")
    settling = asyncio.create_task(acks.settle("bob", "phone"))
    await asyncio.wait([settling], timeout=0)
    assert not settling.done()
    cursors.goes_on.set()
    await asyncio.gather(flushing, settling)
    assert await stored(db) == {("bob", "phone", "g"): 4}
    cursors.goes_on.clear()
    acks.note("bob", "tablet", "g", 5)
    flushing = asyncio.create_task(acks.flush())
    await wait_for(lambda: cursors.batches[1:] == [["tablet"]])
    await acks.settle("bob", "phone")  # its batch is over
    cursors.goes_on.set()
    await flushing


async def test_cursors_that_moved_are_told_and_others_are_not(db):
    moved: list[tuple[str, str]] = []
    acks = AckWriter(Cursors(db), lambda *pair: moved.append(pair), epoch=1)
    for seq in (4, 4, 3, 5):
        acks.note("bob", "phone", "g", seq)
        await acks.flush()
    assert moved == [("g", "bob"), ("g", "bob")]
