"""Presence in a Redis of its own: empty, out of memory, and when it is not known who is offline."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from storage.redis.presence import SESSION_SECONDS, PresenceRecord, PresenceStore, partition_of
from storage.redis.servers import Servers
from tests.support.databases import running_valkey
from tests.support.presence import common_keys, user_key
from tests.support.waiting import wait_for

IDS = ["1", "2"]


@pytest.fixture
def url() -> Iterator[str]:
    with running_valkey() as valkey:
        yield valkey.url


@pytest.fixture
async def redis(url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(url) as client:
        yield client


@pytest.fixture
async def servers(url: str) -> AsyncIterator[Servers]:
    servers = Servers(url)
    yield servers
    await servers.close()


@pytest.fixture
def store(servers: Servers) -> PresenceStore:
    """One that settles in a fifth of a second."""
    return quick_store(servers)


def quick_store(servers: Servers, **options: float) -> PresenceStore:
    return PresenceStore(servers, namespace="p", settle_seconds=0.2, **options)


async def seen(store: PresenceStore, username: str) -> bool | None:
    record = (await store.read([username]))[username]
    return None if record is None else record.is_online


async def is_offline(store: PresenceStore, username: str) -> bool:
    return await seen(store, username) is False


async def is_unknown(store: PresenceStore, username: str) -> bool:
    return await seen(store, username) is None


async def test_nobody_is_offline_until_the_workers_have_written_their_sessions(
    store: PresenceStore, redis: Redis
) -> None:
    assert await is_unknown(store, "ann")
    await store.write({"bob": IDS}, {})
    assert await seen(store, "bob")
    assert await is_unknown(store, "ann"), "nobody said that these were all"
    assert await store.beat()
    assert await is_unknown(store, "ann"), "another worker may come"
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    await redis.flushall()  # as a restart leaves it
    assert await is_unknown(store, "bob")
    assert await is_unknown(store, "ann")


async def test_who_leaves_is_told_offline_only_when_that_is_known(store: PresenceStore) -> None:
    await store.write({"ann": IDS}, {})
    assert await store.beat()
    assert await store.write({}, {"ann": IDS}) == {}, "another worker may have a session of ann's"
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    await store.write({"ann": IDS}, {})
    assert not (await store.write({}, {"ann": IDS}))["ann"].is_online


async def test_without_beats_it_is_not_known_any_more(servers: Servers) -> None:
    store = quick_store(servers, mark_seconds=0.6)
    assert await store.beat()
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    await wait_for(lambda: is_unknown(store, "ann"), what="the end of the mark")


async def test_user_is_online_while_one_of_two_workers_lives_and_then_was_seen_at_its_last_beat(
    store: PresenceStore, redis: Redis, servers: Servers
) -> None:
    other = quick_store(servers)
    await store.write({"ann": ["1"], "bob": ["2"]}, {})
    await other.write({"ann": ["3"]}, {})
    assert await store.beat()
    assert await other.beat()
    await wait_for(lambda: is_offline(store, "cid"), what="cid to be known")
    died_ms = await set_beat(redis, other, -SESSION_SECONDS)
    assert await seen(store, "ann")
    await store.write({}, {"ann": ["1"]})
    assert await is_offline(store, "ann")
    died_ms = await set_beat(redis, store, -SESSION_SECONDS - 5)
    assert await other.beat() is False, "it is taken for dead, and must write all anew"
    bob = (await other.read(["bob"]))["bob"]
    assert bob is not None
    assert bob.last_seen_time is not None
    arrived_ms = int(await redis.hget(user_key(store, "bob"), "seen") or 0)
    assert round(1000 * bob.last_seen_time.timestamp()) == max(died_ms, arrived_ms)


async def set_beat(redis: Redis, store: PresenceStore, seconds: float) -> int:
    """Makes it as if a writer had beaten last so long from now, in Redis's time; gives that in ms."""
    now_seconds, now_us = await redis.time()
    beat_ms = int(1000 * (now_seconds + seconds)) + now_us // 1000
    for key in common_keys(store, "beats"):
        await redis.hset(key, store.writer, beat_ms)
    return beat_ms


@pytest.mark.parametrize("loss", ["emptied", "a write", "its beats", "the clock"])
async def test_writer_whose_writes_redis_lost_is_told_and_takes_a_new_name(
    store: PresenceStore, redis: Redis, loss: str
) -> None:
    await store.write({"ann": IDS}, {})
    assert await store.beat()
    assert await store.beat()
    before = store.writer
    match loss:
        case "emptied":
            await redis.flushall()
        case "a write":  # as a replica that took over without it
            await redis.hincrby(common_keys(store, "writes")[partition_of("ann")], store.writer, -1)
        case "its beats":
            await set_beat(redis, store, -SESSION_SECONDS)
        case "the clock":  # is set back by an hour
            await set_beat(redis, store, 3600)
    assert not await store.beat()
    assert store.writer != before
    await store.write({"ann": IDS}, {})
    assert await store.beat()
    assert await seen(store, "ann")


