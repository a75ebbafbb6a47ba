"""Who is heard over the bus: workers of this database, once it is known that they are, and nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import get_args

import pytest
import structlog
from redis.asyncio import Redis

from service.delivery.bus_messages import BusMessage, WorkerAnnounced, publish_nowait
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.hub import Hub
from service.domain.clock import loop_clock
from service.worker.bus_dispatch import BusDispatcher, handler
from service.worker.peers import Peers
from storage.postgres.connections.database import Database
from storage.postgres.devices.devices import Devices
from storage.postgres.log.messages import Messages
from storage.postgres.schema.migrate import read_deployment
from storage.records import Deployment
from storage.redis.bus import Bus, Receiver
from storage.redis.servers import Servers
from tests.support.databases import fresh_schema, open_database
from tests.support.waiting import wait_for


async def deployment_of(database: Database) -> Deployment:
    async with database.acquire() as connection:
        return await read_deployment(connection)


@pytest.fixture
async def copied(database: Database, postgres_url: str) -> AsyncIterator[Database]:
    """A copy of the database, as a restore from a dump makes it: the deployment's row is the same."""
    async with fresh_schema(postgres_url) as schema, open_database(postgres_url, schema) as copy:
        original = await deployment_of(database)
        await copy.execute(
            "UPDATE deployment SET deployment_id = $1, epoch = $2", original.deployment_id, original.epoch
        )
        yield copy


class Worker:
    """A bus, and who may be heard on it."""

    def __init__(
        self, servers: Servers, database: Database, deployment: Deployment, devices: Devices, worker_id: str
    ) -> None:
        self.heard: list[bytes] = []
        self.peers = Peers(deployment, worker_id=worker_id, list_workers=devices.list_workers)
        self.bus = Bus(
            servers,
            namespace=deployment.namespace,
            common=f"{deployment.deployment_id}:workers",
            worker_id=worker_id,
            is_peer=self.peers.is_peer,
        )
        others = set(get_args(BusMessage)) - {WorkerAnnounced}
        self.dispatcher = BusDispatcher(
            Hub(Messages(database), ChangedMemberships(), loop_clock()),
            [handler(WorkerAnnounced, self.peers.hear), *(handler(kind, lambda _: None) for kind in others)],
        )

    async def run(self) -> None:
        await self.bus.run(
            Receiver(
                take=lambda _, payload: self.heard.append(payload),
                take_common=self.dispatcher.take_common,
                reconnected=lambda: None,
            )
        )


@asynccontextmanager
async def running(
    redis_url: str, database: Database, worker_id: str, deployment: Deployment | None = None
) -> AsyncIterator[Worker]:
    """A worker that is noted in the database, and listens to c:g."""
    devices = Devices(database, worker_id=worker_id)
    await devices.beat()
    servers = Servers(redis_url)
    worker = Worker(servers, database, deployment or await deployment_of(database), devices, worker_id)
    await worker.bus.subscribe(["c:g"])
    task = asyncio.create_task(worker.run())
    try:
        await wait_for(lambda: worker.bus.is_alive, what="the bus")
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.bus.close()
        await servers.close()


async def test_a_worker_that_is_noted_in_the_database_is_heard_as_soon_as_it_was_looked_for(database, redis_url):
    async with running(redis_url, database, "1") as here, running(redis_url, database, "2") as there:
        await here.peers.refresh()
        here.peers.unknown.clear()
        async with running(redis_url, database, "3") as late:
            late.bus.publish_nowait("c:g", b"too early")
            await wait_for(here.peers.unknown.is_set, what="to be looked for")
            await here.peers.refresh()
            late.bus.publish_nowait("c:g", b"in time")
            there.bus.publish_nowait("c:g", b"of old")
            await wait_for(lambda: len(here.heard) == 2)
        assert here.heard == [b"in time", b"of old"]
        assert here.bus.foreign_count == 1


