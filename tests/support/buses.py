"""A bus and a store of presence on real servers, for tests of what happens to the servers."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from storage.errors import Unavailable
from storage.redis.bus import Bus, Receiver
from storage.redis.presence import PresenceStore
from storage.redis.servers import Servers
from tests.support.waiting import wait_for

FAILOVER_SECONDS = 30.0


@asynccontextmanager
async def running_bus(
    servers: Servers, heard: list[bytes], *, namespace: str = "n", until: Callable[[], object] = lambda: False
) -> AsyncIterator[Bus]:
    """A bus that listens to c:a; it works, or there is something else that is waited for."""
    bus = Bus(
        servers,
        namespace=namespace,
        common=f"{namespace.partition('.')[0]}:workers",
        worker_id=secrets.token_hex(4),
        is_peer=lambda _: True,
    )
    await bus.subscribe(["c:a"])
    receiver = Receiver(lambda _, payload: heard.append(payload), lambda _: None, lambda: None)
    task = asyncio.create_task(bus.run(receiver))
    try:
        await wait_for(lambda: bus.is_alive or until(), what="the bus")
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
