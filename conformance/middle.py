"""A server in the middle that speaks HTTP/2 on both sides, as Envoy does, and ends calls without an ErrorInfo.

It passes bytes on. What the server says at a call's end, details included, is passed on, too. It can also ask clients
to go, and then sees when they come back.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio
from parley.v1 import chat_pb2, chat_service_pb2

_SERVICE = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
_CALL_SECONDS = 30.0
_RESET = "stream terminated by RST_STREAM with error code: INTERNAL_ERROR"


class Middle:
    """What stands between.

    Attributes:
        target: host:port to connect to.
        has_come_back: a stream was opened since the clients were asked to go.
        was_early: and that was before the delay was over.
    """

    def __init__(self, upstream: aio.Channel) -> None:
        self._upstream = upstream
        self._ends: set[asyncio.Future[grpc.StatusCode]] = set()  # one for each open stream: why it is to end
        self._refusals: dict[str, grpc.StatusCode] = {}
        self._go_away_frame = b""
        self._asked = asyncio.Event()
        self._return_time = 0.0
        self.has_come_back = False
        self.was_early = False
        self.target = ""

    def end_streams(self, code: grpc.StatusCode) -> int:
        """Ends the streams that are open; gives how many."""
        ends = list(self._ends)
        self._ends.clear()
        for end in ends:
            end.set_result(code)
        return len(ends)

    def ask_to_go(self, delay_seconds: float) -> None:
        """Asks the open streams to leave and to come back after the delay; ends none by itself."""
        go_away = chat_pb2.GoAway()
        go_away.reconnect_delay.FromMilliseconds(int(delay_seconds * 1000))
        self._go_away_frame = chat_pb2.ChatResponse(go_aways=[go_away]).SerializeToString()
        self._return_time = time.monotonic() + delay_seconds
        self.has_come_back = False
        self._asked.set()

    def refuse_once(self, method: str, code: grpc.StatusCode) -> None:
        """Lets the answer to the next call of a method be lost: the server has done it, the client hears a code."""
        self._refusals[method] = code

    async def start(self, server: aio.Server) -> None:
        """Serves."""
        handlers = {method.name: self._handler(method.name) for method in _SERVICE.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))
        self.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()

    def _handler(self, name: str) -> Any:
        path = f"/{_SERVICE.full_name}/{name}"

        async def unary(request: bytes, context: Any) -> bytes:
            call = self._upstream.unary_unary(path)
            try:
                answer: bytes = await call(request, metadata=_token(context), timeout=_CALL_SECONDS)
            except aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata() or ())
                await context.abort(error.code(), error.details() or "")
            if code := self._refusals.pop(name, None):
                await context.abort(code, _RESET)
            return answer

        async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            if self._asked.is_set():
                self.has_come_back = True
                self.was_early = time.monotonic() < self._return_time
            asked = self._asked = asyncio.Event()
            call = self._upstream.stream_stream(path)(requests, metadata=_token(context))
            asking = asyncio.ensure_future(asked.wait())
            end: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()
            self._ends.add(end)
            try:
                while True:
                    frame = asyncio.ensure_future(call.read())
                    frame.add_done_callback(
                        lambda read: read.cancelled() or read.exception()
                    )  # told of by the other end
                    await asyncio.wait([frame, end, asking], return_when=asyncio.FIRST_COMPLETED)
                    if asking.done():
                        yield self._go_away_frame
                        asking = asyncio.get_running_loop().create_future()
                        await asyncio.wait([frame, end], return_when=asyncio.FIRST_COMPLETED)
                    if end.done():
                        frame.cancel()
                        await context.abort(end.result(), _RESET)
                    if (await frame) is aio.EOF:
                        return
                    yield frame.result()
            except aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata() or ())
                await context.abort(error.code(), error.details() or "")
            finally:
                asking.cancel()
                self._ends.discard(end)
                call.cancel()

        if name == "Chat":
            return grpc.stream_stream_rpc_method_handler(chat)
        return grpc.unary_unary_rpc_method_handler(unary)


def _token(context: Any) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in context.invocation_metadata() if key == "authorization")


@contextlib.asynccontextmanager
async def open_middle(upstream: str) -> AsyncIterator[Middle]:
    """Stands before host:port."""
    server = aio.server()
    async with aio.insecure_channel(upstream) as channel:
        middle = Middle(channel)
        await middle.start(server)
        try:
            yield middle
        finally:
            await server.stop(grace=0)
