"""The highest timeline is one number for all workers."""

import asyncio
import secrets

import pytest

from storage.errors import Unavailable
from storage.redis.servers import Servers
from storage.redis.timelines import TimelineStore


async def test_workers_learn_the_highest_that_any_of_them_saw(redis_url):
    servers = Servers(redis_url)
    store = TimelineStore(servers, namespace=secrets.token_hex(4), hosts=[])
    cluster = 2**62 + 1  # a system identifier does not fit a Lua number
    assert await store.share({cluster: 2}) == {cluster: 2}
    assert await store.share({cluster: 1}) == {cluster: 2}
    assert await store.share({cluster: 5, cluster + 1: 3}) == {cluster: 5, cluster + 1: 3}
    assert await store.share({}) == {}
    await servers.close()


async def test_cluster_that_is_seen_meanwhile_is_told_the_next_time(redis_url):
    servers = Servers(redis_url)
    store = TimelineStore(servers, namespace=secrets.token_hex(4), hosts=[])
    timelines = {1: 1}
    sharing = asyncio.create_task(store.share(timelines))
    await asyncio.sleep(0)
    timelines[2] = 1  # by a connection to a server that took the other's place
    assert await sharing == {1: 1}
    await servers.close()


async def test_away_redis_is_unavailable():
    servers = Servers("redis://127.0.0.1:1")
    with pytest.raises(Unavailable):
        await TimelineStore(servers, namespace="p", hosts=[]).share({1: 1})
    await servers.close()
