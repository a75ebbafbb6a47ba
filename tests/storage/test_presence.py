"""Presence in a Redis of its own: empty, out of memory, and when it is not known who is offline."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from storage.embedded import EmbeddedValkey
from storage.redis import presence
from storage.redis.presence import PresenceStore
from tests.support.waiting import wait_for

IDS = ["1", "2"]


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    with tempfile.TemporaryDirectory(prefix="parley-presence-") as folder:
        valkey = EmbeddedValkey(Path(folder))
        valkey.start()
        client = Redis.from_url(valkey.url)
        try:
            yield client
        finally:
            await client.aclose()
            valkey.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settles in a fifth of a second."""
    monkeypatch.setattr(presence, "_SETTLE_SECONDS", 0.2)


async def seen(store: PresenceStore, username: str) -> bool | None:
    record = (await store.read([username]))[username]
    return None if record is None else record.is_online


async def test_nobody_is_offline_until_the_workers_have_written_their_sessions(redis: Redis, quick: None) -> None:
    store = PresenceStore(redis, prefix="p")
    assert await seen(store, "ann") is None
    await store.write({"bob": IDS}, {})
    assert await seen(store, "bob")
    assert await seen(store, "ann") is None, "nobody said that these were all"
    await store.write({}, {}, is_round=True)
    assert await seen(store, "ann") is None, "another worker may come"
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    await redis.flushall()  # as a restart leaves it
    assert await seen(store, "bob") is None
    assert await seen(store, "ann") is None


async def is_offline(store: PresenceStore, username: str) -> bool:
    return await seen(store, username) is False


async def test_who_leaves_is_told_offline_only_when_that_is_known(redis: Redis, quick: None) -> None:
    store = PresenceStore(redis, prefix="p")
    await store.write({"ann": IDS}, {})
    await store.write({}, {}, is_round=True)
    assert await store.write({}, {"ann": IDS}) == {}, "another worker may have a session of ann's"
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    await store.write({"ann": IDS}, {})
    assert not (await store.write({}, {"ann": IDS}))["ann"].is_online


async def test_without_refreshes_it_is_not_known_any_more(
    redis: Redis, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_MARK_SECONDS", 0.6)
    store = PresenceStore(redis, prefix="p")
    await store.write({}, {}, is_round=True)
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    await wait_for(lambda: is_unknown(store, "ann"), what="the end of the mark")


async def is_unknown(store: PresenceStore, username: str) -> bool:
    return await seen(store, username) is None


async def test_after_the_clock_was_set_back_it_is_known_again(redis: Redis, quick: None) -> None:
    store = PresenceStore(redis, prefix="p")
    seconds, _ = await redis.time()
    await redis.set("p:presence", (seconds + 3600) * 1000)
    assert await seen(store, "ann") is None
    assert await store.write({"bob": IDS}, {"ann": IDS}) == {"bob": presence.PresenceRecord(True, None)}
    await store.write({}, {}, is_round=True)
    await wait_for(lambda: is_offline(store, "ann"), what="ann to be known")
    assert not (await store.write({}, {"bob": IDS}))["bob"].is_online


async def test_out_of_memory_it_is_written_and_right(redis: Redis, quick: None) -> None:
    store = PresenceStore(redis, prefix="p")
    await store.write({"ann": IDS}, {})
    await redis.config_set("maxmemory", "1mb")
    with pytest.raises(OutOfMemoryError):
        await redis.set("x", "y")
    await store.write({}, {}, is_round=True)
    await wait_for(lambda: is_offline(store, "bob"), what="bob to be known")
    assert (await store.write({"bob": IDS}, {"ann": IDS})).keys() == {"ann", "bob"}
    assert await seen(store, "bob")
    assert await is_offline(store, "ann")
