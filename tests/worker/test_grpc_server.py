"""Calls that come while the event loop stands still. gRPC ignores options whose names it does not know: these it does.

The handler stops the loop, as too much work would; the calls are made by gRPC's own threads.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc

from service.rpc.in_flight import MAX_UNARY_CALLS
from service.settings.tree import LimitSettings, Settings
from service.worker.grpc_server import server_options
from tests.support.waiting import wait_for, wait_until

OK, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
WAIT = "grpc.server_max_unrequested_time_in_server"
MOST = "grpc.server.max_pending_requests"
MOST_AT_ALL = "grpc.server.max_pending_requests_hard_limit"


class Stall(grpc.GenericRpcHandler):
    """Answers each call; until it is told to go on, the first one stops the event loop."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def service(self, _details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, _context: Any) -> bytes:
        self.may_go_on.wait(20)
        return request


@asynccontextmanager
async def stalling(**changed: int) -> AsyncIterator[tuple[Stall, Callable[[], Any]]]:
    """A server with our options, some of them changed; gives it and what makes a call."""
    options = dict(server_options(Settings())) | changed
    stall = Stall()
    server = grpc.aio.server(options=list(options.items()))
    server.add_generic_rpc_handlers((stall,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary("/any/Method")
            yield stall, lambda: call.future(b"", wait_for_ready=True, timeout=30)
    finally:
        stall.may_go_on.set()
        await server.stop(None)


async def in_a_thread(function: Callable[[], Any]) -> Any:
    """Runs something beside the event loop, which stands still meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, function)


async def test_calls_above_the_bound_of_those_that_wait_are_cancelled():
    async with stalling(**{MOST: 0, MOST_AT_ALL: 1}) as (stall, call):

        def run() -> list[grpc.StatusCode]:
            calls = [call() for _ in range(10)]
            wait_until(lambda: any(one.done() for one in calls), what="a refusal while nothing is served")
            stall.may_go_on.set()
            return [one.code() for one in calls]

        codes = await in_a_thread(run)
        assert set(codes) == {OK, CANCELLED}


async def test_calls_that_waited_too_long_are_cancelled():
    async with stalling(**{WAIT: 0}) as (stall, call):

        def run() -> list[grpc.StatusCode]:
            stall.may_go_on.clear()
            calls = [call() for _ in range(10)]
            stall.may_go_on.set()
            return [one.code() for one in calls]

        async def is_seen() -> bool:
            return CANCELLED in await in_a_thread(run)

        await wait_for(is_seen, what="a call that waited too long")


async def test_as_many_may_wait_as_may_be_served_and_for_long():
    options = dict(server_options(Settings(limits=LimitSettings(max_streams=7))))
    assert options[MOST] == options[MOST_AT_ALL] == 7 + MAX_UNARY_CALLS
    assert options[WAIT] >= 300
    async with stalling() as (stall, call):

        def run() -> list[grpc.StatusCode]:
            calls = [call() for _ in range(90)]
            stall.may_go_on.set()
            return [one.code() for one in calls]

        assert set(await in_a_thread(run)) == {OK}