async def test_a_copy_of_all_files_is_not_heard_and_told_of_once(database, copied, redis_url):
    """Deployment, epoch and cluster are the same; only its workers are noted elsewhere."""
    same = await deployment_of(database)
    async with running(redis_url, database, "1") as here, running(redis_url, copied, "2", same) as other:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                other.bus.publish_nowait("c:g", b"of the copy")
                publish_nowait(other.bus, other.peers.announcement())
                await wait_for(lambda: here.peers._announced, what="to be heard of")
                assert await here.peers.refresh()
        here.bus.publish_nowait("c:g", b"fence")
        await wait_for(lambda: here.heard)
        assert here.heard == [b"fence"]
        assert here.bus.foreign_count >= 3
        (told,) = [entry for entry in logs if entry["log_level"] == "warning"]
        assert "a copy of this deployment" in told["event"]
        assert "parley restored" in told["event"]
        assert told["worker"] == "2"


async def test_a_stranger_that_goes_on_speaking_is_looked_for_once(database, copied, redis_url):
    same = await deployment_of(database)
    async with running(redis_url, database, "1") as here, running(redis_url, copied, "2", same) as other:
        other.bus.publish_nowait("c:g", b"x")
        await wait_for(lambda: here.bus.foreign_count)
        await here.peers.refresh()
        here.peers.unknown.clear()
        before = here.bus.foreign_count
        other.bus.publish_nowait("c:g", b"y")
        await wait_for(lambda: here.bus.foreign_count > before)
        assert not here.peers.unknown.is_set()


async def test_a_copy_from_a_dump_and_another_epoch_have_channels_of_their_own(database, copied, redis_url):
    original, copy = await deployment_of(database), await deployment_of(copied)
    assert (copy.deployment_id, copy.epoch) == (original.deployment_id, original.epoch)
    assert copy.namespace != original.namespace
    await database.execute("UPDATE deployment SET epoch = epoch + 1")
    assert (await deployment_of(database)).namespace != original.namespace


async def test_a_payload_of_another_epoch_is_left_out_though_it_came_over_the_right_channel(database, redis_url):
    async with running(redis_url, database, "1") as here, Redis.from_url(redis_url) as liar:
        namespace = (await deployment_of(database)).namespace
        for payload in (b"", b"x" * 7, b"x" * 40):
            await liar.publish(f"{namespace}:c:g", payload)
        here.bus.publish_nowait("c:g", b"fence")
        await wait_for(lambda: here.heard)
        assert here.heard == [b"fence"]
        assert here.bus.foreign_count == 3


async def test_nonsense_on_the_common_channel_costs_nothing(database, redis_url):
    async with running(redis_url, database, "1") as here, Redis.from_url(redis_url) as liar:
        common = f"{(await deployment_of(database)).deployment_id}:workers"
        for said in (b"", b"\xff", b"[]", b"1", b"[" * 100_000, json.dumps({"worker": 1}).encode()):
            await liar.publish(common, b"0" * 16 + said)
        here.bus.publish_nowait("c:g", b"fence")
        await wait_for(lambda: here.heard)
        assert here.peers._announced == {}


async def test_a_worker_that_is_not_noted_any_more_says_nothing(database, redis_url):
    async with running(redis_url, database, "1") as here:
        assert await here.peers.refresh()
        await database.execute("DELETE FROM workers")
        assert not await here.peers.refresh()


async def test_workers_that_were_copied_with_the_database_are_not_heard_there(database, copied, redis_url):
    same = await deployment_of(database)
    async with running(redis_url, database, "1") as original, running(redis_url, copied, "2", same) as copy:
        await copied.execute("INSERT INTO workers VALUES ('1', clock_timestamp() - interval '20 seconds')")
        await copy.peers.refresh()
        original.bus.publish_nowait("c:g", b"of the original")
        await wait_for(lambda: copy.bus.foreign_count, what="it to be left out")
        await copied.execute("UPDATE workers SET beat_time = clock_timestamp()")
        await copy.peers.refresh()
        original.bus.publish_nowait("c:g", b"as a living one")
        await wait_for(lambda: copy.heard)
        assert copy.heard == [b"as a living one"]
