"""Who was removed and comes back, or is put somewhere while saying hello: nothing leaks, is lost or comes twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.convert import responses
from storage.postgres.connections.database import Database
from storage.postgres.devices.cursors import Ack, Cursors
from storage.postgres.log.messages import Messages
from storage.records import Backlog, Entry, MembershipAction, Position, Span, SubscriptionStart
from tests.support.log import add_group
from tests.support.logs import add_users, change_members, send
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker

LENGTH = 250


class Interrupted(Messages):
    """Does something of the test's before or after the n-th read of a backlog, or before one of what all may share."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.before: dict[int, object] = {}
        self.after: dict[int, object] = {}
        self.read_count = 0
        self.before_span_read: dict[int, object] = {}
        self.span_read_count = 0

    async def read_spans(self, spans: Sequence[Span], *, limit_each: int) -> list[Entry]:
        self.span_read_count += 1
        action = self.before_span_read.get(self.span_read_count)
        if callable(action):
            await action()
        return await super().read_spans(spans, limit_each=limit_each)

    async def read_backlog(
        self, username: str, positions: Sequence[Position], *, limit_each: int
    ) -> dict[str, Backlog]:
        self.read_count += 1
        action = self.before.get(self.read_count)
        if callable(action):
            await action()
        found = await super().read_backlog(username, positions, limit_each=limit_each)
        action = self.after.get(self.read_count)
        if callable(action):
            await action()
        return found


class Slow(Cursors):
    """Does something of the test's after a hello has read where the device begins."""

    after = None

    async def list_subscription_starts(self, username: str, device_id: str, **options: Any) -> list[SubscriptionStart]:
        found = await super().list_subscription_starts(username, device_id, **options)
        action, self.after = self.after, None
        if action is not None:
            await action()
        return found


@pytest.fixture
async def db(database: Database) -> Database:
    """ann and bob are in g, which has LENGTH entries; then bob is removed by one more."""
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    for _ in range(LENGTH):
        await send(database, "g", "ann")
    return database


def come_back(db: Database, worker: Worker):
    """Adds bob again, and waits until the worker has taken note."""

    async def act() -> None:
        entry = await change_members(db, "g", MembershipAction.ADDED, "bob")
        worker.hub.deliver("g", [responses.entry_item(entry)])
        worker.subscriptions.refresh("bob")
        await wait_for(lambda: not worker.subscriptions._refreshing, what="the refresh")

    return act


@pytest.mark.parametrize("nth_read", [1, 2, 3])
@pytest.mark.parametrize("acked_seq", [0, 5])
async def test_one_who_comes_back_during_the_replay_gets_all_of_it_in_order(db, redis_url, nth_read, acked_seq):
    await change_members(db, "g", MembershipAction.REMOVED, "bob")
    if acked_seq:
        await Cursors(db).enroll_device("bob", "phone", max_devices=9)
        await Cursors(db).store_acks([Ack("bob", "phone", "g", acked_seq)])
    messages = Interrupted(db)
    async with running_worker(db, redis_url, has_bus=False, messages=messages) as worker:
        await worker.attach("ann", g=LENGTH + 1)
        messages.read_count = 0
        messages.before = {nth_read: come_back(db, worker)}
        reader = await worker.attach("bob")
        await reader.until("g", *range(acked_seq + 1, LENGTH + 3))
        await wait_for(
            lambda: "g" in reader.session.subscriptions.conversation_ids and not reader.session.subscriptions.lags
        )
        assert [mark.complete for mark in reader.read().caught_up] == [True]
        worker.hub.detach(reader.session)
        assert reader.session not in worker.hub.channels["g"].live


