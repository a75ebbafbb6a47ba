"""How a device stays connected: what every kind of client of a run does alike.

Connects again with jitter, obeys go_away, and takes a stream without heartbeats for dead. What is said on a stream, and
what is made of what comes, is its subclass's: `client.py` for devices, `consumers.py` for streams with manual acks.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from grpc import aio
from parley.v1 import chat_pb2, chat_service_pb2_grpc

from tests.faults.history import History
from tests.support.people import reason_of

_CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
# With these a reader that stops is felt by the server after some 64 KiB instead of megabytes.
_SMALL_WINDOW = [("grpc.http2.bdp_probe", 0)]
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.05, 1.0
_SILENT_HEARTBEATS = 4
# A server that a whole node's clients turn to at once takes its time for the welcome; who asks anew makes it worse.
_HELLO_SECONDS = 20.0
_HELLO_ID = -1

stream_numbers = itertools.count(1)


class Connection:
    """One stream of one device, connected again whenever it ends.

    Attributes:
        device: user/device.
        connect_count: how often a session was opened.
        errors: reasons of refused frames.
        is_open: whether a session is.
        target: where it is connected to, or was last.

    Args:
        history: what it sees goes there.
        find_target: says where to connect to, each time anew: host:port.
        now: the run's clock.
    """

    def __init__(
        self,
        history: History,
        username: str,
        token: str,
        device_id: str,
        *,
        find_target: Callable[[], str],
        now: Callable[[], float],
        rng: random.Random,
        has_small_window: bool = False,
        heartbeat_seconds: int = 1,
    ) -> None:
        self.username = username
        self.device = f"{username}/{device_id}"
        self.connect_count = 0
        self.errors: list[str] = []
        self.is_open = False
        self.target = ""
        self._history = history
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._device_id = device_id
        self._find_target = find_target
        self._now = now
        self._rng = rng
        self._options = _CHANNEL_OPTIONS + (_SMALL_WINDOW if has_small_window else [])
        self._heartbeat_seconds = heartbeat_seconds
        self._stream = 0
        self._reads = asyncio.Event()
        self._reads.set()
        self._wake = asyncio.Event()
        self._leave_seconds: float | None = None
        self._is_over = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_started(self) -> bool:
        """Whether it was told to connect."""
        return self._task is not None

    def start(self) -> None:
        """Connects, and stays connected until `close`."""
        self._task = asyncio.create_task(self._run(), name=f"client {self.device}")

    async def close(self) -> None:
        """Hangs up."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _make_hello(self) -> chat_pb2.Hello:
        """What a stream begins with."""
        return chat_pb2.Hello(
            device_id=self._device_id,
            start=chat_pb2.START_FROM_ACKS,
            heartbeat=Duration(seconds=self._heartbeat_seconds),
        )

    def _take(self, frame: chat_pb2.ChatResponse) -> None:
        """Makes something of what came."""
        raise NotImplementedError

    async def _write_all(self, stub: Any, call: Any) -> None:
        """Writes what there is to say, from the welcome until it is cancelled or the stream has ended."""
        raise NotImplementedError

    def _note_end(self, error: Exception | None) -> None:
        """Notes that the stream has ended; None: with OK."""

    async def _run(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not self._is_over:
            self._leave_seconds = None
            error: Exception | None = None
            try:
                await self._run_stream()
            except (aio.AioRpcError, TimeoutError, asyncio.InvalidStateError, OSError) as caught:
                error = caught  # the next one is as good
            was_open, self.is_open = self.is_open, False
            self._note_end(error)
            if was_open:
                pause_seconds = _FIRST_PAUSE_SECONDS
            wait_seconds = pause_seconds * self._rng.uniform(0.5, 1.5)
            await asyncio.sleep(wait_seconds if self._leave_seconds is None else self._leave_seconds)
            pause_seconds = min(2 * pause_seconds, _LAST_PAUSE_SECONDS)

    async def _run_stream(self) -> None:
        self._stream = next(stream_numbers)
        self.target = self._find_target()
        async with aio.insecure_channel(self.target, options=self._options) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            call: Any = stub.Chat(metadata=self._metadata)
            writer: asyncio.Task[None] | None = None
            try:
                async with asyncio.timeout(_HELLO_SECONDS):
                    await call.write(chat_pb2.ChatRequest(correlation_id=_HELLO_ID, hello=self._make_hello()))
                while (frame := await self._read(call)) is not aio.EOF:
                    if frame.welcomes:
                        self.connect_count += 1
                        self.is_open = True
                        writer = asyncio.create_task(self._write_patiently(stub, call), name=f"writer {self.device}")
                    self._take(frame)
                    self._take_rest(frame)
            finally:
                if writer is not None:
                    writer.cancel()
                    await asyncio.gather(writer, return_exceptions=True)
                call.cancel()

    async def _read(self, call: Any) -> chat_pb2.ChatResponse:
        await self._reads.wait()
        async with asyncio.timeout(_SILENT_HEARTBEATS * self._heartbeat_seconds if self.is_open else _HELLO_SECONDS):
            return await call.read()

    def _take_rest(self, frame: chat_pb2.ChatResponse) -> None:
        self.errors += [reason_of(error.error) for error in frame.errors]
        if any(error.correlation_id == _HELLO_ID for error in frame.errors):
            raise ConnectionError("the hello was refused")  # the stream would stay open, without a session
        if frame.go_aways:
            self._leave_seconds = frame.go_aways[0].reconnect_delay.ToTimedelta().total_seconds()
            self._wake.set()

    async def _write_patiently(self, stub: Any, call: Any) -> None:
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):  # who reads sees that it has ended
            await self._write_all(stub, call)
