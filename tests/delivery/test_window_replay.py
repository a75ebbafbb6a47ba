"""A replay through a small window: no conversation holds back another one, and no more is read than has room."""

from collections.abc import AsyncIterator, Sequence

import pytest

from service.delivery import replay
from service.delivery.session import Session
from service.delivery.window import Window
from storage.postgres.connections.database import Database
from storage.postgres.log.messages import Messages
from storage.records import Backlog, Position
from tests.support.log import add_group
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import Reader, Worker, running_worker

LENGTH = 40


class Counted(Messages):
    """Notes how many entries each read of a backlog asks for."""

    wanted_counts: list[int]

    async def read_backlog(
        self, username: str, positions: Sequence[Position], *, limit_each: int
    ) -> dict[str, Backlog]:
        self.wanted_counts.append(limit_each * len(positions))
        return await super().read_backlog(username, positions, limit_each=limit_each)


@pytest.fixture
async def db(database: Database) -> Database:
    """bob is in the groups large, with LENGTH entries, and s0 to s2, with two each."""
    await add_users(database, "ann", "bob")
    await add_group(database, "large", "ann", "bob")
    for _ in range(LENGTH):
        await send(database, "large", "ann")
    for nth in range(3):
        await add_group(database, f"s{nth}", "ann", "bob")
        for _ in range(2):
            await send(database, f"s{nth}", "ann")
    return database


@pytest.fixture
async def messages(db: Database) -> Counted:
    counted = Counted(db)
    counted.wanted_counts = []
    return counted


@pytest.fixture
async def worker(db: Database, redis_url: str, messages: Counted) -> AsyncIterator[Worker]:
    async with running_worker(db, redis_url, has_bus=False, messages=messages) as running:
        yield running


async def read_all(worker: Worker, window: Window, total: int, *, step: int = 1) -> list[str]:
    """Reads `total` entries as a client does that deals with them; gives their conversations in order.

    Args:
        step: with how many at a time; divides the total.
    """
    reader = Reader(Session(7, "bob", "phone", window=window))
    await worker.subscriptions.attach(reader.session, {}, starts_at_latest=False)
    for count in range(step, total + 1, step):
        await wait_for(lambda count=count: len(reader.read().messages) >= count, what=f"{count} entries")
        assert window.flow(count)
        worker.replayer.schedule(reader.session)
    return [message.conversation_id for message in reader.read().messages]


@pytest.mark.parametrize("window", [Window(1, 0), Window(3, 0), Window(0, 600)], ids=["one", "three", "bytes"])
async def test_large_backlog_does_not_hold_back_small_ones(worker, window):
    came = await read_all(worker, window, LENGTH + 6)
    assert sorted(set(came)) == ["large", "s0", "s1", "s2"]
    assert came[-10:] == ["large"] * 10


async def test_conversation_whose_pages_fill_the_window_does_not_hold_back_others(worker, db):
    """It took the whole window, which opened as a whole, and was the first again each time."""
    page = replay.ENTRIES_EACH
    for _ in range(3 * page - LENGTH):
        await send(db, "large", "ann")
    for nth in range(3):
        for _ in range(page - 2):
            await send(db, f"s{nth}", "ann")
    came = await read_all(worker, Window(page, 0), 6 * page, step=page)
    assert set(came[: 4 * page]) == {"large", "s0", "s1", "s2"}


async def test_what_one_user_alone_may_see_is_read_as_far_as_there_is_room(worker, db, messages):
    await db.execute("UPDATE members SET visible = '{[3,)}' WHERE username = 'bob' AND conversation_id = 'large'")
    await read_all(worker, Window(2, 0), LENGTH - 2 + 6)
    assert messages.wanted_counts
    assert max(messages.wanted_counts) <= 4
