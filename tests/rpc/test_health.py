"""grpc.health.v1: what balancers and people ask, on the real server and on checks that fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.rpc.registry import SERVICE
from service.worker.health import Health
from storage.errors import Unavailable
from tests.support.servers import RunningServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def asking(target: str) -> "AsyncIterator[health_pb2_grpc.HealthStub]":
    async with grpc.aio.insecure_channel(target) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def about(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_server_serves_and_says_so_without_a_token(server: RunningServer, name: str):
    async with asking(server.target) as stub:
        assert (await stub.Check(about(name), timeout=5)).status == SERVING
        watch = stub.Watch(about(name))
        assert (await watch.read()).status == SERVING
        watch.cancel()


async def test_unknown_service_is_told_as_the_protocol_says(server: RunningServer):
    async with asking(server.target) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(about("no.such.Service"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(about("no.such.Service"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


class Database:
    """Answers, or not."""

    answers = True

    async def check(self) -> int:
        if not self.answers:
            raise Unavailable("away")
        return 1


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_health_follows_the_database_and_not_redis(name: str):
    database = Database()
    health = Health(database.check, lambda: False)
    server = grpc.aio.server()
    health.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with asking(f"127.0.0.1:{port}") as stub:
            await health.check()
            assert (await stub.Check(about(name))).status == SERVING
            assert health.component_states() == {"postgres": True, "redis": False}
            watch = stub.Watch(about(name))
            assert (await watch.read()).status == SERVING
            database.answers = False
            await health.check()
            assert (await watch.read()).status == NOT_SERVING
            assert health.component_states()["postgres"] is False
            database.answers = True
            await health.check()
            assert (await watch.read()).status == SERVING
            await health.leave()
            assert (await watch.read()).status == NOT_SERVING
            await health.check()  # the check that was under way must not call it back
            assert (await stub.Check(about(name))).status == NOT_SERVING
            watch.cancel()
    finally:
        await server.stop(None)