async def test_session_whose_removal_got_lost_dies_with_the_name_it_was_written_under(
    store: PresenceStore, redis: Redis
) -> None:
    await store.write({"ann": IDS, "bob": ["3"]}, {})
    before = store.writer
    store.renew()
    await store.write({"bob": ["3"]}, {})
    assert await store.beat()
    await wait_for(lambda: is_offline(store, "cid"), what="cid to be known")
    assert await seen(store, "ann")
    for key in common_keys(store, "beats"):
        await redis.hset(key, before, 1)
    assert await is_offline(store, "ann")
    assert await seen(store, "bob")


async def test_after_the_clock_was_set_back_it_is_unknown_and_then_known_again(
    store: PresenceStore, redis: Redis
) -> None:
    await store.write({"ann": IDS}, {})
    assert await store.beat()
    await wait_for(lambda: is_offline(store, "bob"), what="bob to be known")
    await set_beat(redis, store, 3600)
    seconds, _ = await redis.time()
    for key in common_keys(store, "mark"):
        await redis.hset(key, mapping={"last": (seconds + 3600) * 1000})
    assert await is_unknown(store, "ann")
    assert await is_unknown(store, "bob")
    assert not await store.beat()
    assert await store.write({"ann": IDS}, {}) == {"ann": PresenceRecord(True, None)}
    assert await is_unknown(store, "bob")
    assert await store.beat()
    await wait_for(lambda: is_offline(store, "bob"), what="bob to be known")
    assert await seen(store, "ann")


async def test_writers_that_ended_or_wrote_nothing_leave_nothing_behind(
    store: PresenceStore, redis: Redis, servers: Servers
) -> None:
    idle, killed, ended = (quick_store(servers) for _ in range(3))
    await killed.write({"ann": IDS}, {})
    await ended.write({"bob": ["3"]}, {})
    await ended.write({}, {"bob": ["3"]})
    for writer in (idle, killed, ended):
        assert await writer.beat()
    await ended.end()
    for writer in (idle, killed):
        await set_beat(redis, writer, -SESSION_SECONDS)
    assert await store.beat()
    wrote = partition_of("ann")
    for nth, (beats, writes) in enumerate(zip(common_keys(store, "beats"), common_keys(store, "writes"), strict=True)):
        has_written = [killed.writer.encode()] if nth == wrote else []
        assert await redis.hkeys(beats) == [*has_written, store.writer.encode()]
        assert [name for name in await redis.hkeys(writes) if name != b"tried"] == has_written


async def test_hundreds_of_users_are_one_pipeline_and_each_is_right(store: PresenceStore) -> None:
    users = [f"user{number}" for number in range(250)]
    assert await store.beat()
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    store.pipeline_count = 0
    assert list(await store.write(dict.fromkeys(users, IDS), {})) == users
    assert list(await store.write({name: ["3"] for name in users[:120]}, dict.fromkeys(users, IDS))) == users[120:]
    states = await store.read(users)
    assert [name for name, record in states.items() if record and record.is_online] == users[:120]
    assert store.pipeline_count == 3


async def test_thousands_of_streams_of_one_user_do_not_break_the_presence_of_all(store: PresenceStore) -> None:
    """A user has 250 streams unless `limits.max_streams_per_user` says otherwise; Lua makes 8,000 arguments at most."""
    ids = [f"{number:016x}" for number in range(9000)]
    assert (await store.write({"ann": ids, "bob": IDS}, {})).keys() == {"ann", "bob"}
    await store.end()  # what stands under this name is dead now
    store.renew()
    assert (await store.write({"ann": IDS}, {})).keys() == {"ann"}
    assert await seen(store, "ann")


async def test_out_of_memory_it_is_written_and_right(store: PresenceStore, redis: Redis) -> None:
    await store.write({"ann": IDS}, {})
    await redis.config_set("maxmemory", "1mb")
    with pytest.raises(OutOfMemoryError):
        await redis.set("x", "y")
    assert await store.beat()
    await wait_for(lambda: is_offline(store, "bob"), what="bob to be known")
    assert (await store.write({"bob": IDS}, {"ann": IDS})).keys() == {"ann", "bob"}
    assert await seen(store, "bob")
    assert await is_offline(store, "ann")
    store.renew()
    assert await store.beat()
