"""Sessions that come and go, alone and by the thousand: few pipelines, all right at the end, told in order."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from service.delivery.session import Session
from service.presence import writer as module
from service.presence.writer import MAX_BATCH, PresenceWriter
from storage.errors import Unavailable
from storage.redis.presence import PresenceStore
from storage.redis.servers import Servers
from tests.support.presence import Gated, common_keys, user_key
from tests.support.waiting import wait_for

MANY = 2000


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Gated]:
    servers = Servers(redis_url)
    yield Gated(servers, namespace=secrets.token_hex(6))
    await servers.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def told() -> list[tuple[str, bool]]:
    """What was announced, in order: (user, is online)."""
    return []


@pytest.fixture
async def writer(store: Gated, told: list[tuple[str, bool]]) -> AsyncIterator[PresenceWriter]:
    writer = PresenceWriter(store, lambda username, record: told.append((username, record.is_online)))
    running = asyncio.create_task(writer.run())
    yield writer
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def session_of(username: str, session_id: int = 1) -> Session:
    return Session(session_id, username, "d")


async def under_way(store: Gated, call: Callable[[Session], object], session: Session) -> "asyncio.Task[None]":
    """Starts a change and holds it up on its way."""
    store.hold()
    task = asyncio.ensure_future(call(session))
    await wait_for(lambda: store.waiting_count == 1, what="a pipeline under way")
    return task


async def online(store: PresenceStore, *usernames: str) -> list[str]:
    return [name for name, record in (await store.read(usernames)).items() if record and record.is_online]


async def test_thousands_come_and_go_at_once_in_few_pipelines(writer, store, told):
    sessions = [session_of(f"user{number}", number) for number in range(MANY)]
    names = [session.username for session in sessions]
    await asyncio.gather(*map(writer.arrive, sessions))
    await wait_for(lambda: not writer._waiting and not writer._lock.locked(), what="all to be written")
    assert store.pipeline_count <= 5
    assert told == [(name, True) for name in names]
    assert await online(store, *names) == names
    told.clear()
    store.pipeline_count = 0
    await asyncio.gather(*map(writer.depart, sessions))
    await wait_for(lambda: not writer._waiting and not writer._lock.locked(), what="all to be written")
    assert store.pipeline_count <= 5
    assert told == [(name, False) for name in names]
    assert await online(store, *names) == []
    assert not writer._sessions


async def test_thousands_of_whom_half_come_back_at_once_are_right_at_the_end(writer, store):
    first = [session_of(f"user{number}", number) for number in range(MANY)]
    await asyncio.gather(*map(writer.arrive, first))
    second = [session_of(f"user{number}", MANY + number) for number in range(0, MANY, 2)]
    store.pipeline_count = 0
    await asyncio.gather(*map(writer.depart, first), *map(writer.arrive, second))
    await wait_for(lambda: not writer._waiting and not writer._lock.locked(), what="all to be written")
    assert store.pipeline_count <= 8
    names = [session.username for session in first]
    assert await online(store, *names) == names[::2]


async def test_one_alone_is_told_when_it_is_written(writer, store, told):
    ann = session_of("ann")
    await writer.arrive(ann)
    assert (told, await online(store, "ann")) == ([("ann", True)], ["ann"])
    await writer.depart(ann)
    assert (told, await online(store, "ann")) == ([("ann", True), ("ann", False)], [])
    await writer.depart(ann)
    assert len(told) == 2


async def test_user_whose_other_session_comes_while_one_goes_never_was_offline(writer, store, told):
    old, new, other = session_of("ann", 1), session_of("ann", 2), session_of("bob", 3)
    await writer.arrive(old)
    bob = await under_way(store, writer.arrive, other)
    # Both wait for the same pipeline, in either order.
    changes = [asyncio.ensure_future(writer.depart(old)), asyncio.ensure_future(writer.arrive(new))]
    await wait_for(lambda: len(writer._waiting) == 2)
    store.gate.set()
    await asyncio.gather(bob, *changes)
    assert told == [("ann", True), ("bob", True)]
    assert await online(store, "ann") == ["ann"]


async def test_user_who_comes_back_while_the_departure_is_under_way_is_online_last(writer, store, told):
    old, new = session_of("ann", 1), session_of("ann", 2)
    await writer.arrive(old)
    leaving = await under_way(store, writer.depart, old)
    coming = asyncio.ensure_future(writer.arrive(new))
    await wait_for(lambda: writer._waiting)
    store.gate.set()
    await asyncio.gather(leaving, coming)
    assert told == [("ann", True), ("ann", False), ("ann", True)]
    assert await online(store, "ann") == ["ann"]


async def test_session_that_came_and_went_in_between_is_not_left_behind(writer, store, told):
    ann = session_of("ann")
    bob = await under_way(store, writer.arrive, session_of("bob", 2))
    changes = [asyncio.ensure_future(writer.arrive(ann))]
    await wait_for(lambda: writer._waiting)
    changes.append(asyncio.ensure_future(writer.depart(ann)))
    store.gate.set()
    await asyncio.gather(bob, *changes)
    assert told == [("bob", True), ("ann", False)]
    assert await online(store, "ann") == []


async def test_refresh_does_not_bring_back_one_who_leaves_meanwhile(writer, store):
    ann = session_of("ann")
    await writer.arrive(ann)
    refresh_gate = store.hold()
    refreshing = asyncio.create_task(writer.refresh())
    await wait_for(lambda: store.waiting_count == 1)
    store.hold().set()  # the departure would pass
    await writer.depart(ann)
    refresh_gate.set()
    await refreshing
    await writer.flush()
    assert await online(store, "ann") == []


async def test_refresh_rebuilds_what_redis_forgot_in_bounded_pipelines(writer, store, told, redis):
    sessions = [session_of(f"user{number}", number) for number in range(MAX_BATCH + 1)]
    names = [session.username for session in sessions]
    await asyncio.gather(*map(writer.arrive, sessions))
    await writer.refresh()
    await redis.delete(*await redis.keys(f"{{{store._prefix}*"))
    told.clear()
    store.pipeline_count = 0
    await writer.refresh()
    assert told == [(name, True) for name in names]
    assert await online(store, *names) == names
    assert store.pipeline_count == 6  # a beat that was refused, two of sessions, a beat, a part of the round; the read


async def test_streams_that_do_nothing_are_a_beat_and_a_part_of_the_round(writer, store, told, redis):
    sessions = [session_of(f"user{number}", number) for number in range(MAX_BATCH + 1)]
    await asyncio.gather(*map(writer.arrive, sessions))
    await writer.refresh()
    told.clear()
    lost = [user_key(store, "user0"), user_key(store, f"user{MAX_BATCH}")]
    await redis.delete(*lost)
    store.pipeline_count = 0
    for _ in range(20):
        await writer.refresh()
    assert store.pipeline_count == 40
    assert sorted(told) == [("user0", True), (f"user{MAX_BATCH}", True)]
    told.clear()
    await redis.delete(*lost)
    for _ in range(20):
        await writer.refresh()
    assert sorted(told) == [("user0", True), (f"user{MAX_BATCH}", True)], "the round begins anew"


async def test_fault_between_two_pipelines_of_a_rewriting_has_all_written_under_one_name(writer, store, redis):
    sessions = [session_of(f"user{number}", number) for number in range(MAX_BATCH + 1)]
    names = [session.username for session in sessions]
    await asyncio.gather(*map(writer.arrive, sessions))
    store.renew()
    store.hold()
    refreshing = asyncio.create_task(writer.refresh())
    await wait_for(lambda: store.waiting_count == 1)
    store.gate.set()
    store.renew()  # as a departure that failed in between
    await refreshing
    assert set(await redis.hvals(user_key(store, "user0"))) >= {store.writer.encode()}
    await end_others_of(store, redis)
    assert await online(store, *names) == names


async def end_others_of(store: Gated, redis: Redis) -> None:
    """Has the names under which this store wrote before be dead."""
    for key in common_keys(store, "beats"):
        for name in await redis.hkeys(key):
            if name != store.writer.encode():
                await redis.hset(key, name, 1)


async def test_departure_that_was_dropped_does_not_stay(writer, store, monkeypatch, redis):
    ann, bob, cid = (session_of(name, nth) for nth, name in enumerate(("ann", "bob", "cid"), 1))
    await asyncio.gather(*map(writer.arrive, (ann, bob, cid)))
    await writer.refresh()
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    await writer.depart(ann)
    store.is_away = True
    monkeypatch.undo()
    await writer.depart(bob)
    store.is_away = False
    await writer.refresh()
    await end_others_of(store, redis)
    assert await online(store, "ann", "bob", "cid") == ["cid"]


async def test_close_leaves_nothing_of_a_writer_whose_sessions_have_left(writer, store, redis):
    ann = session_of("ann")
    await writer.arrive(ann)
    await writer.refresh()
    await writer.close()
    for key in common_keys(store, "beats"):
        assert await redis.hkeys(key) == [store.writer.encode()], "ann is still there"
    await writer.depart(ann)
    await writer.close()
    assert not await redis.exists(*common_keys(store, "beats"))
    assert [await redis.hkeys(key) for key in common_keys(store, "writes") if await redis.exists(key)] == [[b"tried"]]


async def test_redis_that_is_away_holds_nobody_up_and_the_refresh_repairs(writer, store, told):
    store.is_away = True
    ann, bob = session_of("ann"), session_of("bob", 2)
    await asyncio.gather(writer.arrive(ann), writer.arrive(bob))
    await writer.depart(bob)
    assert not writer._waiting
    with pytest.raises(Unavailable):
        await writer.refresh()
    store.is_away = False
    await writer.refresh()
    assert told == [("ann", True)]
    assert await online(store, "ann", "bob") == ["ann"]


async def test_redis_that_hangs_holds_nobody_up_and_what_waits_is_bounded(writer, store, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    sessions = [session_of(f"user{number}", number) for number in range(30)]
    store.hold()
    await asyncio.gather(*map(writer.arrive, sessions[:1]))
    await asyncio.gather(*map(writer.arrive, sessions[1:]))
    assert store.waiting_count == 1  # it still hangs, and they went on
    assert len(writer._waiting) == 10
    await asyncio.gather(*map(writer.depart, sessions[20:]))
    assert len(writer._waiting) == 10
    store.gate.set()
    await writer.flush()
    await writer.refresh()
    assert await online(store, *(session.username for session in sessions)) == [f"user{n}" for n in range(20)]


async def test_what_waits_behind_a_fault_is_dropped_with_it(writer, store):
    leaving = [session_of(f"user{number}", number) for number in range(3)]
    first = await under_way(store, writer.arrive, leaving[0])
    others = [asyncio.ensure_future(writer.arrive(session)) for session in leaving[1:]]
    await wait_for(lambda: len(writer._waiting) == 2)
    store.is_away = True
    store.gate.set()
    await asyncio.gather(first, *others)
    assert store.fault_count == 1
    assert not writer._waiting
