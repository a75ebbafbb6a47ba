"""SIGTERM beside other nodes: whoever follows the health loses no call; who hurries the server does not wait."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from parley.v1 import chat_pb2, chat_service_pb2_grpc, message_pb2

from tests.support.balancer import Balancer, balancing
from tests.support.databases import fresh_schema
from tests.support.people import Person, reason_of, registered, status_of
from tests.support.servers import RunningServer, is_ready, running_server, start_server
from tests.support.waiting import wait_for, wait_until

_CALLERS = 12
_NEVER = "3600"


@pytest.fixture
async def nodes(postgres_url: str, redis_url: str) -> "AsyncIterator[tuple[RunningServer, RunningServer]]":
    """Two nodes on one database, each with two workers, of which the first is to be stopped."""
    with tempfile.TemporaryDirectory(prefix="parley-nodes-") as place:
        async with fresh_schema(postgres_url) as schema:
            settings = {
                "PARLEY_DATABASE_URL": postgres_url,
                "PARLEY_DATABASE_SCHEMA": schema,
                "PARLEY_REDIS_URL": redis_url,
                "PARLEY_SHUTDOWN_DELAY_SECONDS": "2",
            }
            shared = settings | {"PARLEY_AUTH_KEYS_FILE": f"{place}/a/keys.json"}
            with (
                running_server(Path(place) / "a", workers=2, settings=settings) as first,
                running_server(Path(place) / "b", workers=2, settings=shared) as second,
            ):
                yield first, second


@pytest.fixture
def patient() -> Iterator[RunningServer]:
    """A server that would serve on for an hour after SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="parley-patient-") as place:
        server = start_server(Path(place), settings={"PARLEY_SHUTDOWN_DELAY_SECONDS": _NEVER})
        try:
            yield server
        finally:
            server.process.send_signal(signal.SIGINT)
            server.stop()


