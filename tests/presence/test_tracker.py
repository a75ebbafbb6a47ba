"""What watchers are told of presence, when changes and watches meet and when announcements get lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from parley.v1 import chat_pb2, presence_pb2

from service.delivery.bus_messages import PresenceChanged
from service.delivery.session import Session
from storage.errors import Unavailable
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.redis.presence import PresenceRecord
from tests.support.logs import add_users
from tests.support.waiting import wait_for
from tests.support.worker import Worker, running_worker

ONLINE, OFFLINE = presence_pb2.PRESENCE_STATE_ONLINE, presence_pb2.PRESENCE_STATE_OFFLINE
IS_ONLINE, IS_OFFLINE = (PresenceRecord(state, None) for state in (True, False))


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
    while frame := session.outbox.take_frame():
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
    worker.presence.take(PresenceChanged("bob", IS_ONLINE))
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
    worker.presence.take(PresenceChanged("bob", IS_ONLINE))
    worker.presence.take(PresenceChanged("cid", IS_ONLINE))
    assert events(ann) == [("cid", ONLINE, 0)]
    await worker.presence.watch(ann, [], 3)
    worker.presence.take(PresenceChanged("cid", IS_OFFLINE))
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
    await part(db, "fay:gus", "gus")
    await worker.presence.recheck()
    await worker.presence.depart(gus)
    assert events(fay) == []


async def part(db: Database, conversation_id: str, username: str) -> None:
    """Takes a member out of a conversation."""
    await db.execute(
        "UPDATE members SET role = 0 WHERE conversation_id = $1 AND username = $2", conversation_id, username
    )
    await db.execute("UPDATE users SET membership_version = membership_version + 1 WHERE username = $1", username)


async def test_watches_are_looked_at_again_only_when_a_membership_has_changed(worker, db, monkeypatch):
    await add_users(db, "hal", "ida", "jon", "kim")
    for conversation_id in ("hal:ida", "hal:jon", "ida:kim"):
        await Conversations(db).ensure_direct(conversation_id)
    hal, ida = Session(1, "hal", "d"), Session(2, "ida", "d")
    await worker.presence.watch(hal, ["ida", "jon"], 1)
    await worker.presence.watch(ida, ["kim"], 2)
    asked: list[str] = []
    shared_with = worker.presence._shared_with

    async def noted(username: str, others: Sequence[str]) -> set[str]:
        asked.append(username)
        return await shared_with(username, others)

    monkeypatch.setattr(worker.presence, "_shared_with", noted)
    await worker.presence.recheck()
    assert asked == []
    await part(db, "hal:jon", "jon")
    await worker.presence.recheck()
    assert asked == ["hal"]
    assert worker.presence._watched == {hal: {"ida"}, ida: {"kim"}}
    await worker.presence.recheck()
    assert asked == ["hal"]


async def test_removal_while_a_watch_begins_is_found_by_the_next_look(worker, db, monkeypatch):
    await add_users(db, "lea", "max")
    await Conversations(db).ensure_direct("lea:max")
    first, second = Session(1, "lea", "d"), Session(2, "lea", "e")
    await worker.presence.watch(first, ["max"], 1)
    shared_with = worker.presence._shared_with

    async def removed_afterwards(username: str, others: Sequence[str]) -> set[str]:
        visible = await shared_with(username, others)
        monkeypatch.undo()
        await part(db, "lea:max", "max")
        await worker.presence.recheck()  # sees the removal, and not this watch
        return visible

    monkeypatch.setattr(worker.presence, "_shared_with", removed_afterwards)
    await worker.presence.watch(second, ["max"], 2)
    await worker.presence.recheck()
    assert worker.presence._watched == {first: set(), second: set()}


async def test_look_that_fails_is_taken_again(worker, db, monkeypatch):
    await add_users(db, "ned", "oli")
    await Conversations(db).ensure_direct("ned:oli")
    ned = Session(1, "ned", "d")
    await worker.presence.watch(ned, ["oli"], 1)
    await part(db, "ned:oli", "oli")

    async def away(username: str, others: Sequence[str]) -> set[str]:
        raise Unavailable(f"{username}, {others}")

    monkeypatch.setattr(worker.presence, "_shared_with", away)
    with pytest.raises(Unavailable):
        await worker.presence.recheck()
    monkeypatch.undo()
    await worker.presence.recheck()
    assert worker.presence._watched == {ned: set()}
