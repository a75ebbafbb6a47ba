"""`parley serve` on a primary with a standby: the primary dies, and nothing of Parley is started again."""

import asyncio

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.cluster import running_cluster
from tests.support.people import Person, registered
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


def processes(server: RunningServer) -> set[int]:
    return {process.pid for process in psutil.Process(server.process.pid).children(recursive=True)}


async def send_until_stored(person: Person, conversation_id: str, request_id: str) -> int:
    """Follows the rule: the same request id again while the server says that it may succeed later."""

    async def attempt() -> int | None:
        try:
            answer = await person.send(conversation_id, request_id, request_id=request_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return None
            raise
        return answer.message.seq

    seq = await wait_for(attempt, limit_seconds=20, what="a stored message")
    assert seq is not None
    return seq


async def test_server_goes_on_with_the_promoted_standby() -> None:
    with running_cluster() as cluster:
        settings = {"PARLEY_DATABASE_URL": cluster.url}
        with running_server(workers=2, settings=settings) as server:
            before = processes(server)
            async with (
                registered(server.target) as ann,
                registered(server.target) as bob,
                grpc.aio.insecure_channel(server.target) as channel,
            ):
                group = await ann.make_group(bob)
                health = health_pb2_grpc.HealthStub(channel)

                async def status() -> int:
                    return int((await health.Check(health_pb2.HealthCheckRequest(), timeout=10)).status)

                async with bob.chat() as stream:
                    assert await send_until_stored(ann, group, "1") == 1
                    await asyncio.to_thread(cluster.primary.kill)
                    sending = asyncio.create_task(send_until_stored(ann, group, "2"))
                    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING

                    async def is_not_serving() -> bool:
                        return await status() == not_serving

                    await wait_for(is_not_serving, what="NOT_SERVING")
                    await asyncio.to_thread(cluster.promote)
                    assert await sending == 2
                    await asyncio.to_thread(cluster.revive_old)
                    assert await send_until_stored(ann, group, "3") == 3
                    await stream.until(lambda: len(stream.messages) == 3, "the messages")
                    assert [message.text for message in stream.messages] == ["1", "2", "3"]

                async def is_serving() -> bool:
                    return await status() == health_pb2.HealthCheckResponse.SERVING

                await wait_for(is_serving, what="SERVING")
            assert processes(server) == before
        assert '"level": "error"' not in server.text, server.text
