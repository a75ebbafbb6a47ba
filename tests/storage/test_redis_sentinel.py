"""Sentinel: the primary is found by its name, and followed over failovers by the bus, presence and timelines."""

import signal

import pytest

from storage.errors import Unavailable
from storage.redis.presence import PresenceStore
from storage.redis.timelines import TimelineStore
from tests.support.buses import FAILOVER_SECONDS, hears, open_servers, running_bus, works
from tests.support.redises import running_sentinels
from tests.support.waiting import wait_for


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


async def test_sentinels_that_hang_hold_up_neither_the_bus_nor_presence() -> None:
    with running_sentinels() as watched:
        watched.sentinels[0].send(signal.SIGSTOP)
        async with open_servers(watched.url()) as servers, running_bus(servers, []) as bus:
            store = PresenceStore(servers, namespace="n")
            assert await store.beat()
            watched.sentinels[1].send(signal.SIGSTOP)  # now nobody says who the primary is
            before = bus.beat_count
            await wait_for(lambda: bus.beat_count >= before + 3, what="beats")
            assert await store.beat()


async def test_a_primary_that_was_replaced_and_does_not_know_it_is_left() -> None:
    """As one that is cut off from the Sentinels, and not from the workers."""
    heard: list[bytes] = []
    with running_sentinels() as watched:
        async with open_servers(watched.url()) as servers, running_bus(servers, heard) as bus:
            store = PresenceStore(servers, namespace="n")
            assert await store.beat()
            named = watched.servers[1]
            named.run("REPLICAOF", "NO", "ONE")
            for sentinel in watched.sentinels:
                sentinel.run("SENTINEL", "REMOVE", "chat")
                sentinel.run("SENTINEL", "MONITOR", "chat", "127.0.0.1", named.port, 1)

            async def is_there() -> bool:
                is_subscribed = named.run("PUBSUB", "NUMSUB", "n:c:a")[1] == 1
                return await works(store) and is_subscribed and named.run("EXISTS", "{n:presence:0}:beats") == 1

            await wait_for(is_there, limit_seconds=FAILOVER_SECONDS, what="all at the one that is named")
            await wait_for(lambda: hears(bus, heard, bus), what="the bus")
