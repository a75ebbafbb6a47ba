"""How a worker ends, seen from outside: killed, its users go offline; told to stop, it takes its leave."""

import asyncio
import signal
import time
from collections.abc import Iterator

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from parley.v1 import chat_pb2, message_pb2, presence_pb2

from tests.support.people import reason_of, registered, status_of
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def own_server() -> Iterator[RunningServer]:
    """A server of this module alone, with one worker, so that it is known which one serves."""
    with running_server(workers=1) as running:
        yield running


def worker_of(server: RunningServer) -> psutil.Process:
    children = psutil.Process(server.process.pid).children(recursive=True)
    (worker,) = [child for child in children if "parley worker" in " ".join(child.cmdline())]
    return worker


async def test_users_of_a_killed_worker_are_offline_within_15_seconds(own_server: RunningServer):
    async with registered(own_server.target) as alice, registered(own_server.target) as bob:
        await alice.send(f"{alice.name}:{bob.name}", "hello")
        request = presence_pb2.GetPresenceRequest(usernames=[alice.name])

        async def state() -> int | None:
            try:
                return (await bob.call("GetPresence", request)).presences[0].state
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return None  # while the next worker starts
                raise

        async def is_seen(wanted: int) -> bool:
            return await state() == wanted

        async with alice.chat() as stream:
            await wait_for(lambda: is_seen(presence_pb2.PRESENCE_STATE_ONLINE))
            killed_time = time.monotonic()
            worker_of(own_server).kill()
            assert await stream.end() is grpc.StatusCode.UNAVAILABLE
        await wait_for(lambda: is_seen(presence_pb2.PRESENCE_STATE_OFFLINE), limit_seconds=20)
        assert time.monotonic() - killed_time <= 15.5
        # Nothing of hers was lost with the worker.
        assert [message.text for message in (await alice.pull(f"{alice.name}:{bob.name}")).messages] == ["hello"]


async def test_server_that_stops_takes_its_leave_and_finishes_what_was_begun(own_server: RunningServer):
    async with (
        registered(own_server.target) as alice,
        grpc.aio.insecure_channel(own_server.target) as channel,
    ):
        own = f"{alice.name}:{alice.name}"
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        async with alice.chat() as stream, alice.chat(device_id="idle") as idle:
            requests = [message_pb2.SendRequest(conversation_id=own, text=str(number)) for number in range(200)]
            await stream.write(send=chat_pb2.SendFrame(requests=requests))
            own_server.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            for one in (stream, idle):
                assert await one.end() is grpc.StatusCode.UNAVAILABLE
                assert one.ending is not None
                assert reason_of(status_of(one.ending)) == "SHUTTING_DOWN"
                (away,) = one.go_aways
                assert away.reconnect_delay.ToMilliseconds() <= 2000
            assert sorted(result.accepted.seq for result in stream.results) == list(range(1, 201))
        watch.cancel()
    assert await asyncio.to_thread(own_server.process.wait, 20) == 0
    unforeseen = [line for line in own_server.output if '"level": "error"' in line and "worker" not in line]
    assert not unforeseen
