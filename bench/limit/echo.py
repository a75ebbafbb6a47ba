"""How many messages grpc.aio carries there and back over streams, when the server does nothing but send them back.

Frames are those of `Chat` and are parsed and serialized on both ends. The server has a process of its own.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop
from parley.v1 import chat_pb2, message_pb2

from bench.polling import poll_with_completions
from bench.processes import tree_cpu_seconds

_METHOD = "/limit.Echo/Echo"
_STREAMS = 16
_CHANNELS = 4
_FRAMES_UNDER_WAY = 16  # of each stream
_WARM_UP_SECONDS = 0.3
_START_SECONDS = 30.0
_TEXT = "x" * 100


def measure_echo(seconds: float) -> dict[str, float]:
    """Sends frames over 16 streams and counts what comes back.

    Returns:
        "stream_echo_per_second" in messages, one a frame, with "stream_echo_server_us" of processor time a message;
        "stream_echo_20_per_second" and "stream_echo_20_server_us" with 20 a frame.

    Raises:
        grpc.RpcError: a stream broke.
        OSError: the server does not come up.
    """
    found: dict[str, float] = {}
    with _running_server() as (pid, port):
        for frame, name in ((1, "stream_echo"), (20, "stream_echo_20")):
            rate, cpu_us = uvloop.run(_echo(pid, port, frame, seconds / 2))
            found |= {f"{name}_per_second": rate, f"{name}_server_us": cpu_us}
    return found


@contextmanager
def _running_server() -> Iterator[tuple[int, int]]:
    """Starts the server; gives its pid and port; ends it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serving_process, args=(theirs,), daemon=True)
    server.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise OSError("the server of the echo does not come up")
        assert server.pid is not None
        yield server.pid, ours.recv()
    finally:
        ours.close()
        server.join(_START_SECONDS)


def _serving_process(parent: Connection) -> None:
    poll_with_completions()
    uvloop.run(_serve(parent))


async def _serve(parent: Connection) -> None:
    """Serves until the other end of the pipe is closed, also by its process's death."""
    handler = grpc.stream_stream_rpc_method_handler(
        _send_back,
        request_deserializer=chat_pb2.ChatRequest.FromString,
        response_serializer=chat_pb2.ChatRequest.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("limit.Echo", {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(parent.fileno(), over.set)
    parent.send(port)
    await over.wait()
    await server.stop(None)


async def _send_back(_: object, context: Any) -> None:
    while (frame := await context.read()) is not grpc.aio.EOF:
        await context.write(frame)


@dataclass(slots=True)
class _Count:
    """What came back so far."""

    messages: int = 0


async def _echo(server_pid: int, port: int, frame: int, seconds: float) -> tuple[float, float]:
    """Returns messages a second, and the server's processor time for one in microseconds."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(_CHANNELS)]
    request = message_pb2.SendRequest(conversation_id="limit", text=_TEXT, request_id="r" * 32)
    payload = chat_pb2.ChatRequest(correlation_id=1, send=chat_pb2.SendFrame(requests=[request] * frame))
    count, is_over = _Count(), asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            for nth in range(_STREAMS):
                group.create_task(_run_stream(channels[nth % _CHANNELS], payload, count, is_over))
            await asyncio.sleep(_WARM_UP_SECONDS)
            begin, cpu, before = time.perf_counter(), tree_cpu_seconds(server_pid), count.messages
            await asyncio.sleep(seconds)
            passed, messages = time.perf_counter() - begin, count.messages - before
            cpu = tree_cpu_seconds(server_pid) - cpu
            is_over.set()
    finally:
        for channel in channels:
            await channel.close()
    return messages / passed, 1e6 * cpu / max(messages, 1)


async def _run_stream(
    channel: grpc.aio.Channel, payload: chat_pb2.ChatRequest, count: _Count, is_over: asyncio.Event
) -> None:
    """Keeps some frames under way until it is over, and then takes back what is left."""
    call: Any = channel.stream_stream(
        _METHOD,
        request_serializer=chat_pb2.ChatRequest.SerializeToString,
        response_deserializer=chat_pb2.ChatRequest.FromString,
    )()
    room = asyncio.Semaphore(_FRAMES_UNDER_WAY)

    async def write() -> None:
        while not is_over.is_set():
            await room.acquire()
            await call.write(payload)
        await call.done_writing()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        while (frame := await call.read()) is not grpc.aio.EOF:
            count.messages += len(frame.send.requests)
            room.release()