class Traffic:
    """Unary calls and streams that go on until they are told to end, and what failed of them."""

    def __init__(self, balancer: Balancer, alice: Person) -> None:
        self.own = f"{alice.name}:{alice.name}"
        self._balancer = balancer
        self._metadata = alice.metadata
        self._is_over = False
        self.sent: set[int] = set()
        self.received: set[int] = set()
        self.welcome_count = 0
        self.failures: list[grpc.aio.AioRpcError] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs it all beside what is inside; then waits until the stream has brought everything."""
        tasks = [*(asyncio.create_task(self._send()) for _ in range(_CALLERS)), asyncio.create_task(self._read())]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*tasks)

    async def _send(self) -> None:
        request = message_pb2.SendRequest(conversation_id=self.own, text="hello")
        while not self._is_over:
            try:
                answer = await self._balancer.pick().Send(request, metadata=self._metadata, timeout=20)
                self.sent.add(answer.message.seq)
            except grpc.aio.AioRpcError as error:
                self.failures.append(error)

    async def _read(self) -> None:
        while not (self._is_over and self.received >= self.sent):
            call = self._balancer.pick().Chat(metadata=self._metadata)
            try:
                await call.write(chat_pb2.ChatRequest(hello=chat_pb2.Hello(device_id="reader")))
                while not (self._is_over and self.received >= self.sent):
                    frame = await call.read()
                    self.welcome_count += len(frame.welcomes)
                    self.received.update(message.seq for message in frame.messages)
            except grpc.aio.AioRpcError as error:
                if reason_of(status_of(error)) != "SHUTTING_DOWN":
                    self.failures.append(error)
            finally:
                call.cancel()


async def test_no_call_fails_and_no_message_is_missed_while_one_of_two_nodes_stops(
    nodes: "tuple[RunningServer, RunningServer]",
) -> None:
    leaving, staying = nodes
    async with balancing([node.target for node in nodes]) as balancer, registered(leaving.target) as alice:
        traffic = Traffic(balancer, alice)
        async with traffic.running():
            await wait_for(lambda: len(traffic.sent) > 100 and traffic.welcome_count, what="traffic")
            leaving.process.send_signal(signal.SIGTERM)
            await wait_for(lambda: balancer.serving == {staying.target}, what="NOT_SERVING")
            # It says so and serves on, for those who have not heard of it yet.
            await balancer.stub(leaving.target).Send(
                message_pb2.SendRequest(conversation_id=traffic.own, text="late"), metadata=alice.metadata, timeout=20
            )
            assert await asyncio.to_thread(leaving.process.wait, 30) == 0
            count = len(traffic.sent)
            await wait_for(lambda: len(traffic.sent) > count + 100, what="traffic afterwards")
        assert traffic.failures == []


async def test_calls_on_their_way_when_the_port_closes_are_answered_and_none_is_cancelled(
    nodes: "tuple[RunningServer, RunningServer]",
) -> None:
    leaving, _ = nodes
    answered, codes = 0, set()
    async with registered(leaving.target) as alice, AsyncExitStack() as stack:
        request = message_pb2.SendRequest(conversation_id=f"{alice.name}:{alice.name}", text="hello")

        async def call(channel: grpc.aio.Channel) -> None:
            nonlocal answered
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            while True:  # follows no health; ends with the port
                try:
                    await stub.Send(request, metadata=alice.metadata, timeout=20)
                    answered += 1
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code())
                    return

        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(leaving.target, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(_CALLERS)
        ]
        calls = [asyncio.create_task(call(channel)) for channel in channels for _ in range(4)]
        await wait_for(lambda: answered > 200, what="traffic")
        leaving.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*calls)
    assert codes == {grpc.StatusCode.UNAVAILABLE}
    assert await asyncio.to_thread(leaving.process.wait, 30) == 0


async def test_streams_are_told_at_once_and_those_that_come_late_are_served_and_told_again(
    nodes: "tuple[RunningServer, RunningServer]",
) -> None:
    leaving, _ = nodes
    async with registered(leaving.target) as alice, alice.chat() as early:
        leaving.process.send_signal(signal.SIGTERM)
        assert await early.end() is grpc.StatusCode.UNAVAILABLE
        async with alice.chat(device_id="late") as late:
            assert await late.say(f"{alice.name}:{alice.name}", "hello") == 1
            assert await late.end() is grpc.StatusCode.UNAVAILABLE
            for stream in (early, late):
                assert stream.ending is not None
                assert len(stream.go_aways) == 1
                assert reason_of(status_of(stream.ending)) == "SHUTTING_DOWN"
    assert await asyncio.to_thread(leaving.process.wait, 30) == 0


async def test_liveness_stays_while_readiness_goes(patient: RunningServer) -> None:
    await asyncio.to_thread(wait_until, lambda: is_ready(patient), limit_seconds=30)
    async with grpc.aio.insecure_channel(patient.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def status(service: str) -> int:
            return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)).status)

        states = health_pb2.HealthCheckResponse
        names = ("", "parley.v1.ChatService", "readiness", "liveness")
        assert [await status(name) for name in names] == [states.SERVING] * 4
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await status("parley.v1.Unknown")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        patient.process.send_signal(signal.SIGTERM)

        async def is_leaving() -> bool:
            return await status("readiness") == states.NOT_SERVING

        await wait_for(is_leaving, what="NOT_SERVING")
        assert [await status(name) for name in names] == [states.NOT_SERVING] * 3 + [states.SERVING]


def test_a_second_sigterm_does_not_wait_for_the_delay(patient: RunningServer) -> None:
    wait_until(lambda: is_ready(patient), limit_seconds=30)
    patient.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "serving on before the end" in patient.text, what="the delay")
    assert patient.process.poll() is None
    patient.process.send_signal(signal.SIGTERM)
    assert patient.process.wait(20) == 0


def test_ctrl_c_does_not_wait_for_the_delay(patient: RunningServer) -> None:
    wait_until(lambda: is_ready(patient), limit_seconds=30)
    patient.process.send_signal(signal.SIGINT)
    assert patient.process.wait(20) == 0
    assert "serving on before the end" not in patient.text


def test_sigterm_while_workers_start_does_not_wait_for_the_delay(patient: RunningServer) -> None:
    wait_until((patient.data_dir / "keys.json").exists, limit_seconds=30, what="a start under way")
    patient.process.send_signal(signal.SIGTERM)
    assert patient.process.wait(20) == 0
    assert "Traceback" not in patient.text
