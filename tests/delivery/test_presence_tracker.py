"""What watchers are told of presence, when changes and watches meet and when announcements get lost."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from parley.v1 import chat_pb2, presence_pb2

from service.delivery.session import Session
from storage.postgres.conversations import Conversations
from storage.postgres.database import Database
from tests.support.logs import add_users
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker

ONLINE, OFFLINE = presence_pb2.PRESENCE_STATE_ONLINE, presence_pb2.PRESENCE_STATE_OFFLINE
IS_ONLINE, IS_OFFLINE = (json.dumps([state, None]).encode() for state in (True, False))


@pytest.fixture(scope="module")
async def db(module_database: Database) -> Database:
    """ann shares a conversation with bob and with cid, not with eve."""
    await add_users(module_database, "ann", "bob", "cid", "eve")
    for conversation_id in ("ann:bob", "ann:cid"):
        await Conversations(module_database).ensure_direct(conversation_id)
    return module_database


@pytest.fixture
async def worker(db: Database, redis_url: str) -> AsyncIterator[Worker]:
    async with running_worker(db, redis_url) as running:
        yield running


def events(session: Session) -> list[tuple[str, int, int]]:
    """Takes what waits: (user, state, correlation id)."""
    taken = []
    while frame := session.take_frame():
        taken += chat_pb2.ChatResponse.FromString(frame).presence
    return [(event.presence.username, event.presence.state, event.correlation_id) for event in taken]


async def test_watch_tells_the_state_and_then_each_change(worker):
    ann, bob, bobs_other = (Session(nth, name, "d") for nth, name in enumerate(("ann", "bob", "bob"), 1))
    await worker.presence.watch(ann, ["bob", "cid", "eve", "nobody"], 7)
    assert events(ann) == [("bob", OFFLINE, 7), ("cid", OFFLINE, 7)]
    await worker.presence.arrive(bob)
    await worker.presence.arrive(bobs_other)
    await worker.presence.depart(bob)
    assert events(ann) == [("bob", ONLINE, 0)]
    await worker.presence.depart(bobs_other)
    assert events(ann) == [("bob", OFFLINE, 0)]
    ((_, record),) = await worker.presence.read("ann", ["bob"])
    assert record is not None
    assert record.last_seen_time is not None


async def test_change_that_comes_while_a_watch_begins_is_not_overwritten_by_what_was_read_before(worker):
    ann = Session(1, "ann", "d")
    watching = asyncio.create_task(worker.presence.watch(ann, ["bob"], 7))
    # It was read, and the subscription is not confirmed yet: a moment that only single steps can meet.
    while "bob" not in worker.presence._watchers:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert not watching.done()
    worker.presence.take_announcement("bob", IS_ONLINE)
    await watching
    assert [(name, state) for name, state, _ in events(ann)] == [("bob", ONLINE)]


async def test_second_watcher_brings_the_first_what_was_lost(worker):
    ann, cid = Session(1, "ann", "d"), Session(2, "ann", "e")
    await worker.presence.watch(ann, ["bob"], 1)
    assert events(ann) == [("bob", OFFLINE, 1)]
    # bob arrives on another worker, whose announcement is lost.
    await worker.presence_store.write({"bob": ["elsewhere"]}, {})
    await worker.presence.watch(cid, ["bob"], 2)
    assert events(cid) == [("bob", ONLINE, 2)]
    await worker.presence._refresh()
    assert events(ann) == [("bob", ONLINE, 0)]


async def test_comparison_finds_what_no_announcement_told(worker):
    ann = Session(1, "ann", "d")
    await worker.presence.watch(ann, ["bob"], 1)
    events(ann)
    await worker.presence_store.write({"bob": ["elsewhere"]}, {})
    await worker.presence._refresh()
    await worker.presence._refresh()
    assert events(ann) == [("bob", ONLINE, 0)]


async def test_new_watch_ends_the_one_before_and_empty_ends_all(worker):
    ann = Session(1, "ann", "d")
    await worker.presence.watch(ann, ["bob"], 1)
    await worker.presence.watch(ann, ["cid"], 2)
    events(ann)
    worker.presence.take_announcement("bob", IS_ONLINE)
    worker.presence.take_announcement("cid", IS_ONLINE)
    assert events(ann) == [("cid", ONLINE, 0)]
    await worker.presence.watch(ann, [], 3)
    worker.presence.take_announcement("cid", IS_OFFLINE)
    assert events(ann) == []
    await worker.presence.drop_unwatched()
    assert worker.bus.channels("p:") == []


async def test_announcement_goes_to_watchers_on_other_workers(db, redis_url):
    async with (
        running_worker(db, redis_url, prefix="two-workers") as here,
        running_worker(db, redis_url, prefix="two-workers") as there,
    ):
        ann, bob = Session(1, "ann", "d"), Session(2, "bob", "d")
        await here.presence.watch(ann, ["bob"], 1)
        seen = events(ann)
        await there.presence.arrive(bob)
        await wait_for(lambda: seen.extend(events(ann)) or len(seen) == 2)
        await there.presence.depart(bob)
        await wait_for(lambda: seen.extend(events(ann)) or len(seen) == 3)
        assert seen == [("bob", OFFLINE, 1), ("bob", ONLINE, 0), ("bob", OFFLINE, 0)]


async def test_stream_that_ends_leaves_nothing_behind(worker):
    ann = Session(1, "ann", "d")
    await worker.presence.arrive(ann)
    await worker.presence.watch(ann, ["bob", "cid"], 1)
    await worker.presence.depart(ann)
    await worker.presence.depart(ann)
    for kept in (
        worker.presence.writer._sessions,
        worker.presence.writer._waiting,
        worker.presence._watchers,
        worker.presence._watched,
        worker.presence._known,
    ):
        assert not kept


async def test_watch_ends_when_nothing_is_shared_any_more(worker, db):
    await add_users(db, "fay", "gus")
    await Conversations(db).ensure_direct("fay:gus")
    fay, gus = Session(1, "fay", "d"), Session(2, "gus", "d")
    await worker.presence.watch(fay, ["gus"], 7)
    assert events(fay) == [("gus", OFFLINE, 7)]
    await worker.presence.recheck()
    await worker.presence.arrive(gus)
    assert events(fay) == [("gus", ONLINE, 0)]
    await db.execute("UPDATE members SET role = 0 WHERE conversation_id = 'fay:gus' AND username = 'gus'")
    await worker.presence.recheck()
    await worker.presence.depart(gus)
    assert events(fay) == []
