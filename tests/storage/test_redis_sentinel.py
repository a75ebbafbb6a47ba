"""Sentinel: the primary is found by its name, and followed over failovers by the bus, presence and timelines."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from storage.errors import Unavailable
from storage.redis.bus import Bus
from storage.redis.presence import PresenceStore
from storage.redis.servers import Servers
from storage.redis.timelines import TimelineStore
from tests.support.redises import running_sentinels
from tests.support.waiting import wait_for

FAILOVER_SECONDS = 30.0


@asynccontextmanager
async def running_bus(servers: Servers, heard: list[bytes]) -> AsyncIterator[Bus]:
    bus = Bus(
        servers,
        namespace="n",
        common="n:workers",
        worker_id=secrets.token_hex(4),
        is_peer=lambda _: True,
        on_common=lambda _: None,
        on_message=lambda _, payload: heard.append(payload),
        on_connect=lambda: None,
    )
    await bus.subscribe(["c:a"])
    task = asyncio.create_task(bus.run())
    try:
        await wait_for(lambda: bus.is_alive, what="the bus")
        yield bus
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()


@asynccontextmanager
async def open_servers(url: str) -> AsyncIterator[Servers]:
    servers = Servers(url)
    try:
        yield servers
    finally:
        await servers.close()


async def works(store: PresenceStore) -> bool:
    try:
        return await store.beat()
    except Unavailable:
        return False


async def hears(bus: Bus, heard: list[bytes], other: Bus) -> bool:
    """Whether what another worker publishes now has come."""
    other.publish_nowait("c:a", b"again")
    return bus.is_alive and b"again" in heard


@pytest.mark.parametrize("way", ["killed", "asked for", "frozen and back"])
async def test_failover_is_followed_by_bus_presence_and_timelines(way: str) -> None:
    here: list[bytes] = []
    there: list[bytes] = []
    with running_sentinels() as watched:
        async with open_servers(watched.url()) as one, open_servers(watched.url()) as two:
            store, timelines = PresenceStore(one, namespace="n"), TimelineStore(one, namespace="n", hosts=[])
            async with running_bus(one, here) as bus, running_bus(two, there) as other:
                assert await store.beat()
                before = watched.primary()
                match way:
                    case "killed":
                        before.kill()
                    case "asked for":
                        watched.sentinels[0].run("SENTINEL", "FAILOVER", "chat")
                    case "frozen and back":
                        before.send(signal.SIGSTOP)
                await wait_for(
                    lambda: watched.primary() is not before, limit_seconds=FAILOVER_SECONDS, what="the failover"
                )
                if way == "frozen and back":
                    before.send(signal.SIGCONT)  # goes on as the primary, until Sentinel tells it
                after = watched.primary()
                await wait_for(lambda: works(store), limit_seconds=FAILOVER_SECONDS, what="presence")
                await wait_for(lambda: bus.is_alive and other.is_alive, limit_seconds=FAILOVER_SECONDS, what="beats")
                await wait_for(lambda: hears(bus, here, other), limit_seconds=FAILOVER_SECONDS, what="the bus")
                await wait_for(lambda: hears(other, there, bus), limit_seconds=FAILOVER_SECONDS, what="the bus back")

                async def is_all_there() -> bool:
                    listener_count = after.run("CLIENT", "LIST").decode().count("cmd=subscribe")
                    return await works(store) and listener_count >= 2 and after.run("EXISTS", "{n:presence:0}:beats")

                await wait_for(is_all_there, limit_seconds=FAILOVER_SECONDS, what="all at the new primary")
                assert await timelines.share({1: 7}) == {1: 7}
                assert after.run("INFO", "replication")["role"] == "master"


async def test_login_of_the_servers_is_not_given_to_the_sentinels() -> None:
    password = "p/w#[r@t%"
    with running_sentinels(password) as watched:
        url = watched.url(":p%2Fw%23%5Br%40t%25@")
        async with open_servers(url) as servers:
            assert await PresenceStore(servers, namespace="n").beat()
        async with open_servers(watched.url()) as servers:
            with pytest.raises(Unavailable, match="asks for a password"):
                await PresenceStore(servers, namespace="n").beat()


async def test_a_name_that_no_sentinel_knows_is_told() -> None:
    with running_sentinels() as watched:
        async with open_servers(watched.url().replace("/chat/", "/other/")) as servers:
            with pytest.raises(Unavailable, match="no Sentinel names a primary of that name"):
                await PresenceStore(servers, namespace="n").beat()
