"""The bus: carries what it can, says when it can't, and ends when it is told to."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from storage.redis.bus import MAX_QUEUED_BYTES, Bus, Receiver
from storage.redis.servers import Servers
from tests.support.databases import Backends, frozen, running_valkey
from tests.support.proxy import open_proxy
from tests.support.waiting import wait_for


@contextlib.asynccontextmanager
async def made(redis_url: str, prefix: str) -> AsyncIterator[Bus]:
    servers = Servers(redis_url)
    bus = Bus(
        servers,
        namespace=prefix,
        common="common",
        worker_id=secrets.token_hex(4),
        is_peer=lambda _: True,
    )
    try:
        yield bus
    finally:
        await bus.close()
        await servers.close()


@contextlib.asynccontextmanager
async def running(
    redis_url: str, prefix: str, heard: list[tuple[str, bytes]], connected: list[str] | None = None
) -> AsyncIterator[Bus]:
    receiver = Receiver(
        take=lambda channel, payload: heard.append((channel, payload)),
        take_common=lambda _: None,
        reconnected=lambda: (connected if connected is not None else []).append("connected"),
    )
    async with made(redis_url, prefix) as bus:
        task = asyncio.create_task(bus.run(receiver))
        try:
            await wait_for(lambda: bus.is_alive, what="the bus")
            yield bus
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_is_published_reaches_subscribers_in_order(redis_url):
    heard: list[tuple[str, bytes]] = []
    async with running(redis_url, "one", heard) as here, running(redis_url, "one", []) as there:
        assert await here.subscribe(["c:a", "c:b"])
        for nth in range(600):
            there.publish_nowait("c:a", b"%d" % nth)
        there.publish_nowait("c:other", b"x")
        await wait_for(lambda: len(heard) == 600)
        assert heard == [("c:a", b"%d" % nth) for nth in range(600)]
        await here.unsubscribe(["c:a"])
        assert here.channels("c:") == ["c:b"]
        there.publish_nowait("c:a", b"unheard")
        there.publish_nowait("c:b", b"fence")
        await wait_for(lambda: heard[-1] == ("c:b", b"fence"))
        assert len(heard) == 601


async def test_deployments_do_not_hear_each_other(redis_url):
    heard: list[tuple[str, bytes]] = []
    async with running(redis_url, "this", heard) as here, running(redis_url, "that", []) as other:
        await here.subscribe(["c:a"])
        other.publish_nowait("c:a", b"x")
        here.publish_nowait("c:a", b"fence")
        await wait_for(lambda: heard)
        assert heard == [("c:a", b"fence")]


async def test_subscription_is_confirmed_once_also_for_two_who_ask_at_once(redis_url):
    async with running(redis_url, "one", []) as bus:
        assert await asyncio.gather(*(bus.subscribe(["c:a", f"c:{nth}"]) for nth in range(5))) == [True] * 5
        assert await bus.subscribe(["c:a"])


async def test_thousands_of_channels_are_subscribed_by_one_command_and_all_confirmed(redis_url):
    heard: list[tuple[str, bytes]] = []
    names = [f"c:{nth}" for nth in range(5000)]
    async with running(redis_url, "one", heard) as bus, Redis.from_url(redis_url) as redis:

        async def command_count() -> int:
            return (await redis.info("commandstats"))["cmdstat_subscribe"]["calls"]

        before = await command_count()
        assert await bus.subscribe(names, timeout_seconds=20)
        assert await bus.subscribe(names[::-1])
        assert await command_count() == before + 1
        assert bus._waiting == {}
        for name in names:
            bus.publish_nowait(name, b"x")
        await wait_for(lambda: len(heard) == len(names), what="all channels")
        assert [name for name, _ in heard] == names


async def test_those_who_wait_for_some_of_the_same_channels_all_get_theirs(redis_url):
    async with running(redis_url, "one", []) as bus:
        wanted = [[f"c:{nth}" for nth in range(first, first + 10)] for first in range(0, 50, 5)]
        assert await asyncio.gather(*(bus.subscribe(names) for names in wanted)) == [True] * 10
        assert bus._waiting == {}


async def test_one_whose_time_is_up_waits_for_nothing_any_more(redis_url):
    async with running(redis_url, "one", []) as bus, Redis.from_url(redis_url) as redis:
        await redis.client_pause(300)
        assert not await bus.subscribe(["c:a", "c:b"], timeout_seconds=0.05)
        assert bus._waiting == {}
        await wait_for(lambda: bus._confirmed >= {"c:a", "c:b"}, what="the confirmations")
        assert bus._waiting == {}


async def test_what_is_heard_is_not_written_into_a_text(redis_url, caplog):
    """redis-py does so for every message of RESP 3, whether that text goes anywhere or not."""
    heard: list[tuple[str, bytes]] = []
    with caplog.at_level("DEBUG", logger="push_response"):
        async with running(redis_url, "one", heard) as bus:
            await bus.subscribe(["c:a"])
            bus.publish_nowait("c:a", b"secret")
            await wait_for(lambda: heard)
    assert "secret" not in caplog.text


async def test_one_who_gives_up_takes_no_confirmation_from_another(redis_url):
    async with running(redis_url, "one", []) as bus:
        first = asyncio.create_task(bus.subscribe(["c:a"]))
        second = asyncio.create_task(bus.subscribe(["c:a"]))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second


async def test_away_bus_says_so_at_once_and_takes_what_fits(redis_url):
    async with made(redis_url, "one") as bus:  # never run, so never connected
        assert not bus.is_alive
        assert not await bus.subscribe(["c:a"])
        piece = b"x" * (1024 * 1024)
        for _ in range(MAX_QUEUED_BYTES // len(piece) + 3):
            bus.publish_nowait("c:a", piece)
        assert bus.dropped_count == 3


async def test_lost_connection_is_made_again_with_all_subscriptions(redis_url):
    heard: list[tuple[str, bytes]] = []
    async with running(redis_url, "one", heard) as bus:
        await bus.subscribe(["c:a"])
        killer = Redis.from_url(redis_url)
        await killer.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await killer.aclose()

        async def hears() -> bool:
            bus.publish_nowait("c:a", b"again")
            return bool(heard)

        await wait_for(hears, what="the new connection")
        assert bus.is_alive


@pytest.mark.parametrize("steps", range(12))
async def test_bus_ends_wherever_it_is_cancelled(redis_url, steps):
    async with made(redis_url, "one") as bus:
        task = asyncio.create_task(bus.run(Receiver(lambda *_: None, lambda _: None, lambda: None)))
        await wait_for(lambda: bus.is_alive)
        bus.publish_nowait("c:a", b"x")
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, "the bus does not end"


async def hears_again(bus: Bus, heard: list[tuple[str, bytes]]) -> None:
    """Waits until the bus carries messages to itself."""
    heard.clear()

    async def hears() -> bool:
        bus.publish_nowait("c:a", b"again")
        return bool(heard)

    await wait_for(hears, what="a message over the bus")


async def test_whoever_listens_hears_of_each_new_connection(redis_url):
    """What was published in between is gone, and nobody else says so."""
    heard: list[tuple[str, bytes]] = []
    connected: list[str] = []
    async with running(redis_url, "one", heard, connected) as bus, Redis.from_url(redis_url) as operator:
        await bus.subscribe(["c:a"])
        assert len(connected) == 1
        await operator.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_for(lambda: len(connected) == 2, what="word of it")
        await hears_again(bus, heard)


async def test_broken_connection_is_not_made_anew_by_a_subscription(redis_url):
    """redis-py would do so, and what was published in between would be missed by all other subscriptions."""
    async with made(redis_url, "one") as bus:
        await bus._subscriber.connect(["one:c:a"])
        assert await bus._subscriber.read() == (b"subscribe", b"one:c:a", 1)
        connection = bus._subscriber._connection
        assert connection is not None
        await connection.disconnect(nowait=True)
        with pytest.raises(RedisConnectionError):
            await bus._subscriber.subscribe(["one:c:b"])
        with pytest.raises(RedisConnectionError):
            await bus._subscriber.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n",
        b":5\r\n",
        b"*-1\r\n",
        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        b"*3\r\n$7\r\nmessage\r\n-ERR in the middle\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n$7\r\none:c:a\r\n$-1\r\n",
        b"-ERR of no command\r\n",
        b"\x00\xff",
    ],
)
async def test_answer_that_is_none_costs_a_connection_and_not_the_bus(backends: Backends, answer: bytes) -> None:
    heard: list[tuple[str, bytes]] = []
    connected: list[str] = []
    async with (
        open_proxy(str(backends.valkey.socket_path)) as proxy,
        running(f"redis://{proxy.target}", "one", heard, connected) as bus,
    ):
        await bus.subscribe(["c:a"])
        (link,) = [link for link in proxy.links if b"SUBSCRIBE" in link.sent]
        link.client.write(answer)
        await wait_for(lambda: len(connected) == 2, what="a new connection")
        await hears_again(bus, heard)


async def test_beat_of_somebody_else_does_no_harm(redis_url):
    heard: list[tuple[str, bytes]] = []
    async with running(redis_url, "one", heard) as bus, running(redis_url, "one", []) as other:
        await bus.subscribe(["c:a"])
        other.publish_nowait(bus._beat_channel, b"not a time")
        other.publish_nowait("c:a", b"behind it")
        await wait_for(lambda: ("c:a", b"behind it") in heard, what="what came behind it")
        await hears_again(bus, heard)


async def test_server_that_hangs_is_noticed_and_used_again():
    heard: list[tuple[str, bytes]] = []
    connected: list[str] = []
    with running_valkey() as valkey:
        async with running(valkey.url, "one", heard, connected) as bus:
            await bus.subscribe(["c:a"])
            with frozen(valkey):
                await wait_for(lambda: not bus.is_alive, what="the silence")
                assert not await bus.subscribe(["c:b"])
                bus.publish_nowait("c:a", b"lost")
            await wait_for(lambda: bus.is_alive, what="the bus")
            await hears_again(bus, heard)
            assert await bus.subscribe(["c:b"])
            assert len(connected) == 2


async def test_server_that_is_killed_and_comes_back_empty_is_used_again():
    heard: list[tuple[str, bytes]] = []
    with running_valkey() as valkey:
        async with running(valkey.url, "one", heard) as bus:
            await bus.subscribe(["c:a"])
            assert valkey.process is not None
            valkey.process.kill()
            await asyncio.to_thread(valkey.process.wait)
            await wait_for(lambda: not bus.is_alive, what="the end")
            assert not await bus.subscribe(["c:b"])
            await asyncio.to_thread(valkey.start)
            await wait_for(lambda: bus.is_alive, what="the bus")
            await hears_again(bus, heard)


async def test_changed_password_ends_the_bus_until_it_is_good_again():
    heard: list[tuple[str, bytes]] = []
    with running_valkey() as valkey:
        async with running(valkey.url, "one", heard) as bus:
            await bus.subscribe(["c:a"])
            operator = Redis.from_url(valkey.url)
            await operator.config_set("requirepass", "another")
            await operator.execute_command("AUTH", "another")
            await operator.execute_command("CLIENT", "KILL", "SKIPME", "yes")
            await wait_for(lambda: not bus.is_alive, what="the end")
            await operator.config_set("requirepass", "")
            await operator.aclose()
            await wait_for(lambda: bus.is_alive, what="the bus")
            await hears_again(bus, heard)


async def test_full_memory_does_not_stop_the_bus():
    heard: list[tuple[str, bytes]] = []
    with running_valkey() as valkey:
        async with running(valkey.url, "one", heard) as bus:
            await bus.subscribe(["c:a"])
            operator = Redis.from_url(valkey.url)
            await operator.config_set("maxmemory", "1")
            await hears_again(bus, heard)
            await operator.aclose()


async def test_what_waited_while_the_bus_was_away_is_not_brought_late():
    heard: list[tuple[str, bytes]] = []
    with running_valkey() as valkey:
        async with running(valkey.url, "one", heard) as bus:
            await bus.subscribe(["c:a"])
            with frozen(valkey):
                for _ in range(5000):
                    bus.publish_nowait("c:a", b"old")
                await wait_for(lambda: bus.dropped_count >= 4000, what="the loss")
            await wait_for(lambda: bus.is_alive, what="the bus")
            await hears_again(bus, heard)
            # What had gone out when the server froze is brought, and no more.
            assert len([payload for _, payload in heard if payload == b"old"]) <= 1000