async def test_one_who_comes_back_while_the_end_of_the_former_past_is_read_is_not_taken_out(db, redis_url):
    """The page says that the user is no member, which was so when it was read."""
    removed = (await change_members(db, "g", MembershipAction.REMOVED, "bob")).seq
    messages = Interrupted(db)
    async with running_worker(db, redis_url, has_bus=False, messages=messages) as worker:
        await worker.attach("ann", g=removed)
        messages.after = {messages.read_count + 1: come_back(db, worker)}
        reader = await worker.attach("bob", g=removed - 5)
        await reader.until("g", *range(removed - 4, removed + 2))
        await send(db, "g", "ann")
        worker.hub.note_last_seq("g", removed + 2)
        await reader.until("g", *range(removed - 4, removed + 3))
        assert [mark.complete for mark in reader.read().caught_up] == [True]


async def test_hidden_part_is_not_shown_from_memory_to_one_who_comes_back(db, redis_url):
    await db.execute("UPDATE conversations SET history_visible = false")
    removed = (await change_members(db, "g", MembershipAction.REMOVED, "bob")).seq
    messages = Interrupted(db)
    async with running_worker(db, redis_url, has_bus=False, messages=messages) as worker:
        witness = await worker.attach("ann", g=removed)
        for _ in range(5):
            await send(db, "g", "ann", "hidden")
        worker.hub.note_last_seq("g", removed + 5)
        await witness.until("g", *range(removed + 1, removed + 6))

        async def come_back_unheard() -> None:
            await change_members(db, "g", MembershipAction.ADDED, "bob")

        messages.before = {messages.read_count + 1: come_back_unheard}
        reader = await worker.attach("bob", g=removed - 100)  # a page ends with the removal
        await wait_for(lambda: removed in reader.seqs("g"), what="the removal")
        worker.hub.note_last_seq("g", removed + 6)
        worker.subscriptions.refresh("bob")
        await reader.until("g", *range(removed - 99, removed + 1), removed + 6)


async def test_refresh_while_a_hello_is_under_way_does_not_place_the_session(db, redis_url):
    cursors = Slow(db)
    async with running_worker(db, redis_url, has_bus=False, cursors=cursors) as worker:
        await Cursors(db).enroll_device("bob", "phone", max_devices=9)
        await Cursors(db).store_acks([Ack("bob", "phone", "g", 200)])

        async def refresh() -> None:
            await add_group(db, "new", "ann", "bob")
            worker.subscriptions.refresh("bob")
            await wait_for(lambda: not worker.subscriptions._refreshing, what="the refresh")

        cursors.after = refresh
        reader = await worker.attach("bob", g=3)
        await reader.until("g", *range(4, LENGTH + 1))
        assert [mark.conversation_id for mark in reader.read().caught_up] == ["g"]
        # What the refresh was about is not forgotten.
        await wait_for(lambda: "new" in reader.session.subscriptions.conversation_ids, what="the new conversation")


async def test_one_who_is_removed_during_the_replay_gets_nothing_above_from_the_shared_past(db, redis_url):
    messages = Interrupted(db)
    async with running_worker(db, redis_url, has_bus=False, messages=messages) as worker:

        async def remove_bob_unheard() -> None:
            await change_members(db, "g", MembershipAction.REMOVED, "bob")
            await send(db, "g", "ann", "not for bob")

        messages.before_span_read = {2: remove_bob_unheard}
        reader = await worker.attach("bob")
        removed = LENGTH + 1
        await reader.until("g", *range(1, removed + 1))
        await wait_for(lambda: [mark.seq for mark in reader.read().caught_up] == [removed])
        assert messages.span_read_count >= 3


async def test_storm_of_replays_reads_the_log_about_once(db, redis_url):
    async with running_worker(db, redis_url, has_bus=False) as worker:
        readers = [await worker.attach("bob", f"device-{number}") for number in range(30)]
        for reader in readers:
            await reader.until("g", *range(1, LENGTH + 1))
        # 250 entries are three reads; a few steps run at a time and may read the same. Alone it would be 90.
        assert 3 <= worker.replayer.history.read_count <= 12
