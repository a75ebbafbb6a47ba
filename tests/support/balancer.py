"""A small balancer: calls go to the servers that say SERVING, as gRPC's own client-side health checks have it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from parley.v1 import chat_service_pb2_grpc

from tests.support.waiting import wait_for

_LOCAL = [("grpc.use_local_subchannel_pool", 1)]


class Balancer:
    """Knows which of some servers serve.

    Attributes:
        serving: the targets that say so now.
    """

    def __init__(self, channels: dict[str, grpc.aio.Channel]) -> None:
        self.channels = channels
        self.serving: set[str] = set()
        self._turns = itertools.count()

    def pick(self) -> "chat_service_pb2_grpc.ChatServiceAsyncStub":
        """Returns the next server in turn of those that serve."""
        targets = sorted(self.serving)
        return self.stub(targets[next(self._turns) % len(targets)])

    def stub(self, target: str) -> "chat_service_pb2_grpc.ChatServiceAsyncStub":
        """Returns this server, whatever its health is."""
        return chat_service_pb2_grpc.ChatServiceStub(self.channels[target])

    async def watch(self, target: str) -> None:
        """Follows what a server says of itself, until it ends."""
        request = health_pb2.HealthCheckRequest(service="readiness")
        try:
            async for answer in health_pb2_grpc.HealthStub(self.channels[target]).Watch(request):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    self.serving.add(target)
                else:
                    self.serving.discard(target)
        except grpc.aio.AioRpcError:
            self.serving.discard(target)


@asynccontextmanager
async def balancing(targets: Sequence[str]) -> AsyncIterator[Balancer]:
    """Watches these servers, which serve already."""
    balancer = Balancer({target: grpc.aio.insecure_channel(target, options=_LOCAL) for target in targets})
    watches = [asyncio.create_task(balancer.watch(target)) for target in targets]
    try:
        await wait_for(lambda: len(balancer.serving) == len(targets), what="servers that serve")
        yield balancer
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        for channel in balancer.channels.values():
            await channel.close()
