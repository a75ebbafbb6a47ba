"""A real Redis Cluster: presence and the bus work on it, through a resharding and the death of nodes."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.crc import key_slot

from storage.redis.presence import PresenceStore, partition_of
from storage.redis.servers import Servers
from storage.redis.timelines import TimelineStore
from tests.support.buses import FAILOVER_SECONDS, hears, open_servers, running_bus, works
from tests.support.presence import user_key
from tests.support.redises import RunningCluster, Server, running_redis_cluster, running_servers
from tests.support.waiting import wait_for

IDS = ["1", "2"]
USERS = [f"user{number}" for number in range(40)]


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningCluster]:
    """One whose nodes all live."""
    with running_redis_cluster() as cluster:
        yield cluster


@pytest.fixture
async def servers(shared: RunningCluster) -> AsyncIterator[Servers]:
    async with open_servers(shared.url()) as servers:
        yield servers


async def online(store: PresenceStore, usernames: list[str]) -> list[str]:
    return [name for name, record in (await store.read(usernames)).items() if record and record.is_online]


async def is_known(store: PresenceStore, username: str) -> bool:
    return (await store.read([username]))[username] is not None


async def are_settled(store: PresenceStore) -> bool:
    """Whether each partition says of those who never were online that they are offline."""
    return None not in (await store.read([f"nobody{nth}" for nth in range(200)])).values()


@pytest.mark.parametrize("way", ["named a cluster", "found to be one"])
async def test_presence_is_spread_over_the_nodes_and_right(shared: RunningCluster, way: str) -> None:
    url = shared.url() if way == "named a cluster" else f"redis://{shared.nodes[1].place}/0"
    async with open_servers(url) as servers:
        store = PresenceStore(servers, namespace=way.replace(" ", ""), settle_seconds=0.2)
        assert list(await store.write(dict.fromkeys(USERS, IDS), {})) == USERS
        assert await store.beat()
        await wait_for(lambda: are_settled(store), what="all partitions to know who is offline")
        assert list(await store.write({}, dict.fromkeys(USERS[:20], IDS))) == USERS[:20]
        assert await online(store, USERS) == USERS[20:]
        await store.end()
    sizes = [node.run("DBSIZE") for node in shared.nodes[:3]]
    assert all(sizes), sizes


async def test_timelines_are_shared(servers: Servers) -> None:
    store = TimelineStore(servers, namespace="t", hosts=["a"])
    assert await store.share({1: 7}) == {1: 7}
    assert await store.share({1: 3}) == {1: 7}
    assert await TimelineStore(servers, namespace="t", hosts=["b"]).share({1: 3}) == {1: 3}


async def test_what_is_published_at_one_node_is_heard_at_another(shared: RunningCluster) -> None:
    here: list[bytes] = []
    there: list[bytes] = []
    async with open_servers(shared.url()) as one, open_servers(f"redis://{shared.nodes[2].place}") as two:
        async with running_bus(one, here) as bus, running_bus(two, there) as other:
            await wait_for(lambda: hears(bus, here, other), what="the other")
            await wait_for(lambda: hears(other, there, bus), what="this one")
            heard_at, said_at = bus._subscriber._connection, bus._publisher._connection
            assert heard_at is not None
            assert said_at is not None
            assert heard_at.port != said_at.port, "the beat proves that the nodes hear each other"


async def test_a_slot_in_the_middle_of_its_move_and_after_it(shared: RunningCluster, servers: Servers) -> None:
    store = PresenceStore(servers, namespace="moved", settle_seconds=0.2)
    await store.write({"ann": IDS}, {})
    assert await store.beat()
    slot = key_slot(user_key(store, "ann").encode())
    source = shared.owner(slot)
    target = next(node for node in shared.nodes[:3] if node is not source)
    shared.begin_move(slot, source, target)
    shared.move_keys(slot, source, target)  # none is at the source any more, so the target is asked
    assert await online(store, ["ann"]) == ["ann"]
    assert await asyncio.gather(*(store.read(["ann"]) for _ in range(8)))
    await store.write({"ann": ["3"]}, {})
    assert await store.beat()
    shared.end_move(slot, source, target)
    assert await online(store, ["ann"]) == ["ann"]
    assert await store.beat()
    assert shared.owner(slot) is target
    assert target.run("EXISTS", user_key(store, "ann")) == 1


async def test_keys_that_are_here_and_there_are_waited_for(shared: RunningCluster, servers: Servers) -> None:
    store = PresenceStore(servers, namespace="half", settle_seconds=0.2)
    await store.write({"ann": IDS}, {})
    assert await store.beat()
    slot = key_slot(user_key(store, "ann").encode())
    source = shared.owner(slot)
    target = next(node for node in shared.nodes[:3] if node is not source)
    shared.begin_move(slot, source, target)
    shared.move_keys(slot, source, target, count=1)
    reading = asyncio.create_task(store.read(["ann"]))
    await wait_for(lambda: errors_of(source, "TRYAGAIN") > 0, what="to be asked to wait")
    assert not reading.done()
    await asyncio.to_thread(shared.move_keys, slot, source, target)
    await asyncio.to_thread(shared.end_move, slot, source, target)
    assert (await reading)["ann"] is not None


def errors_of(node: Server, name: str) -> int:
    found = node.run("INFO", "errorstats").get(f"errorstat_{name}", {"count": 0})
    return int(found["count"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_death_of_a_node_costs_its_part_until_its_replica_is_there(number: signal.Signals) -> None:
    here: list[bytes] = []
    there: list[bytes] = []
    with running_redis_cluster() as cluster:
        dead = cluster.nodes[0]
        # Known by one node alone, which dies.
        async with open_servers(cluster.url(count=1)) as one, open_servers(cluster.url(count=1)) as two:
            store = PresenceStore(one, namespace="n", settle_seconds=0.2)
            await store.write(dict.fromkeys(USERS, IDS), {})
            assert await store.beat()
            lost = [name for name in USERS if cluster.owner(key_slot(user_key(store, name).encode())) is dead]
            kept = [name for name in USERS if name not in lost]
            assert lost
            assert kept
            async with running_bus(one, here) as bus, running_bus(two, there) as other:
                await asyncio.gather(*(store.read(USERS) for _ in range(3)))  # several connections to each node
                dead.send(number)
                await wait_for(lambda: has_failed(store, USERS, lost), what="the loss")
                assert await online(store, kept) == kept
                if number is signal.SIGKILL:  # the other way the failover may be over by now
                    assert not await works(store)
                cluster.nodes.remove(dead)

                async def is_whole() -> bool:
                    with contextlib.suppress(Exception):
                        await store.write(dict.fromkeys(USERS, IDS), {})
                        return await store.beat()
                    return False

                await wait_for(is_whole, limit_seconds=FAILOVER_SECONDS, what="presence")
                assert await online(store, USERS) == USERS
                await wait_for(lambda: bus.is_alive and other.is_alive, limit_seconds=FAILOVER_SECONDS, what="beats")
                await wait_for(lambda: hears(bus, here, other), what="the other")
                await wait_for(lambda: hears(other, there, bus), what="this one")


async def has_failed(store: PresenceStore, usernames: list[str], lost: list[str]) -> bool:
    """Whether exactly the lost ones are unknown; that of all would be told as an error."""
    return [name for name, record in (await store.read(usernames)).items() if record is None] == lost


async def test_users_of_a_partition_have_one_slot() -> None:
    with running_servers({}) as (server,):
        async with open_servers(f"redis://{server.place}") as servers:
            store = PresenceStore(servers, namespace="dep.1.abc")
            slots = {partition_of(name): key_slot(user_key(store, name).encode()) for name in USERS}
            for name in USERS:
                assert key_slot(user_key(store, name).encode()) == slots[partition_of(name)]
            assert await store.beat()
            assert {key_slot(key) for key in server.run("KEYS", "*")} >= set(slots.values())
